//! The sessions of a user: the requests of the API, and the page with the devices.

use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use crate::client::{Client, check, check_error, json_of, set_cookie};

const ANN: &str = "username=ann&password=correct+horse";

/// A second client of the same demo, without cookies.
fn another(client: &Client) -> Client {
    Client {
        address: client.address,
        browser: test_support::Browser::new(),
    }
}

async fn log_in(client: &mut Client, user_agent: &'static str) -> Response<String> {
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", user_agent),
    ];
    let body = json!({"username": "ann", "password": "correct horse"}).to_string();
    client.send("POST", "/api/login", &headers, &body).await
}

/// A client on which ann is logged in.
async fn ann(client: &Client, user_agent: &'static str) -> Client {
    let mut client = another(client);
    check(&log_in(&mut client, user_agent).await, StatusCode::OK);
    client
}

async fn bob(client: &Client) -> Client {
    let mut client = another(client);
    let login = json!({"username": "bob", "password": "battery staple"});
    let response = client.json("POST", "/api/login", &login).await;
    check(&response, StatusCode::OK);
    client
}

async fn sessions(client: &mut Client) -> Vec<Value> {
    let response = client.get("/api/sessions").await;
    check(&response, StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    json_of(&response).as_array().expect("a list").clone()
}

async fn principal(client: &mut Client) -> Value {
    client.session().await["principal"].take()
}

async fn end(client: &mut Client, id: &Value) -> Response<String> {
    let path = format!("/api/sessions/{}", id.as_str().expect("an id"));
    client.send("DELETE", &path, &[], "").await
}

#[tokio::test]
async fn the_sessions_of_a_user_are_listed_in_the_order_of_their_logins() {
    let visitor = Client::start("").await;
    let mut first = ann(&visitor, "first/1").await;
    let mut second = ann(&visitor, "second/1").await;
    bob(&visitor).await;
    let listed = sessions(&mut second).await;
    let facts = listed.iter().map(|session| {
        let keys: Vec<_> = session.as_object().expect("an object").keys().collect();
        let expected = [
            "authenticated_at",
            "created_at",
            "current",
            "expires_in_s",
            "id",
            "last_seen_at",
            "user_agent",
        ];
        assert_eq!(keys, expected);
        for at in ["created_at", "authenticated_at", "last_seen_at"] {
            let text = session[at].as_str().expect("text");
            assert!(text.ends_with('Z'), "{text}");
        }
        let left = session["expires_in_s"].as_u64().expect("a number");
        assert!(left <= 1800, "{left}");
        (session["user_agent"].as_str(), session["current"].as_bool())
    });
    let expected = [
        (Some("first/1"), Some(false)),
        (Some("second/1"), Some(true)),
    ];
    assert_eq!(facts.collect::<Vec<_>>(), expected);
    assert_eq!(listed[0]["id"], first.session().await["id"]);
    let shown = first.session().await;
    assert_eq!(
        shown["data"],
        json!({}),
        "what is kept for the list is left out"
    );
}

#[tokio::test]
async fn requests_about_a_user_need_one() {
    let mut visitor = Client::start("").await;
    let password = json!({"password": "correct horse"});
    for (method, path) in [
        ("GET", "/api/sessions"),
        ("DELETE", "/api/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
        ("POST", "/api/logout-others"),
        ("POST", "/api/logout-everywhere"),
        ("POST", "/api/reauthenticate"),
        ("POST", "/api/password"),
    ] {
        let response = match path.ends_with("ate") || path.ends_with("word") {
            true => visitor.json(method, path, &password).await,
            false => visitor.send(method, path, &[], "").await,
        };
        check_error(&response, StatusCode::UNAUTHORIZED);
        assert_eq!(set_cookie(&response), None, "{path}");
        let response = visitor.send("PATCH", path, &[], "").await;
        check_error(&response, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn a_user_ends_one_of_the_own_sessions_and_no_others() {
    let visitor = Client::start("").await;
    let mut first = ann(&visitor, "first/1").await;
    let mut second = ann(&visitor, "second/1").await;
    let mut bob = bob(&visitor).await;
    let of_bob = bob.session().await["id"].take();
    for id in [of_bob, json!("AAAAAAAAAAAAAAAAAAAAAA"), json!("no%20id")] {
        check_error(&end(&mut first, &id).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(principal(&mut bob).await, "bob");

    let id = second.session().await["id"].take();
    check(&end(&mut first, &id).await, StatusCode::NO_CONTENT);
    assert_eq!(principal(&mut second).await, Value::Null);
    check_error(&end(&mut first, &id).await, StatusCode::NOT_FOUND);
    assert_eq!(sessions(&mut first).await.len(), 1);

    // the session of the request itself is logged out
    let id = first.session().await["id"].take();
    let response = end(&mut first, &id).await;
    check(&response, StatusCode::NO_CONTENT);
    let set = set_cookie(&response).expect("a removal");
    assert!(set.contains("Max-Age=0"), "{set}");
}

#[tokio::test]
async fn a_user_ends_the_others_or_all_sessions() {
    let visitor = Client::start("").await;
    let mut first = ann(&visitor, "first/1").await;
    let mut others = [
        ann(&visitor, "second/1").await,
        ann(&visitor, "third/1").await,
    ];
    let mut bob = bob(&visitor).await;
    let response = first.post("/api/logout-others").await;
    assert_eq!(json_of(&response), json!({"ended": 2}));
    for other in &mut others {
        assert_eq!(principal(other).await, Value::Null);
    }
    assert_eq!(principal(&mut first).await, "ann");

    let mut second = ann(&visitor, "second/2").await;
    let response = first.post("/api/logout-everywhere").await;
    assert_eq!(json_of(&response), json!({"ended": 2}));
    assert!(!first.has_cookie());
    for client in [&mut first, &mut second] {
        assert_eq!(principal(client).await, Value::Null);
    }
    assert_eq!(principal(&mut bob).await, "bob");
}

#[tokio::test]
async fn a_password_is_changed_only_after_a_recent_login() {
    let new = json!({"password": "tea time"});
    let visitor = Client::start("").await;
    let mut client = ann(&visitor, "first/1").await;
    let mut other = ann(&visitor, "second/1").await;
    let empty = client
        .json("POST", "/api/password", &json!({"password": ""}))
        .await;
    check_error(&empty, StatusCode::BAD_REQUEST);
    assert_eq!(principal(&mut other).await, "ann");
    let response = client.json("POST", "/api/password", &new).await;
    check(&response, StatusCode::NO_CONTENT);
    assert_eq!(principal(&mut other).await, Value::Null);
    assert_eq!(principal(&mut client).await, "ann");
    let login = json!({"username": "ann", "password": "tea time"});
    let response = other.json("POST", "/api/login", &login).await;
    check(&response, StatusCode::OK);

    let visitor = Client::start("--fresh-within 0").await;
    let mut client = ann(&visitor, "first/1").await;
    let mut other = ann(&visitor, "second/1").await;
    let response = client.json("POST", "/api/password", &new).await;
    check(&response, StatusCode::FORBIDDEN);
    assert_eq!(json_of(&response), json!({"error": "reauthenticate"}));
    assert_eq!(principal(&mut other).await, "ann");
}

#[tokio::test]
async fn the_password_makes_a_login_recent() {
    let visitor = Client::start("").await;
    let mut client = ann(&visitor, "first/1").await;
    let mut old_token = client.clone();
    let before = sessions(&mut client).await[0].clone();
    let wrong = json!({"password": "wrong"});
    let response = client.json("POST", "/api/reauthenticate", &wrong).await;
    check_error(&response, StatusCode::UNAUTHORIZED);
    let after = sessions(&mut client).await[0].clone();
    assert_eq!(after["authenticated_at"], before["authenticated_at"]);

    let right = json!({"password": "correct horse"});
    let response = client.json("POST", "/api/reauthenticate", &right).await;
    check(&response, StatusCode::NO_CONTENT);
    assert!(
        set_cookie(&response).is_some(),
        "a login replaces the token"
    );
    let after = sessions(&mut client).await[0].clone();
    assert_eq!(after["id"], before["id"]);
    assert_ne!(after["authenticated_at"], before["authenticated_at"]);
    assert_eq!(after["user_agent"], before["user_agent"]);
    assert_eq!(principal(&mut old_token).await, Value::Null);
}

#[tokio::test]
async fn a_login_beyond_the_limit_ends_the_oldest_session_or_is_rejected() {
    let visitor = Client::start("--max-sessions 2").await;
    let mut clients = Vec::new();
    for user_agent in ["first/1", "second/1", "third/1"] {
        clients.push(ann(&visitor, user_agent).await);
    }
    bob(&visitor).await;
    assert_eq!(principal(&mut clients[0]).await, Value::Null);
    let listed = sessions(&mut clients[2]).await;
    let user_agents: Vec<_> = listed.iter().map(|listed| &listed["user_agent"]).collect();
    assert_eq!(user_agents, ["second/1", "third/1"]);

    let visitor = Client::start("--max-sessions 1 --when-full reject").await;
    let mut first = ann(&visitor, "first/1").await;
    let mut second = another(&visitor);
    check_error(&log_in(&mut second, "second/1").await, StatusCode::CONFLICT);
    assert_eq!(principal(&mut second).await, Value::Null);
    // whoever is logged in may log in again
    check(&log_in(&mut first, "first/2").await, StatusCode::OK);
    let page = second.form("/login", ANN).await;
    check(&page, StatusCode::CONFLICT);
    assert!(page.body().contains("as many devices"), "{}", page.body());
    first.post("/api/logout").await;
    check(&log_in(&mut second, "second/1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_program_gets_a_bearer_token_instead_of_a_cookie() {
    let login = json!({"username": "ann", "password": "correct horse"}).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("session-transport", "bearer"),
    ];
    let mut client = Client::start("--bearer").await;
    let response = client.send("POST", "/api/login", &headers, &login).await;
    check(&response, StatusCode::OK);
    assert_eq!(set_cookie(&response), None);
    let token = response.headers()["session-token"].to_str().expect("text");
    let authorization: &'static str = format!("Bearer {token}").leak();
    let bearer = [("authorization", authorization)];
    let shown = client.send("GET", "/api/session", &bearer, "").await;
    assert_eq!(json_of(&shown)["principal"], "ann");
    let listed = json_of(&client.send("GET", "/api/sessions", &bearer, "").await);
    assert_eq!(listed[0]["current"], true);
    let response = client.send("GET", "/api/sessions", &[], "").await;
    check_error(&response, StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let response = client.send("POST", "/api/logout", &bearer, "").await;
    assert_eq!(response.headers()["session-token"], "");

    // without the flag it is a browser
    let mut client = Client::start("").await;
    let response = client.send("POST", "/api/login", &headers, &login).await;
    assert!(set_cookie(&response).is_some());
    assert!(!response.headers().contains_key("session-token"));
}

#[tokio::test]
async fn the_page_shows_the_devices_and_ends_them() {
    let mut visitor = Client::start("").await;
    let page = visitor.get("/devices").await;
    check(&page, StatusCode::UNAUTHORIZED);
    assert!(page.body().contains(r#"id="login""#), "{}", page.body());

    let mut first = ann(&visitor, "first/1").await;
    let mut second = ann(&visitor, "second/1").await;
    let page = first.get("/devices").await;
    check(&page, StatusCode::OK);
    assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
    let body = page.body();
    for part in ["first/1", "second/1", "127.0.0.1", "this device"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    let id = second.session().await["id"].take();
    let form = format!("id={}", id.as_str().expect("an id"));
    let response = first.form("/devices/end", &form).await;
    assert_eq!(response.headers()[header::LOCATION], "/devices");
    assert_eq!(principal(&mut second).await, Value::Null);
    let page = first.get("/devices").await;
    assert!(!page.body().contains("second/1"), "{}", page.body());

    let mut third = ann(&visitor, "third/1").await;
    let response = first.form("/devices/end-others", "").await;
    assert_eq!(response.headers()[header::LOCATION], "/devices");
    assert_eq!(principal(&mut third).await, Value::Null);
    let response = first.form("/devices/end-all", "").await;
    assert_eq!(response.headers()[header::LOCATION], "/?goodbye");
    assert!(!first.has_cookie());

    let mut own = ann(&visitor, "own/1").await;
    let id = own.session().await["id"].take();
    let form = format!("id={}", id.as_str().expect("an id"));
    let response = own.form("/devices/end", &form).await;
    assert_eq!(response.headers()[header::LOCATION], "/?goodbye");
    assert!(!own.has_cookie());
}

#[tokio::test]
async fn the_page_asks_for_the_password_before_it_is_changed() {
    let visitor = Client::start("--fresh-within 0").await;
    let mut client = ann(&visitor, "first/1").await;
    let page = client.get("/devices").await;
    assert!(
        page.body().contains(r#"id="reauthenticate""#),
        "{}",
        page.body()
    );
    let page = client.form("/reauthenticate", "password=wrong").await;
    check(&page, StatusCode::UNAUTHORIZED);
    assert!(page.body().contains(r#"id="wrong""#), "{}", page.body());
    let page = client.form("/password", "password=tea").await;
    check(&page, StatusCode::FORBIDDEN);
    assert!(page.body().contains(r#"id="stale""#), "{}", page.body());
    let response = client
        .form("/reauthenticate", "password=correct+horse")
        .await;
    assert_eq!(response.headers()[header::LOCATION], "/devices");

    let visitor = Client::start("").await;
    let mut client = ann(&visitor, "first/1").await;
    let mut other = ann(&visitor, "second/1").await;
    let page = client.get("/devices").await;
    assert!(page.body().contains(r#"id="password""#), "{}", page.body());
    check(
        &client.form("/password", "password=").await,
        StatusCode::BAD_REQUEST,
    );
    let response = client.form("/password", "password=tea").await;
    assert_eq!(response.headers()[header::LOCATION], "/devices?changed");
    let page = client.get("/devices?changed").await;
    assert!(page.body().contains(r#"id="changed""#), "{}", page.body());
    assert_eq!(principal(&mut other).await, Value::Null);
}

#[tokio::test]
async fn another_site_cannot_end_a_session_or_change_a_password() {
    let visitor = Client::start("").await;
    let mut client = ann(&visitor, "first/1").await;
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("sec-fetch-site", "cross-site"),
    ];
    for path in [
        "/devices/end",
        "/devices/end-others",
        "/devices/end-all",
        "/reauthenticate",
        "/password",
        "/api/logout-others",
        "/api/logout-everywhere",
        "/api/reauthenticate",
        "/api/password",
    ] {
        let response = client.send("POST", path, &headers, "password=evil").await;
        check(&response, StatusCode::FORBIDDEN);
    }
    assert_eq!(principal(&mut client).await, "ann");
}
