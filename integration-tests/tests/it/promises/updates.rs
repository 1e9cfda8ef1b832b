//! No lost update: requests that write concurrently all keep their writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use integration_tests::{App, keys, text};
use session_core::{
    Key, SessionErrorKind, SessionId, Sessions,
    testing::{Call, ManualClock},
};
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::{COOKIE, USER, VIEWS, count, counted};
use crate::visit::{Tested, begin, builder, finish, on_every_store, outcome, sessions, visit};

on_every_store! {
    two_concurrent_increments_both_count
    no_update_of_many_concurrent_writers_is_lost
    updates_are_persisted
    a_taken_id_is_never_overwritten
    a_write_after_a_discard_during_a_save_is_kept
    a_conflict_is_an_error_if_the_session_must_be_unchanged
    a_commit_gives_up_at_its_deadline
}

async fn two_concurrent_increments_both_count(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        text(count(&session)?.to_string())
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "1");
    let gate = store.hold(Call::Save);
    let slow = {
        let (mut browser, addr) = (browser.clone(), app.addr());
        tokio::spawn(async move { browser.get(addr, "/").await })
    };
    gate.arrived().await;
    assert_eq!(browser.get(app.addr(), "/").await.body(), "2");
    gate.open();
    assert_eq!(slow.await.expect("no panic").status(), StatusCode::OK);
    assert_eq!(browser.get(app.addr(), "/").await.body(), "4");
}

/// On two threads. Every writer writes a value of its own, and all increment a shared counter.
async fn no_update_of_many_concurrent_writers_is_lost(store: Tested) {
    const WRITERS: u32 = 64;
    const EACH: u32 = 20;
    let store = store.inner().emptied().yielding();
    let sessions = builder(&store)
        .commit_deadline(Duration::from_secs(60))
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |s| s.insert(VIEWS, &0)).await;
    let writers = (0..WRITERS).map(|writer| {
        let (sessions, mut browser) = (sessions.clone(), browser.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                visit(&sessions, &mut browser, |session| {
                    count(session)?;
                    session.insert(&format!("writer {writer}"), &n)
                })
                .await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let session = begin(&sessions, &browser).await.1;
    assert_eq!(session.get(VIEWS).expect("a number"), Some(WRITERS * EACH));
    for writer in 0..WRITERS {
        let last: Option<u32> = session.get(&format!("writer {writer}")).expect("a number");
        assert_eq!(last, Some(EACH - 1));
    }
}

async fn updates_are_persisted(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    for expected in 1..=3 {
        assert_eq!(visit(&sessions, &mut browser, count).await, expected);
    }
    // a nested value too
    let cart: Key<Vec<(String, u32)>> = Key::new("cart");
    for _ in 0..2 {
        visit(&sessions, &mut browser, |session| {
            session.update(cart, |cart| {
                let mut cart = cart.unwrap_or_default();
                cart.push(("tea".into(), 1));
                cart
            })
        })
        .await;
    }
    let cart = visit(&sessions, &mut browser, |session| session.get(cart)).await;
    assert_eq!(cart.expect("a cart").len(), 2);
}

async fn a_taken_id_is_never_overwritten(store: Tested) {
    let source = Arc::new(AtomicU8::new(0));
    let named = {
        let source = source.clone();
        builder(&store)
            .id_source(move |_| Ok(SessionId::from_bytes([source.load(Ordering::SeqCst); 16])))
            .build()
            .expect("valid options")
    };
    let mut first = Browser::new();
    visit(&named, &mut first, |s| s.insert(USER, "ann")).await;

    let mut second = Browser::new();
    let (handle, session) = begin(&named, &second).await;
    session.insert(USER, "bob").expect("writable");
    store.take_calls();
    let error = finish(&named, &handle, &mut second).await;
    assert_eq!(
        error.expect_err("always the same id").kind(),
        SessionErrorKind::Entropy
    );
    assert_eq!(store.take_calls(), [Call::Create; 8], "bounded");
    assert_eq!(second.cookie(COOKIE), None);

    let (handle, session) = begin(&named, &second).await;
    session.insert(USER, "bob").expect("writable");
    source.store(1, Ordering::SeqCst);
    let _ = outcome(&named, &handle, &mut second).await;
    for (browser, name) in [(&mut first, "ann"), (&mut second, "bob")] {
        let user = visit(&named, browser, |session| session.get(USER)).await;
        assert_eq!(user.as_deref(), Some(name));
    }
}

/// A clone of the session gives up what it has written while another one saves it.
async fn a_write_after_a_discard_during_a_save_is_kept(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.insert("before", &1).expect("writable");
    let gate = store.hold(Call::Save);
    let saving = tokio::spawn({
        let session = session.clone();
        async move { session.save().await }
    });
    gate.arrived().await;
    session.discard().expect("accepted");
    session.insert("after", &2).expect("writable");
    gate.open();
    let saved = saving.await.expect("no panic").expect("no fault");
    assert!(saved.saved);
    assert!(session.is_modified());
    let _ = outcome(&sessions, &handle, &mut browser).await;
    assert_eq!(
        begin(&sessions, &browser).await.1.names(),
        ["after", "before", "views"]
    );
}

async fn a_conflict_is_an_error_if_the_session_must_be_unchanged(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.require_unchanged();
    count(&session).expect("writable");
    visit(&sessions, &mut browser.clone(), count).await;
    let error = finish(&sessions, &handle, &mut browser).await;
    assert_eq!(
        error.expect_err("conflict").kind(),
        SessionErrorKind::Conflict
    );
    assert_eq!(counted(&sessions, &mut browser).await, Some(2));
}

async fn a_commit_gives_up_at_its_deadline(store: Tested) {
    let clock = ManualClock::default();
    let sessions = builder(&store)
        .clock(clock.clone())
        .commit_deadline(Duration::from_secs(1))
        .build()
        .expect("valid options");
    // a concurrent writer whom the gates do not hold
    let around = Sessions::builder(store.inner().clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session).expect("writable");
    let gates = [0; 2].map(|_| store.hold(Call::Save));
    let finishing = {
        let (sessions, mut mine) = (sessions.clone(), browser.clone());
        tokio::spawn(async move {
            let finished = finish(&sessions, &handle, &mut mine).await;
            finished.map(|(outcome, _)| outcome)
        })
    };
    for gate in gates {
        gate.arrived().await;
        visit(&around, &mut browser.clone(), count).await;
        clock.advance(Duration::from_millis(600));
        gate.open();
    }
    let finished = finishing.await.expect("no panic");
    assert_eq!(
        finished.expect_err("every save meets a conflict").kind(),
        SessionErrorKind::Contention
    );
    assert_eq!(counted(&sessions, &mut browser).await, Some(3));
}
