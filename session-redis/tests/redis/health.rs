//! Whether the store says that it can serve.

use std::time::{Duration, Instant};

use session_core::{Health, HealthPart, PartState, Store};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Redis, Sentinels, eventually, port};

use crate::{create, id, record};

fn lazy(url: &str) -> RedisStore {
    let config = RedisConfig::from_url(url)
        .expect("a URL")
        .response_timeout(Duration::from_millis(300));
    RedisStore::lazy(config).expect("a store")
}

fn ready(name: impl ToString) -> HealthPart {
    HealthPart::new(name.to_string(), PartState::Ready)
}

/// The parts that are down, with their reasons.
fn down(health: &Health) -> Vec<(&str, &str)> {
    let parts = health.down();
    parts
        .map(|part| (&*part.name, part.reason.as_deref().expect("a reason")))
        .collect()
}

#[tokio::test]
async fn a_store_that_was_never_used_connects_to_find_out() {
    let server = Redis::start();
    let health = lazy(&server.url()).health().await;
    assert_eq!(health, Health::of([ready(server.addr())]));

    let url = format!("redis://127.0.0.1:{}", port::free());
    let health = lazy(&url).health().await;
    assert!(!health.ready);
    let down = down(&health);
    assert_eq!(down.len(), 1);
    assert_eq!(format!("redis://{}", down[0].0), url);
    assert!(down[0].1.contains("refused"), "{down:?}");
}

#[tokio::test]
async fn an_idle_store_notices_a_hang_a_death_and_a_recovery() {
    let server = Redis::start();
    let store = lazy(&server.url());
    assert!(store.health().await.ready);
    server.pause();
    let started_at = Instant::now();
    let health = store.health().await;
    assert!(!health.ready);
    assert!(started_at.elapsed() < Duration::from_secs(2));
    server.resume();
    eventually("it replies again", async || store.health().await.ready).await;
    server.kill();
    assert!(!store.health().await.ready);
    server.restart();
    eventually("it is back", async || store.health().await.ready).await;
}

#[tokio::test]
async fn a_probe_is_one_small_request() {
    let server = Redis::start();
    let store = lazy(&server.url());
    assert!(store.health().await.ready);
    let before = pings(&server);
    for _ in 0..10 {
        assert!(store.health().await.ready);
    }
    assert_eq!(pings(&server) - before, 10);
}

/// How many `PING` commands the server has executed.
fn pings(server: &Redis) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_ping:"));
    let calls = line.and_then(|line| line.split(['=', ',']).nth(1));
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test]
async fn a_server_that_only_denies_the_probe_is_ready() {
    let server = Redis::start();
    let () = server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-ping"]);
    let store = lazy(&format!("redis://app:pw@{}", server.addr()));
    assert_eq!(store.health().await, Health::of([ready(server.addr())]));
}

#[tokio::test]
async fn the_reason_for_wrong_credentials_is_given_without_them() {
    let server = Redis::with_password("right");
    let store = lazy(&format!("redis://:hunter2@{}", server.addr()));
    let health = store.health().await;
    let down = down(&health);
    assert!(down[0].1.contains("WRONGPASS"), "{down:?}");
    assert!(!format!("{health:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_service_of_sentinels_is_named() {
    let sentinels = Sentinels::start();
    let store = lazy(&sentinels.url());
    let health = store.health().await;
    assert!(health.ready, "{health:?}");
    assert_eq!(health.parts.len(), 1);
    assert!(sentinels.url().ends_with(&health.parts[0].name));
}

/// A node of a cluster is down; the others still serve.
#[tokio::test]
async fn the_nodes_of_a_cluster_are_reported_one_by_one() {
    let cluster = Cluster::start();
    let store = lazy(&cluster.url());
    let mut all: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| ready(node.addr()))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(store.health().await, Health::of(all));
    cluster.nodes[1].kill();
    eventually("the dead node is noticed", async || {
        let health = store.health().await;
        let names: Vec<_> = down(&health)
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        names == [cluster.nodes[1].addr().to_string()]
    })
    .await;
}

/// Nobody but the probe asks for anything, and a replica takes over.
#[tokio::test]
async fn a_probe_alone_finds_the_new_primary_of_a_cluster() {
    let cluster = Cluster::with_replicas(1);
    let store = lazy(&cluster.url());
    let id = id();
    create(&store, &id, &record(b"1")).await;
    assert!(store.health().await.ready);
    let dead = cluster.nodes[0].addr().to_string();
    cluster.nodes[0].kill();
    eventually("the replica has taken over", async || {
        let health = store.health().await;
        health.ready && health.parts.iter().all(|part| part.name != dead)
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_cannot_be_asked_is_one_part() {
    let url = format!("redis+cluster://127.0.0.1:{}", port::free());
    let health = lazy(&url).health().await;
    assert!(!health.ready);
    let down = down(&health);
    assert_eq!((down.len(), down[0].0), (1, "cluster"));
    assert!(down[0].1.contains("refused"), "{down:?}");
}
