//! Redis dead, hung, slow, cut off, or answering into the void: what users see, and that it passes by itself.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use integration_tests::{App, Reply, keys, text};
use session_core::{Key, Sessions};
use session_hyper::RequestSession;
use session_redis::{RedisConfig, RedisStore};
use test_support::{Browser, Fault, Proxy, Redis};
use tokio::time::{Instant, timeout};

const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";
/// Longest answer that a user should ever wait for: the store's own bound, and a busy machine's delay.
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
    let config = RedisConfig::from_url(url).expect("a URL");
    let config = config
        .response_timeout(Duration::from_millis(300))
        .total_timeout(Duration::from_secs(1));
    let store = RedisStore::open(config).await.expect("the server answers");
    App::start(
        Sessions::builder(store)
            .signing_keys(keys())
            .build()
            .expect("legal options"),
        handler,
    )
    .await
}

async fn get(browser: &mut Browser, app: &App, path: &str) -> http::Response<String> {
    timeout(BOUND, browser.get(app.addr(), path))
        .await
        .expect("an answer in bounded time")
}

/// While the store is away: routes with a session are 503, others are served, and no cookie changes.
async fn suffers(app: &App, browser: &mut Browser, writes_only: bool) {
    let cookie = browser.cookie(COOKIE).map(str::to_owned);
    let paths: &[_] = if writes_only {
        &["/write"]
    } else {
        &["/read", "/write"]
    };
    for _ in 0..10 {
        for path in paths {
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

/// Once the store is back: the same session, without a restart of anything.
async fn recovers(app: &App, browser: &mut Browser) -> u32 {
    let begun = Instant::now();
    loop {
        let response = get(browser, app, "/write").await;
        if response.status() == StatusCode::OK {
            return response.body().parse().expect("a number");
        }
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the store is back and nobody notices"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// T8, R6: killed and started again, three times over; the session is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t8_a_killed_server() {
    let server = Redis::start_durable();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    for views in 2..5 {
        server.kill();
        suffers(&app, &mut browser, false).await;
        server.restart();
        assert_eq!(recovers(&app, &mut browser).await, views);
    }
}

/// R4: the process hangs, its connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_server_that_hangs() {
    let server = Redis::start();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    server.pause();
    suffers(&app, &mut browser, false).await;
    server.resume();
    let views = recovers(&app, &mut browser).await;
    assert!(
        views >= 2,
        "what was sent before the breaker opened may have been carried out since: {views}"
    );
}

/// R7: everything forgotten is an unknown session, not an error; scripts are sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_t19_a_server_that_forgets() {
    let server = Redis::start();
    let app = start(&server.url()).await;
    let mut browser = Browser::new();
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "2");
    let old = browser.cookie(COOKIE).map(str::to_owned);
    server.command::<()>(&["FLUSHALL"]);
    server.command::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    assert_ne!(
        browser.cookie(COOKIE).map(str::to_owned),
        old,
        "under a fresh token"
    );
}

/// R4, R6 on the wire: cut, stalled, far too slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_r6_a_network_that_fails() {
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
        let before: u32 = get(&mut browser, &app, "/read")
            .await
            .body()
            .parse()
            .expect("a number");
        proxy.set(fault);
        suffers(&app, &mut browser, false).await;
        proxy.set(Fault::None);
        assert!(recovers(&app, &mut browser).await > before, "{fault:?}");
    }
}

/// Slow is not dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_slow_is_used() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    get(&mut browser, &app, "/write").await;
    for (fault, views) in [
        (Fault::Delay(Duration::from_millis(20)), "2"),
        (Fault::Trickle, "3"),
    ] {
        proxy.set(fault);
        assert_eq!(
            get(&mut browser, &app, "/write").await.body(),
            views,
            "{fault:?}"
        );
    }
}

/// R26, R3: the write was carried out and its answer is lost. It is told as unknown, or found to be one's own on a second try;
/// never as not done, and never done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_an_answer_that_is_lost() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let app = start(&proxy.url()).await;
    let mut browser = Browser::new();
    assert_eq!(get(&mut browser, &app, "/write").await.body(), "1");
    let mut told = 1;
    for _ in 0..5 {
        proxy.set(Fault::LoseReplyTo("GET"));
        let response = get(&mut browser, &app, "/write").await;
        assert_eq!(
            response.status(),
            StatusCode::SERVICE_UNAVAILABLE,
            "the load's answer is lost already"
        );
        proxy.set(Fault::None);
        told += 1;
        assert_eq!(
            recovers(&app, &mut browser).await,
            told,
            "nothing was counted that was not told"
        );
    }
}

/// R22: thousands at once on a few connections, one of them with a large session; all are served or refused in bounded time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r22_a_crowd_is_served() {
    let server = Redis::start();
    let config = RedisConfig::from_url(&server.url())
        .expect("a URL")
        .connections(2)
        .max_in_flight(64);
    let store = RedisStore::open(config).await.expect("the server answers");
    let sessions = Sessions::builder(store)
        .signing_keys(keys())
        .max_bytes(16 << 20)
        .build()
        .expect("legal options");
    let mut large = Browser::new();
    crate::visit::visit(&sessions, &mut large, |session| {
        session
            .insert("large", &"x".repeat(10 << 20))
            .expect("within the limit");
    })
    .await;
    let tasks: Vec<_> = (0..5000)
        .map(|n| {
            let (sessions, browser) = (
                sessions.clone(),
                if n % 500 == 0 {
                    large.clone()
                } else {
                    Browser::new()
                },
            );
            tokio::spawn(async move {
                let handle = sessions.begin(&crate::visit::request(&browser));
                let session = handle.load().await?;
                session.insert(VIEWS, &n)?;
                sessions.finish(&handle, &mut http::Response::new(())).await
            })
        })
        .collect();
    let mut served = 0;
    for task in tasks {
        // a refusal is an answer; what must not be is a hang, or a panic
        served += u32::from(
            timeout(Duration::from_secs(60), task)
                .await
                .expect("bounded")
                .expect("no panic")
                .is_ok(),
        );
    }
    assert!(served > 0);
    // the connections may just be replaced
    let begun = Instant::now();
    loop {
        let handle = sessions.begin(&crate::visit::request(&Browser::new()));
        let session = handle.load().await.expect("no store needed");
        session.insert(VIEWS, &1).expect("writable");
        if sessions
            .finish(&handle, &mut http::Response::new(()))
            .await
            .is_ok()
        {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the crowd is gone and nobody is served"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
