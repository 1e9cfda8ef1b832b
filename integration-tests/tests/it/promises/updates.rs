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
    t1_two_parallel_increments_both_count
    no_update_is_lost_among_many_parallel_writers
    t13_an_update_persists
    t18_a_taken_id_is_never_overwritten
    a_write_that_races_with_a_renewal_is_kept
    a_required_unchanged_session_makes_a_conflict_an_error
    replays_are_bounded
}

async fn t1_two_parallel_increments_both_count(store: Tested) {
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

/// Every writer's own value and a shared counter survive, on real threads.
async fn no_update_is_lost_among_many_parallel_writers(store: Tested) {
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

async fn t13_an_update_persists(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    for expected in 1..=3 {
        assert_eq!(visit(&sessions, &mut browser, count).await, expected);
    }
    // nested data too, changed in place
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

async fn t18_a_taken_id_is_never_overwritten(store: Tested) {
    let source = Arc::new(AtomicU8::new(0));
    let named = {
        let source = source.clone();
        builder(&store)
            .id_source(move |_| Ok(SessionId::from_bytes([source.load(Ordering::SeqCst); 16])))
            .build()
            .expect("legal")
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

/// A write that was let in before a renewal is kept, and does not undo it.
async fn a_write_that_races_with_a_renewal_is_kept(store: Tested) {
    let persistent = CookieOptions::new().max_age(60 * MIN);
    let sessions = builder(&store).cookie(persistent).build().expect("legal");
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
        "its token is dead, and must not replace the new one in the browser"
    );
    visit(&sessions, &mut browser, |session| {
        assert_eq!(session.get(VIEWS).expect("a number"), Some(2));
        assert_eq!(session.principal().as_deref(), Some("ann"));
    })
    .await;
}

async fn a_required_unchanged_session_makes_a_conflict_an_error(store: Tested) {
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

async fn replays_are_bounded(store: Tested) {
    let sessions = builder(&store).commit_attempts(3).build().expect("legal");
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
        finished.expect_err("others are always first").kind(),
        SessionErrorKind::Contention
    );
}

/// Somebody else's write, by a way around the gates.
async fn visit_around(store: &Tested, browser: &Browser) {
    let around = Sessions::builder(store.inner().clone())
        .signing_keys(keys())
        .build()
        .expect("legal");
    visit(&around, &mut browser.clone(), count).await;
}
