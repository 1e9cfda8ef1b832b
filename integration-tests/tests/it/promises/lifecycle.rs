//! A session across instances, after the response, and outside of a request.

use http::Response;
use session_core::{OutcomeKind, Session, SessionErrorKind};
use test_support::Browser;

use super::{VIEWS, count, counted};
use crate::visit::{Tested, begin, finish, on_every_store, request, sessions, visit};

on_every_store! {
    a_change_on_one_instance_is_visible_on_another
    a_write_after_the_response_is_an_error
    a_session_that_is_loaded_after_the_response_can_be_read
    a_session_can_be_opened_outside_of_a_request
}

async fn a_change_on_one_instance_is_visible_on_another(store: Tested) {
    let (one, other) = (sessions(&store), sessions(&store));
    let mut browser = Browser::new();
    visit(&one, &mut browser, count).await;
    assert_eq!(counted(&other, &mut browser).await, Some(1));
    visit(&other, &mut browser, count).await;
    assert_eq!(counted(&one, &mut browser).await, Some(2));
    let mut copy = browser.clone();
    visit(&one, &mut browser, Session::destroy).await;
    assert_eq!(counted(&other, &mut copy).await, None);
}

async fn a_write_after_the_response_is_an_error(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session).expect("writable");
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    for late in [
        session.insert(VIEWS, &9),
        session.destroy(),
        session.save().await.map(drop),
    ] {
        assert_eq!(late.expect_err("late").kind(), SessionErrorKind::Closed);
    }
    assert_eq!(session.get(VIEWS).expect("readable"), Some(1));
    assert_eq!(counted(&sessions, &mut browser).await, Some(1));
}

async fn a_session_that_is_loaded_after_the_response_can_be_read(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let handle = sessions.begin(&request(&browser));
    let _ = sessions
        .finish(&handle, &mut Response::new(()))
        .await
        .expect("no fault");
    let late = handle.load().await.expect("a closed session can be read");
    assert_eq!(late.get(VIEWS).expect("a number"), Some(1));
    let error = late.insert(VIEWS, &9).expect_err("late");
    assert_eq!(error.kind(), SessionErrorKind::Closed);
}

/// For WebSockets, event streams and jobs.
async fn a_session_can_be_opened_outside_of_a_request(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    let token = visit(&sessions, &mut browser, |session| {
        count(session)?;
        Ok(session.token().expect("live"))
    })
    .await;
    let opened = sessions.open(&token).await.expect("no fault");
    let opened = opened.expect("stored");
    assert_eq!(count(&opened).expect("writable"), 2);
    visit(&sessions, &mut browser, count).await;
    let outcome = opened.save().await.expect("merged");
    assert_eq!(outcome.kind(), OutcomeKind::Saved);
    assert_eq!(counted(&sessions, &mut browser).await, Some(3));
    opened.reload().await.expect("live");
    assert_eq!(opened.get(VIEWS).expect("a number"), Some(3));
    let error = opened.renew().expect_err("no response can carry the token");
    assert_eq!(error.kind(), SessionErrorKind::CannotSetCookie);

    sessions.end(&token.id()).await.expect("no fault");
    sessions.end(&token.id()).await.expect("ended already");
    let error = opened.reload().await.expect_err("ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    assert!(sessions.open(&token).await.expect("no fault").is_none());
}
