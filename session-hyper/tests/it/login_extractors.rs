//! The extractors for users who are logged in.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
    routing::get,
};
use http_body_util::BodyExt;
use session_core::{
    MemoryStore, StoreErrorKind, Transports,
    testing::{Call, ManualClock, TestStore},
};
use session_hyper::{
    SessionLayer,
    axum::{Authenticated, Fresh, Session, SessionRejection},
};
use tower::ServiceExt;

use crate::support::{builder, request, set_cookies};

async fn log_in(session: Session) -> Result<(), SessionRejection> {
    Ok(session.log_in("ann")?)
}

async fn account(user: Authenticated) -> String {
    // the session is that of the request
    let same = user.principal() == Some(user.principal.clone());
    format!("{} {same}", user.principal)
}

async fn password(Fresh(user): Fresh<300>) -> Result<String, SessionRejection> {
    user.insert("changed", &true)?;
    Ok(user.principal)
}

struct App {
    clock: ManualClock,
    store: TestStore,
    router: Router,
}

fn app() -> App {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .transports(Transports::CookieAndBearer)
        .clock(clock.clone())
        .build();
    let router = Router::new()
        .route("/login", get(log_in))
        .route("/account", get(account))
        .route("/password", get(password))
        .layer(SessionLayer::new(sessions.expect("valid options")));
    App {
        clock,
        store,
        router,
    }
}

impl App {
    async fn call(&self, path: &str, cookies: &[String]) -> Response<String> {
        let (mut head, _) = request(cookies).into_parts();
        head.uri = path.parse().expect("a path");
        self.send(Request::from_parts(head, Body::empty())).await
    }

    async fn send(&self, request: Request<Body>) -> Response<String> {
        let response = self.router.clone().oneshot(request).await;
        let (head, body) = response.expect("infallible").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
    }
}

#[tokio::test]
async fn a_request_without_a_login_is_a_401() {
    let app = app();
    for path in ["/account", "/password"] {
        let response = app.call(path, &[]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_recent_login_passes_both_and_an_old_one_has_to_be_repeated() {
    let app = app();
    let mut cookies = set_cookies(app.call("/login", &[]).await.headers());
    assert_eq!(app.call("/account", &cookies).await.body(), "ann true");
    assert_eq!(app.call("/password", &cookies).await.body(), "ann");

    app.clock.advance(Duration::from_secs(300));
    assert_eq!(app.call("/account", &cookies).await.body(), "ann true");
    let response = app.call("/password", &cookies).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.body(), r#"{"error":"reauthenticate"}"#);
    let content_type = &response.headers()[header::CONTENT_TYPE];
    assert_eq!(content_type, "application/json");

    cookies = set_cookies(app.call("/login", &cookies).await.headers());
    assert_eq!(app.call("/password", &cookies).await.body(), "ann");
}

#[tokio::test]
async fn a_bearer_token_passes_as_a_cookie_does() {
    let app = app();
    let send = async |path: &str, name: &str, value: &str| {
        let request = Request::get(path).header(name, value);
        app.send(request.body(Body::empty()).expect("a request"))
            .await
    };
    let response = send("/login", "session-transport", "bearer").await;
    let token = response.headers()["session-token"].to_str().expect("text");
    let bearer = format!("Bearer {token}");
    for path in ["/account", "/password"] {
        let response = send(path, "authorization", &bearer).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let response = send(path, "authorization", "Bearer b1.forged").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}

#[tokio::test]
async fn an_outage_is_a_503_and_not_a_401() {
    let app = app();
    let cookies = set_cookies(app.call("/login", &[]).await.headers());
    for path in ["/account", "/password"] {
        app.store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = app.call(path, &cookies).await;
        assert_eq!(app.store.pending_faults(), 0);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}
