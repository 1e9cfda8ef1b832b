//! Commits that fail.

use super::*;

#[tokio::test]
async fn a_failed_commit_is_a_503_without_a_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    for (call, request) in [(Call::Create, get(None)), (Call::Save, get(&*cookie))] {
        for kind in [
            StoreErrorKind::Unavailable,
            StoreErrorKind::Timeout,
            StoreErrorKind::Refused,
        ] {
            site.store.fail(call, kind);
            let response = serve(&site.sessions, request.clone(), write).await;
            assert_eq!(
                response.status(),
                StatusCode::SERVICE_UNAVAILABLE,
                "{call:?} {kind:?}"
            );
            assert!(set_cookies(response.headers()).is_empty());
        }
    }
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// Only the extension is lost, and the cookie does not claim it.
#[tokio::test]
async fn a_failed_touch_is_not_an_error() -> TestResult {
    let lasting = CookieOptions::new().max_age(HOUR);
    for (cookie, call) in [(CookieOptions::new(), Call::Touch), (lasting, Call::Save)] {
        let site = Site::new(|b| b.cookie(cookie.clone()).touch_after(Duration::ZERO));
        let cookie = site.begin().await?;
        site.clock.advance(SECOND);
        site.store.fail(call, StoreErrorKind::Unavailable);
        let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
        assert_eq!(
            (answer.outcome, answer.set_cookies().len()),
            (Outcome::Untouched, 0)
        );
        assert_eq!(site.store.take_calls(), [Call::Load, call]);
    }
    Ok(())
}
