//! The extractors of axum.

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode};
use integration_tests::LogBuffer;
use session_core::{
    CookieOptions, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{RequestSession, SessionErrorKind, SessionLayer};
use test_support::Browser;

use super::{COOKIE, call, count, router};
use crate::visit::{builder, sessions, set_cookies};

#[tokio::test]
async fn each_extractor_makes_the_store_calls_that_it_needs() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "0");
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.body(),
        "anonymous"
    );
    assert_eq!(store.take_calls(), []);
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "1");
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "2");
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "2");
    assert_eq!(
        store.take_calls(),
        [Call::Create, Call::Load, Call::Save, Call::Load]
    );
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.body().len(),
        22
    );
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn an_outage_is_a_503_from_every_extractor() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    call(&router, &mut browser, "/count").await;
    for path in ["/count", "/peek"] {
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = call(&router, &mut browser, path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.body(), "service unavailable\n");
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.status(),
        StatusCode::OK
    );
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "1");
}

#[tokio::test]
async fn a_session_error_of_the_handler_has_its_status_and_commits_what_was_written() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    let response = call(&router, &mut browser, "/wrong").await;
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal server error\n")
    );
    assert!(browser.cookie(COOKIE).is_some());
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "1");
}

#[tokio::test]
async fn the_error_response_can_be_replaced() {
    let store = TestStore::default();
    let layer = SessionLayer::new(sessions(&store)).on_error(|error| {
        let mut response = Response::new(format!("{:?}", error.kind()).into());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let router = Router::new().route("/", get(count)).layer(layer);
    let mut browser = Browser::new();
    call(&router, &mut browser, "/").await;
    for call_to_fail in [Call::Load, Call::Save] {
        store.fail(call_to_fail, StoreErrorKind::Refused);
        let response = call(&router, &mut browser, "/").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::IM_A_TEAPOT, "Unavailable")
        );
    }
}

#[tokio::test]
async fn a_missing_layer_is_a_500_and_the_log_names_the_fix() {
    let router = Router::new().route("/", get(count));
    let response = call(&router, &mut Browser::new(), "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let error = Request::new(())
        .session()
        .load()
        .await
        .expect_err("no layer");
    assert_eq!(error.kind(), SessionErrorKind::MissingLayer);

    let log = LogBuffer::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    tracing::subscriber::with_default(subscriber, || drop(Request::new(()).session()));
    let line = log.text();
    assert!(
        line.contains("SessionLayer::new(sessions)")
            && line.contains("SessionService::new(sessions, service)"),
        "{line}"
    );
}

#[tokio::test]
async fn a_request_outside_of_the_cookie_path_has_no_session() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/count"))
        .build()
        .expect("valid options");
    let router = router(sessions);
    let mut browser = Browser::new();
    assert_eq!(
        call(&router, &mut browser, "/peek").await.body(),
        "no session"
    );
    assert_eq!(
        call(&router, &mut browser, "/wrong").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "1");
}

/// A nested router sees a path without its prefix.
#[tokio::test]
async fn a_nested_router_is_matched_by_the_original_path() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/shop"))
        .original_uri(|extensions| {
            extensions
                .get::<axum::extract::OriginalUri>()
                .map(|uri| uri.0.clone())
        })
        .build()
        .expect("valid options");
    let shop = Router::new()
        .route("/count", get(count))
        .layer(SessionLayer::new(sessions));
    let router = Router::new()
        .nest("/shop", shop.clone())
        .nest("/blog", shop);
    let mut browser = Browser::new();
    assert_eq!(call(&router, &mut browser, "/shop/count").await.body(), "1");
    assert_eq!(
        call(&router, &mut browser, "/blog/count").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}
