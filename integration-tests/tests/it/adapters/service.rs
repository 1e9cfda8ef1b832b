//! The service under hyper, over real sockets.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Request, StatusCode, header};
use integration_tests::{App, text};
use session_core::{
    StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{RequestSession, SessionService};
use test_support::Browser;

use super::VIEWS;
use crate::visit::sessions;

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
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Refused,
    ] {
        store.fail(Call::Save, kind);
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
async fn an_eager_service_answers_an_outage_without_the_handler() {
    let store = TestStore::default();
    let ran = Arc::new(Mutex::new(0));
    let app = {
        let ran = ran.clone();
        let sessions = sessions(&store);
        App::start_with(
            |service| SessionService::new(sessions, service).eager(true),
            move |request: Request<_>| {
                *ran.lock().expect("whole") += 1;
                let session = request.session();
                async move {
                    text(if session.loaded().is_some() {
                        "loaded"
                    } else {
                        "not loaded"
                    })
                }
            },
        )
        .await
    };
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "loaded");
    let mut visitor = Browser::new();
    crate::visit::visit(&sessions(&store), &mut visitor, |session| {
        session.insert(VIEWS, &1).expect("writable")
    })
    .await;
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    assert_eq!(
        visitor.get(app.addr(), "/").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(*ran.lock().expect("whole"), 1);
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

#[tokio::test]
async fn every_method_has_a_session() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        text(
            session
                .update(VIEWS, |views| views.unwrap_or(0) + 1)?
                .to_string(),
        )
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
