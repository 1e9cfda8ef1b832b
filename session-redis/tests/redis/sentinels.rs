//! A store that learns from the sentinels, and not from a failed operation, that it must leave the
//! primary.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::{Store, StoreErrorKind};
use session_redis::RedisStore;
use test_support::{FakeRedis, Redis, Sentinels, eventually, wait_until};

use crate::{assert_fails, create, id, load, record, write};

/// Less than the shortest pause between two periodic checks.
const BEFORE_A_CHECK: Duration = Duration::from_secs(5);

/// How many connections of stores a server has.
fn connections(server: &Redis) -> usize {
    let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
    let own = |client: &&str| client.contains(" cmd=client") || client.contains(" name=sentinel");
    clients.lines().filter(|client| !own(client)).count()
}

/// Makes a primary look dead to sentinels and replicas, but not to the store: it stays a primary
/// that reads and writes.
fn cut_off(primary: &Redis) {
    let mut words = vec!["ACL", "SETUSER", "default"];
    words.extend(["-ping", "-replconf", "-psync", "-slaveof", "-replicaof"]);
    let () = primary.command(&words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_store_leaves_a_primary_that_was_cut_off() {
    let all = Sentinels::start();
    let [old, new] = &all.servers;
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    eventually("the spare connection is made", async || {
        connections(old) == 2
    })
    .await;
    old.wait_for_replica();
    cut_off(old);
    all.wait_for_failover(old.port());
    eventually("the connections lead to the new primary", async || {
        (connections(old), connections(new)) == (0, 2)
    })
    .await;
    assert!(old.is_primary() && new.is_primary());
    assert_eq!(load(&store, &id).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_cut_off_acknowledges_no_write_for_long() {
    let all = Sentinels::start();
    let [old, new] = &all.servers;
    for server in &all.servers {
        for option in ["min-replicas-to-write", "min-replicas-max-lag"] {
            let () = server.command(&["CONFIG", "SET", option, "1"]);
        }
    }
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    create(&store, &id(), &record(b"")).await;
    let () = new.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    cut_off(old);
    wait_until("the old primary misses its replica", || {
        old.try_command::<()>(&["SET", "session:any", ""]).is_err()
    });
    let (id, first) = (id(), record(b"1"));
    eventually("a write is acknowledged", async || {
        store.create(&id, write(&first)).await.is_ok()
    })
    .await;
    let key = format!("session:{id}");
    assert_eq!(new.command::<u64>(&["EXISTS", &key]), 1);
    assert!(old.is_primary(), "nobody has told it");
}

/// The promotion is announced a tenth of a second before it happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_loses_no_acknowledged_write() {
    let mut lost = 0;
    // a busy machine may take longer than that to act on it
    for _ in 0..5 {
        let all = Sentinels::start();
        let [old, new] = &all.servers;
        let store = Arc::new(RedisStore::connect(&all.url()).await.expect("a store"));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move {
                let (mut acknowledged, mut failed) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let (id, record) = (id(), record(b""));
                    match store.create(&id, write(&record)).await {
                        Ok(_) => acknowledged.push(id),
                        Err(_) => failed += 1,
                    }
                }
                (acknowledged, failed)
            }
        });
        wait_until("a session is there", || new.command::<u64>(&["DBSIZE"]) > 0);
        all.fail_over();
        eventually("the connections lead to the new primary", async || {
            connections(old) == 0
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        let (acknowledged, failed) = writer.await.expect("no panic");
        assert_eq!(failed, 0, "requests wait");
        lost = 0;
        for id in &acknowledged {
            let key = format!("session:{id}");
            lost += u64::from(new.command::<u64>(&["EXISTS", &key]) == 0);
        }
        assert!(!acknowledged.is_empty());
        if lost == 0 {
            return;
        }
    }
    panic!("{lost} writes were lost");
}

/// A sentinel that accepts no subscription, so that the store learns of a failover by asking.
struct FakeSentinel(FakeRedis);

impl FakeSentinel {
    async fn start() -> Self {
        Self(FakeRedis::with_replies(&[]).await)
    }

    fn url(&self) -> String {
        format!("redis+sentinel://{}/sessions", self.0.addr())
    }

    fn name_primary(&self, server: &Redis, epoch: &str) {
        let port = server.port().to_string();
        let (address, state) = (["ip", "127.0.0.1", "port", &port], ["flags", "master"]);
        let words = [&address[..], &state, &["config-epoch", epoch]].concat();
        let words = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()));
        self.0
            .set_reply(&format!("*8\r\n{}", words.collect::<String>()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sentinels_are_asked_again_if_the_primary_misses_its_replicas() {
    let old = Redis::with_options(&["--min-replicas-to-write", "1"]);
    let new = Redis::start();
    // a busy machine may take so long that a periodic check could be the reason
    for _ in 0..5 {
        let started_at = Instant::now();
        let sentinel = FakeSentinel::start().await;
        sentinel.name_primary(&old, "1");
        let store = RedisStore::connect(&sentinel.url()).await.expect("a store");
        let create = async || store.create(&id(), write(&record(b""))).await;
        let cause = assert_fails(create().await, StoreErrorKind::Unavailable);
        assert!(cause.starts_with("NOREPLICAS"), "{cause}");
        store.load(&id()).await.expect("reading works");
        sentinel.name_primary(&new, "2");
        eventually("another primary is used", async || create().await.is_ok()).await;
        if started_at.elapsed() < BEFORE_A_CHECK {
            return;
        }
    }
    panic!("the sentinels are not asked because of the failures");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_an_older_epoch_is_not_used_again() {
    let (old, new) = (Redis::start(), Redis::start());
    let sentinel = FakeSentinel::start().await;
    sentinel.name_primary(&new, "2");
    let store = RedisStore::connect(&sentinel.url()).await.expect("a store");
    sentinel.name_primary(&old, "1");
    for _ in 0..3 {
        eventually("the spare connection is made", async || {
            connections(&new) == 2
        })
        .await;
        let _: u64 = new.command(&["CLIENT", "KILL", "TYPE", "NORMAL"]);
    }
    let (id, first) = (id(), record(b""));
    eventually("the primary is used", async || {
        store.create(&id, write(&first)).await.is_ok()
    })
    .await;
    let key = format!("session:{id}");
    assert_eq!(new.command::<u64>(&["EXISTS", &key]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_were_set_up_again_are_followed_if_the_primary_was_demoted() {
    let (old, new) = (Redis::start(), Redis::start());
    let sentinel = FakeSentinel::start().await;
    sentinel.name_primary(&old, "7");
    let store = RedisStore::connect(&sentinel.url()).await.expect("a store");
    sentinel.name_primary(&new, "0");
    let port = new.port().to_string();
    let () = old.command(&["REPLICAOF", "127.0.0.1", &port]);
    let _: u64 = old.command(&["CLIENT", "KILL", "TYPE", "NORMAL"]);
    let (id, first) = (id(), record(b""));
    eventually("the new primary is used", async || {
        store.create(&id, write(&first)).await.is_ok()
    })
    .await;
    let key = format!("session:{id}");
    assert_eq!(new.command::<u64>(&["EXISTS", &key]), 1);
}
