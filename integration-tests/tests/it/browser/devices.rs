//! The page with a user's devices, in a browser, while the user is logged in on another one too.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use test_support::Browser;

use super::{Visitor, start_demo, visit};

const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 \
                       Firefox/140.0";

/// Another browser, on which ann is logged in.
pub(super) struct Other {
    site: SocketAddr,
    browser: Browser,
}

impl Other {
    pub(super) async fn log_in(site: SocketAddr) -> Self {
        let mut browser = Browser::new();
        let headers = HeaderMap::from_iter([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (header::USER_AGENT, HeaderValue::from_static(FIREFOX)),
        ]);
        let body = json!({"username": "ann", "password": "correct horse"}).to_string();
        let path = "/api/login";
        let response = browser.send_with(site, Method::POST, path, &body, headers);
        assert_eq!(response.await.status(), StatusCode::OK);
        Self { site, browser }
    }

    /// Ends another session of the user.
    pub(super) async fn end(&mut self, id: &str) {
        let path = format!("/api/sessions/{id}");
        let response = self
            .browser
            .send(self.site, Method::DELETE, &path, "")
            .await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }

    async fn principal(&mut self) -> Value {
        let response = self.browser.get(self.site, "/api/session").await;
        let shown: Value = serde_json::from_str(response.body()).expect("JSON");
        shown["principal"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_ends_the_session_of_another_browser() {
    let site = start_demo(&[]).await;
    visit(site, |visitor| async move {
        visitor.goto("/").await;
        visitor.submit_login("ann", "correct horse", false).await;
        visitor.shows("#user", "ann").await;
        let mut other = Other::log_in(site).await;
        visitor.click("#devices-link").await;
        visitor.shows("h1", "Your devices").await;
        visitor.sees_devices(2).await;
        let devices = visitor.text("#devices").await.expect("a table");
        assert!(devices.contains("Firefox on Windows"), "{devices}");
        let own = visitor.text("#devices .current").await.expect("a row");
        assert!(
            own.contains("Chrome") && own.contains("this device"),
            "{own}"
        );
        assert_eq!(other.principal().await, "ann");

        visitor.click("#devices tr:not(.current) button").await;
        visitor.sees_devices(1).await;
        let devices = visitor.text("#devices").await.expect("a table");
        assert!(!devices.contains("Firefox"), "{devices}");
        assert_eq!(visitor.text("#end-others").await, None);
        assert_eq!(other.principal().await, Value::Null);

        // a new password ends the others, too
        let mut other = Other::log_in(site).await;
        visitor.goto("/devices").await;
        visitor.sees_devices(2).await;
        visitor.submit("#password", "password", "tea time").await;
        visitor.is_told("#changed").await;
        visitor.sees_devices(1).await;
        assert_eq!(other.principal().await, Value::Null);

        let mut other = Other::log_in(site).await;
        visitor.goto("/devices").await;
        visitor.click("#end-all").await;
        visitor.is_told("#goodbye").await;
        assert_eq!(other.principal().await, Value::Null);
        visitor.goto("/devices").await;
        visitor.shows("h1", "Please log in").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_confirms_the_password_before_it_is_changed() {
    let site = start_demo(&["--fresh-within", "0"]).await;
    visit(site, |visitor| async move {
        visitor.goto("/").await;
        visitor.submit_login("ann", "correct horse", false).await;
        visitor.shows("#user", "ann").await;
        visitor.goto("/devices").await;
        assert_eq!(visitor.text("#password").await, None);
        let before = visitor.cookie().await.expect("a cookie");
        visitor.submit("#reauthenticate", "password", "wrong").await;
        visitor.shows("#wrong", "Wrong password.").await;
        let after = visitor.cookie().await.expect("a cookie");
        assert_eq!(after.value(), before.value());
        let right = "correct horse";
        visitor.submit("#reauthenticate", "password", right).await;
        visitor
            .eventually("the token is replaced", || async {
                let cookie = visitor.cookie().await;
                cookie.is_some_and(|cookie| cookie.value() != before.value())
            })
            .await;
    })
    .await;
}

impl Visitor {
    async fn sees_devices(&self, expected: u64) {
        let script = "return document.querySelectorAll('#devices tbody tr').length";
        self.eventually(&format!("{expected} devices are shown"), || async {
            let count = self.client.execute(script, vec![]).await;
            count.is_ok_and(|count| count == expected)
        })
        .await;
    }

    async fn is_told(&self, selector: &str) {
        self.eventually(&format!("{selector} is shown"), || async {
            self.text(selector).await.is_some()
        })
        .await;
    }
}
