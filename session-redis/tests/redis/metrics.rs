//! What the store counts and measures. Each test runs on one thread, which has the recorder.

use std::time::Duration;

use session_core::{Destroy, Replicas, Store};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Redis, eventually, recorder::Recorded};
use tokio::task::JoinSet;

use crate::{
    Operation,
    changes::{feed_of, listen},
    create, id, record,
};

const GAUGES: [&str; 4] = [
    "session_redis_in_flight",
    "session_redis_waiting",
    "session_redis_in_flight_limit",
    "session_redis_connections",
];

fn lazy(url: &str) -> RedisStore {
    let config = RedisConfig::from_url(url)
        .expect("a URL")
        .response_timeout(Duration::from_millis(200));
    RedisStore::lazy(config).expect("a store")
}

#[tokio::test]
async fn operations_are_measured_and_every_gauge_ends_at_zero() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let server = Redis::start();
    let store = lazy(&server.url());
    let node = format!("node={}", server.addr());
    for operation in Operation::ALL {
        operation.run(&store).await.expect("the server replies");
    }
    let durations =
        |labels: &[&str]| recorded.sum("session_redis_operation_duration_seconds", labels);
    for (operation, answered) in [
        ("load", 1.0),
        ("create", 1.0),
        ("save", 1.0),
        ("touch", 1.0),
        ("destroy", 2.0),
    ] {
        let labels = [&*format!("operation={operation}"), "result=ok", &node];
        assert_eq!(durations(&labels), answered, "{:?}", recorded.values());
    }
    assert_eq!(recorded.sum("session_redis_in_flight", &[&node]), 0.0);
    // the first limit
    assert_eq!(
        recorded.sum("session_redis_in_flight_limit", &[&node]),
        256.0
    );
    assert_eq!(recorded.sum("session_redis_retries_total", &[]), 4.0);
    eventually("both connections are up", async || {
        recorded.sum("session_redis_connections", &["state=up", &node]) == 2.0
    })
    .await;
    assert_eq!(
        recorded.sum("session_redis_connects_total", &["result=ok"]),
        2.0
    );
    drop(store);
    eventually("nothing is left of the node", async || {
        GAUGES.iter().all(|name| recorded.sum(name, &[]) == 0.0)
    })
    .await;
}

#[tokio::test]
async fn announcements_and_the_ends_of_feeds_are_counted() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let server = Redis::start();
    let node = format!("node={}", server.addr());
    let store = lazy(&server.url());
    let (changes, _heard) = listen(&store);
    let id = id();
    feed_of(&changes, &id).await;
    eventually("both connections have a feed", async || {
        recorded.sum("session_redis_feeds", &[&node]) == 2.0
    })
    .await;
    create(&store, &id, &record(b"1")).await;
    eventually("a change is announced", async || {
        recorded.sum("session_redis_announcements_total", &[&node]) == 1.0
    })
    .await;
    let ends = |cause: &str| {
        let cause = format!("cause={cause}");
        recorded.sum("session_redis_feed_ends_total", &[&cause, &node])
    };
    let () = server.command(&["FLUSHALL"]);
    eventually("both feeds end", async || ends("flushed") == 2.0).await;
    eventually("others begin", async || {
        recorded.sum("session_redis_feeds", &[&node]) == 2.0
    })
    .await;
    drop((store, changes));
    eventually("they end with the store", async || {
        ends("connection_lost") == 2.0
    })
    .await;
    assert_eq!(recorded.sum("session_redis_feeds", &[]), 0.0);
}

#[tokio::test]
async fn a_hang_shows_as_timeouts_and_an_open_breaker_and_a_recovery_as_a_connection() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let server = Redis::start();
    let store = lazy(&server.url());
    store.load(&id()).await.expect("the server replies");
    server.pause();
    eventually("the breaker opens", async || {
        assert!(store.load(&id()).await.is_err());
        recorded.sum("session_redis_breaker_openings_total", &[]) > 0.0
    })
    .await;
    assert!(recorded.sum("session_redis_timeouts_total", &[]) >= 1.0);
    let failed = ["operation=load", "result=error"];
    assert!(recorded.sum("session_redis_operation_duration_seconds", &failed) >= 1.0);
    eventually("both connections are down", async || {
        let _ = store.load(&id()).await;
        recorded.sum("session_redis_connections", &["state=down"]) == 2.0
    })
    .await;
    eventually("attempts to connect fail", async || {
        recorded.sum("session_redis_connects_total", &["result=error"]) >= 1.0
    })
    .await;
    server.resume();
    eventually("a connection is up again", async || {
        recorded.sum("session_redis_connections", &["state=up"]) >= 1.0
    })
    .await;
}

#[tokio::test]
async fn operations_beyond_the_limit_wait_or_are_refused() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let server = Redis::start();
    let store = lazy(&format!("{}?max_in_flight=1", server.url()));
    let node = format!("node={}", server.addr());
    store.load(&id()).await.expect("the server replies");
    let waits = || recorded.sum("session_redis_wait_duration_seconds", &[&*node]);
    assert_eq!(waits(), 0.0, "nobody had to wait");
    server.pause();
    let mut loads = JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        loads.spawn(async move { store.load(&id()).await.is_ok() });
    }
    eventually("one is in flight and others wait", async || {
        recorded.sum("session_redis_in_flight", &[]) == 1.0
            && recorded.sum("session_redis_waiting", &[]) >= 1.0
    })
    .await;
    let waiting = recorded.sum("session_redis_waiting", &[]);
    assert!(loads.join_all().await.iter().all(|loaded| !loaded));
    assert!(recorded.sum("session_redis_overloads_total", &[]) >= 1.0);
    assert_eq!(recorded.sum("session_redis_waiting", &[]), 0.0);
    assert!(waits() >= waiting, "{} of {waiting} waits", waits());
    assert_eq!(recorded.sum("session_redis_in_flight", &[]), 0.0);
}

/// In a cluster every metric occurs, so none is described and never emitted, or the other way
/// round.
#[tokio::test]
async fn redirections_retries_and_maps_of_a_cluster_are_counted() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let cluster = Cluster::start();
    let store = lazy(&cluster.url());
    let ids: Vec<_> = std::iter::repeat_with(id).take(100).collect();
    for id in &ids {
        create(&store, id, &record(b"1")).await;
    }
    let changed = ["result=changed"];
    assert_eq!(
        recorded.sum("session_redis_map_refreshes_total", &changed),
        1.0
    );
    let retried = ["cause=script_missing"];
    assert_eq!(recorded.sum("session_redis_retries_total", &retried), 3.0);
    let ok = ["operation=create", "result=ok"];
    let durations = "session_redis_operation_duration_seconds";
    assert_eq!(recorded.sum(durations, &ok), 100.0);

    store.destroy_many(&ids[..9]).await.expect("ended");
    let replicas = Replicas::new(1).timeout(Duration::from_millis(1));
    let ended = store.destroy(&ids[9], Destroy::any().confirm(replicas));
    let _ = ended.await.expect("ended");
    let too_few = ["result=too_few"];
    let confirmations = "session_redis_confirmations_total";
    assert_eq!(recorded.sum(confirmations, &too_few), 1.0);
    cluster.reshard(0, 1, 2000);
    for id in &ids[10..] {
        store.load(id).await.expect("redirected");
    }
    eventually("they are destroyed again", async || {
        recorded.sum("session_redis_ended_again_total", &["record=absent"]) >= 10.0
    })
    .await;
    assert_eq!(recorded.sum("session_redis_journal_drops_total", &[]), 0.0);
    let from = format!("node={}", cluster.nodes[0].addr());
    let moved = recorded.sum("session_redis_redirects_total", &["kind=moved"]);
    assert!(moved >= 1.0, "{:?}", recorded.values());
    let from_first = ["kind=moved", &*from];
    assert_eq!(
        recorded.sum("session_redis_redirects_total", &from_first),
        moved
    );
    assert_eq!(recorded.emitted(), recorded.described());
}
