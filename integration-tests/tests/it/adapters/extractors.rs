//! The extractors of axum.

use std::sync::{Arc, Mutex};

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode};
use session_core::{
    CookieOptions, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{RequestSession, SessionErrorKind, SessionLayer};
use test_support::Browser;

use super::{COOKIE, call, count, router};
use crate::visit::{builder, sessions, set_cookies};

#[tokio::test]
async fn axum_extractors_load_peek_and_leave_alone() {
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

/// The handler's own session error is answered by the same table, and what it wrote before counts.
#[tokio::test]
async fn a_handlers_session_error_is_answered_by_the_table() {
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
async fn the_table_can_be_replaced() {
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
async fn a_missing_layer_is_a_500_that_names_the_fix() {
    let router = Router::new().route("/", get(count));
    let response = call(&router, &mut Browser::new(), "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let error = Request::new(())
        .session()
        .load()
        .await
        .expect_err("no layer");
    assert_eq!(error.kind(), SessionErrorKind::MissingLayer);

    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    tracing::subscriber::with_default(subscriber, || drop(Request::new(()).session()));
    let line = String::from_utf8(log.0.lock().expect("whole").clone()).expect("text");
    assert!(
        line.contains("SessionLayer::new(sessions)")
            && line.contains("SessionService::new(sessions, service)"),
        "{line}"
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A request outside of the cookie's path has no session, and says so.
#[tokio::test]
async fn outside_of_the_cookies_path_there_is_no_session() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/count"))
        .build()
        .expect("legal");
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

/// A nested router has lost the prefix; the original URI tells.
#[tokio::test]
async fn under_a_nested_router_the_original_path_counts() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/shop"))
        .original_uri(|extensions| {
            extensions
                .get::<axum::extract::OriginalUri>()
                .map(|uri| uri.0.clone())
        })
        .build()
        .expect("legal");
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
