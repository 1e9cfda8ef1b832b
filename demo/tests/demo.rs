//! The demo over loopback, as a program and as a browser would use it.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use demo::{Server, options::Options};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

type Answer = Response<Bytes>;

/// A client that keeps the session cookie.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    cookie: Option<String>,
}

impl Client {
    /// A client of a demo that has just started with these flags.
    async fn start(flags: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address");
        let options = Options::from_arguments(flags.split_whitespace()).expect("flags");
        tokio::spawn(async move { demo::serve(listener, options).await.expect("serves") });
        Self {
            address,
            cookie: None,
        }
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("handshake");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Full::new(body.into())).expect("request");
        let (head, body) = sender
            .send_request(request)
            .await
            .expect("answer")
            .into_parts();
        if let Some(set) = set_cookie(&head.headers) {
            let pair = set.split(';').next().expect("pair").to_owned();
            self.cookie = Some(pair).filter(|pair| !pair.ends_with('='));
        }
        Response::from_parts(head, body.collect().await.expect("body").to_bytes())
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn api(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(
            method,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    async fn form(&mut self, path: &str, body: &'static str) -> Answer {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send("POST", path, &headers, body).await
    }

    async fn session(&mut self) -> Value {
        json_of(&self.get("/api/session").await)
    }
}

fn set_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::SET_COOKIE)
        .map(|value| value.to_str().expect("text"))
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_slice(answer.body()).expect("JSON")
}

fn text_of(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).expect("UTF-8")
}

#[track_caller]
fn check(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status(), status, "{}", text_of(answer));
}

#[track_caller]
fn check_error(answer: &Answer, status: StatusCode) {
    check(answer, status);
    assert!(json_of(answer)["error"].is_string(), "{}", text_of(answer));
}

#[tokio::test]
async fn looking_creates_nothing() {
    let mut client = Client::start("--instance one").await;
    let answer = client.get("/api/session").await;
    check(&answer, StatusCode::OK);
    assert_eq!(set_cookie(answer.headers()), None);
    let facts = json_of(&answer);
    assert_eq!(
        (&facts["is_new"], &facts["instance"], &facts["data"]),
        (&json!(true), &json!("one"), &json!({}))
    );
    assert_ne!(client.session().await["id"], facts["id"]);
    for path in ["/healthz", "/style.css", "/session", "/nowhere"] {
        assert_eq!(set_cookie(client.get(path).await.headers()), None, "{path}");
    }
    assert_eq!(text_of(&client.get("/healthz").await), "ok");
    assert!(
        !client
            .get("/healthz")
            .await
            .headers()
            .contains_key(header::VARY),
        "the session is not looked at"
    );
}

#[tokio::test]
async fn values_of_every_kind_come_back() {
    let mut client = Client::start("").await;
    let data = json!({
        "text": "\u{e4}\u{1F375}", "whole": -3, "large": u64::MAX, "real": 2.5, "yes": true, "nothing": null,
        "list": [1, "two", [3.5]], "object": {"a": {"b": []}}, "a name/with %": 1,
    });
    for (name, value) in data.as_object().expect("object") {
        let path = format!("/api/session/{}", percent_encode(name));
        check(
            &client.api("PUT", &path, value).await,
            StatusCode::NO_CONTENT,
        );
    }
    let facts = client.session().await;
    assert_eq!(facts["data"], data);
    assert_eq!(facts["is_new"], false);
    assert!(
        facts["created_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{facts}"
    );
    assert!(
        facts["expires_in_s"]
            .as_u64()
            .is_some_and(|left| (1790..=1800).contains(&left)),
        "{facts}"
    );

    check(
        &client.api("DELETE", "/api/session/list", &json!({})).await,
        StatusCode::NO_CONTENT,
    );
    check(
        &client.send("DELETE", "/api/session/absent", &[], "").await,
        StatusCode::NO_CONTENT,
    );
    assert!(client.session().await["data"].get("list").is_none());
}

fn percent_encode(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn additions_at_once_all_count() {
    const CLIENTS: i64 = 20;
    let mut client = Client::start("").await;
    assert_eq!(
        json_of(
            &client
                .api("POST", "/api/session/n/add", &json!({"by": 100}))
                .await
        ),
        json!({"value": 100})
    );
    let adding: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                check(
                    &client.send("POST", "/api/session/n/add", &[], "").await,
                    StatusCode::OK,
                );
            })
        })
        .collect();
    for adding in adding {
        adding.await.expect("added");
    }
    assert_eq!(client.session().await["data"]["n"], 100 + CLIENTS);
}

#[tokio::test]
async fn what_cannot_be_added_or_stored_is_the_clients_mistake() {
    let mut client = Client::start("").await;
    check(
        &client.api("PUT", "/api/session/word", &json!("tea")).await,
        StatusCode::NO_CONTENT,
    );
    check_error(
        &client
            .api("POST", "/api/session/word/add", &json!({"by": 1}))
            .await,
        StatusCode::CONFLICT,
    );
    for by in [i64::MAX, 1] {
        let answer = client
            .api("POST", "/api/session/n/add", &json!({ "by": by }))
            .await;
        assert_eq!(json_of(&answer), json!({"value": i64::MAX}), "no overflow");
    }
    check_error(
        &client
            .api("POST", "/api/session/n/add", &json!({"by": 1.5}))
            .await,
        StatusCode::BAD_REQUEST,
    );
    check_error(
        &client
            .api("POST", "/api/session/n/add", &json!({"times": 2}))
            .await,
        StatusCode::BAD_REQUEST,
    );

    let json = [("content-type", "application/json")];
    for bad in ["", "{", "tea", "1 2"] {
        check_error(
            &client.send("PUT", "/api/session/x", &json, bad).await,
            StatusCode::BAD_REQUEST,
        );
    }
    let large = json!("x".repeat(70_000));
    check_error(
        &client.api("PUT", "/api/session/x", &large).await,
        StatusCode::PAYLOAD_TOO_LARGE,
    );
    let larger = json!("x".repeat(1024 * 1024));
    check_error(
        &client.api("PUT", "/api/session/x", &larger).await,
        StatusCode::PAYLOAD_TOO_LARGE,
    );
    assert_eq!(
        client.session().await["data"],
        json!({"word": "tea", "n": i64::MAX}),
        "nothing else was written"
    );
}

#[tokio::test]
async fn methods_and_paths_that_there_are_not() {
    let mut client = Client::start("").await;
    check_error(&client.get("/api/nothing").await, StatusCode::NOT_FOUND);
    check(&client.get("/nothing").await, StatusCode::NOT_FOUND);
    for (method, path, allow) in [
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/login", "POST"),
        ("PATCH", "/api/session/x", "PUT, DELETE"),
    ] {
        let answer = client.send(method, path, &[], "").await;
        check(&answer, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()[header::ALLOW], allow, "{path}");
    }
    let (get, head) = (
        client.get("/healthz").await,
        client.send("HEAD", "/healthz", &[], "").await,
    );
    assert_eq!(
        get.headers()[header::CONTENT_LENGTH],
        head.headers()[header::CONTENT_LENGTH]
    );
    assert!(head.body().is_empty());
}

#[tokio::test]
async fn a_login_renews_and_a_logout_ends() {
    let mut client = Client::start("").await;
    let wrong = client
        .api(
            "POST",
            "/api/login",
            &json!({"username": "ann", "password": "no"}),
        )
        .await;
    check_error(&wrong, StatusCode::UNAUTHORIZED);
    let before = client.session().await;
    assert_eq!(before["data"], json!({"failed_logins": 1}));
    let mut thief = client.clone();

    let right = json!({"username": "ann", "password": "correct horse"});
    let answer = client.api("POST", "/api/login", &right).await;
    assert_eq!(json_of(&answer), json!({"username": "ann"}));
    let set = set_cookie(answer.headers()).expect("cookie");
    assert!(
        !set.contains("Max-Age") && !set.contains("Expires"),
        "{set}"
    );
    let after = client.session().await;
    assert_eq!(
        (&after["id"], &after["data"]),
        (&before["id"], &json!({})),
        "the same session"
    );
    assert_eq!(
        thief.session().await["is_new"],
        true,
        "the token from before the login is dead"
    );

    let mut renewed = client.clone();
    assert_eq!(
        json_of(&renewed.send("POST", "/api/renew", &[], "").await)["id"],
        before["id"]
    );
    assert_eq!(
        client.session().await["is_new"],
        true,
        "the token from before the renewal is dead"
    );
    let regenerated = json_of(&renewed.send("POST", "/api/regenerate", &[], "").await);
    assert_ne!(regenerated["id"], before["id"]);

    let mut late = renewed.clone();
    let answer = renewed.send("POST", "/api/logout", &[], "").await;
    check(&answer, StatusCode::NO_CONTENT);
    assert!(
        set_cookie(answer.headers())
            .is_some_and(|set| set.starts_with("id=;") && set.contains("Max-Age=0"))
    );
    assert_eq!(late.session().await["is_new"], true);
}

#[tokio::test]
async fn another_user_finds_an_empty_session() {
    let mut client = Client::start("").await;
    client
        .api("PUT", "/api/session/secret", &json!("of ann"))
        .await;
    let mut ids = HashSet::new();
    for (username, password, kept) in [
        ("ann", "correct horse", true),
        ("ann", "correct horse", true),
        ("bob", "battery staple", false),
    ] {
        let login =
            json!({"username": username, "password": password, "remember": username == "ann"});
        let answer = client.api("POST", "/api/login", &login).await;
        check(&answer, StatusCode::OK);
        let facts = client.session().await;
        assert_eq!(facts["data"].get("secret").is_some(), kept, "{username}");
        let days = facts["expires_in_s"].as_u64().expect("seconds") / 86400;
        assert_eq!(
            days,
            if username == "ann" { 29 } else { 0 },
            "{username}: who is not remembered gets no long life"
        );
        ids.insert(facts["id"].to_string());
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn pages_count_sell_and_log_in() {
    let mut client = Client::start("--instance shop-1").await;
    for views in 1..=3 {
        let answer = client.get("/").await;
        assert!(
            text_of(&answer).contains(&format!(r#"id="views">{views}<"#)),
            "{}",
            text_of(&answer)
        );
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    }
    client.send("HEAD", "/", &[], "").await;
    assert_eq!(
        client.session().await["data"]["views"],
        3,
        "a HEAD is no view"
    );

    let answer = client.form("/cart", "product=tea").await;
    check(&answer, StatusCode::SEE_OTHER);
    check(
        &client.form("/cart", "product=gold").await,
        StatusCode::BAD_REQUEST,
    );
    let token = client.cookie.clone().expect("cookie");
    let answer = client.form("/login", "username=ann&password=no").await;
    check(&answer, StatusCode::UNAUTHORIZED);
    assert!(
        text_of(&answer).contains(r#"id="failed">1<"#),
        "{}",
        text_of(&answer)
    );
    check(
        &client
            .form("/login", "username=ann&password=correct+horse&remember=on")
            .await,
        StatusCode::SEE_OTHER,
    );
    let page = client.get("/").await;
    for part in ["Green tea", r#"id="user">ann<"#, "shop-1"] {
        assert!(text_of(&page).contains(part), "{part}: {}", text_of(&page));
    }
    for page in [page, client.get("/session").await] {
        let secret = client
            .cookie
            .as_deref()
            .expect("cookie")
            .rsplit('.')
            .next()
            .expect("mac")
            .to_owned();
        assert!(!text_of(&page).contains(&secret) && !text_of(&page).contains(&token));
    }
    check(&client.form("/cart/empty", "").await, StatusCode::SEE_OTHER);
    assert!(text_of(&client.get("/").await).contains("cart-empty"));
    for path in [
        "/session/renew",
        "/session/clear",
        "/session/regenerate",
        "/logout",
    ] {
        check(&client.form(path, "").await, StatusCode::SEE_OTHER);
    }
    assert_eq!(client.cookie, None);
}

#[tokio::test]
async fn a_page_that_cannot_read_its_value_says_where_to_clear_it() {
    let mut client = Client::start("").await;
    client
        .api("PUT", "/api/session/cart", &json!("not a cart"))
        .await;
    let answer = client.get("/").await;
    check(&answer, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text_of(&answer).contains("/session"));
    check(&client.get("/session").await, StatusCode::OK);
    check(
        &client.form("/session/clear", "").await,
        StatusCode::SEE_OTHER,
    );
    check(&client.get("/").await, StatusCode::OK);
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let mut client = Client::start("").await;
    client.form("/cart", "product=tea").await;
    let cart = client.session().await["data"].clone();
    let form = ("content-type", "application/x-www-form-urlencoded");
    for headers in [
        vec![form, ("sec-fetch-site", "cross-site")],
        vec![form, ("origin", "http://evil.example")],
        vec![form],
    ] {
        for path in [
            "/cart",
            "/cart/empty",
            "/logout",
            "/login",
            "/api/logout",
            "/api/session/cart",
        ] {
            let method = if path == "/api/session/cart" {
                "PUT"
            } else {
                "POST"
            };
            check(
                &client.send(method, path, &headers, "product=tea").await,
                StatusCode::FORBIDDEN,
            );
        }
    }
    assert_eq!(client.session().await["data"], cart);
}

#[tokio::test]
async fn the_express_words_reach_the_library() {
    let mut client =
        Client::start("--save-uninitialized --cookie-name sid --cookie-http-only=false").await;
    let set = set_cookie(client.get("/api/session").await.headers())
        .expect("stored at a look")
        .to_owned();
    assert!(
        set.starts_with("sid=") && !set.contains("HttpOnly"),
        "{set}"
    );

    let mut client =
        Client::start("--rolling --cookie-max-age 1h --unset destroy --cookie-same-site off").await;
    client.get("/").await;
    let set = set_cookie(client.get("/api/session").await.headers())
        .expect("sent each time")
        .to_owned();
    assert!(
        set.contains("Max-Age=3600") && !set.contains("SameSite"),
        "{set}"
    );
    client.send("POST", "/api/unset", &[], "").await;
    assert_eq!(client.cookie, None);

    let mut client = Client::start("").await;
    client.get("/").await;
    client.send("POST", "/api/unset", &[], "").await;
    assert_eq!(client.session().await["is_new"], false);

    let mut client = Client::start("--proxy trust").await;
    let answer = client
        .send("GET", "/", &[("x-forwarded-proto", "https")], "")
        .await;
    assert!(set_cookie(answer.headers()).is_some_and(|set| set.contains("Secure")));
}

/// A request that was let in is answered although the end was asked for meanwhile.
#[tokio::test]
async fn the_end_waits_for_requests_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address");
    let server = Server::open(&Options::from_arguments([""; 0]).expect("flags"))
        .await
        .expect("opens");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));

    let waiting = let_in(address, "PUT /api/session/x", "7", None).await;
    stop.send(()).expect("serving");
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let answer = waiting.complete().await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .expect("ends")
        .expect("no panic");
}

#[tokio::test]
async fn nobody_is_welcomed_who_is_not_logged_in() {
    let mut client = Client::start("").await;
    client.get("/").await;
    let body = json!({"username": "ann", "password": "correct horse"});
    let waiting = let_in(
        client.address,
        "POST /api/login",
        &body.to_string(),
        client.cookie.as_deref(),
    )
    .await;
    check(
        &client.api("POST", "/api/login", &body).await,
        StatusCode::OK,
    );
    let answer = waiting.complete().await;
    assert!(
        answer.starts_with("HTTP/1.1 409") && !answer.contains("set-cookie"),
        "{answer}"
    );
    assert_eq!(
        client.session().await["is_new"],
        false,
        "the first login stands"
    );
}

/// A request that has come as far as its handler, which waits for the body.
struct Waiting {
    stream: TcpStream,
    body: String,
}

async fn let_in(address: SocketAddr, request: &str, body: &str, cookie: Option<&str>) -> Waiting {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let head = format!(
        "{request} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cookie: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len(),
        cookie.unwrap_or("none=1"),
    );
    stream.write_all(head.as_bytes()).await.expect("sends");
    // the go-ahead comes when the handler asks for the body
    let mut go_ahead = [0; 25];
    stream.read_exact(&mut go_ahead).await.expect("reads");
    assert_eq!(&go_ahead, b"HTTP/1.1 100 Continue\r\n\r\n");
    Waiting {
        stream,
        body: body.to_owned(),
    }
}

impl Waiting {
    async fn complete(mut self) -> String {
        self.stream
            .write_all(self.body.as_bytes())
            .await
            .expect("sends");
        let mut answer = String::new();
        self.stream
            .read_to_string(&mut answer)
            .await
            .expect("reads");
        answer
    }
}
