//! Several instances of the demo, each a process, behind haproxy with the deployed configuration,
//! on one Redis server.

mod devices;
mod users;

use std::{collections::BTreeSet, net::SocketAddr};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use test_support::{Balancer, Browser, Demo, Redis, eventually};

use users::{Load, User};

const INSTANCE: &str = env!("CARGO_BIN_EXE_instance");
const NAMES: [&str; 3] = ["one", "two", "three"];
const COOKIE: &str = "id";
/// The users of a load.
const USERS: usize = 8;
const OLD_KEY: &str = "the first signing key of all three instances";
const NEW_KEY: &str = "the second signing key that replaces the first";
/// The header in which the balancer names the instance that answered. Its own responses have none.
const SERVED_BY: &str = "x-served-by";

/// Three instances behind a balancer. The store ends last.
struct Site {
    balancer: Balancer,
    instances: Vec<Demo>,
    redis: Redis,
}

impl Site {
    fn start(redis: Redis) -> Self {
        let instances: Vec<_> = NAMES
            .into_iter()
            .map(|name| Demo::start(INSTANCE, name, &redis.url(), OLD_KEY))
            .collect();
        let servers: Vec<_> = instances
            .iter()
            .map(|instance| (instance.name(), instance.addr()))
            .collect();
        Self {
            balancer: Balancer::start(&servers),
            instances,
            redis,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.balancer.addr()
    }

    /// Waits until the balancer sends requests to this instance.
    async fn wait_for_instance(&self, name: &str) {
        eventually(&format!("the balancer uses {name}"), async || {
            served_by(&Browser::new().get(self.addr(), "/healthz").await).as_deref() == Some(name)
        })
        .await;
    }
}

impl Site {
    /// Makes Redis keep every session for a minute only, so that the next request of each has to
    /// extend its life.
    fn let_sessions_age(&self) {
        for (key, _) in self.redis.dump() {
            let aged: u32 = self.redis.command(&["PEXPIRE", &key, "60000"]);
            assert_eq!(aged, 1);
        }
    }
}

fn served_by(response: &Response<String>) -> Option<String> {
    response
        .headers()
        .get(SERVED_BY)
        .map(|name| name.to_str().expect("ascii").to_owned())
}

async fn send(
    browser: &mut Browser,
    addr: SocketAddr,
    method: Method,
    path: &str,
    body: &str,
) -> Response<String> {
    let json = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    browser.send_with(addr, method, path, body, json).await
}

/// The response of `GET /api/session`.
async fn session(browser: &mut Browser, addr: SocketAddr) -> Value {
    let response = browser.get(addr, "/api/session").await;
    assert_eq!(response.status(), StatusCode::OK, "{}", response.body());
    serde_json::from_str(response.body()).expect("JSON")
}

async fn log_in(browser: &mut Browser, addr: SocketAddr) -> Response<String> {
    let body = r#"{"username": "ann", "password": "correct horse"}"#;
    let response = send(browser, addr, Method::POST, "/api/login", body).await;
    assert_eq!(response.status(), StatusCode::OK, "{}", response.body());
    response
}

/// A visitor whose name is in the session.
async fn visitor(addr: SocketAddr, name: &str) -> Browser {
    let mut browser = Browser::new();
    let stored = send(
        &mut browser,
        addr,
        Method::PUT,
        "/api/session/tag",
        &format!("{name:?}"),
    )
    .await;
    assert_eq!(stored.status(), StatusCode::NO_CONTENT, "{}", stored.body());
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_on_one_instance_is_ended_by_a_logout_on_another() {
    let site = Site::start(Redis::start());
    let mut browser = visitor(site.addr(), "ann").await;
    let before = browser.clone();
    let login = log_in(&mut browser, site.addr()).await;

    let ended = session(&mut browser, site.addr()).await;
    assert_eq!(ended["principal"], "ann", "{ended}");
    assert_eq!(ended["data"]["tag"], "ann", "the data survive the login");
    let kept = browser.clone();
    let logout = send(&mut browser, site.addr(), Method::POST, "/api/logout", "").await;
    assert_eq!(logout.status(), StatusCode::NO_CONTENT);
    assert_eq!(browser.cookie(COOKIE), None);
    let served: Vec<_> = [
        served_by(&login),
        ended["instance"].as_str().map(str::to_owned),
        served_by(&logout),
    ]
    .into();
    assert_eq!(
        served.iter().flatten().collect::<BTreeSet<_>>().len(),
        3,
        "{served:?}"
    );

    // a cookie from before the login or from after it opens nothing on any instance
    for instance in &site.instances {
        for cookies in [&before, &kept] {
            let seen = session(&mut cookies.clone(), instance.addr()).await;
            assert_eq!(seen["instance"], instance.name());
            assert_eq!(seen["is_new"], true, "{seen}");
            assert!(
                seen["id"] != ended["id"] && seen["data"]["tag"].is_null(),
                "{seen}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_one_instance_is_read_on_the_next() {
    let site = Site::start(Redis::start());
    let mut browser = visitor(site.addr(), "ann").await;
    let mut instances = BTreeSet::new();
    for written in 1..=12 {
        let added = send(
            &mut browser,
            site.addr(),
            Method::POST,
            "/api/session/n/add",
            "{}",
        )
        .await;
        assert_eq!(added.status(), StatusCode::OK, "{}", added.body());
        let seen = session(&mut browser, site.addr()).await;
        assert_eq!(seen["data"]["n"], written);
        assert_ne!(
            seen["instance"].as_str().map(str::to_owned),
            served_by(&added)
        );
        instances.insert(seen["instance"].to_string());
    }
    assert_eq!(instances.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_an_instance_under_load_loses_no_session() {
    let mut site = Site::start(Redis::start());
    let load = Load::start(site.addr(), USERS).await;
    site.instances[1].kill();
    load.assert_progress().await;
    site.instances[1].restart();
    site.wait_for_instance(NAMES[1]).await;
    load.assert_progress().await;
    let failures = load.end(&site).await;
    // the killed instance was serving at most one request of each user, and the balancer sends the
    // others elsewhere
    assert!(failures.len() <= USERS, "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_with_draining_fails_no_request() {
    let mut site = Site::start(Redis::start());
    let load = Load::start(site.addr(), USERS).await;
    for (number, name) in NAMES.into_iter().enumerate() {
        let before = site.instances[number].process_id();
        site.balancer.drain(name);
        site.instances[number].terminate();
        load.assert_progress().await;
        site.instances[number].restart();
        assert_ne!(site.instances[number].process_id(), before);
        site.balancer.resume(name);
        site.wait_for_instance(name).await;
    }
    load.assert_progress().await;
    let failures = load.end(&site).await;
    assert!(failures.is_empty(), "{failures:?}");
}

/// After `SIGTERM` an instance answers the requests that it has read. A connection that it has not
/// read from yet is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_without_draining_loses_no_session() {
    let mut site = Site::start(Redis::start());
    let load = Load::start(site.addr(), USERS).await;
    for (number, name) in NAMES.into_iter().enumerate() {
        site.instances[number].terminate();
        load.assert_progress().await;
        site.instances[number].restart();
        site.wait_for_instance(name).await;
    }
    load.assert_progress().await;
    let failures = load.end(&site).await;
    assert!(failures.len() <= NAMES.len() * USERS, "{failures:?}");
}

/// First every instance verifies with the new key, then every instance signs with it, and then the
/// old key is removed. The cookie of a user is signed again as the session is used; that of a
/// visitor is not, because a concurrent login might just have replaced it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_keys_are_rotated_one_instance_after_another() {
    let mut site = Site::start(Redis::start());
    let mut user = User::begin(site.addr(), "ann".to_owned()).await;
    log_in(&mut user.browser, site.addr()).await;
    let mut visitor = User::begin(site.addr(), "visitor".to_owned()).await;
    let signed_by_old = user.browser.clone();
    let mut visited = 0;
    for keys in [
        format!("{OLD_KEY},{NEW_KEY}"),
        format!("{NEW_KEY},{OLD_KEY}"),
        NEW_KEY.to_owned(),
    ] {
        for number in 0..site.instances.len() {
            site.instances[number].terminate();
            site.instances[number].restart_with_keys(&keys);
            // some instances have the previous keys and some the next
            for instance in &site.instances {
                site.let_sessions_age();
                let seen = session(&mut user.browser, instance.addr()).await;
                assert_eq!(seen["principal"], "ann", "{seen}");
                user.visit(instance.addr()).await;
                visited += 1;
                if keys != NEW_KEY {
                    visitor.visit(instance.addr()).await;
                }
            }
        }
    }
    for user in [&user, &visitor] {
        assert!(user.failures.is_empty(), "{:?}", user.failures);
    }
    assert_eq!((user.counted, visited), (27, 27));
    // a cookie that the old key signed opens nothing, and is not an error
    for browser in [signed_by_old, visitor.browser] {
        let seen = session(&mut browser.clone(), site.instances[0].addr()).await;
        assert_eq!(seen["is_new"], true, "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_whose_first_keys_differ_share_their_sessions() {
    let mut site = Site::start(Redis::start());
    for (number, keys) in [
        format!("{OLD_KEY},{NEW_KEY}"),
        format!("{NEW_KEY},{OLD_KEY}"),
    ]
    .iter()
    .enumerate()
    {
        site.instances[number].terminate();
        site.instances[number].restart_with_keys(keys);
    }
    let [first, second] = [0, 1].map(|number| site.instances[number].addr());
    let mut user = User::begin(first, "ann".to_owned()).await;
    log_in(&mut user.browser, first).await;
    for _ in 0..3 {
        for addr in [second, first] {
            let before = user.browser.cookie(COOKIE).expect("a cookie").to_owned();
            site.let_sessions_age();
            session(&mut user.browser, addr).await;
            let after = user.browser.cookie(COOKIE).expect("a cookie");
            assert!(before != after, "the instance signs with its own first key");
            user.visit(addr).await;
        }
    }
    assert_eq!(user.counted, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_instances_recover_when_redis_is_back() {
    let site = Site::start(Redis::start_durable());
    let mut user = User::begin(site.addr(), "ann".to_owned()).await;
    user.visit(site.addr()).await;
    let processes: Vec<_> = site.instances.iter().map(Demo::process_id).collect();
    for _ in 0..2 {
        site.redis.kill();
        let cookie = user.browser.cookie(COOKIE).map(str::to_owned);
        for _ in 0..2 {
            for instance in &site.instances {
                for (method, path) in [
                    (Method::GET, "/api/session"),
                    (Method::POST, "/api/session/n/add"),
                    (Method::GET, "/"),
                ] {
                    let response = send(&mut user.browser, instance.addr(), method, path, "").await;
                    assert_eq!(
                        response.status(),
                        StatusCode::SERVICE_UNAVAILABLE,
                        "{path}: {}",
                        response.body()
                    );
                    assert!(
                        response.headers().contains_key(header::RETRY_AFTER),
                        "{path}"
                    );
                    assert!(
                        !response.headers().contains_key(header::SET_COOKIE),
                        "{path}"
                    );
                }
                let health = user.browser.get(instance.addr(), "/healthz").await;
                assert_eq!(health.status(), StatusCode::OK);
            }
            // the instances stay healthy, so that users get their responses and not those of the
            // balancer
            let response = user.browser.get(site.addr(), "/api/session").await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(served_by(&response).is_some(), "{}", response.body());
        }
        assert_eq!(user.browser.cookie(COOKIE).map(str::to_owned), cookie);

        site.redis.restart();
        for instance in &site.instances {
            let path = "/api/session";
            eventually("an instance finds Redis", async || {
                let response = user.browser.clone().get(instance.addr(), path).await;
                assert!(
                    [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status())
                );
                response.status() == StatusCode::OK
            })
            .await;
            user.visit(instance.addr()).await;
        }
    }
    assert_eq!(user.counted, 1 + 2 * 3);
    assert!(user.failures.is_empty(), "{:?}", user.failures);
    assert_eq!(
        processes,
        site.instances
            .iter()
            .map(Demo::process_id)
            .collect::<Vec<_>>()
    );
}
