//! The pages and their forms.

use http::{StatusCode, header};
use serde_json::json;

use crate::client::{Client, check};

#[tokio::test]
async fn a_visit_is_counted_and_the_page_is_not_cached() {
    let mut client = Client::start("--instance shop-1").await;
    for views in 1..=3 {
        let page = client.get("/").await;
        let count = format!(r#"id="views">{views}<"#);
        assert!(page.body().contains(&count), "{}", page.body());
        assert!(page.body().contains("shop-1"), "{}", page.body());
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
    }
    client.send("HEAD", "/", &[], "").await;
    let views = &client.session().await["data"]["views"];
    assert_eq!(views, 3, "HEAD is not counted");
}

#[tokio::test]
async fn the_cart_is_filled_and_emptied() {
    let mut client = Client::start("").await;
    check(
        &client.form("/cart", "product=tea").await,
        StatusCode::SEE_OTHER,
    );
    let response = client.form("/cart", "product=gold").await;
    check(&response, StatusCode::BAD_REQUEST);
    let page = client.get("/").await;
    assert!(page.body().contains("1 × Green tea"), "{}", page.body());
    check(&client.form("/cart/empty", "").await, StatusCode::SEE_OTHER);
    let page = client.get("/").await;
    assert!(page.body().contains("cart-empty"), "{}", page.body());
}

#[tokio::test]
async fn the_pages_say_who_is_logged_in() {
    let mut client = Client::start("").await;
    let page = client.get("/").await;
    assert!(page.body().contains(r#"id="principal">nobody<"#));
    let response = client.form("/login", "username=ann&password=wrong").await;
    check(&response, StatusCode::UNAUTHORIZED);
    let page = response.body();
    assert!(page.contains(r#"id="failed">1<"#), "{page}");

    let right = "username=ann&password=correct+horse&remember=on";
    check(&client.form("/login", right).await, StatusCode::SEE_OTHER);
    for path in ["/", "/session"] {
        let page = client.get(path).await;
        let principal = r#"id="principal">ann<"#;
        assert!(page.body().contains(principal), "{}", page.body());
        let cookie = client.browser.cookie("id").expect("logged in");
        let token = cookie.split('.').nth(1).expect("a token");
        assert!(!page.body().contains(token), "the token is shown");
    }
    assert!(client.get("/").await.body().contains(r#"id="user">ann<"#));
}

#[tokio::test]
async fn the_forms_of_the_session_page_change_the_session() {
    let mut client = Client::start("").await;
    client.get("/").await;
    for (path, location) in [
        ("/session/renew", "/session"),
        ("/session/clear", "/session"),
        ("/session/regenerate", "/session"),
        ("/logout", "/?goodbye"),
    ] {
        let response = client.form(path, "").await;
        check(&response, StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[header::LOCATION], location);
    }
    assert!(!client.has_cookie());
    let page = client.get("/?goodbye").await;
    assert!(page.body().contains(r#"id="goodbye""#), "{}", page.body());
}

#[tokio::test]
async fn a_page_that_cannot_decode_a_value_says_where_to_clear_it() {
    let mut client = Client::start("").await;
    client
        .json("PUT", "/api/session/cart", &json!("text"))
        .await;
    let response = client.get("/").await;
    check(&response, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.body().contains("/session"), "{}", response.body());
    check(&client.get("/session").await, StatusCode::OK);
    let response = client.form("/session/clear", "").await;
    check(&response, StatusCode::SEE_OTHER);
    check(&client.get("/").await, StatusCode::OK);
}

#[tokio::test]
async fn requests_from_other_sites_change_nothing() {
    let mut client = Client::start("").await;
    client.form("/cart", "product=tea").await;
    let cart = client.session().await["data"].clone();
    let form = ("content-type", "application/x-www-form-urlencoded");
    for headers in [
        vec![form, ("sec-fetch-site", "cross-site")],
        vec![form, ("origin", "http://evil.example")],
        vec![form],
    ] {
        for (method, path) in [
            ("POST", "/cart"),
            ("POST", "/cart/empty"),
            ("POST", "/logout"),
            ("POST", "/login"),
            ("POST", "/api/logout"),
            ("PUT", "/api/session/cart"),
        ] {
            let response = client.send(method, path, &headers, "product=tea").await;
            check(&response, StatusCode::FORBIDDEN);
        }
    }
    assert_eq!(client.session().await["data"], cart);
}
