//! Requests that race with each other, and commits of which a part fails.

use std::time::Duration;

use http::Response;
use integration_tests::Backend;
use session_core::{
    CookieOptions, Key, Outcome, Session, SessionErrorKind, Sessions, StoreErrorKind,
    testing::{Call, TestStore},
};
use test_support::Browser;

use crate::visit::{begin, builder, finish, on_every_store, request, sessions, visit};

type Tested = TestStore<Backend>;

on_every_store! {
    a_token_from_before_the_login_never_opens_the_session_after_it
    a_slow_write_of_one_user_is_not_stored_for_the_next
    a_save_whose_answer_is_lost_is_applied_once
    a_save_that_is_dropped_is_applied_once
    the_next_commit_sets_the_cookie_of_a_renewal_whose_answer_was_lost
    a_write_after_a_discard_during_a_save_is_kept
    a_failed_regeneration_sets_no_cookie
    a_superseded_token_is_never_set_again
    a_session_loaded_after_the_commit_is_closed
    a_logout_holds_even_if_the_next_session_cannot_be_stored
    a_destroy_after_half_a_regeneration_leaves_no_record
    every_write_to_an_ended_session_is_an_error
    the_principal_counts_towards_the_size_limit
}

const NUMBER: Key<u32> = Key::new("number");

/// A visitor whose session holds a number.
async fn visitor(sessions: &Sessions) -> Browser {
    let mut browser = Browser::new();
    visit(sessions, &mut browser, |session| {
        session.insert(NUMBER, &0).expect("writable")
    })
    .await;
    browser
}

fn add(session: &Session) {
    session
        .update(NUMBER, |number| number.unwrap_or(0) + 1)
        .expect("writable");
}

async fn number(sessions: &Sessions, browser: &Browser) -> Option<u32> {
    begin(sessions, browser)
        .await
        .1
        .get(NUMBER)
        .expect("a number")
}

/// A write of a request that loaded the session before the login is kept. The request does not see what it was merged with, and
/// cannot renew the token.
async fn a_token_from_before_the_login_never_opens_the_session_after_it(store: Tested) {
    let sessions = sessions(&store);
    let mut victim = visitor(&sessions).await;
    let mut attacker = victim.clone();
    let (handle, held) = begin(&sessions, &attacker).await;
    visit(&sessions, &mut victim, |session| {
        session.set_principal(Some("victim")).expect("writable");
        session.insert("secret", "42").expect("writable");
    })
    .await;
    add(&held);
    assert_eq!(held.save().await.expect("no fault"), Outcome::Saved);
    assert_eq!(
        (
            held.principal(),
            held.get::<String>("secret").expect("text")
        ),
        (None, None)
    );
    held.renew();
    let _ = finish(&sessions, &handle, &mut attacker)
        .await
        .expect("no fault");
    assert!(begin(&sessions, &attacker).await.1.is_new());
    let victims = begin(&sessions, &victim).await.1;
    assert_eq!(
        (
            victims.principal().as_deref(),
            victims.get(NUMBER).expect("a number")
        ),
        (Some("victim"), Some(1))
    );
}

async fn a_slow_write_of_one_user_is_not_stored_for_the_next(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    visit(&sessions, &mut browser, |session| {
        session.set_principal(Some("ann")).expect("writable")
    })
    .await;
    let mut slow_browser = browser.clone();
    let (handle, slow) = begin(&sessions, &slow_browser).await;
    slow.insert("draft", "of ann").expect("writable");
    visit(&sessions, &mut browser, |session| {
        session.clear().expect("writable");
        session.set_principal(Some("bob")).expect("writable");
    })
    .await;
    let (outcome, _) = finish(&sessions, &handle, &mut slow_browser)
        .await
        .expect("no fault");
    assert_eq!(outcome, Outcome::Gone);
    assert!(!begin(&sessions, &browser).await.1.contains("draft"));
}

async fn a_save_whose_answer_is_lost_is_applied_once(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    let (handle, session) = begin(&sessions, &browser).await;
    add(&session);
    store.lose_answer(Call::Save);
    assert_eq!(
        session.save().await.expect_err("unknown").kind(),
        SessionErrorKind::Timeout
    );
    add(&session);
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert_eq!(number(&sessions, &browser).await, Some(2));
}

async fn a_save_that_is_dropped_is_applied_once(store: Tested) {
    let mut dropped_during_the_save = 0;
    for polls in 0..8 {
        let store = store.inner().emptied().yielding();
        let sessions = sessions(&store);
        let mut browser = visitor(&sessions).await;
        let (handle, session) = begin(&sessions, &browser).await;
        add(&session);
        store.take_calls();
        let mut is_saved = false;
        {
            let mut saving = std::pin::pin!(session.save());
            for _ in 0..polls {
                let once = std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(saving.as_mut().poll(cx).is_ready())
                });
                is_saved = once.await;
                if is_saved {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let is_called = store.take_calls() == [Call::Save];
        dropped_during_the_save += u32::from(is_called && !is_saved);
        let _ = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        assert_eq!(
            number(&sessions, &browser).await,
            Some(1),
            "dropped after {polls} polls"
        );
    }
    assert!(dropped_during_the_save > 0);
}

async fn the_next_commit_sets_the_cookie_of_a_renewal_whose_answer_was_lost(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.set_principal(Some("ann")).expect("writable");
    store.lose_answer(Call::Save);
    assert_eq!(
        session.save().await.expect_err("unknown").kind(),
        SessionErrorKind::Timeout
    );
    assert_eq!(handle.settled_cookie(), None, "the outcome is unknown");
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert_eq!(
        begin(&sessions, &browser).await.1.principal().as_deref(),
        Some("ann")
    );
}

async fn a_write_after_a_discard_during_a_save_is_kept(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.insert("before", &1).expect("writable");
    let gate = store.hold(Call::Save);
    let saving = tokio::spawn({
        let session = session.clone();
        async move { session.save().await }
    });
    gate.arrived().await;
    session.discard();
    session.insert("after", &2).expect("writable");
    gate.open();
    assert_eq!(
        saving.await.expect("no panic").expect("no fault"),
        Outcome::Saved
    );
    assert!(session.is_modified());
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert_eq!(
        begin(&sessions, &browser).await.1.names(),
        ["after", "before", "number"]
    );
}

/// If the new session cannot be stored, or the old one not destroyed, the old one is the only one stored.
async fn a_failed_regeneration_sets_no_cookie(store: Tested) {
    for call in [Call::Create, Call::Destroy] {
        let store = store.inner().emptied();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        let (handle, session) = begin(&sessions, &browser).await;
        add(&session);
        assert_eq!(session.save().await.expect("no fault"), Outcome::Created);
        session.regenerate().expect("entropy");
        store.fail(call, StoreErrorKind::Unavailable);
        let error = finish(&sessions, &handle, &mut browser)
            .await
            .expect_err("a part fails");
        assert_eq!(
            (error.kind(), handle.settled_cookie()),
            (SessionErrorKind::Unavailable, None),
            "{call:?}"
        );
        assert_eq!(store.inner().len(), 1, "{call:?}");
    }
}

/// A slow request that sets its cookie again, because it is rolling or persistent, overlaps a login.
async fn a_superseded_token_is_never_set_again(store: Tested) {
    for rolling in [true, false] {
        let store = store.inner().emptied();
        let lasting = CookieOptions::new().max_age(Duration::from_secs(3600));
        let cookie = if rolling {
            CookieOptions::new()
        } else {
            lasting
        };
        let built = builder(&store)
            .cookie(cookie)
            .rolling(rolling)
            .touch_after(Duration::ZERO)
            .build();
        let sessions = built.expect("valid options");
        let mut browser = visitor(&sessions).await;
        let (slow, session) = begin(&sessions, &browser).await;
        session.touch();
        visit(&sessions, &mut browser, |session| {
            session.set_principal(Some("ann")).expect("writable")
        })
        .await;
        let _ = finish(&sessions, &slow, &mut browser)
            .await
            .expect("no fault");
        assert_eq!(
            begin(&sessions, &browser).await.1.principal().as_deref(),
            Some("ann"),
            "rolling: {rolling}"
        );
    }
}

async fn a_session_loaded_after_the_commit_is_closed(store: Tested) {
    let sessions = sessions(&store);
    let browser = visitor(&sessions).await;
    let handle = sessions.begin(&request(&browser));
    let _ = sessions
        .finish(&handle, &mut Response::new(()))
        .await
        .expect("no fault");
    let late = handle.load().await.expect("a closed session can be read");
    assert_eq!(late.get(NUMBER).expect("a number"), Some(0));
    assert_eq!(
        late.insert(NUMBER, &1).expect_err("late").kind(),
        SessionErrorKind::Closed
    );
}

async fn a_logout_holds_even_if_the_next_session_cannot_be_stored(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    let (handle, session) = begin(&sessions, &browser).await;
    let token = session.token().expect("live");
    session.destroy();
    session.insert("flash", "goodbye").expect("a new session");
    store.fail(Call::Create, StoreErrorKind::Refused);
    assert!(
        finish(&sessions, &handle, &mut browser).await.is_err(),
        "the next session cannot be stored"
    );
    assert!(
        sessions.open(&token).await.expect("no fault").is_none(),
        "the session is destroyed"
    );
}

async fn a_destroy_after_half_a_regeneration_leaves_no_record(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = visitor(&sessions).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.regenerate().expect("entropy");
    session.set_principal(Some("ann")).expect("writable");
    store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    assert!(session.save().await.is_err());
    session.destroy();
    let _ = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert!(store.inner().is_empty());
}

async fn every_write_to_an_ended_session_is_an_error(store: Tested) {
    let sessions = sessions(&store);
    let browser = visitor(&sessions).await;
    let (_, session) = begin(&sessions, &browser).await;
    sessions
        .revoke(&session.id().expect("live"))
        .await
        .expect("no fault");
    add(&session);
    assert_eq!(session.save().await.expect("no fault"), Outcome::Gone);
    for error in [
        session.clear(),
        session.set_principal(None),
        session.insert(NUMBER, &1),
        session.set_max_age(None),
    ] {
        assert_eq!(error.expect_err("ended").kind(), SessionErrorKind::Gone);
    }
}

async fn the_principal_counts_towards_the_size_limit(store: Tested) {
    let sessions = builder(&store)
        .max_bytes(100)
        .build()
        .expect("valid options");
    let mut browser = visitor(&sessions).await;
    visit(&sessions, &mut browser, |session| {
        let error = session
            .set_principal(Some(&"x".repeat(1000)))
            .expect_err("too large");
        assert_eq!(
            (error.kind(), session.principal()),
            (SessionErrorKind::TooLarge, None)
        );
    })
    .await;
}
