//! The service under hyper, over real sockets.

use http::{HeaderMap, Method, StatusCode, header};
use integration_tests::{App, text};
use session_core::{
    StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::VIEWS;
use crate::visit::{Tested, on_every_store, sessions};

on_every_store! {
    every_method_has_a_session
    a_slow_write_to_an_ended_session_is_a_409_unless_the_method_is_safe
}

/// No header that describes the body of the handler is left, and no cookie.
#[tokio::test]
async fn a_failed_commit_replaces_the_whole_response() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
        let mut response = text("a page that must not be sent")?;
        *response.status_mut() = StatusCode::FOUND;
        for (name, value) in [
            (header::LOCATION, "/next"),
            (header::ETAG, "\"1\""),
            (header::CONTENT_ENCODING, "identity"),
            (header::CONTENT_LANGUAGE, "en"),
            (header::CONTENT_LENGTH, "28"),
            (header::LAST_MODIFIED, "Sat, 21 Nov 2026 00:00:00 GMT"),
            (header::ACCEPT_RANGES, "bytes"),
            (header::CACHE_CONTROL, "max-age=60"),
            (header::SET_COOKIE, "other=1"),
        ] {
            response
                .headers_mut()
                .insert(name, value.parse().expect("a value"));
        }
        Ok(response)
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(
        browser.get(app.addr(), "/").await.status(),
        StatusCode::FOUND
    );
    for (kind, settles) in [
        (StoreErrorKind::Unavailable, false),
        (StoreErrorKind::Overloaded, false),
        (StoreErrorKind::Refused, false),
        (StoreErrorKind::Timeout, true),
    ] {
        store.fail(Call::Save, kind);
        if settles {
            // the write cannot be settled either
            store.fail(Call::Save, StoreErrorKind::Timeout);
        }
        let before = browser.clone();
        let response = browser.get(app.addr(), "/").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n")
        );
        let mut names: Vec<_> = response
            .headers()
            .keys()
            .map(|name| name.as_str())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "cache-control",
                "content-length",
                "content-type",
                "date",
                "retry-after",
                "vary"
            ]
        );
        assert_eq!(browser.cookie_header(), before.cookie_header());
    }
    assert_eq!(store.pending_faults(), 0);
}

/// Without an answer, hyper would close the connection.
#[tokio::test]
async fn a_session_error_of_the_service_is_answered_and_commits_nothing() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.insert(VIEWS, &1)?;
        text(session.get::<String>("views")?.unwrap_or_default())
    })
    .await;
    let response = Browser::new().get(app.addr(), "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        store.take_calls(),
        [],
        "a handler that fails without a response commits nothing"
    );
}

#[tokio::test]
async fn a_handler_that_panics_commits_nothing() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.insert(VIEWS, &1)?;
        if request.method() == Method::POST {
            panic!("on purpose");
        }
        text("")
    })
    .await;
    let addr = app.addr();
    let panicked =
        tokio::spawn(async move { Browser::new().send(addr, Method::POST, "/", "").await }).await;
    assert!(panicked.is_err(), "the connection ends");
    assert_eq!(store.take_calls(), []);
    assert_eq!(
        Browser::new().get(app.addr(), "/").await.status(),
        StatusCode::OK
    );
}

async fn every_method_has_a_session(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
        text(views.to_string())
    })
    .await;
    let mut browser = Browser::new();
    for (n, method) in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ]
    .into_iter()
    .enumerate()
    {
        let response = browser
            .send_with(app.addr(), method, "/any?query", "", HeaderMap::new())
            .await;
        assert_eq!(response.body(), &(n + 1).to_string());
    }
}

async fn a_slow_write_to_an_ended_session_is_a_409_unless_the_method_is_safe(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => session.destroy()?,
            _ => drop(session.update(VIEWS, |views| views.unwrap_or(0) + 1)?),
        }
        text("done")
    })
    .await;
    for (method, status) in [
        (Method::GET, StatusCode::OK),
        (Method::POST, StatusCode::CONFLICT),
    ] {
        let mut browser = Browser::new();
        browser.get(app.addr(), "/").await;
        let gate = store.hold(Call::Save);
        let slow = {
            let (mut browser, addr, method) = (browser.clone(), app.addr(), method.clone());
            tokio::spawn(async move { browser.send(addr, method, "/", "").await })
        };
        gate.arrived().await;
        browser.get(app.addr(), "/logout").await;
        gate.open();
        let response = slow.await.expect("no panic");
        assert_eq!(response.status(), status, "{method}");
        assert!(!response.headers().contains_key(header::SET_COOKIE));
        assert!(store.inner().is_empty());
    }
}
