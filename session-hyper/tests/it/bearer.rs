//! Bearer sessions through the service, over a connection and through stacked layers.

use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use session_core::{
    CookieOptions, SessionError, Sessions, StoreErrorKind, Transports,
    testing::{Call, TestStore},
};
use session_hyper::{SessionRequestExt, SessionService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{builder, set_cookies};

fn sessions(store: &TestStore) -> Sessions {
    let builder = builder(store).transports(Transports::CookieAndBearer);
    builder.build().expect("valid options")
}

/// Logs in at `/login`, out at `/logout`, and says who is logged in.
async fn route<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, SessionError> {
    let session = request.session().load().await?;
    match request.uri().path() {
        "/login" => session.log_in("ann")?,
        "/logout" => session.log_out()?,
        _ => {}
    }
    let name = session.principal().unwrap_or_default();
    Ok(Response::new(Full::from(name)))
}

/// Sends one request as text and returns the response as text.
async fn exchange(sessions: &Sessions, request: String) -> String {
    let (mut client, server) = tokio::io::duplex(4096);
    let service = SessionService::new(sessions.clone(), service_fn(route::<Incoming>));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let serve = async { connection.await.expect("served") };
    let talk = async {
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("text");
        response
    };
    tokio::join!(serve, talk).1
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{headers}\r\n")
}

/// The value of `Session-Token`.
fn token(response: &str) -> Option<&str> {
    response
        .lines()
        .find_map(|line| line.strip_prefix("session-token:"))
        .map(str::trim)
}

#[tokio::test]
async fn a_client_logs_in_and_out_over_a_connection() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let response = exchange(&sessions, get("/login", "Session-Transport: bearer\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(!response.contains("set-cookie"), "{response}");
    let bearer = token(&response).expect("a token").to_owned();

    let authorization = format!("authorization: bearer {bearer}\r\n");
    let response = exchange(&sessions, get("/", &authorization)).await;
    assert!(response.ends_with("\r\n\r\nann"), "{response}");
    assert_eq!(token(&response), None);

    let response = exchange(&sessions, get("/logout", &authorization)).await;
    assert_eq!(token(&response), Some(""));
    let response = exchange(&sessions, get("/", &authorization)).await;
    assert!(response.ends_with("\r\n\r\n"), "{response}");
    assert!(store.inner().is_empty());
}

/// Counts in the session of the outer layer, and logs in to that of the inner one.
async fn both(request: Request<String>) -> Result<Response<String>, SessionError> {
    let outer = request.session_named("__Host-outer").load().await?;
    outer.update("views", |views: Option<u32>| views.unwrap_or(0) + 1)?;
    let inner = request.session_named("__Host-id").load().await?;
    inner.log_in("ann")?;
    Ok(Response::new(String::new()))
}

#[tokio::test]
async fn a_response_that_replaces_another_keeps_the_token_of_an_inner_layer() {
    let (outer_store, inner_store) = (TestStore::default(), TestStore::default());
    let outer = builder(&outer_store).cookie(CookieOptions::new().name("__Host-outer"));
    let service = SessionService::new(sessions(&inner_store), service_fn(both));
    let service = SessionService::new(outer.build().expect("valid options"), service);
    let request = || {
        let request = Request::builder().header("session-transport", "bearer");
        request.body(String::new()).expect("a request")
    };

    let response = service.call(request()).await.expect("answered");
    assert_eq!(
        set_cookies(response.headers()).len(),
        1,
        "of the outer layer"
    );
    assert!(response.headers().contains_key("session-token"));

    outer_store.fail(Call::Create, StoreErrorKind::Unavailable);
    let response = service.call(request()).await.expect("answered");
    assert_eq!(outer_store.pending_faults(), 0);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers();
    assert_eq!(set_cookies(headers), [""; 0]);
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let token = headers["session-token"].to_str().expect("text");

    let inner = sessions(&inner_store);
    let request = Request::builder().header(header::AUTHORIZATION, format!("Bearer {token}"));
    let handle = inner.begin(&request.body(()).expect("a request"));
    let session = handle.load().await.expect("no fault");
    assert_eq!(session.principal().as_deref(), Some("ann"));
}
