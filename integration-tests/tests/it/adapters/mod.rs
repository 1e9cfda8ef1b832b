//! The service under hyper, tower and axum.

mod counters;
mod extractors;
mod layers;
mod service;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use session_core::{Key, Sessions};
use session_hyper::{
    SessionLayer,
    axum::{Session, SessionHandle, SessionRejection},
};
use test_support::Browser;
use tower::ServiceExt;

const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";

/// Calls a router as a server does, with the cookies of a browser.
async fn call(router: &Router, browser: &mut Browser, path: &str) -> Response<String> {
    let mut request = Request::builder().uri(path);
    if let Some(cookies) = browser.cookie_header() {
        request = request.header(header::COOKIE, cookies);
    }
    let request = request.body(Body::empty()).expect("a request");
    let (head, body) = router
        .clone()
        .oneshot(request)
        .await
        .expect("infallible")
        .into_parts();
    browser.keep(&head.headers);
    let body = body.collect().await.expect("a whole body").to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

async fn count(session: Session) -> Result<String, SessionRejection> {
    Ok(session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)?
        .to_string())
}

fn router(sessions: Sessions) -> Router {
    async fn peek(session: Option<Session>) -> Result<String, SessionRejection> {
        Ok(match session {
            Some(session) => session.get(VIEWS)?.unwrap_or(0).to_string(),
            None => "no session".into(),
        })
    }
    async fn untouched(handle: SessionHandle) -> String {
        handle
            .presented_id()
            .map_or("anonymous".into(), |id| id.to_string())
    }
    async fn wrong(session: Session) -> Result<String, SessionRejection> {
        session.insert(VIEWS, &1)?;
        Ok(session.get::<String>("views")?.unwrap_or_default())
    }
    let routes = Router::new()
        .route("/count", get(count))
        .route("/peek", get(peek));
    routes
        .route("/untouched", get(untouched))
        .route("/wrong", get(wrong))
        .layer(SessionLayer::new(sessions))
}
