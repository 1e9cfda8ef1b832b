//! Writes whose answer is lost.

use std::time::Duration;

use session_core::{
    Key, OutcomeKind, SessionErrorKind, Sessions, Store, StoreErrorKind,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, builder, drop_after, get, post, sessions, visit};

const COUNT: Key<u32> = Key::new("count");

fn increment(session: &session_core::Session) -> Result<u32, session_core::SessionError> {
    session.update(COUNT, |count| count.unwrap_or(0) + 1)
}

async fn count(sessions: &Sessions, jar: &Jar) -> u32 {
    get(sessions, jar)
        .await
        .session
        .get(COUNT)
        .expect("a number")
        .unwrap_or(0)
}

async fn counted() -> (TestStore, Sessions, Jar) {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, increment).await;
    (store, sessions, jar)
}

#[tokio::test]
async fn a_save_that_was_applied_is_found_by_one_load() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.lose_answer(Call::Save);
    store.take_calls();
    let outcome = request.finish(&mut jar).await.expect("settled");
    assert_eq!(outcome.kind(), OutcomeKind::Saved);
    assert_eq!(store.take_calls(), [Call::Save, Call::Load]);
    assert_eq!(count(&sessions, &jar).await, 2);
}

#[tokio::test]
async fn a_save_that_was_not_applied_is_sent_again() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.fail(Call::Save, StoreErrorKind::Timeout);
    store.take_calls();
    let outcome = request.finish(&mut jar).await.expect("settled");
    assert_eq!(outcome.kind(), OutcomeKind::Saved);
    assert_eq!(store.take_calls(), [Call::Save, Call::Load, Call::Save]);
    assert_eq!(count(&sessions, &jar).await, 2);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_at_the_deadline_stays_in_doubt() {
    let clock = ManualClock::default();
    let store = TestStore::default();
    let sessions = builder(&store)
        .clock(clock.clone())
        .commit_deadline(Duration::from_secs(1))
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, increment).await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.lose_answer(Call::Save);
    let gate = store.hold(Call::Save);
    store.take_calls();
    let finishing = tokio::spawn(async move { request.finish(&mut jar).await });
    gate.arrived().await;
    clock.advance(Duration::from_secs(1));
    gate.open();
    let error = finishing.await.expect("no panic").expect_err("no answer");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    assert_eq!(store.take_calls(), [Call::Save], "no time for a load");
}

#[tokio::test]
async fn a_repeated_save_that_meets_the_write_of_another_request_stays_in_doubt() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.fail(Call::Save, StoreErrorKind::Timeout);
    let gate = store.hold(Call::Load);
    let saving = tokio::spawn(async move { request.session.save().await.map(drop) });
    gate.arrived().await;
    let repeated = store.hold(Call::Save);
    gate.open();
    repeated.arrived().await;
    visit(&sessions, &mut jar, increment).await;
    repeated.open();
    // the other write may have been made on top of the first save
    let error = saving.await.expect("no panic").expect_err("in doubt");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    assert_eq!(count(&sessions, &jar).await, 2);
}

#[tokio::test]
async fn a_repeated_save_that_fails_stays_in_doubt() {
    for kind in [StoreErrorKind::Timeout, StoreErrorKind::Unavailable] {
        let (store, sessions, jar) = counted().await;
        let request = post(&sessions, &jar).await;
        increment(&request.session).expect("a number");
        store.fail(Call::Save, StoreErrorKind::Timeout);
        store.fail(Call::Save, kind);
        let error = request.session.save().await.expect_err("no answer");
        assert_eq!(error.kind(), SessionErrorKind::InDoubt, "{kind:?}");
        let _ = request.session.save().await.expect("repeated again");
        assert_eq!(count(&sessions, &jar).await, 2);
    }
}

#[tokio::test]
async fn an_unknown_write_is_neither_forgotten_nor_applied_twice() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.lose_answer(Call::Save);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    let error = request
        .session
        .save()
        .await
        .expect_err("cannot be settled yet");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    let error = request.session.insert("more", &1).expect_err("in doubt");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);

    // somebody else writes on top of it
    visit(&sessions, &mut jar, increment).await;
    for _ in 0..3 {
        store.take_calls();
        let error = request
            .session
            .save()
            .await
            .expect_err("cannot be settled any more");
        assert_eq!(error.kind(), SessionErrorKind::InDoubt);
        assert_eq!(store.take_calls(), [Call::Load]);
    }
    assert_eq!(
        count(&sessions, &jar).await,
        3,
        "each increment counts once"
    );

    request.session.reload().await.expect("stored");
    assert_eq!(request.session.get(COUNT).expect("a number"), Some(3));
    increment(&request.session).expect("writable again");
    let _ = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(count(&sessions, &jar).await, 4);
    assert_eq!(store.pending_faults(), 0);
}

#[tokio::test]
async fn discarding_gives_up_a_write_in_doubt() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.fail(Call::Save, StoreErrorKind::Timeout);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    let error = request.session.save().await.expect_err("cannot be settled");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    request.session.discard().expect("open");
    request
        .session
        .insert("note", "kept")
        .expect("writable again");
    let _ = request.finish(&mut jar).await.expect("no fault");
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.names(), ["count", "note"]);
    assert_eq!(count(&sessions, &jar).await, 1);
}

#[tokio::test]
async fn a_save_that_certainly_failed_leaves_no_doubt() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.fail(Call::Save, StoreErrorKind::Unavailable);
    let error = request.session.save().await.expect_err("the fault");
    assert_eq!(error.kind(), SessionErrorKind::Unavailable);
    visit(&sessions, &mut jar, increment).await;
    let _ = request.session.save().await.expect("merged with the other");
    let _ = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(count(&sessions, &jar).await, 3);
}

#[tokio::test]
async fn a_lost_answer_to_a_renewal_does_not_kill_the_session() {
    let (store, sessions, mut jar) = counted().await;
    let old = jar.clone();
    let request = post(&sessions, &jar).await;
    request.session.renew().expect("open");
    store.lose_answer(Call::Save);
    let outcome = request.finish(&mut jar).await.expect("settled");
    assert_eq!(outcome.kind(), OutcomeKind::Renewed);
    assert_ne!(old, jar);
    assert_eq!(count(&sessions, &jar).await, 1);
    assert!(get(&sessions, &old).await.session.is_new());
}

#[tokio::test]
async fn a_renewal_is_recognized_under_the_write_of_another_request() {
    let (store, sessions, mut jar) = counted().await;
    let writing = post(&sessions, &jar).await;
    let request = post(&sessions, &jar).await;
    request.session.renew().expect("open");
    store.lose_answer(Call::Save);
    let gate = store.hold(Call::Load);
    let renewing = tokio::spawn(async move {
        let mut jar = Jar::default();
        (request.finish(&mut jar).await, jar)
    });
    gate.arrived().await;
    increment(&writing.session).expect("a number");
    let _ = writing.finish(&mut jar).await.expect("merged");
    gate.open();
    let (outcome, renewed) = renewing.await.expect("no panic");
    assert_eq!(outcome.expect("settled").kind(), OutcomeKind::Renewed);
    assert_eq!(count(&sessions, &renewed).await, 2);
}

#[tokio::test]
async fn reloading_finds_out_whether_a_renewal_in_doubt_was_applied() {
    for applied in [true, false] {
        let (store, sessions, mut jar) = counted().await;
        let old = jar.clone();
        let request = post(&sessions, &jar).await;
        request.session.renew().expect("open");
        match applied {
            true => store.lose_answer(Call::Save),
            false => store.fail(Call::Save, StoreErrorKind::Timeout),
        }
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let error = request.session.save().await.expect_err("no answer");
        assert_eq!(error.kind(), SessionErrorKind::InDoubt);
        request.session.reload().await.expect("stored");
        let _ = request.finish(&mut jar).await.expect("no fault");
        assert_eq!(
            jar != old,
            applied,
            "a token that was not stored is not sent"
        );
        assert_eq!(count(&sessions, &jar).await, 1);
    }
}

#[tokio::test]
async fn reloading_finds_a_login_in_doubt() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    request.session.log_in("ann").expect("open");
    store.lose_answer(Call::Save);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    request.session.save().await.expect_err("no answer");
    request.session.reload().await.expect("stored");
    assert_eq!(request.session.principal().as_deref(), Some("ann"));
    let _ = request.finish(&mut jar).await.expect("no fault");
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
}

#[tokio::test]
async fn reloading_finds_a_create_in_doubt() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let request = post(&sessions, &jar).await;
    increment(&request.session).expect("a number");
    store.lose_answer(Call::Create);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    let error = request.session.save().await.expect_err("no answer");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    request.session.reload().await.expect("stored");
    let _ = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(count(&sessions, &jar).await, 1);
    assert_eq!(store.inner().len(), 1);
}

/// An id source may return the id of another session.
#[tokio::test]
async fn a_create_in_doubt_is_not_mistaken_for_the_session_that_has_its_id() {
    let store = TestStore::default();
    let ids = std::sync::atomic::AtomicU8::new(0);
    let sessions = builder(&store)
        .id_source(move |_| {
            let call = ids.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(session_core::SessionId::from_bytes([call / 2; 16]))
        })
        .build()
        .expect("valid options");
    let (mut first, mut second) = (Jar::default(), Jar::default());
    visit(&sessions, &mut first, |session| session.log_in("ann")).await;
    let request = post(&sessions, &second).await;
    increment(&request.session).expect("a number");
    store.fail(Call::Create, StoreErrorKind::Timeout);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    let error = request.session.save().await.expect_err("no answer");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
    let error = request.session.reload().await.expect_err("of another");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    assert_eq!(request.session.principal(), None);
    let _ = request.finish(&mut second).await.expect("under another id");
    assert_eq!(count(&sessions, &second).await, 1);
    let session = get(&sessions, &first).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_create_in_doubt_is_never_repeated_under_its_id() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let request = post(&sessions, &jar).await;
    let first = request.session.id();
    increment(&request.session).expect("a number");
    store.fail(Call::Create, StoreErrorKind::Timeout);
    store.take_calls();
    let session = request.session.clone();
    let outcome = request.finish(&mut jar).await.expect("settled");
    assert_eq!(outcome.kind(), OutcomeKind::Created);
    assert_eq!(
        store.take_calls(),
        [Call::Create, Call::Load, Call::Destroy, Call::Create]
    );
    assert_ne!(session.id(), first);
    assert_eq!(count(&sessions, &jar).await, 1);
}

#[tokio::test]
async fn a_destroy_in_doubt_is_repeated_until_the_session_is_gone() {
    for applied in [true, false] {
        let (store, sessions, mut jar) = counted().await;
        let request = post(&sessions, &jar).await;
        request.session.destroy().expect("open");
        match applied {
            true => store.lose_answer(Call::Destroy),
            false => store.fail(Call::Destroy, StoreErrorKind::Timeout),
        }
        let outcome = request.finish(&mut jar).await.expect("settled");
        assert_eq!(outcome.kind(), OutcomeKind::Destroyed);
        assert!(store.inner().is_empty());
        assert_eq!(jar.cookie(), None);
    }
}

#[tokio::test]
async fn a_destroy_that_fails_after_a_lost_answer_is_in_doubt() {
    for kind in [StoreErrorKind::Timeout, StoreErrorKind::Unavailable] {
        let (store, sessions, jar) = counted().await;
        let request = post(&sessions, &jar).await;
        request.session.destroy().expect("open");
        store.fail(Call::Destroy, StoreErrorKind::Timeout);
        store.fail(Call::Destroy, kind);
        let error = request.session.save().await.expect_err("no answer");
        assert_eq!(error.kind(), SessionErrorKind::InDoubt, "{kind:?}");
        let outcome = request.finish(&mut Jar::default()).await.expect("repeated");
        assert_eq!(outcome.kind(), OutcomeKind::Destroyed);
        assert!(store.inner().is_empty());
    }
}

#[tokio::test]
async fn a_claim_by_a_destroy_in_doubt_is_in_doubt() {
    let (store, sessions, mut jar) = counted().await;
    let request = post(&sessions, &jar).await;
    request.session.require_unchanged();
    request.session.destroy().expect("open");
    store.lose_answer(Call::Destroy);
    let error = request
        .finish(&mut jar)
        .await
        .expect_err("another may have ended it");
    assert_eq!(error.kind(), SessionErrorKind::InDoubt);
}

#[tokio::test]
async fn destroying_a_session_in_doubt_does_not_end_the_session_of_somebody_else() {
    let (store, sessions, mut victim) = counted().await;
    let attack = post(&sessions, &victim).await;
    visit(&sessions, &mut victim, |session| session.log_in("ann")).await;
    attack.session.destroy().expect("noted");
    store.fail(Call::Destroy, StoreErrorKind::Timeout);
    let error = attack
        .finish(&mut Jar::default())
        .await
        .expect_err("no authority");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    let session = get(&sessions, &victim).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_dropped_commit_is_settled_by_the_next_one() {
    for polls in 0..8 {
        let store = TestStore::default().yielding();
        let sessions = sessions(&store);
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, increment).await;
        let request = post(&sessions, &jar).await;
        increment(&request.session).expect("a number");
        drop_after(polls, request.session.save()).await;
        let _ = request.finish(&mut jar).await.expect("settled");
        assert_eq!(
            count(&sessions, &jar).await,
            2,
            "dropped after {polls} polls"
        );
    }
}

#[tokio::test]
async fn a_regeneration_that_was_dropped_is_completed_with_all_writes() {
    let mut was_dropped = false;
    for polls in 0..12 {
        let store = TestStore::default().yielding();
        let sessions = sessions(&store);
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, increment).await;
        let request = post(&sessions, &jar).await;
        request.session.regenerate().expect("open");
        request.session.insert("early", &1).expect("a write");
        store.take_calls();
        drop_after(polls, request.session.save()).await;
        let calls = store.take_calls();
        let late = request.session.insert("late", &2);
        was_dropped |= late.is_ok() && calls == [Call::Create, Call::Destroy];
        let _ = request.finish(&mut jar).await.expect("settled");
        let session = get(&sessions, &jar).await.session;
        assert!(session.contains("early"), "dropped after {polls} polls");
        assert_eq!(session.contains("late"), late.is_ok(), "after {polls}");
        assert_eq!(store.inner().len(), 1, "dropped after {polls} polls");
    }
    assert!(was_dropped);
}

#[tokio::test]
async fn cookies_of_what_is_confirmed_go_out_with_an_error_response() {
    let (store, sessions, mut jar) = counted().await;
    let old = jar.clone();
    let request = post(&sessions, &jar).await;
    request.session.log_in("ann").expect("open");
    let _ = request.session.save().await.expect("no fault");
    increment(&request.session).expect("a number");
    store.fail(Call::Save, StoreErrorKind::Unavailable);
    let error = request.finish(&mut jar).await.expect_err("the fault");
    assert_eq!(error.kind(), SessionErrorKind::Unavailable);
    assert_ne!(old, jar);
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
}

#[tokio::test]
async fn an_outage_is_an_error_and_leaves_the_cookie_alone() {
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Refused,
        StoreErrorKind::Overloaded,
    ] {
        let (store, sessions, jar) = counted().await;
        let mut request = http::Request::new(());
        let cookie = jar.header().parse().expect("a header");
        request.headers_mut().insert(http::header::COOKIE, cookie);
        let handle = sessions.begin(&request);
        store.fail(Call::Load, kind);
        let error = handle.load().await.expect_err("the fault");
        let expected = match kind {
            StoreErrorKind::Overloaded => SessionErrorKind::Overloaded,
            _ => SessionErrorKind::Unavailable,
        };
        assert_eq!(error.kind(), expected);
        let mut response = http::Response::new(());
        let _ = sessions
            .finish(&handle, &mut response)
            .await
            .expect("nothing to commit");
        assert!(crate::visit::set_cookies(&response).is_empty());
        assert_eq!(response.headers()["vary"], "Cookie");
        assert_eq!(count(&sessions, &jar).await, 1);
        assert!(
            store
                .inner()
                .load(&handle.presented_id().expect("signed"))
                .await
                .is_ok()
        );
    }
}
