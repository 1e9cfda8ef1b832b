//! The promises, each shown on the sequence that breaks it elsewhere. `T` numbers are the acceptance tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{Response, StatusCode};
use integration_tests::{App, Backend, keys, text};
use session_core::{
    CookieOptions, Created, Key, MemoryStore, OnGone, Outcome, RecordBytes, SessionErrorKind,
    SessionId, Sessions, SigningKeys, Store, StoreErrorKind, Undecodable,
    testing::{Call, ManualClock, TestStore},
};
use session_hyper::RequestSession;
use test_support::Browser;

use crate::visit::{
    begin, builder, calls_of, finish, on_every_store, request, sessions, set_cookies, visit,
};

type Tested = TestStore<Backend>;

on_every_store! {
    t1_two_parallel_increments_both_count
    no_update_is_lost_among_many_parallel_writers
    t2_a_logout_during_a_slow_write_is_final
    t2_touches_renewals_and_regenerations_do_not_bring_a_session_back_either
    t2_the_policy_may_turn_a_write_to_an_ended_session_into_an_error
    t3_a_cookie_from_elsewhere_is_never_adopted
    t4_a_login_holds_although_its_handler_answers_500
    t5_an_old_token_is_dead_after_renewal_and_after_logout_with_a_farewell
    t7_garbage_in_the_store_stops_nobody_and_is_not_overwritten
    t7_garbage_that_appears_during_a_request_is_not_overwritten
    t9_a_failing_read_erases_nothing
    t10_a_cancelled_request_leaves_nothing_that_a_logout_does_not_end
    t11_anonymous_traffic_costs_nothing
    untouched_is_free_a_read_is_one_call_a_write_one_more
    t12_what_one_instance_does_the_next_request_to_another_sees
    t13_an_update_persists
    t14_a_host_cookie_is_set_sent_back_and_removed_with_the_same_attributes
    t15_an_explicit_save_issues_the_cookie_also_on_an_error
    t16_keys_rotate_without_a_logout
    t18_a_taken_id_is_never_overwritten
    a_lost_answer_is_a_503_and_leaves_the_cookie_alone
    of_two_racing_renewals_one_is_gone
    a_write_that_races_with_a_renewal_is_kept
    a_required_unchanged_session_makes_a_conflict_an_error
    replays_are_bounded
    after_the_response_a_write_is_an_error
    a_session_is_opened_outside_of_a_request
}

/// What a handler does to a session.
type Act = fn(&session_core::Session);

const VIEWS: Key<u32> = Key::new("views");
const USER: Key<String> = Key::new("user");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &session_core::Session) -> u32 {
    session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)
        .expect("a number")
}

async fn counted(sessions: &Sessions, browser: &mut Browser) -> Option<u32> {
    visit(sessions, browser, |session| {
        session.get(VIEWS).expect("a number")
    })
    .await
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

async fn t2_a_logout_during_a_slow_write_is_final(store: Tested) {
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

async fn t2_touches_renewals_and_regenerations_do_not_bring_a_session_back_either(store: Tested) {
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

async fn t2_the_policy_may_turn_a_write_to_an_ended_session_into_an_error(store: Tested) {
    let sessions = builder(&store)
        .on_gone(OnGone::Reject(StatusCode::UNAUTHORIZED))
        .build()
        .expect("legal");
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

async fn t3_a_cookie_from_elsewhere_is_never_adopted(store: Tested) {
    let ours = sessions(&store);
    let mut ended = Browser::new();
    visit(&ours, &mut ended, count).await;
    let ended_id = visit(&ours, &mut ended.clone(), |session| {
        session.destroy();
        session.id()
    })
    .await;
    assert_eq!(ended_id, None);

    let other_keys =
        SigningKeys::new(["the signing key of another application"]).expect("long enough");
    let theirs = Sessions::builder(TestStore::default())
        .signing_keys(other_keys)
        .build()
        .expect("legal");
    let mut foreign = Browser::new();
    visit(&theirs, &mut foreign, count).await;

    let mut arbitrary = Browser::new();
    arbitrary.set_cookie(
        COOKIE,
        "v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAA",
    );

    for (mut browser, expected) in [
        (ended, vec![Call::Load, Call::Create]),
        (foreign, vec![Call::Create]),
        (arbitrary, vec![Call::Create]),
    ] {
        let presented = browser.cookie(COOKIE).expect("a cookie").to_owned();
        store.take_calls();
        let (handle, session) = begin(&ours, &browser).await;
        assert!(session.is_new());
        assert_ne!(handle.presented_id(), session.id());
        count(&session);
        let _ = finish(&ours, &handle, &mut browser)
            .await
            .expect("no fault");
        assert_ne!(browser.cookie(COOKIE), Some(presented.as_str()));
        assert_eq!(store.take_calls(), expected);
    }
}

async fn t4_a_login_holds_although_its_handler_answers_500(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        if request.uri().path() == "/login" {
            session.renew();
            session.insert(USER, "ann")?;
            let mut response = text("oops")?;
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        count(&session);
        text(session.get(USER)?.unwrap_or("nobody".into()))
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "nobody");
    assert_eq!(browser.get(app.addr(), "/login").await.status(), 500);
    assert_eq!(browser.get(app.addr(), "/").await.body(), "ann");
}

async fn t5_an_old_token_is_dead_after_renewal_and_after_logout_with_a_farewell(store: Tested) {
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
    assert_ne!(farewell, id, "under a fresh id");
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

#[tokio::test]
async fn t6_a_remembered_session_keeps_its_life_through_later_writes() {
    const DAY: Duration = Duration::from_secs(86400);
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build().expect("legal");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.set_principal(Some("ann")).expect("writable");
        session.set_max_age(Some(30 * DAY)).expect("writable");
        session
            .set_absolute_timeout(Some(90 * DAY))
            .expect("writable");
    })
    .await;
    for _ in 0..10 {
        clock.advance(8 * DAY);
        let (handle, session) = begin(&sessions, &browser).await;
        assert_eq!(session.principal().as_deref(), Some("ann"));
        assert_eq!(session.original_max_age(), Some(30 * DAY));
        count(&session);
        let (_, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        let days = session.max_age().expect("persistent").as_secs() / 86400;
        assert!(
            set_cookies(&response)[0].contains(&format!("Max-Age={}", days * 86400)),
            "{response:?}"
        );
    }
    // 80 days old: the idle timeout would give 30 more, the absolute one gives 10
    assert_eq!(
        visit(&sessions, &mut browser, |session| session.max_age()).await,
        Some(10 * DAY)
    );
    clock.advance(10 * DAY);
    assert!(visit(&sessions, &mut browser, |session| session.is_new()).await);
}

#[tokio::test]
async fn t6_idle_and_absolute_timeout_hold_together() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(30 * MIN)
        .absolute_timeout(100 * MIN)
        .build()
        .expect("legal");
    let mut idle = Browser::new();
    visit(&sessions, &mut idle, count).await;
    let mut busy = idle.clone();
    clock.advance(29 * MIN);
    assert_eq!(counted(&sessions, &mut busy).await, Some(1));
    clock.advance(29 * MIN);
    assert_eq!(
        counted(&sessions, &mut busy).await,
        Some(1),
        "every request gives it another half hour"
    );
    clock.advance(29 * MIN);
    assert_eq!(counted(&sessions, &mut busy).await, Some(1));
    clock.advance(13 * MIN);
    assert_eq!(
        counted(&sessions, &mut busy).await,
        None,
        "but not beyond the absolute timeout"
    );

    let mut idle = Browser::new();
    visit(&sessions, &mut idle, count).await;
    clock.advance(30 * MIN);
    assert_eq!(counted(&sessions, &mut idle).await, None);
}

async fn t7_garbage_in_the_store_stops_nobody_and_is_not_overwritten(store: Tested) {
    let lenient = sessions(&store);
    let strict = builder(&store)
        .undecodable(Undecodable::Fail)
        .build()
        .expect("legal");
    for garbage in [&b"garbage"[..], b"", b"\x01 short", &[0xff; 100], &[1; 60]] {
        let mut browser = Browser::new();
        let id = visit(&lenient, &mut browser, |session| {
            count(session);
            session.id().expect("live")
        })
        .await;
        let garbage = RecordBytes::new(garbage.to_vec());
        store.inner().destroy(&id).await.expect("memory");
        assert_eq!(
            store
                .inner()
                .create(&id, &garbage, MIN)
                .await
                .expect("memory"),
            Created::Created
        );

        let error = strict
            .begin(&request(&browser))
            .load()
            .await
            .expect_err("undecodable");
        assert_eq!(error.kind(), SessionErrorKind::Corrupt);
        let login = visit(&lenient, &mut browser, |session| {
            session.insert(USER, "ann").expect("writable");
            session.id().expect("live")
        })
        .await;
        assert_ne!(login, id);
        assert_eq!(
            store
                .inner()
                .load(&id)
                .await
                .expect("memory")
                .expect("still there")
                .record,
            garbage
        );
        assert_eq!(
            visit(&lenient, &mut browser, |session| session
                .get(USER)
                .expect("text"))
            .await
            .as_deref(),
            Some("ann")
        );
    }
}

/// A record that turns to garbage between load and save.
async fn t7_garbage_that_appears_during_a_request_is_not_overwritten(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session);
    let (id, garbage) = (
        session.id().expect("live"),
        RecordBytes::new(&b"garbage"[..]),
    );
    store.inner().destroy(&id).await.expect("memory");
    assert_eq!(
        store
            .inner()
            .create(&id, &garbage, MIN)
            .await
            .expect("memory"),
        Created::Created
    );
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("undecodable");
    assert_eq!(error.kind(), SessionErrorKind::Corrupt);
    assert_eq!(
        store
            .inner()
            .load(&id)
            .await
            .expect("memory")
            .expect("still there")
            .record,
        garbage
    );
}

async fn t9_a_failing_read_erases_nothing(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        // a handler that shrugs at the error, and one that does not
        let loaded = request.session().load().await;
        if request.uri().path() == "/shrug" && loaded.is_err() {
            return text("shrug");
        }
        text(count(&loaded?).to_string())
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "1");
    let cookie = browser.cookie(COOKIE).map(str::to_owned);
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Refused,
    ] {
        store.fail(Call::Load, kind);
        let response = browser.get(app.addr(), "/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
        assert!(set_cookies(&response).is_empty());
        store.fail(Call::Load, kind);
        let response = browser.get(app.addr(), "/shrug").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::OK, "shrug")
        );
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(browser.cookie(COOKIE).map(str::to_owned), cookie);
    assert_eq!(browser.get(app.addr(), "/").await.body(), "2");
}

async fn t10_a_cancelled_request_leaves_nothing_that_a_logout_does_not_end(store: Tested) {
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
        let views = counted(&sessions, &mut browser).await;
        assert!(
            views == Some(1) || views == Some(2),
            "the old record or the new one"
        );
        visit(&sessions, &mut browser, |session| session.destroy()).await;
        assert!(store.inner().is_empty());
    }
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

async fn t11_anonymous_traffic_costs_nothing(store: Tested) {
    let sessions = sessions(&store);
    for n in 0..40_000 {
        let mut browser = Browser::new();
        if n % 4 == 3 {
            browser.set_cookie(COOKIE, &format!("v1.forged{n}.mac"));
        }
        let handle = sessions.begin(&request(&browser));
        if n % 2 == 0 {
            assert_eq!(
                handle
                    .load()
                    .await
                    .expect("no store needed")
                    .get(VIEWS)
                    .expect("a number"),
                None
            );
        }
        let (_, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(store.take_calls(), []);
    assert!(store.inner().is_empty());
}

/// What promise four says, counted: nothing, one to read, one more to write.
async fn untouched_is_free_a_read_is_one_call_a_write_one_more(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let handle = request.session();
        match request.uri().path() {
            "/untouched" => text(""),
            "/read" => text(handle.load().await?.get(VIEWS)?.unwrap_or(0).to_string()),
            "/write" => text(count(&handle.load().await?).to_string()),
            "/renew" => {
                handle.load().await?.renew();
                text("")
            }
            _ => {
                handle.load().await?.destroy();
                text("")
            }
        }
    })
    .await;
    let mut browser = Browser::new();
    for (path, expected) in [
        ("/untouched", &[][..]),
        ("/read", &[]),
        ("/write", &[Call::Create]),
        ("/untouched", &[]),
        ("/read", &[Call::Load]),
        ("/write", &[Call::Load, Call::Save]),
        ("/renew", &[Call::Load, Call::Save]),
        ("/logout", &[Call::Load, Call::Destroy]),
        ("/read", &[]),
    ] {
        let response = browser.get(app.addr(), path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(store.take_calls(), expected, "{path}");
        let silent = path == "/untouched";
        assert_eq!(response.headers().contains_key("vary"), !silent, "{path}");
        assert_eq!(
            response.headers().contains_key("cache-control"),
            !silent,
            "{path}"
        );
    }
}

async fn t12_what_one_instance_does_the_next_request_to_another_sees(store: Tested) {
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

async fn t14_a_host_cookie_is_set_sent_back_and_removed_with_the_same_attributes(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => session.destroy(),
            _ => _ = count(&session),
        }
        text("")
    })
    .await;
    let mut browser = Browser::new();
    let attributes = |response: &Response<String>| {
        let [cookie] = set_cookies(response).try_into().expect("one cookie");
        let mut parts: Vec<_> = cookie.split("; ").map(str::to_owned).collect();
        assert!(parts.remove(0).starts_with("__Host-id="));
        parts.retain(|part| !part.starts_with("Max-Age=") && !part.starts_with("Expires="));
        parts
    };
    let set = attributes(&browser.get(app.addr(), "/").await);
    assert_eq!(set, ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"]);
    assert!(browser.cookie(COOKIE).is_some());
    assert_eq!(attributes(&browser.get(app.addr(), "/logout").await), set);
    assert_eq!(browser.cookie(COOKIE), None);
}

async fn t15_an_explicit_save_issues_the_cookie_also_on_an_error(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        count(&session);
        let _ = session.save().await?;
        count(&session);
        text("")
    })
    .await;
    let mut browser = Browser::new();
    store.fail(Call::Save, StoreErrorKind::Unavailable);
    let response = browser.get(app.addr(), "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        browser.cookie(COOKIE).is_some(),
        "what was saved is addressed"
    );
    browser.get(app.addr(), "/").await;
    assert_eq!(counted(&sessions(&store), &mut browser).await, Some(3));
}

async fn t16_keys_rotate_without_a_logout(store: Tested) {
    const OLD: &str = "an old signing key, 32 bytes or more";
    const NEW: &str = "a new signing key, of 32 bytes or more";
    let store = store.inner().emptied();
    let with = |keys: &[&str]| {
        Sessions::builder(store.clone())
            .signing_keys(SigningKeys::new(keys).expect("long enough"))
            .build()
            .expect("legal")
    };
    let mut browser = Browser::new();
    visit(&with(&[OLD]), &mut browser, count).await;
    let old_cookie = browser.cookie(COOKIE).map(str::to_owned);
    assert_eq!(
        calls_of(&with(&[NEW, OLD]), &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Save],
        "re-issued with proof that it is still good"
    );
    assert_ne!(browser.cookie(COOKIE).map(str::to_owned), old_cookie);
    assert_eq!(counted(&with(&[NEW]), &mut browser).await, Some(1));
    let mut late = Browser::new();
    late.set_cookie(COOKIE, &old_cookie.expect("a cookie"));
    assert_eq!(
        counted(&with(&[NEW]), &mut late).await,
        None,
        "the old key is out of the ring"
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

/// A commit whose answer is lost is reported, never guessed: no cookie is set, and nothing is handed out.
async fn a_lost_answer_is_a_503_and_leaves_the_cookie_alone(store: Tested) {
    let act: [(Call, Act); 4] = [
        (Call::Save, |session| _ = count(session)),
        (Call::Save, |session| session.renew()),
        (Call::Destroy, |session| session.destroy()),
        (Call::Destroy, |session| {
            session.regenerate().expect("entropy")
        }),
    ];
    for (call, act) in act {
        let store = store.inner().emptied();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let (handle, session) = begin(&sessions, &browser).await;
        act(&session);
        store.lose_answer(call);
        let error = finish(&sessions, &handle, &mut browser)
            .await
            .expect_err("unknown");
        assert_eq!(error.kind(), SessionErrorKind::Timeout);
        assert_eq!(handle.settled_cookie(), None);
    }
}

/// Two logins race on one anonymous session: the loser must not end up holding what the winner logged in to.
async fn of_two_racing_renewals_one_is_gone(store: Tested) {
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

async fn after_the_response_a_write_is_an_error(store: Tested) {
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
    assert_eq!(session.get(VIEWS).expect("reading goes on"), Some(1));
}

/// WebSockets, event streams and jobs: the session lives on after the response.
async fn a_session_is_opened_outside_of_a_request(store: Tested) {
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
