//! The commands and round trips of each kind of request, as the Redis server counts them.

use std::{collections::BTreeMap, time::Duration};

use http::{Method, Request};
use hyper::body::Incoming;
use integration_tests::{App, Reply, keys, text};
use session_core::{ExpressOptions, Key, Sessions};
use session_hyper::SessionRequestExt;
use session_redis::RedisStore;
use test_support::{Browser, Meter, Redis, eventually};

const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";

async fn handler(request: Request<Incoming>) -> Reply {
    let handle = request.session();
    match request.uri().path() {
        "/untouched" => {}
        "/read" => drop(handle.load().await?.get(VIEWS)?),
        "/write" => {
            _ = handle
                .load()
                .await?
                .update(VIEWS, |views| views.unwrap_or(0) + 1)?
        }
        "/touch" => handle.load().await?.touch()?,
        "/login" => handle.load().await?.log_in("ann")?,
        "/regenerate" => handle.load().await?.regenerate()?,
        "/logout" => handle.load().await?.destroy()?,
        other => panic!("{other}"),
    }
    text("")
}

/// The commands by name, and the round trips, of one request.
struct Counted {
    commands: BTreeMap<String, u64>,
    round_trips: u64,
}

impl Counted {
    /// Counts one request.
    async fn of(server: &Redis, request: impl Future<Output = ()>) -> Self {
        let measured = Meter::new(server).measure(request).await;
        Self {
            commands: measured.commands,
            round_trips: measured.round_trips,
        }
    }
}

/// The server counts commands that run in scripts too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_request_sends_a_fixed_set_of_commands() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url())
        .await
        .expect("the server answers");
    // a touch is due if it extends the expiry by more than five seconds
    let sessions = Sessions::builder(store)
        .signing_keys(keys())
        .idle_timeout(Duration::from_secs(60))
        .touch_after(Duration::from_secs(5))
        .build()
        .expect("valid options");
    let app = App::start(sessions, handler).await;
    let (addr, mut browser) = (app.addr(), Browser::new());
    let mut forged = Browser::new();
    forged.set_cookie(COOKIE, &format!("v1.{}.{}", "A".repeat(43), "A".repeat(43)));
    // the first use of each script, and of each shared connection
    for _ in 0..20 {
        let mut visitor = Browser::new();
        visitor.get(addr, "/write").await;
        visitor.get(addr, "/write").await;
        visitor.get(addr, "/touch").await;
        visitor.get(addr, "/logout").await;
    }
    log_in_and_out(&app, &server).await;

    async fn get(browser: &mut Browser, app: &App, path: &str) {
        let response = browser.send(app.addr(), Method::GET, path, "").await;
        assert_eq!(response.status(), 200, "{path}");
    }
    #[track_caller]
    fn check(what: &str, counted: Counted, round_trips: u64, commands: &[(&str, u64)]) {
        let commands = commands
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        assert_eq!(
            (counted.round_trips, counted.commands),
            (round_trips, commands),
            "{what}"
        );
    }
    let read = [("get", 1), ("pttl", 1)];
    let save = [
        ("evalsha", 1),
        ("get", 1),
        ("getrange", 1),
        ("pttl", 1),
        ("set", 1),
    ];

    let touch = [
        ("evalsha", 1),
        ("get", 1),
        ("getrange", 1),
        ("pexpire", 1),
        ("pttl", 1),
    ];

    let none = Counted::of(&server, get(&mut Browser::new(), &app, "/read")).await;
    check("read without a cookie", none, 0, &[]);
    let none = Counted::of(&server, get(&mut forged, &app, "/read")).await;
    check("read with a forged cookie", none, 0, &[]);
    let first = Counted::of(&server, get(&mut browser, &app, "/write")).await;
    check("first write", first, 1, &[("evalsha", 1), ("set", 1)]);
    let none = Counted::of(&server, get(&mut browser, &app, "/untouched")).await;
    check("cookie, untouched", none, 0, &[]);
    let once = Counted::of(&server, get(&mut browser, &app, "/read")).await;
    check("read", once, 1, &read);
    let write = Counted::of(&server, get(&mut browser, &app, "/write")).await;
    check("write", write, 2, &save);
    // 10 of 60 seconds of the idle timeout pass
    for (key, _) in server.dump() {
        server.command::<u32>(&["PEXPIRE", &key, "50000"]);
    }
    let touched = Counted::of(&server, get(&mut browser, &app, "/read")).await;
    check("read with a touch due", touched, 2, &touch);
    let once = Counted::of(&server, get(&mut browser, &app, "/read")).await;
    check("read right after a touch", once, 1, &read);

    let other = Counted::of(&server, get(&mut browser, &app, "/regenerate")).await;
    let commands = [
        ("evalsha", 2),
        ("get", 1),
        ("getrange", 1),
        ("pttl", 1),
        ("set", 1),
        ("unlink", 1),
    ];
    check("regenerate", other, 3, &commands);
    let logout = Counted::of(&server, get(&mut browser, &app, "/logout")).await;
    let commands = [
        ("evalsha", 1),
        ("get", 1),
        ("getrange", 1),
        ("pttl", 1),
        ("unlink", 1),
    ];
    check("logout", logout, 2, &commands);
    let none = Counted::of(&server, get(&mut browser, &app, "/read")).await;
    check("after the logout", none, 0, &[]);

    get(&mut browser, &app, "/write").await;
    let login = Counted::of(&server, get(&mut browser, &app, "/login")).await;
    let commands = [
        ("evalsha", 1),
        ("get", 1),
        ("getrange", 1),
        ("hget", 1),
        ("hincrby", 1),
        ("hlen", 1),
        ("hset", 1),
        ("pexpire", 1),
        ("pttl", 2),
        ("set", 1),
    ];
    check("login", login, 2, &commands);
    let write = Counted::of(&server, get(&mut browser, &app, "/write")).await;
    check("write of a user", write, 2, &save);
    // the request does not wait until its entry is removed
    let logout = Counted::of(&server, async {
        get(&mut browser, &app, "/logout").await;
        eventually("the index forgets the session", async || {
            server.dump().is_empty()
        })
        .await;
    })
    .await;
    assert_eq!(logout.commands["evalsha"], 2);
    assert_eq!(logout.commands["unlink"], 2);
}

/// A user logs in and out, so that the server knows the scripts of the index.
async fn log_in_and_out(app: &App, server: &Redis) {
    let mut browser = Browser::new();
    browser.get(app.addr(), "/login").await;
    browser.get(app.addr(), "/logout").await;
    browser.get(app.addr(), "/write").await;
    browser.get(app.addr(), "/login").await;
    browser.get(app.addr(), "/logout").await;
    eventually("the index forgets the sessions", async || {
        server
            .dump()
            .iter()
            .all(|(key, _)| !key.contains(":index:"))
    })
    .await;
}

/// The touch compares the version, which proves that the token is current.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_cookie_costs_no_more_than_the_touch() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url())
        .await
        .expect("the server answers");
    let sessions = Sessions::builder(store)
        .signing_keys(keys())
        .express(ExpressOptions::new().rolling(true))
        .build()
        .expect("valid options");
    let app = App::start(sessions, handler).await;
    let mut browser = Browser::new();
    for _ in 0..20 {
        browser.get(app.addr(), "/write").await;
        browser.get(app.addr(), "/touch").await;
    }
    for (key, _) in server.dump() {
        server.command::<u32>(&["PEXPIRE", &key, "600000"]);
    }
    let mut cookies = 0;
    let read = Counted::of(&server, async {
        let response = browser.get(app.addr(), "/read").await;
        cookies = response.headers().get_all("set-cookie").iter().count();
    })
    .await;
    let commands = [
        ("evalsha", 1),
        ("get", 1),
        ("getrange", 1),
        ("pexpire", 1),
        ("pttl", 1),
    ];
    let commands = commands.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(
        (cookies, read.round_trips, read.commands),
        (1, 2, commands.into())
    );
}
