//! An outage is never an answer: requests on a store that fails, loses answers, or has records that
//! cannot be decoded.

use http::StatusCode;
use integration_tests::{App, Backend, text};
use session_core::{
    Created, OnDecodeError, OutcomeKind, Record, Session, SessionErrorKind, SessionId, Store,
    StoreErrorKind, Version, Write, testing::Call,
};
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::{COOKIE, MIN, USER, count, counted, principal};
use crate::visit::{
    Act, Tested, begin, builder, finish, on_every_store, outcome, request, sessions, set_cookies,
    visit,
};

on_every_store! {
    a_record_that_cannot_be_decoded_starts_a_new_session_and_is_not_overwritten
    a_record_that_is_damaged_during_a_request_is_not_overwritten
    a_failed_load_changes_neither_the_session_nor_the_cookie
    an_explicit_save_sets_the_cookie_even_if_the_commit_fails
    a_logout_holds_even_if_the_next_session_cannot_be_stored
    a_failed_regeneration_leaves_the_session_as_it_was
    a_destroy_after_a_failed_regeneration_leaves_no_record
    a_write_whose_answer_is_lost_is_settled_and_applied_once
    a_write_that_cannot_be_settled_is_an_error_and_sets_no_cookie
    a_save_that_is_dropped_is_applied_once
}

/// Replaces a record by one that is not a session.
async fn damage(store: &Tested, id: &SessionId, body: &[u8]) -> Record {
    let store = store.inner();
    let record = Record::new(Version::from_bytes([9; 8]), body.to_vec());
    let _ = store
        .destroy(id, session_core::Destroy::any())
        .await
        .expect("no fault");
    let created = store.create(id, Write::new(&record, MIN)).await;
    assert!(matches!(created, Ok(Created::Created(_))), "{created:?}");
    record
}

async fn stored(store: &Tested, id: &SessionId) -> Option<Record> {
    let loaded = store.inner().load(id).await.expect("no fault");
    loaded.map(|loaded| loaded.record)
}

async fn a_record_that_cannot_be_decoded_starts_a_new_session_and_is_not_overwritten(
    store: Tested,
) {
    let lenient = sessions(&store);
    let strict = builder(&store)
        .on_decode_error(OnDecodeError::Fail)
        .build()
        .expect("valid options");
    for body in [&b"garbage"[..], b"", b"\x01 short", &[0xff; 100], &[1; 60]] {
        let mut browser = Browser::new();
        visit(&lenient, &mut browser, count).await;
        let id = begin(&lenient, &browser).await.1.id().expect("live");
        let garbage = damage(&store, &id, body).await;

        let error = strict.begin(&request(&browser)).load().await;
        assert_eq!(
            error.expect_err("not a session").kind(),
            SessionErrorKind::Corrupt
        );
        visit(&lenient, &mut browser, |s| s.insert(USER, "ann")).await;
        let session = begin(&lenient, &browser).await.1;
        assert_ne!(session.id(), Some(id));
        assert_eq!(session.get(USER).expect("text").as_deref(), Some("ann"));
        assert_eq!(stored(&store, &id).await, Some(garbage));
    }
}

/// Somebody else has written to the key of a session, without a version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_a_redis_server_that_are_no_record_are_left_alone() {
    let store = Backend::redis().await;
    let sessions = sessions(&store);
    let Backend::Redis { server, .. } = store.inner() else {
        panic!("a Redis server")
    };
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, slow) = begin(&sessions, &browser).await;
    count(&slow).expect("writable");
    let [(key, _)] = store.inner().dump().try_into().expect("one session");
    let () = server.command(&["SET", &key, "x"]);
    let error = finish(&sessions, &handle, &mut browser.clone()).await;
    assert_eq!(
        error.expect_err("no record").kind(),
        SessionErrorKind::Corrupt
    );
    assert!(begin(&sessions, &browser).await.1.is_new());
    visit(&sessions, &mut browser, count).await;
    assert_eq!(counted(&sessions, &mut browser).await, Some(1));
    let left: String = server.command(&["GET", &key]);
    assert_eq!(left, "x");
}

/// The record changes between load and save.
async fn a_record_that_is_damaged_during_a_request_is_not_overwritten(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session).expect("writable");
    let id = session.id().expect("live");
    let garbage = damage(&store, &id, b"garbage").await;
    let error = finish(&sessions, &handle, &mut browser).await;
    assert_eq!(
        error.expect_err("not a session").kind(),
        SessionErrorKind::Corrupt
    );
    assert_eq!(stored(&store, &id).await, Some(garbage));
}

async fn a_failed_load_changes_neither_the_session_nor_the_cookie(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        // `/ignore` answers without the session if it cannot be loaded
        let loaded = request.session().load().await;
        if request.uri().path() == "/ignore" && loaded.is_err() {
            return text("ignored");
        }
        text(count(&loaded?)?.to_string())
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "1");
    let cookie = browser.cookie(COOKIE).map(str::to_owned);
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Overloaded,
        StoreErrorKind::Refused,
    ] {
        store.fail(Call::Load, kind);
        let response = browser.get(app.addr(), "/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
        assert!(set_cookies(&response).is_empty());
        store.fail(Call::Load, kind);
        let response = browser.get(app.addr(), "/ignore").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::OK, "ignored")
        );
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(browser.cookie(COOKIE).map(str::to_owned), cookie);
    assert_eq!(browser.get(app.addr(), "/").await.body(), "2");
}

async fn an_explicit_save_sets_the_cookie_even_if_the_commit_fails(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        count(&session)?;
        let _ = session.save().await?;
        count(&session)?;
        text("")
    })
    .await;
    let mut browser = Browser::new();
    store.fail(Call::Save, StoreErrorKind::Unavailable);
    let response = browser.get(app.addr(), "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        browser.cookie(COOKIE).is_some(),
        "the session that was saved has a cookie"
    );
    browser.get(app.addr(), "/").await;
    assert_eq!(counted(&sessions(&store), &mut browser).await, Some(3));
}

async fn a_logout_holds_even_if_the_next_session_cannot_be_stored(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => {
                session.destroy()?;
                session.insert("flash", "You are logged out.")?;
            }
            _ => session.log_in("ann")?,
        }
        text("")
    })
    .await;
    let mut browser = Browser::new();
    browser.get(app.addr(), "/").await;
    store.fail(Call::Create, StoreErrorKind::Refused);
    let response = browser.get(app.addr(), "/logout").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.cookie(COOKIE), None, "the logout has happened");
    assert!(store.inner().is_empty());
}

/// If the new session cannot be stored, or the old one not destroyed, the old one is the only one.
async fn a_failed_regeneration_leaves_the_session_as_it_was(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let before = browser.cookie(COOKIE).map(str::to_owned);
    for call in [Call::Create, Call::Destroy] {
        let (handle, session) = begin(&sessions, &browser).await;
        session.regenerate().expect("accepted");
        store.fail(call, StoreErrorKind::Unavailable);
        let error = finish(&sessions, &handle, &mut browser).await;
        let error = error.expect_err("a part fails");
        assert_eq!(error.kind(), SessionErrorKind::Unavailable, "{call:?}");
        assert_eq!(browser.cookie(COOKIE).map(str::to_owned), before);
        assert_eq!(counted(&sessions, &mut browser).await, Some(1));
        assert_eq!(store.inner().len(), 1, "{call:?}");
    }
}

async fn a_destroy_after_a_failed_regeneration_leaves_no_record(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.regenerate().expect("accepted");
    session.log_in("ann").expect("accepted");
    store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    assert!(session.save().await.is_err());
    session.destroy().expect("accepted");
    let kind = outcome(&sessions, &handle, &mut browser).await;
    assert_eq!(kind, OutcomeKind::Destroyed);
    assert_eq!(browser.cookie(COOKIE), None);
    assert!(store.inner().is_empty());
}

async fn a_write_whose_answer_is_lost_is_settled_and_applied_once(store: Tested) {
    use Call::{Create, Destroy, Load, Save};
    let cases: [(Act, Call, &[Call], OutcomeKind); 5] = [
        (
            |s| count(s).map(drop),
            Save,
            &[Save, Load],
            OutcomeKind::Saved,
        ),
        (Session::renew, Save, &[Save, Load], OutcomeKind::Renewed),
        (
            |s| s.log_in("ann"),
            Save,
            &[Save, Load],
            OutcomeKind::LoggedIn,
        ),
        (
            Session::destroy,
            Destroy,
            &[Destroy, Destroy],
            OutcomeKind::Destroyed,
        ),
        (
            Session::regenerate,
            Destroy,
            &[Create, Destroy, Destroy],
            OutcomeKind::Regenerated,
        ),
    ];
    for (act, lost, calls, kind) in cases {
        for applied in [true, false] {
            let store = store.inner().emptied();
            let sessions = sessions(&store);
            let mut browser = Browser::new();
            visit(&sessions, &mut browser, count).await;
            let before = browser.clone();
            let (handle, session) = begin(&sessions, &browser).await;
            act(&session).expect("accepted");
            match applied {
                true => store.lose_answer(lost),
                false => store.fail(lost, StoreErrorKind::Timeout),
            }
            store.take_calls();
            assert_eq!(outcome(&sessions, &handle, &mut browser).await, kind);
            let mut calls = calls.to_vec();
            if lost == Save && !applied {
                calls.push(Save);
            }
            if kind == OutcomeKind::LoggedIn && applied {
                // the record does not show whether the session is listed
                calls.push(Call::Put);
            }
            assert_eq!(store.take_calls(), calls, "{kind:?}, applied: {applied}");
            let (views, len) = match kind {
                OutcomeKind::Saved => (Some(2), 1),
                OutcomeKind::Destroyed => (None, 0),
                OutcomeKind::Regenerated => (None, 1),
                _ => (Some(1), 1),
            };
            assert_eq!(counted(&sessions, &mut browser).await, views, "{kind:?}");
            assert_eq!(store.inner().len(), len, "{kind:?}");
            let opens = !begin(&sessions, &before).await.1.is_new();
            assert_eq!(opens, kind == OutcomeKind::Saved, "{kind:?}");
        }
    }
}

async fn a_write_that_cannot_be_settled_is_an_error_and_sets_no_cookie(store: Tested) {
    let cases: [(Act, Call, Call); 5] = [
        (|session| count(session).map(drop), Call::Save, Call::Load),
        (Session::renew, Call::Save, Call::Load),
        (|session| session.log_in("ann"), Call::Save, Call::Load),
        (Session::destroy, Call::Destroy, Call::Destroy),
        (Session::regenerate, Call::Destroy, Call::Destroy),
    ];
    for (n, (act, lost, settles)) in cases.into_iter().enumerate() {
        let store = store.inner().emptied();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let before = browser.cookie(COOKIE).map(str::to_owned);
        let (handle, session) = begin(&sessions, &browser).await;
        act(&session).expect("accepted");
        store.lose_answer(lost);
        store.fail(settles, StoreErrorKind::Unavailable);
        let error = finish(&sessions, &handle, &mut browser).await;
        let error = error.expect_err("cannot be settled");
        assert_eq!(error.kind(), SessionErrorKind::InDoubt, "{n}");
        assert_eq!(browser.cookie(COOKIE).map(str::to_owned), before, "{n}");
        assert_eq!(store.pending_faults(), 0);
    }

    // the user sends the form once more
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session.log_in("ann").expect("accepted");
    store.lose_answer(Call::Save);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    assert!(finish(&sessions, &handle, &mut browser).await.is_err());
    visit(&sessions, &mut browser, |session| session.log_in("ann")).await;
    assert_eq!(principal(&sessions, &browser).await.as_deref(), Some("ann"));
}

async fn a_save_that_is_dropped_is_applied_once(store: Tested) {
    let mut dropped_during_the_save = 0;
    for polls in 0..8 {
        let store = store.inner().emptied().yielding();
        let sessions = sessions(&store);
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let (handle, session) = begin(&sessions, &browser).await;
        count(&session).expect("writable");
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
        let _ = outcome(&sessions, &handle, &mut browser).await;
        assert_eq!(
            counted(&sessions, &mut browser).await,
            Some(2),
            "dropped after {polls} polls"
        );
    }
    assert!(dropped_during_the_save > 0);
}
