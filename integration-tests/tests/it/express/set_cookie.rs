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
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Untouched);
    assert_eq!(site.store.take_calls(), []);

    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    site.finish(&handle).await?;
    assert_eq!(kind(session.destroy()), SessionErrorKind::Closed);
    site.finish(&handle).await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// Otherwise a late response could replace the cookie of a login at any time.
#[tokio::test]
async fn a_rolling_cookie_is_set_when_a_touch_is_due() -> TestResult {
    for is_rolling in [false, true] {
        let site = Site::new(|b| b.express(ExpressOptions::new().rolling(is_rolling)));
        assert!(
            site.visit(get(None), async |_| Ok(()))
                .await?
                .set_cookies()
                .is_empty(),
            "no session is stored yet"
        );
        let cookie = site.begin().await?;
        for (n, wait, due) in [
            (0, HOUR / 20, false),
            (1, HOUR / 2, true),
            (2, HOUR / 2, true),
            (3, HOUR / 20, false),
        ] {
            site.clock.advance(wait);
            let answer = site.visit(get(&*cookie), async |session| match n % 2 {
                0 => session.insert(VALUE, &n),
                _ => Ok(()),
            });
            let set = usize::from(is_rolling && due);
            assert_eq!(answer.await?.set_cookies().len(), set, "request {n}");
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

/// `private` for a read, and `no-store` if a cookie is set.
#[tokio::test]
async fn a_response_that_depends_on_the_session_is_not_cached() -> TestResult {
    let site = Site::new(|b| b);
    for (write, set, expected) in [
        (false, None, "private"),
        (false, Some("public, max-age=5"), "public, max-age=5"),
        (true, None, "no-store"),
        (true, Some("private, max-age=5"), "private, max-age=5"),
        (true, Some("public, max-age=5"), "no-store"),
    ] {
        let (handle, session) = site.open(get(None)).await?;
        if write {
            session.insert(VALUE, &1)?;
        }
        let mut own = Response::builder().header(header::VARY, "accept, cookie");
        if let Some(set) = set {
            own = own.header(header::CACHE_CONTROL, set);
        }
        let mut response = own.body(())?;
        let _ = site.sessions.finish(&handle, &mut response).await?;
        let headers = response.headers();
        assert_eq!(headers[header::CACHE_CONTROL], expected, "{set:?}");
        assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
    }
    let answer = site.visit(get(None), async |_| Ok(())).await?;
    assert_eq!(answer.response.headers()[header::VARY], "Cookie");
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
async fn a_rolling_persistent_cookie_lasts_until_the_absolute_timeout() -> TestResult {
    let site = Site::new(|b| {
        b.cookie(CookieOptions::new().max_age(HOUR))
            .express(rolling())
    });
    let cookie = site.begin().await?;
    site.clock.advance(HOUR / 2);
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(answer.max_age(), Some((ABSOLUTE - HOUR / 2).as_secs()));
    Ok(())
}
