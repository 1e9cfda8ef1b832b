//! Commits that fail.

use super::*;

#[tokio::test]
async fn a_failed_commit_is_a_503_without_a_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    for (call, request) in [(Call::Create, get(None)), (Call::Save, get(&*cookie))] {
        for kind in [
            StoreErrorKind::Unavailable,
            StoreErrorKind::Overloaded,
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
    for (resave, call) in [(false, Call::Touch), (true, Call::Save)] {
        let site = Site::new(|b| b.express(rolling().resave(resave)));
        let cookie = site.begin().await?;
        site.clock.advance(HOUR / 2);
        site.store.fail(call, StoreErrorKind::Unavailable);
        let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
        assert_eq!(
            (answer.kind(), answer.set_cookies().len()),
            (OutcomeKind::Untouched, 0)
        );
        assert_eq!(site.store.take_calls(), [Call::Load, call]);
        let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
        assert_eq!(
            answer.set_cookies().len(),
            1,
            "the next request tries again"
        );
    }
    Ok(())
}
