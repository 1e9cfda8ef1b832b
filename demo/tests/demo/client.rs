//! A client of a demo that runs in the test's process.

use std::net::SocketAddr;

use demo::options::Options;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use test_support::Browser;
use tokio::net::TcpListener;

/// A client that keeps cookies. A clone has the same cookies at first, like a second tab.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) browser: Browser,
}

impl Client {
    /// Starts a demo with these flags and returns a client of it.
    pub(crate) async fn start(flags: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let options = Options::from_arguments(flags.split_whitespace()).expect("valid flags");
        tokio::spawn(async move { demo::serve(listener, options).await.expect("it starts") });
        let browser = Browser::new();
        Self { address, browser }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> Response<String> {
        let method: Method = method.parse().expect("a method");
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let headers = HeaderMap::from_iter(headers);
        self.browser
            .send_with(self.address, method, path, body, headers)
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response<String> {
        self.send("GET", path, &[], "").await
    }

    /// Sends a request of the API without a body.
    pub(crate) async fn post(&mut self, path: &str) -> Response<String> {
        self.send("POST", path, &[], "").await
    }

    /// Sends JSON, as a program does.
    pub(crate) async fn json(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Response<String> {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, &body.to_string()).await
    }

    /// Submits a form of the site, as a browser does.
    pub(crate) async fn form(&mut self, path: &str, body: &str) -> Response<String> {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send("POST", path, &headers, body).await
    }

    /// The session as the API shows it.
    pub(crate) async fn session(&mut self) -> Value {
        json_of(&self.get("/api/session").await)
    }

    /// Whether the browser has a session cookie.
    pub(crate) fn has_cookie(&self) -> bool {
        self.browser.cookie("id").is_some()
    }
}

pub(crate) fn set_cookie(response: &Response<String>) -> Option<&str> {
    let value = response.headers().get(header::SET_COOKIE)?;
    Some(value.to_str().expect("text"))
}

pub(crate) fn json_of(response: &Response<String>) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_str(response.body()).expect("JSON")
}

#[track_caller]
pub(crate) fn check(response: &Response<String>, status: StatusCode) {
    assert_eq!(response.status(), status, "{}", response.body());
}

#[track_caller]
pub(crate) fn check_error(response: &Response<String>, status: StatusCode) {
    check(response, status);
    let error = &json_of(response)["error"];
    assert!(error.is_string(), "{}", response.body());
}
