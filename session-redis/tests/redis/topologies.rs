//! Failovers and moves, under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use session_core::{RecordBytes, Saved, SessionId, Store};
use session_redis::RedisStore;
use test_support::{Cluster, Redis, Sentinels, eventually};
use tokio::task::JoinHandle;

use crate::{LONG, id, record, version};

/// Tasks that add to counters, and what they were told.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(SessionId, u64, u64)>>,
    done: Arc<AtomicU64>,
}

impl Load {
    async fn start(store: &RedisStore, tasks: usize) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut running = Vec::new();
        for _ in 0..tasks {
            let (store, id, stop, done) = (store.clone(), id(), stop.clone(), done.clone());
            let mut current = record(&0u64.to_be_bytes());
            let _ = store.create(&id, &current, LONG).await.expect("create");
            running.push(tokio::spawn(async move {
                let (mut acknowledged, mut unknown) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let next = record(&(count(&current) + 1).to_be_bytes());
                    match store.save(&id, version(&current), &next, LONG).await {
                        Ok(Saved::Saved) => {
                            (acknowledged, current) = (acknowledged + 1, next);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(Saved::Conflict(theirs)) => current = theirs.record,
                        Ok(Saved::Gone) => panic!("nobody ended {id} after {acknowledged} writes"),
                        Err(_) => {
                            unknown += 1;
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            if let Ok(Some(loaded)) = store.load(&id).await {
                                current = loaded.record;
                            }
                        }
                    }
                }
                (id, acknowledged, unknown)
            }));
        }
        Self {
            stop,
            tasks: running,
            done,
        }
    }

    /// Every task moves on from here, so writes work on all of them.
    async fn goes_on(&self) {
        let goal = self.done.load(Ordering::Relaxed) + 500;
        eventually("writes go on", async || {
            self.done.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends the load, and compares each counter with what its task was told.
    async fn check(self, store: &RedisStore) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let (id, acknowledged, unknown) = task.await.expect("no panic");
            let stored = count(
                &store
                    .load(&id)
                    .await
                    .expect("load")
                    .expect("present")
                    .record,
            );
            assert!(
                (acknowledged..=acknowledged + unknown).contains(&stored),
                "{acknowledged} + {unknown}: {stored}"
            );
        }
    }
}

fn count(record: &RecordBytes) -> u64 {
    let body = &record.as_bytes()[RecordBytes::SECRET_HASH.end..];
    u64::from_be_bytes(body.try_into().expect("eight bytes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_survive_a_reshard() {
    let cluster = Arc::new(Cluster::start());
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let load = Load::start(&store, 64).await;
    load.goes_on().await;
    let resharding = cluster.clone();
    tokio::task::spawn_blocking(move || resharding.reshard(0, 1, 1000))
        .await
        .expect("a reshard");
    load.goes_on().await;
    load.check(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_under_way_serves_from_both_ends() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let (source, target) = (&cluster.nodes[0], &cluster.nodes[1]);
    let myid = |node: &Redis| node.command::<String>(&["CLUSTER", "MYID"]);
    // a session of the first node
    let (id, slot) = loop {
        let id = id();
        let slot: u64 = source.command(&["CLUSTER", "KEYSLOT", &format!("session:{id}")]);
        if slot < 5000 {
            break (id, slot.to_string());
        }
    };
    let (first, second, third) = (record(b"1"), record(b"2"), record(b"3"));
    let _ = store.create(&id, &first, LONG).await.expect("create");
    let () = target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &myid(source)]);
    let () = source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &myid(target)]);
    assert_eq!(
        store
            .load(&id)
            .await
            .expect("load")
            .expect("at the source")
            .record,
        first
    );
    let port = target.port().to_string();
    let () = source.command(&[
        "MIGRATE",
        "127.0.0.1",
        &port,
        &format!("session:{id}"),
        "0",
        "5000",
    ]);
    for _ in 0..20 {
        assert_eq!(
            store
                .load(&id)
                .await
                .expect("load")
                .expect("at the target")
                .record,
            first
        );
    }
    assert_eq!(
        store
            .save(&id, version(&first), &second, LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    for node in [target, source] {
        let () = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &myid(target)]);
    }
    assert_eq!(
        store
            .save(&id, version(&second), &third, LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    assert_eq!(
        store.load(&id).await.expect("load").expect("moved").record,
        third
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_acl_user_is_enough_in_a_cluster() {
    let cluster = Cluster::start();
    let rules = "on >pw ~session:* -@all +get +pttl +set +getrange +pexpire +unlink +eval +evalsha +ping +cluster|slots +asking";
    for node in &cluster.nodes {
        let words: Vec<&str> = ["ACL", "SETUSER", "app"]
            .into_iter()
            .chain(rules.split(' '))
            .collect();
        let () = node.command(&words);
    }
    let url = cluster.url().replace("://", "://app:pw@");
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..30 {
        let (id, first) = (id(), record(b"1"));
        let _ = store.create(&id, &first, LONG).await.expect("create");
        assert_eq!(
            store
                .save(&id, version(&first), &record(b"2"), LONG)
                .await
                .expect("save"),
            Saved::Saved
        );
        assert!(matches!(
            store
                .save(&id, version(&first), &first, LONG)
                .await
                .expect("save"),
            Saved::Conflict(_)
        ));
        assert!(store.load(&id).await.expect("load").is_some());
        let _ = store.touch(&id, LONG).await.expect("touch");
        store.destroy(&id).await.expect("destroy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_primary_dies_serves_from_its_replica() {
    let cluster = Cluster::with_replicas(1);
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let load = Load::start(&store, 32).await;
    load.goes_on().await;
    let primary = cluster
        .nodes
        .iter()
        .find(|node| node.is_primary())
        .expect("a primary");
    primary.wait_for_replica();
    primary.kill();
    // every counter, so those of the dead node too
    let ids: Vec<_> = (0..48).map(|_| id()).collect();
    for id in &ids {
        eventually("every slot is served", async || {
            store.load(id).await.is_ok()
        })
        .await;
    }
    load.goes_on().await;
    load.stop.store(true, Ordering::Relaxed);
    for task in load.tasks {
        task.await.expect("no panic, and no task hangs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_followed_to_the_new_primary() {
    let all = Sentinels::start();
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let load = Load::start(&store, 32).await;
    load.goes_on().await;
    all.servers[0].wait_for_replica();
    all.servers[0].kill();
    load.goes_on().await;
    load.stop.store(true, Ordering::Relaxed);
    for task in load.tasks {
        task.await.expect("no panic, and no task hangs");
    }
    assert!(all.servers[1].is_primary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_is_followed() {
    let all = Sentinels::start();
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let (id, current) = (id(), record(b"0"));
    let _ = store.create(&id, &current, LONG).await.expect("create");
    let () = all.sentinels[0].command(&["SENTINEL", "FAILOVER", "sessions"]);
    eventually("roles change", async || {
        all.servers[1].is_primary() && !all.servers[0].is_primary()
    })
    .await;
    let next = record(b"1");
    eventually("writes go on", async || {
        matches!(
            store.save(&id, version(&current), &next, LONG).await,
            Ok(Saved::Saved)
        )
    })
    .await;
    let there: u64 = all.servers[1].command(&["STRLEN", &format!("session:{id}")]);
    assert_eq!(
        there as usize,
        next.as_bytes().len(),
        "written to the new primary"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hung_is_not_written_to_when_it_wakes() {
    let all = Sentinels::start();
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let written = async || store.create(&id(), &record(b""), LONG).await.is_ok();
    assert!(written().await);
    all.servers[0].pause();
    eventually("another primary is found", written).await;
    let before: u64 = all.servers[1].command(&["DBSIZE"]);
    all.servers[0].resume();
    for _ in 0..50 {
        assert!(written().await, "the connections are to the new primary");
    }
    assert_eq!(all.servers[1].command::<u64>(&["DBSIZE"]), before + 50);
}
