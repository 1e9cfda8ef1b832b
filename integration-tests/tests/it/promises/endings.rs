//! Logout is final: no slow request, touch or renewal brings an ended session back.

use http::{Response, StatusCode};
use session_core::{EndReason, Loss, OnLost, OutcomeKind, Session, SessionErrorKind};
use test_support::Browser;

use super::{COOKIE, MIN, USER, VIEWS, count, counted};
use crate::visit::{
    Act, Tested, begin, builder, finish, on_every_store, outcome, sessions, set_cookies, visit,
};

on_every_store! {
    a_logout_during_a_slow_write_is_final
    no_change_brings_an_ended_session_back
    a_write_to_an_ended_session_is_answered_as_configured
    exactly_one_of_two_racing_claims_ends_the_session
    a_token_opens_nothing_after_a_renewal_or_a_logout
    a_session_can_be_destroyed_after_a_cancelled_request
}

async fn a_logout_during_a_slow_write_is_final(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| session.log_in("ann")).await;

    let mut slow_browser = browser.clone();
    let (slow_handle, slow) = begin(&sessions, &slow_browser).await;
    slow.insert(VIEWS, &7).expect("writable");
    visit(&sessions, &mut browser, Session::destroy).await;
    assert_eq!(browser.cookie(COOKIE), None);

    let error = slow.save().await.expect_err("ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    let error = slow.insert(VIEWS, &8).expect_err("ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    let (outcome, response) = finish(&sessions, &slow_handle, &mut slow_browser)
        .await
        .expect("the loss is reported already");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
    assert!(set_cookies(&response).is_empty());
    assert!(store.inner().is_empty());
}

async fn no_change_brings_an_ended_session_back(store: Tested) {
    let acts: [(Act, Option<Loss>); 6] = [
        (|_| Ok(()), None),
        (Session::touch, None),
        (Session::destroy, None),
        (Session::renew, Some(Loss::Gone)),
        (|s| s.set_max_age(Some(MIN)), Some(Loss::Gone)),
        (Session::clear, Some(Loss::Gone)),
    ];
    for (n, (act, lost)) in acts.into_iter().enumerate() {
        let store = store.inner().emptied();
        let sessions = builder(&store).on_lost(OnLost::Discard).build();
        let sessions = sessions.expect("valid options");
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, |s| s.insert(USER, "ann")).await;
        let (handle, slow) = begin(&sessions, &browser).await;
        act(&slow).expect("accepted");
        visit(&sessions, &mut browser.clone(), Session::destroy).await;
        let (outcome, response) = finish(&sessions, &handle, &mut browser.clone())
            .await
            .expect("discarded");
        assert_eq!(outcome.lost, lost, "change {n}");
        let is_logout = outcome.ended.map(|ended| ended.reason) == Some(EndReason::Destroyed);
        assert_eq!(set_cookies(&response).len(), usize::from(is_logout));
        assert_eq!(is_logout, n == 2, "an absent session is logged out");
        assert!(store.inner().is_empty());
    }
}

async fn a_write_to_an_ended_session_is_answered_as_configured(store: Tested) {
    for (on_lost, expected) in [
        (OnLost::ByMethod, Some(SessionErrorKind::Gone)),
        (OnLost::Discard, None),
        (
            OnLost::Reject(StatusCode::UNAUTHORIZED),
            Some(SessionErrorKind::Rejected(StatusCode::UNAUTHORIZED)),
        ),
    ] {
        let sessions = builder(&store).on_lost(on_lost).build();
        let sessions = sessions.expect("valid options");
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let (handle, slow) = begin(&sessions, &browser).await;
        count(&slow).expect("writable");
        visit(&sessions, &mut browser.clone(), Session::destroy).await;
        let finished = finish(&sessions, &handle, &mut browser).await;
        let error = finished.as_ref().err().map(|error| error.kind());
        assert_eq!(error, expected, "{on_lost:?}");
        if let Ok((outcome, _)) = finished {
            assert_eq!(outcome.lost, Some(Loss::Gone));
        }
        assert!(store.inner().is_empty());
    }
}

/// Two requests redeem the same code by ending the session that holds it.
async fn exactly_one_of_two_racing_claims_ends_the_session(store: Tested) {
    let sessions = sessions(&store);
    for round in 0..20 {
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let mut handles = Vec::new();
        for _ in 0..2 {
            let (handle, session) = begin(&sessions, &browser).await;
            session.require_unchanged();
            session.destroy().expect("accepted");
            handles.push(handle);
        }
        let claims = handles.into_iter().map(|handle| {
            let (sessions, mut browser) = (sessions.clone(), browser.clone());
            tokio::spawn(async move {
                let finished = finish(&sessions, &handle, &mut browser).await;
                finished.map(|(outcome, _)| outcome.kind())
            })
        });
        let mut succeeded = 0;
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.expect("no panic") {
                Ok(kind) => {
                    assert_eq!(kind, OutcomeKind::Destroyed);
                    succeeded += 1;
                }
                Err(error) => assert_eq!(error.kind(), SessionErrorKind::Gone),
            }
        }
        assert_eq!(succeeded, 1, "round {round}");
    }
}

async fn a_token_opens_nothing_after_a_renewal_or_a_logout(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    let id = visit(&sessions, &mut browser, |session| {
        count(session)?;
        Ok(session.id())
    })
    .await;
    let mut old = browser.clone();
    let renewed = visit(&sessions, &mut browser, |session| {
        session.renew()?;
        session.insert(USER, "ann")?;
        Ok(session.id())
    })
    .await;
    assert_eq!(id, renewed, "the same session");
    assert_eq!(
        counted(&sessions, &mut browser).await,
        Some(1),
        "with its data"
    );
    assert_eq!(counted(&sessions, &mut old).await, None);

    let logged_in = browser.clone();
    let flash = visit(&sessions, &mut browser, |session| {
        session.destroy()?;
        session.insert("flash", "You are logged out.")?;
        Ok(session.id())
    })
    .await;
    assert_ne!(flash, id, "the next session has a new id");
    let names = visit(&sessions, &mut browser, |session| Ok(session.names())).await;
    assert_eq!(names, ["flash"]);
    for token in [&old, &logged_in] {
        assert!(begin(&sessions, token).await.1.is_new());
    }
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
        count(&session).expect("writable");
        let mut response = Response::new(());
        drop_after(polls, sessions.finish(&handle, &mut response)).await;
        drop((session, handle));
        match counted(&sessions, &mut browser).await {
            Some(1) => stored[0] = true,
            Some(2) => stored[1] = true,
            other => panic!("neither the old record nor the new one: {other:?}"),
        }
        let (handle, session) = begin(&sessions, &browser).await;
        session.destroy().expect("accepted");
        let kind = outcome(&sessions, &handle, &mut browser).await;
        assert_eq!(kind, OutcomeKind::Destroyed);
        assert!(store.inner().is_empty());
    }
    assert_eq!(stored, [true; 2], "dropped before and after the write");
}

/// Polls a future so many times and drops it.
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
