//! Failovers, and slots that move, under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use session_core::{Destroy, Record, Saved, SessionId, Store, Touched};
use session_redis::RedisStore;
use test_support::{Cluster, FakeRedis, Redis, Sentinels, eventually};
use tokio::task::{JoinHandle, JoinSet};

use crate::{LONG, create, destroyed, id, load, record, saved, touched, write};

/// Tasks that increment counters, each in a session of its own.
struct Workers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Counter>>,
    acknowledged: Arc<AtomicU64>,
}

/// What a task was told about its counter.
struct Counter {
    id: SessionId,
    acknowledged: u64,
    failed: u64,
}

impl Workers {
    async fn start(store: &RedisStore, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (store, id) = (store.clone(), id());
            let first = record(&0u64.to_be_bytes());
            create(&store, &id, &first).await;
            let work = increment(store, id, first, stop.clone(), acknowledged.clone());
            tasks.push(tokio::spawn(work));
        }
        Self {
            stop,
            tasks,
            acknowledged,
        }
    }

    /// Waits for writes that begin after this call.
    async fn assert_writing(&self) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + 500;
        eventually("writes are acknowledged", async || {
            self.acknowledged.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    async fn stop(self) -> Vec<Counter> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counters = vec![];
        for task in self.tasks {
            counters.push(task.await.expect("no panic, and no task hangs"));
        }
        counters
    }

    /// Stops, and compares each counter with what its task was told.
    async fn assert_nothing_lost(self, store: &RedisStore) {
        for counter in self.stop().await {
            let stored = value(&load(store, &counter.id).await);
            let (acknowledged, failed) = (counter.acknowledged, counter.failed);
            assert!(
                (acknowledged..=acknowledged + failed).contains(&stored),
                "{stored} is stored after {acknowledged} writes and {failed} failures"
            );
        }
    }
}

async fn increment(
    store: RedisStore,
    id: SessionId,
    mut current: Record,
    stop: Arc<AtomicBool>,
    total: Arc<AtomicU64>,
) -> Counter {
    let (mut acknowledged, mut failed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let next = record(&(value(&current) + 1).to_be_bytes());
        match store.save(&id, current.version(), write(&next)).await {
            Ok(Saved::Saved(_)) => {
                (acknowledged, current) = (acknowledged + 1, next);
                total.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Saved::Conflict(other)) => current = other.record,
            Ok(Saved::Gone) => panic!("{id} is gone after {acknowledged} writes"),
            Err(_) => {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
                if let Ok(Some(loaded)) = store.load(&id).await {
                    current = loaded.record;
                }
            }
        }
    }
    Counter {
        id,
        acknowledged,
        failed,
    }
}

fn value(record: &Record) -> u64 {
    u64::from_be_bytes(record.body()[..].try_into().expect("eight bytes"))
}

/// A session of the first node of a new cluster, and its slot.
pub(crate) fn session_of_first_node(cluster: &Cluster) -> (SessionId, String) {
    loop {
        let id = id();
        let words = ["CLUSTER", "KEYSLOT", &format!("session:{id}")];
        let slot: u64 = cluster.nodes[0].command(&words);
        if slot < 5000 {
            return (id, slot.to_string());
        }
    }
}

/// Moves a session of the first node to the second one, and leaves its slot in transit.
pub(crate) fn migrate(cluster: &Cluster, id: &SessionId, slot: &str) {
    let (source, target) = (&cluster.nodes[0], &cluster.nodes[1]);
    let () = target.command(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &node_id(source)]);
    let () = source.command(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &node_id(target)]);
    let (port, key) = (target.port().to_string(), format!("session:{id}"));
    let () = source.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
}

fn node_id(node: &Redis) -> String {
    node.command(&["CLUSTER", "MYID"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_while_slots_move() {
    // of 16384 slots so many that they hold some of the sessions
    const SLOTS: u32 = 4000;
    let cluster = Arc::new(Cluster::start());
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let workers = Workers::start(&store, 64).await;
    workers.assert_writing().await;
    let sessions = || cluster.nodes[1].command::<u64>(&["DBSIZE"]);
    let before = sessions();
    let resharding = cluster.clone();
    let reshard = tokio::task::spawn_blocking(move || resharding.reshard(0, 1, SLOTS));
    reshard.await.expect("a reshard");
    assert!(sessions() > before, "sessions have moved");
    workers.assert_writing().await;
    workers.assert_nothing_lost(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_served_by_both_nodes() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let (source, target) = (&cluster.nodes[0], &cluster.nodes[1]);
    // a session of the first node
    let (id, slot) = loop {
        let id = id();
        let slot: u64 = source.command(&["CLUSTER", "KEYSLOT", &format!("session:{id}")]);
        if slot < 5000 {
            break (id, slot.to_string());
        }
    };
    let (first, second, third) = (record(b"1"), record(b"2"), record(b"3"));
    create(&store, &id, &first).await;
    let () = target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &node_id(source)]);
    let () = source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &node_id(target)]);
    assert_eq!(load(&store, &id).await, first, "from the source");
    let port = target.port().to_string();
    let key = format!("session:{id}");
    let () = source.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
    for _ in 0..20 {
        assert_eq!(load(&store, &id).await, first, "from the target");
    }
    let result = store.touch(&id, first.version(), LONG).await;
    assert_eq!(result.expect("touch"), touched());
    let result = store.touch(&id, second.version(), LONG).await;
    assert!(matches!(result.expect("touch"), Touched::Conflict(_)));
    let result = store.save(&id, first.version(), write(&second)).await;
    assert_eq!(result.expect("save"), saved());
    for node in [target, source] {
        let () = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &node_id(target)]);
    }
    let result = store.save(&id, second.version(), write(&third)).await;
    assert_eq!(result.expect("save"), saved());
    assert_eq!(load(&store, &id).await, third, "after the move");
    let expected = Destroy::expecting(third.version());
    let result = store.destroy(&id, expected).await;
    assert_eq!(result.expect("destroy"), destroyed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_redirected_to_an_importing_node_share_its_connections() {
    const LOADS: usize = 64;
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let (id, slot) = session_of_first_node(&cluster);
    let first = record(b"1");
    create(&store, &id, &first).await;
    migrate(&cluster, &id, &slot);
    let target = &cluster.nodes[1];
    let number = |section: &str, field: &str| -> usize {
        let info: String = target.command(&["INFO", section]);
        let value = info.lines().find_map(|line| line.strip_prefix(field));
        let value = value.unwrap_or("0").split(',').next().expect("a number");
        value.trim().parse().expect("a number")
    };
    let connections = || number("stats", "total_connections_received:");
    let before = connections();
    let mut loads = JoinSet::new();
    for _ in 0..LOADS {
        let store = store.clone();
        loads.spawn(async move { load(&store, &id).await });
    }
    assert!(loads.join_all().await.iter().all(|loaded| *loaded == first));
    // the second number was asked for on a connection of its own
    let new = connections() - before - 1;
    assert!(new <= 2, "{new} connections");
    let asked = number("commandstats", "cmdstat_asking:calls=");
    assert!(asked >= LOADS, "{asked} redirections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_serves_the_slots_of_a_dead_primary() {
    let cluster = Cluster::with_replicas(1);
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    let workers = Workers::start(&store, 32).await;
    workers.assert_writing().await;
    let mut nodes = cluster.nodes.iter();
    let primary = nodes.find(|node| node.is_primary()).expect("a primary");
    primary.wait_for_replica();
    primary.kill();
    // enough ids to meet every node
    let ids: Vec<_> = (0..48).map(|_| id()).collect();
    for id in &ids {
        eventually("every slot is served", async || {
            store.load(id).await.is_ok()
        })
        .await;
    }
    workers.assert_writing().await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_follows_the_sentinels_to_a_new_primary() {
    let all = Sentinels::start();
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let workers = Workers::start(&store, 32).await;
    workers.assert_writing().await;
    all.servers[0].wait_for_replica();
    all.servers[0].kill();
    workers.assert_writing().await;
    workers.stop().await;
    assert!(all.servers[1].is_primary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_follows_a_planned_failover() {
    // so long that the sentinels of a busy machine do not fail over by themselves
    let all = Sentinels::with_down_after(Duration::from_secs(20));
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let workers = Workers::start(&store, 32).await;
    workers.assert_writing().await;
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    create(&store, &id, &first).await;
    // replication is asynchronous: without this the session may be lost
    all.servers[0].wait_for_replica();
    all.fail_over();
    // from now on no connection leads to the old primary, which may still believe that it is one
    eventually("the old primary is left", async || {
        let clients = all.servers[0].try_command::<String>(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        clients.is_ok_and(|clients| !clients.contains("resp=3"))
    })
    .await;
    workers.assert_writing().await;
    let result = store.save(&id, first.version(), write(&second)).await;
    assert_eq!(result.expect("save"), saved());
    let key = format!("session:{id}");
    let stored: Vec<u8> = all.servers[1].command(&["GET", &key]);
    assert!(stored.ends_with(b"2"), "written to the new primary");
    for counter in workers.stop().await {
        let (acknowledged, failed) = (counter.acknowledged, counter.failed);
        assert!(failed <= 1, "{failed} of {acknowledged} writes failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hung_gets_no_writes_when_it_continues() {
    let all = Sentinels::start();
    let store = RedisStore::connect(&all.url()).await.expect("a store");
    let is_written = async || store.create(&id(), write(&record(b""))).await.is_ok();
    assert!(is_written().await);
    all.servers[0].pause();
    eventually("another primary is used", is_written).await;
    let before: u64 = all.servers[1].command(&["DBSIZE"]);
    all.servers[0].resume();
    for _ in 0..50 {
        assert!(
            is_written().await,
            "the connections lead to the new primary"
        );
    }
    let after: u64 = all.servers[1].command(&["DBSIZE"]);
    assert_eq!(after, before + 50);
}

/// The sentinel is a fake one that accepts no subscription, so that only one connection has a
/// reason to ask it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_leave_the_old_primary_when_one_finds_another() {
    let (old, new) = (Redis::start(), Redis::start());
    let sentinel = FakeRedis::with_replies(&[]).await;
    let name_primary = |server: &Redis, epoch: u64| {
        let (port, epoch) = (server.port().to_string(), epoch.to_string());
        let fields = [
            ("ip", "127.0.0.1"),
            ("port", &port),
            ("flags", "master"),
            ("config-epoch", &epoch),
        ];
        let words = fields.iter().flat_map(|(name, value)| [name, value]);
        let words = words.map(|word| format!("${}\r\n{word}\r\n", word.len()));
        sentinel.set_reply(&format!("*8\r\n{}", words.collect::<String>()));
    };
    let last_commands = |server: &Redis| {
        let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        let clients = clients.lines().filter_map(|client| {
            let field = |name| client.split(' ').find_map(|field| field.strip_prefix(name));
            Some((field("cmd=")?.to_owned(), field("id=")?.to_owned()))
        });
        // without the connection that asks
        clients
            .filter(|(command, _)| !command.starts_with("client"))
            .collect::<Vec<_>>()
    };

    name_primary(&old, 1);
    let url = format!("redis+sentinel://{}/sessions", sentinel.addr());
    let store = RedisStore::connect(&url).await.expect("a store");
    // the spare connection has only been asked which server it leads to
    eventually("the spare connection is made", async || {
        let _ = store.load(&id()).await;
        let clients = last_commands(&old);
        let is_spare = |(command, _): &(String, String)| command == "info";
        let complete = clients.len() == 2;
        if complete && !clients.iter().any(is_spare) {
            // it was made first, and used
            let _: u64 = old.command(&["CLIENT", "KILL", "TYPE", "NORMAL"]);
        }
        complete && clients.iter().any(is_spare)
    })
    .await;
    name_primary(&new, 2);
    let clients = last_commands(&old);
    let spare = clients.iter().find(|(command, _)| command == "info");
    let (_, spare) = spare.expect("the spare connection");
    let _: u64 = old.command(&["CLIENT", "KILL", "ID", spare]);

    eventually("both connections lead to the new primary", async || {
        let _ = store.load(&id()).await;
        last_commands(&old).is_empty() && last_commands(&new).len() == 2
    })
    .await;
    let (id, record) = (id(), record(b""));
    create(&store, &id, &record).await;
    let key = format!("session:{id}");
    assert_eq!(new.command::<u64>(&["EXISTS", &key]), 1);
}
