//! The layer and the extractors under axum, over a real socket.

use std::net::SocketAddr;

use ::axum::{
    Router,
    extract::OriginalUri,
    routing::{get, post},
};
use http::{Method, Request, StatusCode};
use integration_tests::LogBuffer;
use session_core::{
    CookieOptions, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{
    SessionErrorKind, SessionLayer, SessionRequestExt,
    axum::{Session, SessionHandle, SessionRejection},
};
use test_support::Browser;
use tokio::net::TcpListener;

use super::VIEWS;
use crate::visit::{Tested, builder, on_every_store, sessions};

on_every_store! {
    a_router_counts_logs_in_and_logs_out
}

/// Serves a router until the runtime of the test ends.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

async fn count(session: Session) -> Result<String, SessionRejection> {
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(views.to_string())
}

async fn a_router_counts_logs_in_and_logs_out(store: Tested) {
    async fn name(session: Option<Session>) -> String {
        let name = session.and_then(|session| session.principal());
        name.unwrap_or("nobody".into())
    }
    async fn id(handle: SessionHandle) -> String {
        let id = handle.presented_id();
        id.map_or("no cookie".into(), |id| id.to_string())
    }
    async fn log_in(session: Session) -> Result<(), SessionRejection> {
        Ok(session.log_in("ann")?)
    }
    async fn log_out(session: Session) -> Result<(), SessionRejection> {
        Ok(session.destroy()?)
    }
    let router = Router::new()
        .route("/count", get(count))
        .route("/name", get(name))
        .route("/id", get(id))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(sessions(&store)));
    let addr = serve(router).await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(addr, "/id").await.body(), "no cookie");
    assert_eq!(browser.get(addr, "/name").await.body(), "nobody");
    assert_eq!(store.take_calls(), []);
    assert_eq!(browser.get(addr, "/count").await.body(), "1");
    let before = browser.clone();
    browser.send(addr, Method::POST, "/login", "").await;
    assert_eq!(browser.get(addr, "/name").await.body(), "ann");
    assert_eq!(browser.get(addr, "/count").await.body(), "2");
    assert_eq!(before.clone().get(addr, "/name").await.body(), "nobody");
    store.take_calls();
    assert_eq!(browser.get(addr, "/id").await.body().len(), 22);
    assert_eq!(store.take_calls(), []);

    for path in ["/count", "/name"] {
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = browser.get(addr, path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
    }
    let stale = browser.clone();
    browser.send(addr, Method::POST, "/logout", "").await;
    assert_eq!(browser.cookie_header(), None);
    assert_eq!(stale.clone().get(addr, "/name").await.body(), "nobody");
    assert!(store.inner().is_empty());
}

/// A nested router sees a path without its prefix.
#[tokio::test]
async fn a_nested_router_is_matched_by_the_original_path() {
    let sessions = builder(&TestStore::default())
        .cookie(CookieOptions::new().path("/shop"))
        .original_uri(|extensions| extensions.get::<OriginalUri>().map(|uri| uri.0.clone()))
        .build();
    let shop = Router::new()
        .route("/count", get(count))
        .layer(SessionLayer::new(sessions.expect("valid options")));
    let router = Router::new()
        .nest("/shop", shop.clone())
        .nest("/blog", shop);
    let addr = serve(router).await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(addr, "/shop/count").await.body(), "1");
    assert_eq!(
        browser.get(addr, "/blog/count").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn a_missing_layer_is_a_500_and_the_log_names_the_fix() {
    let addr = serve(Router::new().route("/", get(count))).await;
    let response = Browser::new().get(addr, "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let error = Request::new(()).session().load().await;
    assert_eq!(
        error.expect_err("no layer").kind(),
        SessionErrorKind::MissingLayer
    );

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
