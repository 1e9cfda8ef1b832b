//! `Secure` and `SameSite` that depend on the request, and proxies.

use super::*;

/// Observed through `Secure::Auto`.
#[tokio::test]
async fn the_proxy_option_decides_which_headers_are_trusted() -> TestResult {
    use RequestScheme::{ForwardedTls, Plain, Tls};
    let (proxy, stranger): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let listed = Proxy::TrustPeers(vec![proxy]);
    let https = ("x-forwarded-proto", "https");
    let forwarded = ("forwarded", "for=192.0.2.1;proto=https");
    let cases = [
        (Proxy::Ignore, Tls, proxy, None, true),
        (Proxy::Trust, Tls, proxy, None, true),
        (listed.clone(), Tls, stranger, None, true),
        (Proxy::Trust, Plain, proxy, Some(https), true),
        (
            Proxy::Trust,
            Plain,
            proxy,
            Some(("x-forwarded-proto", " HTTPS ,http")),
            true,
        ),
        (
            Proxy::Trust,
            Plain,
            proxy,
            Some(("x-forwarded-proto", "http,https")),
            false,
        ),
        (
            Proxy::Trust,
            Plain,
            proxy,
            Some(("x-forwarded-proto", "https;x")),
            false,
        ),
        (
            Proxy::Trust,
            Plain,
            proxy,
            Some(("x-forwarded-proto", "wss")),
            false,
        ),
        (Proxy::Trust, Plain, proxy, Some(forwarded), true),
        (Proxy::Trust, Plain, proxy, None, false),
        (listed.clone(), Plain, proxy, Some(https), true),
        (listed.clone(), Plain, proxy, Some(forwarded), true),
        (listed, Plain, stranger, Some(https), false),
        (Proxy::Ignore, Plain, proxy, Some(https), false),
        (Proxy::Ignore, ForwardedTls, proxy, Some(https), false),
        (Proxy::Unspecified, Plain, proxy, Some(https), false),
        (Proxy::Unspecified, ForwardedTls, proxy, None, true),
    ];
    for (option, scheme, peer, header, secure) in cases {
        let shown = format!("{option:?} {scheme:?} {peer} {header:?}");
        let site = Site::new(|b| b.proxy(option).cookie(plain_cookie().secure(Secure::Auto)));
        let mut request = over(get(None), scheme);
        request.extensions_mut().insert(PeerAddr(peer));
        if let Some((name, value)) = header {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        let answer = site
            .visit(request, async |session| session.insert(VALUE, &1))
            .await?;
        assert_eq!(answer.cookie().secure(), secure.then_some(true), "{shown}");
    }
    Ok(())
}

/// What needs a new token is an error. A session can be ended all the same.
#[tokio::test]
async fn a_session_whose_cookie_cannot_be_set_is_not_stored() -> TestResult {
    let site = Site::new(|b| b.express(ExpressOptions::new().save_uninitialized(true)));
    let plain = |cookie: Option<&str>| over(get(cookie), RequestScheme::Plain);
    let writes: [Change; 2] = [|_| Ok(()), |session| session.insert(VALUE, &1)];
    for write in writes {
        let answer = site
            .visit(plain(None), async |session| write(&session))
            .await?;
        assert!(answer.set_cookies().is_empty() && site.store.take_calls().is_empty());
        let answer = site.visit(plain(None), async |session| {
            write(&session)?;
            session.save().await.map(drop)
        });
        assert!(answer.await?.set_cookies().is_empty() && site.store.take_calls().is_empty());
    }
    let cookie = site.begin().await?;
    let renewals: [Change; 3] = [Session::regenerate, Session::renew, |session| {
        session.log_in("ann")
    }];
    for renew in renewals {
        let answer = site
            .visit(plain(Some(&cookie)), async |session| renew(&session))
            .await;
        assert_eq!(kind(answer), SessionErrorKind::CannotSetCookie);
        assert_eq!(site.store.take_calls(), [Call::Load]);
    }
    let answer = site
        .visit(plain(Some(&cookie)), async |session| session.destroy())
        .await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(site.store.take_calls(), [Call::Load, Call::Destroy]);
    Ok(())
}

/// It is not downgraded after a request over TLS.
#[tokio::test]
async fn auto_secure_is_decided_for_each_response_and_never_downgrades() -> TestResult {
    let site = Site::new(|b| {
        b.cookie(plain_cookie().secure(Secure::Auto))
            .express(rolling())
    });
    let write = async |session: Session| session.insert(VALUE, &1);
    let read = async |_| Ok(());
    let begun_plain = site
        .visit(over(get(None), RequestScheme::Plain), write)
        .await?;
    assert_eq!(begun_plain.cookie().secure(), None);
    site.clock.advance(HOUR / 2);
    let later = site
        .visit(over(get(&*begun_plain.pair()), RequestScheme::Tls), read)
        .await?;
    assert_eq!(later.cookie().secure(), Some(true));

    let begun_tls = site
        .visit(over(get(None), RequestScheme::Tls), write)
        .await?;
    assert_eq!(begun_tls.cookie().secure(), Some(true));
    site.clock.advance(HOUR / 2);
    let later = site
        .visit(over(get(&*begun_tls.pair()), RequestScheme::Plain), read)
        .await?;
    assert!(later.set_cookies().is_empty());
    Ok(())
}

#[tokio::test]
async fn auto_same_site_is_none_only_where_the_cookie_is_secure() -> TestResult {
    use cookie::SameSite::{Lax, None as Cross};
    for (secure, scheme, expected) in [
        (
            Secure::Auto,
            RequestScheme::Tls,
            Some((Some(true), Some(Cross))),
        ),
        (Secure::Auto, RequestScheme::Plain, Some((None, Some(Lax)))),
        (Secure::Never, RequestScheme::Tls, Some((None, Some(Lax)))),
        (Secure::Never, RequestScheme::Plain, Some((None, Some(Lax)))),
        (
            Secure::Always,
            RequestScheme::Tls,
            Some((Some(true), Some(Cross))),
        ),
        (Secure::Always, RequestScheme::Plain, None),
    ] {
        let site = Site::new(|b| b.cookie(plain_cookie().secure(secure).same_site(SameSite::Auto)));
        let answer = site
            .visit(over(get(None), scheme), async |session| {
                session.insert(VALUE, &1)
            })
            .await?;
        let seen = answer
            .set_cookies()
            .first()
            .map(|_| (answer.cookie().secure(), answer.cookie().same_site()));
        assert_eq!(seen, expected, "{secure:?} {scheme:?}");
    }
    Ok(())
}
