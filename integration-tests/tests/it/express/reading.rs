//! Reading the cookie.

use super::*;

/// Browsers, proxies and other libraries write it differently.
#[tokio::test]
async fn the_cookie_is_found_in_every_form_that_clients_send() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let cookie = site.begin().await?;
    let (_, value) = cookie.split_once('=').expect("a pair");
    for header in [
        format!("id={value}"),
        format!("a=b;id={value};c"),
        format!(" ;; garbage; =;\tid \t=  {value} ; x=%zz"),
        format!("id=\"{value}\""),
        format!("id={}", value.replace('.', "%2E")),
        format!("id={}", value.replace('.', "%2e")),
    ] {
        assert_eq!(site.value(&header, VALUE).await?, Some(1), "{header:?}");
    }
    for header in [
        format!("ID={value}"),
        format!("i%64={value}"),
        value.to_owned(),
        format!("id={value}%"),
        "=;=%".into(),
    ] {
        assert_eq!(site.value(&header, VALUE).await?, None, "{header:?}");
    }
    // several fields, as HTTP/2 may send them (RFC 9113 §8.2.3)
    let mut request = get("other=1");
    request
        .headers_mut()
        .append(header::COOKIE, HeaderValue::from_str(&cookie)?);
    assert_eq!(site.open(request).await?.1.get(VALUE)?, Some(1));
    Ok(())
}

#[tokio::test]
async fn every_cookie_of_the_name_is_tried() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let (good, ended) = (site.begin().await?, site.begin().await?);
    site.sessions.end(&site.id(&ended).expect("signed")).await?;
    for header in [
        format!("id=planted; {good}"),
        format!("id=s:x.y; id=; {good}; id=z"),
        format!("{ended}; {good}"),
    ] {
        assert_eq!(site.value(&header, VALUE).await?, Some(1), "{header}");
    }
    Ok(())
}

/// The request makes no store call and gets a new id.
#[tokio::test]
async fn a_cookie_without_a_valid_signature_is_ignored() -> TestResult {
    const SIGNED: &str = "0123456789abcdef0123456789abcdef";
    let site = Site::new(|b| {
        b.cookie(plain_cookie())
            .signing_keys(SigningKeys::new([SIGNED]).expect("key"))
    });
    let cookie = site.begin().await?;
    let (token, mac) = cookie
        .strip_prefix("id=v1.")
        .and_then(|value| value.split_once('.'))
        .expect("v1.token.mac");
    let presented = site.id(&cookie);
    for forged in [
        token.to_owned(),
        format!("{token}.{mac}"),
        format!("s:{token}.{mac}"),
        format!("j:{token}.{mac}"),
        format!("v2.{token}.{mac}"),
        format!("v1.{token}"),
        format!("v1.{token}."),
        format!("v1.{token}.{mac}="),
        format!("v1.{token}.{}", &mac[..42]),
        format!("v1.{token}.{}", "A".repeat(43)),
        format!("v1.{token}.x.{mac}"),
        format!("v1..{mac}"),
        String::new(),
        // signed with the key of the test, but not a token
        "v1.x.IClHotivoojFgDx8u_fMnl_AvApK-jLCTWifHl7oqX8".into(),
    ] {
        let (_, session) = site.open(get(&*format!("id={forged}"))).await?;
        assert!(session.is_new() && session.id() != presented, "{forged}");
        assert_eq!(site.store.take_calls(), [], "{forged}");
    }
    Ok(())
}

/// A response that races with a login would remove the new cookie.
#[tokio::test]
async fn a_cookie_that_opens_nothing_is_left_alone_until_it_is_replaced() -> TestResult {
    let site = Site::new(|b| b);
    let ended = site.begin().await?;
    site.sessions.end(&site.id(&ended).expect("signed")).await?;
    for cookie in ["__Host-id=forged", &ended] {
        for act in [|_: &Session| Ok(()), Session::destroy] {
            let answer = site.visit(get(cookie), async |session| act(&session));
            assert!(answer.await?.set_cookies().is_empty());
        }
        let answer = site
            .visit(get(cookie), async |session| session.insert(VALUE, &1))
            .await?;
        assert_ne!(answer.max_age(), Some(0));
        assert_ne!(answer.pair(), cookie);
    }
    Ok(())
}
