//! No lost update: requests that write concurrently all keep their writes.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use http::StatusCode;
use integration_tests::{App, keys, text};
use session_core::{
    CookieOptions, Key, Outcome, SessionErrorKind, SessionId, Sessions, testing::Call,
};
use session_hyper::RequestSession;
use test_support::Browser;

use super::{COOKIE, MIN, Tested, USER, VIEWS, count, counted};
use crate::visit::{begin, builder, finish, on_every_store, sessions, set_cookies, visit};

on_every_store! {
    two_concurrent_increments_both_count
    no_update_of_many_concurrent_writers_is_lost
    updates_are_persisted
    a_taken_id_is_never_overwritten
    a_write_that_races_with_a_renewal_is_kept
    a_conflict_is_an_error_if_the_session_must_be_unchanged
    a_commit_gives_up_after_its_configured_attempts
}

async fn two_concurrent_increments_both_count(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        text(count(&session).to_string())
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
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.insert(VIEWS, &0).expect("writable")
    })
    .await;
    let writers = (0..WRITERS).map(|writer| {
        let (sessions, mut browser) = (sessions.clone(), browser.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                visit(&sessions, &mut browser, |session| {
                    count(session);
                    session
                        .insert(&format!("writer {writer}"), &n)
                        .expect("writable");
                })
                .await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    visit(&sessions, &mut browser, |session| {
        assert_eq!(session.get(VIEWS).expect("a number"), Some(WRITERS * EACH));
        for writer in 0..WRITERS {
            assert_eq!(
                session
                    .get::<u32>(&format!("writer {writer}"))
                    .expect("a number"),
                Some(EACH - 1)
            );
        }
    })
    .await;
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
        .await
        .expect("writable");
    }
    assert_eq!(
        visit(&sessions, &mut browser, |session| session.get(cart))
            .await
            .expect("a cart")
            .expect("a cart")
            .len(),
        2
    );
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
    visit(&named, &mut first, |session| {
        session.insert(USER, "ann").expect("writable")
    })
    .await;

    let mut second = Browser::new();
    let (handle, session) = begin(&named, &second).await;
    session.insert(USER, "bob").expect("writable");
    store.take_calls();
    let error = finish(&named, &handle, &mut second)
        .await
        .expect_err("always the same id");
    assert_eq!(error.kind(), SessionErrorKind::Entropy);
    assert_eq!(store.take_calls(), [Call::Create; 8], "bounded");
    assert_eq!(second.cookie(COOKIE), None);

    let (handle, session) = begin(&named, &second).await;
    session.insert(USER, "bob").expect("writable");
    source.store(1, Ordering::SeqCst);
    let _ = finish(&named, &handle, &mut second)
        .await
        .expect("the next id is free");
    let user = |session: &session_core::Session| session.get(USER).expect("text");
    assert_eq!(
        visit(&named, &mut first, user).await.as_deref(),
        Some("ann")
    );
    assert_eq!(
        visit(&named, &mut second, user).await.as_deref(),
        Some("bob")
    );
}

/// The slow request loaded the session before the renewal. Its write is kept, and the renewal too.
async fn a_write_that_races_with_a_renewal_is_kept(store: Tested) {
    let persistent = CookieOptions::new().max_age(60 * MIN);
    let sessions = builder(&store)
        .cookie(persistent)
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let mut slow_browser = browser.clone();
    let (slow_handle, slow) = begin(&sessions, &slow_browser).await;
    count(&slow);
    visit(&sessions, &mut browser, |session| {
        session.set_principal(Some("ann")).expect("writable")
    })
    .await;
    let (outcome, response) = finish(&sessions, &slow_handle, &mut slow_browser)
        .await
        .expect("no fault");
    assert_eq!(outcome, Outcome::Saved);
    assert!(
        set_cookies(&response).is_empty(),
        "its token must not replace the new one in the browser"
    );
    visit(&sessions, &mut browser, |session| {
        assert_eq!(session.get(VIEWS).expect("a number"), Some(2));
        assert_eq!(session.principal().as_deref(), Some("ann"));
    })
    .await;
}

async fn a_conflict_is_an_error_if_the_session_must_be_unchanged(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.require_unchanged();
    count(&session);
    visit(&sessions, &mut browser.clone(), count).await;
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("conflict");
    assert_eq!(error.kind(), SessionErrorKind::Conflict);
    assert_eq!(counted(&sessions, &mut browser).await, Some(2));
}

async fn a_commit_gives_up_after_its_configured_attempts(store: Tested) {
    let sessions = builder(&store)
        .commit_attempts(3)
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session);
    let finished = {
        let (sessions, mut mine) = (sessions.clone(), browser.clone());
        let gates: Vec<_> = (0..3).map(|_| store.hold(Call::Save)).collect();
        let finishing = tokio::spawn(async move {
            finish(&sessions, &handle, &mut mine)
                .await
                .map(|(outcome, _)| outcome)
        });
        for gate in gates {
            gate.arrived().await;
            visit_around(&store, &browser).await;
            gate.open();
        }
        finishing.await.expect("no panic")
    };
    assert_eq!(
        finished.expect_err("every attempt meets a conflict").kind(),
        SessionErrorKind::Contention
    );
}

/// A concurrent write that the gates do not hold.
async fn visit_around(store: &Tested, browser: &Browser) {
    let around = Sessions::builder(store.inner().clone())
        .signing_keys(keys())
        .build()
        .expect("valid options");
    visit(&around, &mut browser.clone(), count).await;
}
