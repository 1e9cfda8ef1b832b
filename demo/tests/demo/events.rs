//! The stream that says when a session has ended.

use std::time::Duration;

use http::{StatusCode, header};
use test_support::{Browser, EventStream};
use tokio::time::timeout;

use crate::client::{Client, check};

pub(crate) const EVENTS: &str = "/api/session/events";
/// Fails a test whose stream does not end.
const LIMIT: Duration = Duration::from_secs(30);

/// A client of this demo on which ann is logged in.
pub(crate) async fn log_in(visitor: &Client) -> Client {
    let mut client = Client {
        browser: Browser::new(),
        ..visitor.clone()
    };
    let form = "username=ann&password=correct+horse";
    check(&client.form("/login", form).await, StatusCode::SEE_OTHER);
    client
}

/// The open stream of this client.
pub(crate) async fn open(client: &Client) -> EventStream {
    let response = EventStream::open(client.address, EVENTS, &client.browser).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(header::SET_COOKIE));
    response.into_body()
}

/// Checks that the stream says that the session has ended, and closes.
async fn check_ends(mut stream: EventStream) {
    let event = timeout(LIMIT, stream.next()).await.expect("an event");
    assert_eq!(event.as_deref(), Some("ended"));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn it_ends_when_another_client_ends_the_session() {
    let visitor = Client::start("--near-cache 1MiB").await;
    let mut first = log_in(&visitor).await;
    let mut second = log_in(&visitor).await;
    let streams = [open(&first).await, open(&first).await];
    let kept = open(&second).await;
    let id = first.session().await["id"].clone();
    let path = format!("/api/sessions/{}", id.as_str().expect("an id"));
    let response = second.send("DELETE", &path, &[], "").await;
    check(&response, StatusCode::NO_CONTENT);
    for stream in streams {
        check_ends(stream).await;
    }
    check(&first.get(EVENTS).await, StatusCode::UNAUTHORIZED);
    let third = log_in(&visitor).await;
    let others = [kept, open(&third).await];
    check(&second.post("/api/logout-everywhere").await, StatusCode::OK);
    for stream in others {
        check_ends(stream).await;
    }
}

#[tokio::test]
async fn it_ends_with_a_logout_in_another_tab() {
    let mut client = log_in(&Client::start("").await).await;
    let stream = open(&client).await;
    check(&client.post("/api/renew").await, StatusCode::OK);
    check(&client.post("/api/logout").await, StatusCode::NO_CONTENT);
    check_ends(stream).await;
}

#[tokio::test]
async fn it_ends_when_the_session_expires() {
    let client = log_in(&Client::start("--idle-timeout 3s").await).await;
    check_ends(open(&client).await).await;
}

#[tokio::test]
async fn it_is_for_users_alone() {
    let mut visitor = Client::start("").await;
    visitor.get("/").await;
    assert!(visitor.has_cookie());
    for method in ["GET", "HEAD"] {
        let response = visitor.send(method, EVENTS, &[], "").await;
        check(&response, StatusCode::UNAUTHORIZED);
    }
    let mut ann = log_in(&visitor).await;
    let response = ann.send("HEAD", EVENTS, &[], "").await;
    check(&response, StatusCode::OK);
    assert_eq!(response.body(), "");
}
