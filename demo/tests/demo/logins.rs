//! Logins, logouts and renewals.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{Client, check, check_error, json_of, set_cookie},
    slow_request::SlowRequest,
};

fn ann() -> Value {
    json!({"username": "ann", "password": "correct horse"})
}

fn bob() -> Value {
    json!({"username": "bob", "password": "battery staple"})
}

#[tokio::test]
async fn a_login_renews_the_token_and_keeps_the_session() {
    let mut client = Client::start("").await;
    let wrong = json!({"username": "ann", "password": "wrong"});
    let response = client.json("POST", "/api/login", &wrong).await;
    check_error(&response, StatusCode::UNAUTHORIZED);
    client.json("PUT", "/api/session/note", &json!(1)).await;
    let before = client.session().await;
    assert_eq!(before["data"], json!({"failed_logins": 1, "note": 1}));
    assert_eq!(before["principal"], Value::Null);
    let mut old_token = client.clone();

    let response = client.json("POST", "/api/login", &ann()).await;
    assert_eq!(json_of(&response), json!({"username": "ann"}));
    let set = set_cookie(&response).expect("a new token");
    assert!(
        !set.contains("Max-Age") && !set.contains("Expires"),
        "{set}"
    );
    let after = client.session().await;
    assert_eq!(after["principal"], "ann");
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["data"], json!({"note": 1}), "the count is reset");
    assert_eq!(old_token.session().await["is_new"], true);
}

#[tokio::test]
async fn a_renewal_keeps_the_id_and_a_regeneration_changes_it() {
    let mut client = Client::start("").await;
    client.json("POST", "/api/login", &ann()).await;
    let id = client.session().await["id"].clone();
    let mut old_token = client.clone();
    assert_eq!(json_of(&client.post("/api/renew").await)["id"], id);
    assert_eq!(client.session().await["principal"], "ann");
    assert_eq!(old_token.session().await["is_new"], true);

    let regenerated = json_of(&client.post("/api/regenerate").await)["id"].clone();
    assert_ne!(regenerated, id);
    let shown = client.session().await;
    assert_eq!(shown["id"], regenerated);
    assert_eq!(shown["principal"], Value::Null);
}

#[tokio::test]
async fn a_logout_ends_the_session_and_removes_the_cookie() {
    let mut client = Client::start("").await;
    client.json("POST", "/api/login", &ann()).await;
    let mut other_tab = client.clone();
    assert_eq!(other_tab.session().await["principal"], "ann");
    let response = client.post("/api/logout").await;
    check(&response, StatusCode::NO_CONTENT);
    let set = set_cookie(&response).expect("a removal");
    assert!(
        set.starts_with("id=;") && set.contains("Max-Age=0"),
        "{set}"
    );
    assert!(!client.has_cookie());
    let shown = other_tab.session().await;
    assert_eq!(shown["is_new"], true);
    assert_eq!(shown["principal"], Value::Null);
}

#[tokio::test]
async fn another_user_gets_a_new_session_without_data() {
    let mut client = Client::start("").await;
    let secret = json!("of ann");
    client.json("PUT", "/api/session/secret", &secret).await;
    let mut ids = HashSet::new();
    for (login, is_kept) in [(ann(), true), (ann(), true), (bob(), false)] {
        check(
            &client.json("POST", "/api/login", &login).await,
            StatusCode::OK,
        );
        let shown = client.session().await;
        assert_eq!(shown["principal"], login["username"]);
        assert_eq!(shown["data"].get("secret").is_some(), is_kept, "{login}");
        ids.insert(shown["id"].to_string());
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_remembered_login_outlives_the_browser() {
    let mut client = Client::start("").await;
    for (remember, days) in [(true, 29), (false, 0)] {
        let mut login = ann();
        login["remember"] = remember.into();
        let response = client.json("POST", "/api/login", &login).await;
        let set = set_cookie(&response).expect("a new token");
        assert_eq!(set.contains("Max-Age"), remember, "{set}");
        let expires_in = client.session().await["expires_in_s"].as_u64();
        assert_eq!(expires_in.expect("a number") / 86_400, days);
    }
}

#[tokio::test]
async fn two_concurrent_logins_of_a_user_both_return_a_working_cookie() {
    let mut client = Client::start("").await;
    client.get("/").await;
    let mut second = client.clone();
    let slow = SlowRequest::start(&client, "POST /api/login", &ann().to_string()).await;
    check(
        &client.json("POST", "/api/login", &ann()).await,
        StatusCode::OK,
    );
    let response = slow.complete().await;
    check(&response, StatusCode::OK);
    second.browser.keep(response.headers());
    assert_ne!(second.browser.cookie("id"), client.browser.cookie("id"));
    let (first, second) = (client.session().await, second.session().await);
    assert_eq!(
        (&first["principal"], &second["principal"]),
        (&json!("ann"), &json!("ann"))
    );
    assert_eq!(first["id"], second["id"], "both open one session");
}

#[tokio::test]
async fn a_login_that_loses_against_another_user_begins_a_session_of_its_own() {
    let mut client = Client::start("").await;
    client.get("/").await;
    let mut second = client.clone();
    let slow = SlowRequest::start(&client, "POST /api/login", &bob().to_string()).await;
    check(
        &client.json("POST", "/api/login", &ann()).await,
        StatusCode::OK,
    );
    let response = slow.complete().await;
    check(&response, StatusCode::OK);
    second.browser.keep(response.headers());
    let (first, second) = (client.session().await, second.session().await);
    assert_eq!(first["principal"], "ann");
    assert_eq!(second["principal"], "bob");
    assert_ne!(first["id"], second["id"]);
}
