//! Servers that are unavailable, hang, or come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::{Destroy, Store, StoreErrorKind};
use session_redis::{ConnectError, RedisConfig, RedisStore};
use test_support::{Cluster, Proxy, Redis, eventually, port};
use tokio::time::timeout;

use crate::{Operation, assert_fails, create, destroyed, id, load, record};

/// Far more than any operation may take, and less than a hang.
const BOUND: Duration = Duration::from_secs(5);

fn lazy(url: &str) -> RedisStore {
    let config = RedisConfig::from_url(url).expect("a URL");
    RedisStore::lazy(config).expect("a store")
}

/// Asserts that every operation fails with this kind, and so quickly that it was not attempted.
async fn assert_fails_at_once(store: &RedisStore) {
    let started_at = Instant::now();
    for _ in 0..300 {
        for operation in Operation::ALL {
            assert_fails(operation.run(store).await, StoreErrorKind::Unavailable);
        }
    }
    assert!(started_at.elapsed() < BOUND, "{:?}", started_at.elapsed());
}

async fn assert_recovers(store: &RedisStore) {
    eventually("the store recovers", async || {
        store.load(&id()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn connecting_to_a_missing_server_fails_and_names_it() {
    let port = port::free();
    for (url, server) in [
        (
            format!("redis://127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
        (
            "redis+unix:///nonexistent/redis.sock".to_owned(),
            "/nonexistent/redis.sock".to_owned(),
        ),
        (
            "redis://no-such-host.invalid".to_owned(),
            "no-such-host.invalid:6379".to_owned(),
        ),
        (
            format!("redis+sentinel://127.0.0.1:{port}/sessions"),
            format!("127.0.0.1:{port}"),
        ),
        (
            format!("redis+cluster://127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
    ] {
        let result = timeout(BOUND, RedisStore::connect(&url)).await;
        match result.expect("an answer in time") {
            Err(ConnectError::Redis(error)) => {
                let cause = assert_fails::<()>(Err(error), StoreErrorKind::Unavailable);
                assert!(cause.contains(&server), "{url}: {cause}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn no_operation_is_in_doubt_if_the_connection_is_refused() {
    let store = lazy(&format!("redis://127.0.0.1:{}", port::free()));
    // the first ones wait for the first attempts to connect, the others find the breaker open
    for _ in 0..3 {
        for operation in Operation::ALL {
            assert_fails(operation.run(&store).await, StoreErrorKind::Unavailable);
        }
    }
}

#[tokio::test]
async fn a_lazy_store_connects_to_a_server_that_starts_later() {
    let server = Redis::start();
    server.kill();
    let store = lazy(&server.url());
    assert_fails(store.load(&id()).await, StoreErrorKind::Unavailable);
    server.restart();
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_fail_at_once_while_a_server_is_dead_and_recover_when_it_is_back() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    for _ in 0..3 {
        let loads = Arc::new(AtomicUsize::new(0));
        let readers = (0..64).map(|_| {
            let (store, loads) = (store.clone(), loads.clone());
            tokio::spawn(async move {
                while store.load(&id()).await.is_ok() {
                    loads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        eventually("the readers run", async || {
            loads.load(Ordering::Relaxed) > 500
        })
        .await;
        server.kill();
        for reader in readers {
            let ended = timeout(BOUND, reader).await;
            ended.expect("no task hangs").expect("no panic");
        }
        assert_fails_at_once(&store).await;
        server.restart();
        assert_recovers(&store).await;
        // the scripts are sent as source again
        create(&store, &id(), &record(b"")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_a_server_that_hangs_time_out_and_then_fail_at_once() {
    let server = Redis::start();
    let url = format!("{}?response_timeout=200ms", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..2 {
        server.pause();
        let stuck = Operation::ALL.repeat(6).into_iter().map(|operation| {
            let store = store.clone();
            tokio::spawn(async move { operation.run(&store).await })
        });
        let stuck: Vec<_> = stuck.collect();
        for task in stuck {
            let result = timeout(BOUND, task).await.expect("a deadline");
            assert_fails(result.expect("no panic"), StoreErrorKind::Timeout);
        }
        assert_fails_at_once(&store).await;
        server.resume();
        assert_recovers(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_fail_at_once_while_a_cluster_is_dead_and_recover_when_it_is_back() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    cluster.nodes.iter().for_each(Redis::kill);
    let fail_at_once = async || {
        let started_at = Instant::now();
        for _ in 0..100 {
            if store.load(&id()).await.is_ok() || started_at.elapsed() > BOUND {
                return false;
            }
        }
        true
    };
    eventually("operations fail at once", fail_at_once).await;
    cluster.nodes.iter().for_each(Redis::restart);
    let ids: Vec<_> = (0..30).map(|_| id()).collect();
    for id in &ids {
        eventually("every slot is served", async || {
            store.load(id).await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reply_to_a_dropped_operation_goes_to_no_other() {
    let server = Redis::start();
    let url = format!("{}?max_in_flight=8", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    let ids: Arc<Vec<_>> = Arc::new((0..64).map(|_| id()).collect());
    for id in ids.iter() {
        create(&store, id, &record(id.as_str().as_bytes())).await;
    }
    let (answered, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counts = Arc::new((answered, dropped));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, ids, counts) = (store.clone(), ids.clone(), counts.clone());
            tokio::spawn(async move {
                for round in 0..500usize {
                    let id = &ids[(task * 31 + round) % ids.len()];
                    // the first of seven is dropped at once, the last waits for its reply
                    let limit = match round % 7 {
                        6 => BOUND,
                        n => Duration::from_micros(n as u64 * 40),
                    };
                    if let Ok(record) = timeout(limit, load(&store, id)).await {
                        assert_eq!(record.body(), id.as_str());
                        counts.0.fetch_add(1, Ordering::Relaxed);
                    } else {
                        counts.1.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(counts.0.load(Ordering::Relaxed) > 0, "none was answered");
    assert!(counts.1.load(Ordering::Relaxed) > 0, "none was dropped");
    assert_eq!(load(&store, &ids[0]).await.body(), ids[0].as_str());
}

#[test]
fn a_store_outlives_the_runtime_of_its_connections() {
    let server = Redis::start();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (id, first) = (id(), runtime());
    let store = first.block_on(async {
        let store = RedisStore::connect(&server.url()).await.expect("a store");
        create(&store, &id, &record(b"")).await;
        store
    });
    drop(first);
    runtime().block_on(async {
        assert!(store.load(&id).await.expect("load").is_some());
        let result = store.destroy(&id, Destroy::any()).await;
        assert_eq!(result.expect("destroy"), destroyed());
    });
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_replaced_before_it_is_used() {
    let server = Redis::start();
    let url = format!("{}?connections=1", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    let connection = || {
        let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        // without the connection that asks
        let mut clients = clients
            .lines()
            .filter(|client| !client.contains("cmd=client"));
        let id = clients.next()?.split(' ').next()?;
        Some(id.to_owned())
    };
    for _ in 0..3 {
        let closed = connection().expect("a connection");
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "NORMAL"]);
        eventually("there is a new connection", async || {
            connection().is_some_and(|id| id != closed)
        })
        .await;
        // a create is not sent twice, so it would fail on the closed connection
        create(&store, &id(), &record(b"")).await;
    }
}

#[test]
fn a_store_reconnects_although_the_runtime_that_did_so_has_ended() {
    let server = Redis::start();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let first = runtime();
    let store = first.block_on(async {
        let store = RedisStore::connect(&server.url()).await.expect("a store");
        server.kill();
        eventually("the breaker is open", async || {
            store.load(&id()).await.is_err()
        })
        .await;
        store
    });
    drop(first);
    server.restart();
    runtime().block_on(assert_recovers(&store));
}

#[test]
fn a_connection_on_a_runtime_that_nothing_drives_is_replaced() {
    let server = Redis::start();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let (id, stopped) = (id(), runtime());
    let url = format!("{}?response_timeout=100ms", server.url());
    let store = stopped
        .block_on(RedisStore::connect(&url))
        .expect("a store");
    runtime().block_on(async {
        let late = timeout(BOUND, store.load(&id)).await.expect("a deadline");
        assert_fails(late, StoreErrorKind::Timeout);
        assert_recovers(&store).await;
    });
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_connection_fails_one_request_and_no_other_connection() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let url = format!("{}?response_timeout=300ms", proxy.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    eventually("the spare connection is made", async || {
        proxy.connections() == 2
    })
    .await;
    for _ in 0..50 {
        store.load(&id()).await.expect("load");
    }
    proxy.stall_busiest();
    assert_fails(store.load(&id()).await, StoreErrorKind::Timeout);
    for _ in 0..50 {
        let loaded = store.load(&id()).await;
        loaded.expect("the other connection serves");
    }
    eventually("the stalled connection is replaced", async || {
        proxy.connections() == 3
    })
    .await;
    store.load(&id()).await.expect("load");
}
