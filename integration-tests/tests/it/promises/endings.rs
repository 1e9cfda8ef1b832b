//! Logout is final: no slow request, touch or renewal brings an ended session back.

use http::{Response, StatusCode};
use session_core::{OnGone, Outcome, SessionErrorKind};
use test_support::Browser;

use super::{Act, COOKIE, MIN, Tested, USER, VIEWS, count, counted};
use crate::visit::{begin, builder, finish, on_every_store, sessions, set_cookies, visit};

on_every_store! {
    a_logout_during_a_slow_write_is_final
    no_change_brings_an_ended_session_back
    a_write_to_an_ended_session_is_an_error_if_configured
    a_token_opens_nothing_after_a_renewal_or_a_logout
    a_session_can_be_destroyed_after_a_cancelled_request
    exactly_one_of_two_racing_renewals_wins
}

async fn a_logout_during_a_slow_write_is_final(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.insert(USER, "ann").expect("writable")
    })
    .await;

    let mut slow_browser = browser.clone();
    let (slow_handle, slow) = begin(&sessions, &slow_browser).await;
    slow.insert(VIEWS, &7).expect("writable");
    visit(&sessions, &mut browser, |session| session.destroy()).await;
    assert_eq!(browser.cookie(COOKIE), None);

    assert_eq!(slow.save().await.expect("no fault"), Outcome::Gone);
    assert_eq!(
        slow.insert(VIEWS, &8).expect_err("ended").kind(),
        SessionErrorKind::Gone
    );
    let (outcome, response) = finish(&sessions, &slow_handle, &mut slow_browser)
        .await
        .expect("no fault");
    assert_eq!(outcome, Outcome::Gone);
    assert!(set_cookies(&response).is_empty());
    assert!(store.inner().is_empty());
}

async fn no_change_brings_an_ended_session_back(store: Tested) {
    let act: [Act; 4] = [
        |session| session.touch(),
        |session| session.renew(),
        |session| session.set_max_age(Some(MIN)).expect("writable"),
        |session| session.clear().expect("writable"),
    ];
    for act in act {
        let store = store.inner().emptied();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, |session| {
            session.insert(USER, "ann").expect("writable")
        })
        .await;
        let (handle, slow) = begin(&sessions, &browser).await;
        act(&slow);
        visit(&sessions, &mut browser.clone(), |session| session.destroy()).await;
        let (outcome, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        assert_eq!(outcome, Outcome::Gone);
        assert!(set_cookies(&response).is_empty());
        assert!(store.inner().is_empty());
    }
}

async fn a_write_to_an_ended_session_is_an_error_if_configured(store: Tested) {
    let sessions = builder(&store)
        .on_gone(OnGone::Reject(StatusCode::UNAUTHORIZED))
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, slow) = begin(&sessions, &browser).await;
    count(&slow);
    visit(&sessions, &mut browser.clone(), |session| session.destroy()).await;
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("rejected");
    assert_eq!(
        error.kind(),
        SessionErrorKind::Rejected(StatusCode::UNAUTHORIZED)
    );
}

async fn a_token_opens_nothing_after_a_renewal_or_a_logout(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    let id = visit(&sessions, &mut browser, |session| {
        count(session);
        session.id()
    })
    .await;
    let mut old = browser.clone();
    let renewed = visit(&sessions, &mut browser, |session| {
        session.renew();
        session.insert(USER, "ann").expect("writable");
        session.id()
    })
    .await;
    assert_eq!(id, renewed, "the same session");
    assert_eq!(
        counted(&sessions, &mut browser).await,
        Some(1),
        "with its data"
    );
    assert_eq!(counted(&sessions, &mut old).await, None);

    let mut loggedin = browser.clone();
    let farewell = visit(&sessions, &mut browser, |session| {
        session.destroy();
        session.insert("flash", "goodbye").expect("a new session");
        session.id()
    })
    .await;
    assert_ne!(farewell, id, "the next session has a new id");
    visit(&sessions, &mut browser, |session| {
        assert_eq!(
            session.get::<String>("flash").expect("text").as_deref(),
            Some("goodbye")
        );
        assert_eq!(session.get(USER).expect("text"), None);
    })
    .await;
    assert!(visit(&sessions, &mut loggedin, |session| session.is_new()).await);
    assert_eq!(store.inner().len(), 1);
}

async fn a_session_can_be_destroyed_after_a_cancelled_request(store: Tested) {
    let mut stored = [false; 2];
    for polls in 0..8 {
        let store = store.inner().emptied().yielding();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let (handle, session) = begin(&sessions, &browser).await;
        count(&session);
        let mut response = Response::new(());
        drop_after(polls, sessions.finish(&handle, &mut response)).await;
        drop((session, handle));
        match counted(&sessions, &mut browser).await {
            Some(1) => stored[0] = true,
            Some(2) => stored[1] = true,
            other => panic!("neither the old record nor the new one: {other:?}"),
        }
        visit(&sessions, &mut browser, |session| session.destroy()).await;
        assert!(store.inner().is_empty());
    }
    assert_eq!(stored, [true; 2], "dropped before and after the write");
}

async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 || future.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        std::task::Poll::Pending
    })
    .await;
}

/// The loser must not get a token for the session that the winner logged in to.
async fn exactly_one_of_two_racing_renewals_wins(store: Tested) {
    let sessions = sessions(&store);
    let mut victim = Browser::new();
    visit(&sessions, &mut victim, count).await;
    let mut thief = victim.clone();

    let (thief_handle, stolen) = begin(&sessions, &thief).await;
    stolen.renew();
    visit(&sessions, &mut victim, |session| {
        session.set_principal(Some("ann")).expect("writable")
    })
    .await;
    let (outcome, response) = finish(&sessions, &thief_handle, &mut thief)
        .await
        .expect("no fault");
    assert_eq!(outcome, Outcome::Gone);
    assert!(set_cookies(&response).is_empty());
    assert_eq!(
        visit(&sessions, &mut thief, |session| session.principal()).await,
        None
    );
    assert_eq!(
        visit(&sessions, &mut victim, |session| session.principal())
            .await
            .as_deref(),
        Some("ann")
    );
}
