//! The JSON API.

use http::{StatusCode, header};
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Client, check, check_error, json_of, set_cookie};

#[tokio::test]
async fn reading_does_not_create_a_session() {
    let mut client = Client::start("--instance one").await;
    let response = client.get("/api/session").await;
    check(&response, StatusCode::OK);
    assert_eq!(set_cookie(&response), None);
    let mut shown = json_of(&response);
    let id = shown["id"].take();
    assert!(id.is_string());
    for key in ["created_at", "expires_in_s"] {
        assert!(!shown[key].take().is_null(), "{key}");
    }
    let expected = json!({
        "id": null, "is_new": true, "principal": null, "created_at": null, "expires_in_s": null,
        "instance": "one", "data": {},
    });
    assert_eq!(shown, expected);
    assert_ne!(client.session().await["id"], id);
}

#[tokio::test]
async fn pages_without_a_session_do_not_depend_on_the_cookie() {
    let mut client = Client::start("").await;
    for path in [
        "/healthz",
        "/readyz",
        "/style.css",
        "/session.js",
        "/nowhere",
    ] {
        let response = client.get(path).await;
        assert_eq!(set_cookie(&response), None, "{path}");
        assert!(!response.headers().contains_key(header::VARY), "{path}");
    }
    assert_eq!(client.get("/healthz").await.body(), "ok");
    assert_eq!(client.get("/readyz").await.body(), "ready");
}

#[tokio::test]
async fn values_of_every_type_are_stored_and_returned() {
    let mut client = Client::start("").await;
    let data = json!({
        "text": "\u{e4}\u{1F375}", "integer": -3, "large": u64::MAX, "float": 2.5, "true": true,
        "null": null, "list": [1, "two", [3.5]], "object": {"a": {"b": []}}, "a name/with %": 1,
    });
    for (name, value) in data.as_object().expect("an object") {
        let name: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let response = client
            .json("PUT", &format!("/api/session/{name}"), value)
            .await;
        check(&response, StatusCode::NO_CONTENT);
    }
    let shown = client.session().await;
    assert_eq!(shown["data"], data);
    assert_eq!(shown["is_new"], false);
    let created_at = shown["created_at"].as_str();
    assert!(created_at.is_some_and(|at| at.ends_with('Z')), "{shown}");
    let expires_in = shown["expires_in_s"].as_u64();
    assert!(expires_in.is_some_and(|left| left <= 1800), "{shown}");

    for name in ["list", "absent"] {
        let path = format!("/api/session/{name}");
        let response = client.send("DELETE", &path, &[], "").await;
        check(&response, StatusCode::NO_CONTENT);
    }
    assert_eq!(client.session().await["data"].get("list"), None);
}

#[tokio::test]
async fn concurrent_additions_all_count() {
    const CLIENTS: i64 = 20;
    let mut client = Client::start("").await;
    let hundred = json!({"by": 100});
    let response = client.json("POST", "/api/session/n/add", &hundred).await;
    assert_eq!(json_of(&response), json!({"value": 100}));
    let mut additions = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = client.clone();
        additions.spawn(async move { client.post("/api/session/n/add").await });
    }
    for response in additions.join_all().await {
        check(&response, StatusCode::OK);
    }
    assert_eq!(client.session().await["data"]["n"], 100 + CLIENTS);
}

#[tokio::test]
async fn an_addition_to_something_else_than_an_integer_is_rejected() {
    let mut client = Client::start("").await;
    client.json("PUT", "/api/session/word", &json!("tea")).await;
    let response = client.post("/api/session/word/add").await;
    check_error(&response, StatusCode::CONFLICT);
    for by in [i64::MAX, 1] {
        let body = json!({ "by": by });
        let response = client.json("POST", "/api/session/n/add", &body).await;
        assert_eq!(
            json_of(&response),
            json!({"value": i64::MAX}),
            "no overflow"
        );
    }
    for body in [json!({"by": 1.5}), json!({"times": 2})] {
        let response = client.json("POST", "/api/session/n/add", &body).await;
        check_error(&response, StatusCode::BAD_REQUEST);
    }
    let expected = json!({"word": "tea", "n": i64::MAX});
    assert_eq!(client.session().await["data"], expected);
}

#[tokio::test]
async fn invalid_and_oversized_bodies_are_rejected() {
    let mut client = Client::start("").await;
    let json = [("content-type", "application/json")];
    for body in ["", "{", "tea", "1 2"] {
        let response = client.send("PUT", "/api/session/x", &json, body).await;
        check_error(&response, StatusCode::BAD_REQUEST);
    }
    // more than a session may hold, and more than a request may
    for length in [70_000, 1024 * 1024] {
        let value = json!("x".repeat(length));
        let response = client.json("PUT", "/api/session/x", &value).await;
        check_error(&response, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert!(!client.has_cookie(), "nothing is stored");
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unsupported_method_405() {
    let mut client = Client::start("").await;
    check_error(&client.get("/api/nothing").await, StatusCode::NOT_FOUND);
    check(&client.get("/nothing").await, StatusCode::NOT_FOUND);
    for (method, path, allow) in [
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/login", "POST"),
        ("PATCH", "/api/session/x", "PUT, DELETE"),
    ] {
        let response = client.send(method, path, &[], "").await;
        check(&response, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], allow, "{path}");
    }
}

#[tokio::test]
async fn head_has_the_length_of_get_and_no_body() {
    let mut client = Client::start("").await;
    let get = client.get("/healthz").await;
    let head = client.send("HEAD", "/healthz", &[], "").await;
    assert_eq!(head.body(), "");
    let length =
        |response: &http::Response<String>| response.headers()[header::CONTENT_LENGTH].clone();
    assert_eq!(length(&head), length(&get));
}
