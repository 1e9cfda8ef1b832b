//! Limits: what anonymous traffic and large sessions cost.

use session_core::{Session, SessionErrorKind};
use test_support::Browser;

use super::{COOKIE, VIEWS, count};
use crate::visit::{Tested, begin, finish, on_every_store, request, sessions, set_cookies, visit};

on_every_store! {
    anonymous_requests_and_bad_cookies_create_nothing
    a_session_over_the_size_limit_is_refused
}

async fn anonymous_requests_and_bad_cookies_create_nothing(store: Tested) {
    let sessions = sessions(&store);
    for n in 0..100_000u32 {
        let mut browser = Browser::new();
        if n % 3 == 1 {
            browser.set_cookie(COOKIE, "v1.bad.cookie");
        }
        let handle = sessions.begin(&request(&browser));
        if n % 2 == 0 {
            let session = handle.load().await.expect("no store needed");
            assert!(session.is_new());
            if n % 3 == 2 {
                session.destroy().expect("accepted");
            }
        }
        let (_, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(store.take_calls(), []);
    assert!(store.inner().is_empty());
}

/// The session keeps what it had before the write that is too large.
async fn a_session_over_the_size_limit_is_refused(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        count(session)?;
        let error = session
            .insert("large", &"x".repeat(64 * 1024))
            .expect_err("too large");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        assert!(!session.contains("large"));
        session.insert("fits", &"x".repeat(63 * 1024))?;
        assert!(session.insert("fits", &"y".repeat(65 * 1024)).is_err());
        assert_eq!(session.get::<String>("fits")?, Some("x".repeat(63 * 1024)));
        assert!(
            (0..10_000).any(|n| session.insert(&format!("{n}"), &()).is_err()),
            "many small values count too"
        );
        Ok(())
    })
    .await;
    let views = visit(&sessions, &mut browser, |session| session.get(VIEWS)).await;
    assert_eq!(views, Some(1));

    // two concurrent writes that are within the limit one by one, and over it together
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session
        .insert("mine", &"x".repeat(40 * 1024))
        .expect("fits");
    let theirs = |session: &Session| session.insert("theirs", &"x".repeat(40 * 1024));
    visit(&sessions, &mut browser.clone(), theirs).await;
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("too large together");
    assert_eq!(error.kind(), SessionErrorKind::TooLarge);
    let names = visit(&sessions, &mut browser, |session| Ok(session.names())).await;
    assert_eq!(names, ["theirs", "views"]);
}
