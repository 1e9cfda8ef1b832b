//! When the cookie is set.

use super::*;

#[tokio::test]
async fn a_change_after_the_commit_is_an_error_and_is_not_stored() -> TestResult {
    let site = Site::new(|b| b);
    let (handle, session) = site.open(get(None)).await?;
    let answer = site.finish(&handle).await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(kind(session.insert(VALUE, &1)), SessionErrorKind::Closed);
    assert_eq!(kind(session.regenerate()), SessionErrorKind::Closed);
    assert_eq!(kind(session.save().await), SessionErrorKind::Closed);
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Untouched);
    assert_eq!(site.store.take_calls(), []);

    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    site.finish(&handle).await?;
    session.destroy();
    site.finish(&handle).await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// Over several requests. Every setting is in the matrix.
#[tokio::test]
async fn a_browser_session_cookie_is_set_once_and_a_rolling_one_always() -> TestResult {
    for rolling in [false, true] {
        let site = Site::new(|b| b.rolling(rolling));
        assert!(
            site.visit(get(None), async |_| Ok(()))
                .await?
                .set_cookies()
                .is_empty(),
            "no session is stored yet"
        );
        let cookie = site.begin().await?;
        for n in 0..4 {
            let answer = site.visit(get(&*cookie), async |session| {
                if n % 2 == 0 {
                    session.insert(VALUE, &n)
                } else {
                    Ok(())
                }
            });
            assert_eq!(answer.await?.set_cookies().len(), usize::from(rolling));
        }
    }
    Ok(())
}

/// Those that the handler set, even under the same name. The session cookie is the last.
#[tokio::test]
async fn other_cookies_of_the_response_are_kept() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let response = serve(&site.sessions, get(None), |request| async move {
        request.session().load().await?.insert(VALUE, &1)?;
        let response = Response::builder()
            .header(header::SET_COOKIE, "a=1")
            .header(header::SET_COOKIE, "id=mine");
        Ok(response.body(()).expect("a response"))
    });
    let response = response.await;
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies[..2], ["a=1", "id=mine"]);
    assert!(cookies.len() == 3 && cookies[2].starts_with("id=v1."));
    Ok(())
}

/// `Vary` for a read, and `Cache-Control` too if a cookie is set.
#[tokio::test]
async fn a_response_that_depends_on_the_session_is_not_cached() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |_| Ok(())).await?;
    assert_eq!(answer.response.headers()[header::VARY], "Cookie");
    let answer = site
        .visit(get(None), async |session| session.insert(VALUE, &1))
        .await?;
    assert_eq!(answer.response.headers()[header::VARY], "Cookie");
    assert_eq!(answer.response.headers()[header::CACHE_CONTROL], "no-store");

    let (handle, session) = site.open(get(None)).await?;
    session.insert(VALUE, &1)?;
    let own = Response::builder()
        .header(header::CACHE_CONTROL, "max-age=5")
        .header(header::VARY, "accept, cookie");
    let mut response = own.body(())?;
    let _ = site.sessions.finish(&handle, &mut response).await?;
    assert_eq!(
        response.headers()[header::CACHE_CONTROL],
        "max-age=5",
        "the header of the handler is kept"
    );
    assert_eq!(response.headers().get_all(header::VARY).iter().count(), 1);
    Ok(())
}

/// Only those that write.
#[tokio::test]
async fn concurrent_first_requests_create_one_session_each() -> TestResult {
    let site = Site::new(|b| b);
    let mut open = vec![];
    for _ in 0..3 {
        open.push(site.open(get(None)).await?);
    }
    open[0].1.insert(VALUE, &1)?;
    open[2].1.insert(VALUE, &3)?;
    let mut cookies = vec![];
    for (handle, _) in &open {
        cookies.extend(
            site.finish(handle)
                .await?
                .set_cookies()
                .into_iter()
                .map(str::to_owned),
        );
    }
    assert_eq!(cookies.len(), 2);
    assert_eq!(site.store.take_calls(), [Call::Create, Call::Create]);
    Ok(())
}

#[tokio::test]
async fn an_emptied_session_stays_stored() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| {
        session.remove(VALUE).map(drop)
    })
    .await?;
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(!session.is_new() && session.names().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rolling_cookie_expires_with_the_record() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)).rolling(true));
    let cookie = site.begin().await?;
    site.clock.advance(HOUR / 20);
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    let ttl = site
        .stored(&cookie)
        .await
        .expect("alive")
        .ttl
        .map(|ttl| ttl.as_secs());
    assert_eq!(answer.max_age(), ttl);
    Ok(())
}

#[tokio::test]
async fn a_rolling_cookie_is_set_again_after_a_conflict() -> TestResult {
    let site = Site::new(|b| b.rolling(true).resave(true));
    let cookie = site.begin().await?;
    let (reading, _) = site.open(get(&*cookie)).await?;
    site.visit(get(&*cookie), async |session| session.insert(VALUE, &2))
        .await?;
    assert_eq!(site.finish(&reading).await?.set_cookies().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_failed_load_makes_the_response_vary_on_the_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Load, StoreErrorKind::Timeout);
    let handle = site.sessions.begin(&get(&*cookie));
    let _ = handle.load().await;
    assert!(
        site.finish(&handle)
            .await?
            .response
            .headers()
            .contains_key(header::VARY)
    );
    Ok(())
}
