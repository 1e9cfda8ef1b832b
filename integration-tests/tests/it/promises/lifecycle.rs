//! A session across instances, after the response, and outside of a request.

use session_core::{Outcome, SessionErrorKind};
use test_support::Browser;

use super::{Tested, VIEWS, count, counted};
use crate::visit::{begin, finish, on_every_store, sessions, visit};

on_every_store! {
    a_change_on_one_instance_is_visible_on_another
    a_write_after_the_response_is_an_error
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
    visit(&one, &mut browser, |session| session.destroy()).await;
    assert_eq!(counted(&other, &mut copy).await, None);
}

async fn a_write_after_the_response_is_an_error(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session);
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert_eq!(
        session.insert(VIEWS, &9).expect_err("late").kind(),
        SessionErrorKind::Closed
    );
    assert_eq!(
        session.save().await.expect_err("late").kind(),
        SessionErrorKind::Closed
    );
    assert_eq!(
        session.get(VIEWS).expect("a closed session can be read"),
        Some(1)
    );
}

/// For WebSockets, event streams and jobs.
async fn a_session_can_be_opened_outside_of_a_request(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let token = visit(&sessions, &mut browser, |session| {
        session.token().expect("live")
    })
    .await;
    let opened = sessions
        .open(&token)
        .await
        .expect("no fault")
        .expect("live");
    assert_eq!(count(&opened), 2);
    visit(&sessions, &mut browser, count).await;
    assert_eq!(opened.save().await.expect("no fault"), Outcome::Saved);
    assert_eq!(counted(&sessions, &mut browser).await, Some(3));
    opened.reload().await.expect("live");
    assert_eq!(opened.get(VIEWS).expect("a number"), Some(3));
    sessions.revoke(&token.id()).await.expect("no fault");
    assert_eq!(
        opened.reload().await.expect_err("ended").kind(),
        SessionErrorKind::Gone
    );
    assert!(sessions.open(&token).await.expect("no fault").is_none());
}
