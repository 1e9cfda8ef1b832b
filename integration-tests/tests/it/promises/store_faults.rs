//! An outage is never an answer: requests on a store that fails, loses answers, or has undecodable records.

use http::StatusCode;
use integration_tests::{App, text};
use session_core::{
    Created, RecordBytes, SessionErrorKind, Store, StoreErrorKind, Undecodable, testing::Call,
};
use session_hyper::RequestSession;
use test_support::Browser;

use super::{Act, COOKIE, MIN, Tested, USER, count, counted};
use crate::visit::{begin, builder, finish, on_every_store, request, sessions, set_cookies, visit};

on_every_store! {
    an_undecodable_record_starts_a_new_session_and_is_not_overwritten
    a_record_that_becomes_undecodable_during_a_request_is_not_overwritten
    a_failed_load_changes_neither_the_session_nor_the_cookie
    an_explicit_save_sets_the_cookie_even_if_the_commit_fails
    a_write_whose_answer_is_lost_is_an_error_and_sets_no_cookie
}

async fn an_undecodable_record_starts_a_new_session_and_is_not_overwritten(store: Tested) {
    let lenient = sessions(&store);
    let strict = builder(&store)
        .undecodable(Undecodable::Fail)
        .build()
        .expect("valid options");
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

/// The record changes between load and save.
async fn a_record_that_becomes_undecodable_during_a_request_is_not_overwritten(store: Tested) {
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

async fn a_failed_load_changes_neither_the_session_nor_the_cookie(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        // `/ignore` answers without the session if it cannot be loaded
        let loaded = request.session().load().await;
        if request.uri().path() == "/ignore" && loaded.is_err() {
            return text("ignored");
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
        "the session that was saved has a cookie"
    );
    browser.get(app.addr(), "/").await;
    assert_eq!(counted(&sessions(&store), &mut browser).await, Some(3));
}

async fn a_write_whose_answer_is_lost_is_an_error_and_sets_no_cookie(store: Tested) {
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
