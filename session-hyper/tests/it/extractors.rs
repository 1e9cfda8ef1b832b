//! The extractors for axum, and what `?` in a handler becomes.

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    routing::get,
};
use http_body_util::BodyExt;
use session_core::{
    CookieOptions, Key, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{
    SessionLayer,
    axum::{Session, SessionHandle, SessionRejection},
    error_response,
};
use tower::ServiceExt;

use crate::support::{builder, request, sessions, set_cookies};

const VIEWS: Key<u32> = Key::new("views");

async fn count(session: Session) -> Result<String, SessionRejection> {
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(views.to_string())
}

async fn optional(session: Option<Session>) -> String {
    session.map_or("no session", |_| "a session").into()
}

async fn unloaded(handle: SessionHandle) -> String {
    let id = handle.presented_id();
    id.map_or("no token", |_| "a token").into()
}

async fn log_in_and_fail(session: Session) -> Result<String, SessionRejection> {
    session.log_in("ann")?;
    session.insert(VIEWS, &1)?;
    Ok(session.get::<String>("views")?.unwrap_or_default())
}

fn router() -> Router {
    Router::new()
        .route("/count", get(count))
        .route("/optional", get(optional))
        .route("/unloaded", get(unloaded))
        .route("/fail", get(log_in_and_fail))
}

async fn call(router: &Router, path: &str, cookies: &[String]) -> Response<String> {
    let (mut head, _) = request(cookies).into_parts();
    head.uri = path.parse().expect("a path");
    let request = Request::from_parts(head, Body::empty());
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn extractors_load_the_session_or_leave_it_alone() {
    let store = TestStore::default();
    let router = router().layer(SessionLayer::new(sessions(&store)));
    assert_eq!(call(&router, "/unloaded", &[]).await.body(), "no token");
    assert_eq!(store.take_calls(), []);
    let cookies = set_cookies(call(&router, "/count", &[]).await.headers());
    assert_eq!(store.take_calls(), [Call::Create]);
    assert_eq!(call(&router, "/unloaded", &cookies).await.body(), "a token");
    assert_eq!(store.take_calls(), []);
    assert_eq!(
        call(&router, "/optional", &cookies).await.body(),
        "a session"
    );
    assert_eq!(store.take_calls(), [Call::Load]);
    assert_eq!(call(&router, "/count", &cookies).await.body(), "2");
}

#[tokio::test]
async fn an_outage_is_a_503_from_every_extractor_that_loads() {
    let store = TestStore::default();
    let router = router().layer(SessionLayer::new(sessions(&store)));
    let cookies = set_cookies(call(&router, "/count", &[]).await.headers());
    for path in ["/count", "/optional"] {
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = call(&router, path, &cookies).await;
        assert_eq!(store.pending_faults(), 0);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn an_optional_session_is_none_without_a_layer_and_outside_of_the_cookies_path() {
    assert_eq!(call(&router(), "/optional", &[]).await.body(), "no session");
    let options = CookieOptions::new().path("/elsewhere");
    let elsewhere = builder(&TestStore::default()).cookie(options).build();
    let layer = SessionLayer::new(elsewhere.expect("valid options"));
    let router = router().layer(layer);
    assert_eq!(call(&router, "/optional", &[]).await.body(), "no session");
    let response = call(&router, "/count", &[]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_rejection_is_answered_by_on_error_and_the_session_is_committed() {
    let store = TestStore::default();
    let layer = SessionLayer::new(sessions(&store)).on_error(|error| {
        let response = error_response(error);
        response.map(|_| format!("{:?}", error.kind()).into())
    });
    let router = router().layer(layer);
    let response = call(&router, "/fail", &[]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.body(), "Decode");
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies.len(), 1, "one line for one cookie: {cookies:?}");
    assert_eq!(call(&router, "/count", &cookies).await.body(), "2");
}

#[tokio::test]
async fn a_rejection_keeps_the_cookie_of_an_inner_layer() {
    let (outer_store, inner_store) = (TestStore::default(), TestStore::default());
    async fn both(inner: Session, request: axum::extract::Request) -> SessionRejection {
        use session_hyper::SessionRequestExt;
        let outer = request.session_named("__Host-outer");
        let outer = outer.load().await.expect("no fault");
        outer.log_in("ann").expect("a response can carry the token");
        inner.log_in("bob").expect("a response can carry the token");
        inner.insert(VIEWS, &1).expect("writable");
        let error = inner.get::<String>("views").expect_err("a number");
        error.into()
    }
    let outer = builder(&outer_store).cookie(CookieOptions::new().name("__Host-outer"));
    let router = Router::new()
        .route("/", get(both))
        .layer(SessionLayer::new(sessions(&inner_store)))
        .layer(SessionLayer::new(outer.build().expect("valid options")));
    let response = call(&router, "/", &[]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let mut cookies = set_cookies(response.headers());
    cookies.sort();
    let [inner, outer] = &cookies[..] else {
        panic!("one line for each session: {cookies:?}");
    };
    assert!(inner.starts_with("__Host-id=") && outer.starts_with("__Host-outer="));
}
