//! Servers that are away, hang, or come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{Created, Destroyed, Store, StoreErrorKind};
use session_redis::{ConnectError, RedisConfig, RedisStore};
use test_support::{Cluster, Proxy, Redis, eventually, port};
use tokio::time::timeout;

use crate::{LONG, fails, id, record};

/// Far more than any operation may take, and less than a hang.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_that_was_never_there_is_told_at_start_up() {
    for url in [
        format!("redis://127.0.0.1:{}", port::free()),
        "redis+unix:///nonexistent/redis.sock".to_owned(),
        "redis://no-such-host.invalid".to_owned(),
        format!("redis+sentinel://127.0.0.1:{}/sessions", port::free()),
        format!("redis+cluster://127.0.0.1:{}", port::free()),
    ] {
        match timeout(BOUND, RedisStore::connect(&url))
            .await
            .expect("an answer in time")
        {
            Err(ConnectError::Redis(error)) => {
                assert_eq!(
                    error.kind(),
                    StoreErrorKind::Unavailable,
                    "{url}: {error:?}"
                )
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lazy_store_finds_a_server_that_starts_later() {
    let server = Redis::start();
    server.kill();
    let store =
        RedisStore::lazy(RedisConfig::from_url(&server.url()).expect("a URL")).expect("a store");
    fails(store.load(&id()).await, StoreErrorKind::Unavailable);
    server.restart();
    eventually("it is found", async || store.load(&id()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_refused_at_once_and_found_again() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    for _ in 0..3 {
        let under_way = (0..64).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { while store.load(&id()).await.is_ok() {} })
        });
        let under_way: Vec<_> = under_way.collect();
        server.kill();
        for task in under_way {
            timeout(BOUND, task)
                .await
                .expect("no task hangs")
                .expect("no panic");
        }
        let begun = Instant::now();
        for _ in 0..1000 {
            fails(store.load(&id()).await, StoreErrorKind::Unavailable);
            fails(
                store.create(&id(), &record(b""), LONG).await,
                StoreErrorKind::Unavailable,
            );
        }
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        server.restart();
        eventually("it is found again", async || {
            store.load(&id()).await.is_ok()
        })
        .await;
        assert_eq!(
            store
                .create(&id(), &record(b""), LONG)
                .await
                .expect("scripts are learnt again"),
            Created::Created
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_times_out_then_is_refused_at_once() {
    let server = Redis::start();
    let url = format!("{}?response_timeout=200ms", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..2 {
        server.pause();
        let stuck: Vec<_> = (0..32)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.create(&id(), &record(b""), LONG).await })
            })
            .collect();
        for task in stuck {
            let outcome = timeout(BOUND, task)
                .await
                .expect("a deadline")
                .expect("no panic");
            fails(outcome, StoreErrorKind::Timeout);
        }
        let begun = Instant::now();
        for _ in 0..1000 {
            fails(store.load(&id()).await, StoreErrorKind::Unavailable);
        }
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        server.resume();
        eventually("it is found again", async || {
            store.load(&id()).await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_refused_at_once_and_found_again() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    cluster.nodes.iter().for_each(Redis::kill);
    let refused_at_once = async || {
        let begun = Instant::now();
        for _ in 0..100 {
            if store.load(&id()).await.is_ok() || begun.elapsed() > BOUND {
                return false;
            }
        }
        true
    };
    eventually("it is refused at once", refused_at_once).await;
    cluster.nodes.iter().for_each(Redis::restart);
    let ids: Vec<_> = (0..30).map(|_| id()).collect();
    for id in &ids {
        eventually("every slot is found again", async || {
            store.load(id).await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_operations_never_answer_others() {
    let server = Redis::start();
    let store = RedisStore::connect(&format!("{}?max_in_flight=8", server.url()))
        .await
        .expect("a store");
    let ids: Arc<Vec<_>> = Arc::new((0..64).map(|_| id()).collect());
    for id in ids.iter() {
        let _ = store
            .create(id, &record(id.as_str().as_bytes()), LONG)
            .await
            .expect("create");
    }
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, ids) = (store.clone(), ids.clone());
            tokio::spawn(async move {
                for round in 0..500usize {
                    let id = &ids[(task * 31 + round) % ids.len()];
                    let patience = Duration::from_micros((round % 7) as u64 * 40);
                    if let Ok(loaded) = timeout(patience, store.load(id)).await {
                        let loaded = loaded.expect("load").expect("present").record;
                        assert!(loaded.as_bytes().ends_with(id.as_str().as_bytes()));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(store.load(&ids[0]).await.expect("load").is_some());
}

#[test]
fn a_store_outlives_the_runtime_of_its_connections() {
    let server = Redis::start();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (id, first) = (id(), runtime());
    let store = first.block_on(async {
        let store = RedisStore::connect(&server.url()).await.expect("a store");
        let _ = store.create(&id, &record(b""), LONG).await.expect("create");
        store
    });
    drop(first);
    runtime().block_on(async {
        assert!(store.load(&id).await.expect("load").is_some());
        assert_eq!(store.destroy(&id).await.expect("destroy"), Destroyed);
    });
}

#[test]
fn a_connection_on_a_runtime_that_stands_still_is_replaced() {
    let server = Redis::start();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (id, standing) = (id(), runtime());
    let url = format!("{}?response_timeout=100ms", server.url());
    let store = standing
        .block_on(RedisStore::connect(&url))
        .expect("a store");
    runtime().block_on(async {
        let late = timeout(BOUND, store.load(&id)).await.expect("a deadline");
        fails(late, StoreErrorKind::Timeout);
        eventually("another takes its place", async || {
            store.load(&id).await.is_ok()
        })
        .await;
    });
    drop(standing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_stalls_costs_one_request_and_no_other_connection() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let url = format!("{}?response_timeout=300ms", proxy.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    let both = async || proxy.connections() == 2;
    eventually("the spare connection is there", both).await;
    for _ in 0..50 {
        store.load(&id()).await.expect("load");
    }
    proxy.stall_busiest();
    fails(store.load(&id()).await, StoreErrorKind::Timeout);
    for _ in 0..50 {
        store
            .load(&id())
            .await
            .expect("the other connection serves");
    }
    let again = async || proxy.connections() == 3;
    eventually("the stalled one is replaced", again).await;
    store.load(&id()).await.expect("load");
}
