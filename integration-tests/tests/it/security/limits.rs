//! Limits: what anonymous traffic and large sessions cost.

use session_core::{Session, SessionErrorKind};
use test_support::Browser;

use super::{COOKIE, Tested, VIEWS, count};
use crate::visit::{begin, finish, on_every_store, sessions, visit};

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
        visit(&sessions, &mut browser, |session| {
            if n % 3 == 2 {
                session.destroy();
            }
        })
        .await;
    }
    assert_eq!(store.take_calls(), []);
    assert!(store.inner().is_empty());
}

/// The session keeps what it had before the write that is too large.
async fn a_session_over_the_size_limit_is_refused(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        count(session);
        let error = session
            .insert("large", &"x".repeat(64 * 1024))
            .expect_err("too large");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        assert!(!session.contains("large"));
        session
            .insert("fits", &"x".repeat(63 * 1024))
            .expect("fits");
        assert!(session.insert("fits", &"y".repeat(65 * 1024)).is_err());
        assert_eq!(
            session.get::<String>("fits").expect("text"),
            Some("x".repeat(63 * 1024))
        );
        assert!(
            (0..10_000).any(|n| session.insert(&format!("{n}"), &()).is_err()),
            "many small values count too"
        );
    })
    .await;
    assert_eq!(
        visit(&sessions, &mut browser, |session| session.get(VIEWS))
            .await
            .expect("a number"),
        Some(1)
    );

    // two concurrent writes that are within the limit one by one, and over it together
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session
        .insert("mine", &"x".repeat(40 * 1024))
        .expect("fits");
    let theirs = |session: &Session| {
        session
            .insert("theirs", &"x".repeat(40 * 1024))
            .expect("fits")
    };
    visit(&sessions, &mut browser.clone(), theirs).await;
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("too large together");
    assert_eq!(error.kind(), SessionErrorKind::TooLarge);
    visit(&sessions, &mut browser, |session| {
        assert!(session.contains("theirs") && !session.contains("mine"))
    })
    .await;
}
