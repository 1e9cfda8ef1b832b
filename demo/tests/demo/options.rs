//! Flags, as far as a client sees their effect.

use http::StatusCode;
use serde_json::json;

use crate::{
    client::{Client, check, check_error, set_cookie},
    slow_request::SlowRequest,
};

#[tokio::test]
async fn save_uninitialized_stores_a_session_that_is_only_read() {
    let mut client = Client::start("--save-uninitialized").await;
    client.get("/api/session").await;
    assert_eq!(client.session().await["is_new"], false);
}

#[tokio::test]
async fn the_flags_for_the_cookie_set_its_attributes() {
    let flags = "--cookie-name sid --cookie-http-only=false --cookie-same-site off";
    let mut client = Client::start(flags).await;
    let response = client.get("/").await;
    let set = set_cookie(&response).expect("a new session");
    assert!(set.starts_with("sid="), "{set}");
    assert!(
        !set.contains("HttpOnly") && !set.contains("SameSite"),
        "{set}"
    );

    let mut client = Client::start("--cookie-max-age 1h").await;
    let response = client.get("/").await;
    let set = set_cookie(&response).expect("a new session");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    assert!(set.contains("Max-Age="), "{set}");
}

#[tokio::test]
async fn rolling_sets_the_cookie_again_with_each_touch() {
    for (flags, is_set_again) in [
        ("--rolling --touch-after 0", true),
        ("--touch-after 0", false),
    ] {
        let mut client = Client::start(flags).await;
        client.get("/").await;
        let response = client.get("/api/session").await;
        assert_eq!(set_cookie(&response).is_some(), is_set_again, "{flags}");
    }
}

#[tokio::test]
async fn unset_discards_or_destroys() {
    for (flags, is_destroyed) in [("--unset destroy", true), ("", false)] {
        let mut client = Client::start(flags).await;
        client.get("/").await;
        client.post("/api/unset").await;
        assert_eq!(client.session().await["is_new"], is_destroyed, "{flags}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_whether_the_request_was_secure() {
    for (flags, is_secure) in [("--proxy trust", true), ("", false)] {
        let mut client = Client::start(flags).await;
        let headers = [("x-forwarded-proto", "https")];
        let response = client.send("GET", "/", &headers, "").await;
        let set = set_cookie(&response).expect("a new session");
        assert_eq!(set.contains("Secure"), is_secure, "{flags}: {set}");
    }
}

#[tokio::test]
async fn on_lost_decides_the_response_to_a_write_that_a_logout_overtook() {
    for (flags, status) in [
        ("", StatusCode::CONFLICT),
        ("--on-lost discard", StatusCode::NO_CONTENT),
        ("--on-lost 410", StatusCode::GONE),
    ] {
        let mut client = Client::start(flags).await;
        client.json("PUT", "/api/session/x", &json!(1)).await;
        let slow = SlowRequest::start(&client, "PUT /api/session/x", "2").await;
        check(&client.post("/api/logout").await, StatusCode::NO_CONTENT);
        let response = slow.complete().await;
        assert_eq!(set_cookie(&response), None, "{flags}");
        match status.is_success() {
            true => check(&response, status),
            false => check_error(&response, status),
        }
    }
}

#[tokio::test]
async fn max_bytes_limits_the_data_of_a_session() {
    let mut client = Client::start("--max-bytes 100").await;
    let large = json!("x".repeat(200));
    let response = client.json("PUT", "/api/session/x", &large).await;
    check_error(&response, StatusCode::PAYLOAD_TOO_LARGE);
}
