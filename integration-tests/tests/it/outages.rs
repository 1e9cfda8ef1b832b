//! Redis killed, hung, slow, unreachable, or with lost replies: what users see, and that the
//! service recovers without a restart.

use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use integration_tests::{App, Reply, keys, text};
use session_core::{Key, Outcome, SessionError, SessionErrorKind, Sessions};
use session_hyper::SessionRequestExt;
use session_redis::{RedisConfig, RedisStore};
use test_support::{Browser, Fault, Proxy, Redis, eventually};
use tokio::time::timeout;

use crate::visit::{request, visit};

const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";
/// A response must come by then: the total timeout of the store, and a margin for a busy machine.
const BOUND: Duration = Duration::from_secs(10);

async fn handler(request: Request<Incoming>) -> Reply {
    let handle = request.session();
    match request.uri().path() {
        "/untouched" => text("served"),
        "/read" => text(handle.load().await?.get(VIEWS)?.unwrap_or(0).to_string()),
        _ => text(
            handle
                .load()
                .await?
                .update(VIEWS, |views| views.unwrap_or(0) + 1)?
                .to_string(),
        ),
    }
}

async fn start(url: &str) -> App {
    start_with_timeouts(url, Duration::from_millis(300), Duration::from_secs(1)).await
}

async fn start_with_timeouts(url: &str, response: Duration, total: Duration) -> App {
    let config = RedisConfig::from_url(url)
        .expect("a URL")
        .response_timeout(response)
        .total_timeout(total);
    let store = RedisStore::open(config).await.expect("the server answers");
    App::start(
        Sessions::builder(store)
            .signing_keys(keys())
            .build()
            .expect("valid options"),
        handler,
    )
    .await
}

async fn get(browser: &mut Browser, app: &App, path: &str) -> Response<String> {
    timeout(BOUND, browser.get(app.addr(), path))
        .await
        .expect("an answer in time")
}

/// While the store is unavailable, routes with a session answer 503, other routes are served, and
/// no cookie changes.
async fn assert_unavailable(app: &App, browser: &mut Browser) {
    let cookie = browser.cookie(COOKIE).map(str::to_owned);
    for _ in 0..10 {
        for path in ["/read", "/write"] {
            let response = get(browser, app, path).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(response.headers()["retry-after"], "1");
            assert!(!response.headers().contains_key("set-cookie"));
        }
        assert_eq!(get(browser, app, "/untouched").await.body(), "served");
        assert_eq!(
            get(&mut Browser::new(), app, "/read").await.body(),
            "0",
            "a visitor without a cookie needs no store"
        );
    }
    assert_eq!(browser.cookie(COOKIE).map(str::to_owned), cookie);
}

/// Once the store is available again, the same session is served without a restart. Returns the
/// views that a first write counts.
async fn assert_recovers(app: &App, browser: &mut Browser) -> u32 {
    let mut views = None;
    eventually("a write is served again", async || {
        let response = get(browser, app, "/write").await;
        match response.status() {
            StatusCode::OK => views = Some(response.body().parse().expect("a number")),
            status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        }
        views.is_some()
    })
    .await;
    views.expect("served")
}

async fn views(app: &App, browser: &mut Browser) -> u32 {
    let response = get(browser, app, "/read").await;
    response.body().parse().expect("a number")
}

/// Killed and started again three times. The session is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_a_503_until_it_is_back() {
    let server = Redis::start_durable();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    for views in 2..5 {
        server.kill();
        assert_unavailable(&app, &mut browser).await;
        server.restart();
        assert_eq!(assert_recovers(&app, &mut browser).await, views);
    }
}

/// The process hangs and its connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_a_503_until_it_goes_on() {
    let server = Redis::start();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    server.pause();
    assert_unavailable(&app, &mut browser).await;
    server.resume();
    let views = assert_recovers(&app, &mut browser).await;
    assert!(
        views >= 2,
        "the server may have carried out what was sent before the breaker opened: {views}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_everything_makes_new_sessions_and_no_errors() {
    let server = Redis::start();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    let () = server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "2");
    let old = browser.cookie(COOKIE).map(str::to_owned);
    let () = server.command(&["FLUSHALL"]);
    let () = server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    assert_ne!(
        browser.cookie(COOKIE).map(str::to_owned),
        old,
        "the new session has a new token"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_fails_is_a_503_until_it_works_again() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    for fault in [
        Fault::Cut,
        Fault::Stall,
        Fault::Delay(Duration::from_secs(5)),
    ] {
        let before = views(&app, &mut browser).await;
        proxy.set(fault);
        assert_unavailable(&app, &mut browser).await;
        proxy.set(Fault::None);
        assert!(
            assert_recovers(&app, &mut browser).await > before,
            "{fault:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_slow_is_used() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start_with_timeouts(&proxy.url(), BOUND, BOUND).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    // load and save: a delay of each request and each reply; 1 ms for each byte of the replies
    for (fault, at_least, views) in [
        (
            Fault::Delay(Duration::from_millis(20)),
            Duration::from_millis(80),
            "2",
        ),
        (Fault::Trickle, Duration::from_millis(20), "3"),
    ] {
        proxy.set(fault);
        let started_at = Instant::now();
        let response = get(&mut browser, &app, "/write").await;
        assert_eq!(response.body(), views, "{fault:?}");
        assert!(started_at.elapsed() >= at_least, "{fault:?} was injected");
    }
}

/// A load has no effect, so an error is all that is left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_whose_replies_are_lost_is_a_503_and_counts_nothing() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    for views in 2..7 {
        let lost = proxy.replies_lost();
        proxy.set(Fault::LoseRepliesTo("GET"));
        let response = get(&mut browser, &app, "/write").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(proxy.replies_lost() > lost, "a reply was lost");
        proxy.set(Fault::None);
        assert_eq!(assert_recovers(&app, &mut browser).await, views);
    }
}

/// The store sends the write again and recognizes its own version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_reply_is_lost_once_is_served_and_counts_once() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    // the script of a save is known to the server after the second
    for written in ["1", "2"] {
        assert_eq!(get(&mut browser, &app, "/write").await.body(), written);
    }
    for written in 3..8 {
        let lost = proxy.replies_lost();
        proxy.set(Fault::LoseReplyTo("EVALSHA"));
        let response = get(&mut browser, &app, "/write").await;
        assert_eq!(proxy.replies_lost(), lost + 1, "the reply was lost");
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::OK, written.to_string().as_str())
        );
        assert_eq!(views(&app, &mut browser).await, written);
    }
}

/// The session is loaded again, and its version shows that the write was applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_replies_are_all_lost_is_settled_by_a_load_and_counts_once() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    for written in ["1", "2"] {
        assert_eq!(get(&mut browser, &app, "/write").await.body(), written);
    }
    let cookie = browser.cookie(COOKIE).map(str::to_owned);
    for written in 3..8 {
        let lost = proxy.replies_lost();
        proxy.set(Fault::LoseRepliesTo("EVALSHA"));
        let response = get(&mut browser, &app, "/write").await;
        assert!(proxy.replies_lost() > lost, "the reply was lost");
        proxy.set(Fault::None);
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::OK, written.to_string().as_str())
        );
        assert_eq!(browser.cookie(COOKIE).map(str::to_owned), cookie);
        assert_eq!(views(&app, &mut browser).await, written);
    }
}

/// Thousands of concurrent requests on two connections, ten of them with a session of 10 MB. Each
/// is served or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_store_serves_or_refuses_every_request() {
    let server = Redis::start();
    let config = RedisConfig::from_url(&server.url())
        .expect("a URL")
        .connections(2)
        .max_in_flight(64)
        // 10 MB take long on a busy machine
        .response_timeout(BOUND)
        .total_timeout(BOUND);
    let store = RedisStore::open(config).await.expect("the server answers");
    let sessions = Sessions::builder(store)
        .signing_keys(keys())
        .max_bytes(16 << 20)
        .build()
        .expect("valid options");
    let mut large = Browser::new();
    visit(&sessions, &mut large, |session| {
        session.insert("large", &"x".repeat(10 << 20))
    })
    .await;
    let tasks: Vec<_> = (0..5000)
        .map(|n| {
            let sessions = sessions.clone();
            let browser = match n % 500 {
                0 => large.clone(),
                _ => Browser::new(),
            };
            tokio::spawn(async move { write(&sessions, &browser, n).await })
        })
        .collect();
    let (mut served, mut refused) = (0, 0);
    for task in tasks {
        let outcome = timeout(Duration::from_secs(60), task)
            .await
            .expect("no request hangs")
            .expect("no panic");
        match outcome.map_err(|error| error.kind()) {
            Ok(_) => served += 1,
            // contention: the ten large requests write to one session
            Err(
                SessionErrorKind::Overloaded
                | SessionErrorKind::Unavailable
                | SessionErrorKind::InDoubt
                | SessionErrorKind::Contention,
            ) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    println!("{served} served, {refused} refused");
    assert!(served > 0);
    // connections may still be replaced
    eventually("a request is served after the load", async || {
        write(&sessions, &Browser::new(), 1).await.is_ok()
    })
    .await;
}

/// One request that writes.
async fn write(
    sessions: &Sessions,
    browser: &Browser,
    views: u32,
) -> Result<Outcome, SessionError> {
    let handle = sessions.begin(&request(browser));
    let session = handle.load().await?;
    session.insert(VIEWS, &views)?;
    sessions.finish(&handle, &mut Response::new(())).await
}
