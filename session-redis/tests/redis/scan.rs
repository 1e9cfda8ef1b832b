//! The tools of operators: finding, counting and removing sessions on all nodes.

use std::{collections::BTreeSet, time::Duration};

use session_core::{SessionId, Store, StoreErrorKind};
use session_redis::{RedisConfig, RedisStore, Scan};
use test_support::{Cluster, Meter, Redis, Sentinels, eventually};
use tokio::task::JoinSet;

use crate::{create, id, record, write};

/// A store that is patient: nothing here is about servers that hang, and thousands of operations at
/// once take their time on a machine that is busy.
fn lazy(url: &str) -> RedisStore {
    let config = RedisConfig::from_url(url).expect("a URL");
    let config = config.response_timeout(Duration::from_secs(2));
    RedisStore::lazy(config.total_timeout(Duration::from_secs(20))).expect("a store")
}

/// Creates sessions, and returns their ids.
async fn create_many(store: &RedisStore, count: usize) -> BTreeSet<SessionId> {
    let ids: BTreeSet<_> = std::iter::repeat_with(id).take(count).collect();
    let mut creations = JoinSet::new();
    for id in &ids {
        let (store, id) = (store.clone(), *id);
        creations.spawn(async move { create(&store, &id, &record(b"1")).await });
        if creations.len() == 32 {
            creations
                .join_next()
                .await
                .expect("a task")
                .expect("created");
        }
    }
    creations.join_all().await;
    ids
}

/// Scans to the end, and returns the ids and the number of pages.
async fn rest(scan: &mut Scan) -> (BTreeSet<SessionId>, usize) {
    let (mut ids, mut pages) = (BTreeSet::new(), 0);
    while let Some(page) = scan.next_page().await.expect("a page") {
        assert!(!page.is_empty());
        ids.extend(page);
        pages += 1;
    }
    (ids, pages)
}

/// Scans to the end, over all failures. Returns the ids, and the kinds of the failures.
async fn rest_despite_failures(scan: &mut Scan) -> (BTreeSet<SessionId>, Vec<StoreErrorKind>) {
    let (mut ids, mut kinds) = (BTreeSet::new(), Vec::new());
    eventually("the scan ends", async || {
        loop {
            match scan.next_page().await {
                Ok(Some(page)) => ids.extend(page),
                Ok(None) => return true,
                Err(error) => {
                    kinds.push(error.kind());
                    return false;
                }
            }
        }
    })
    .await;
    (ids, kinds)
}

async fn first_page(scan: &mut Scan) -> Vec<SessionId> {
    let page = scan.next_page().await.expect("a page");
    page.expect("a session")
}

#[tokio::test]
async fn every_session_is_found_and_nothing_else() {
    let server = Redis::with_password("pw");
    let url = format!("redis://:pw@{}/3", server.addr());
    let config = RedisConfig::from_url(&url).expect("a URL");
    // a pattern that would match the keys of the other store
    let store = RedisStore::open(config.clone().prefix("a*[b]?:")).await;
    let store = store.expect("a store");
    assert_eq!(store.count().await.expect("a count"), 0);
    let ids = create_many(&store, 3000).await;
    let other = RedisStore::open(config.prefix("a-b-:")).await;
    let others = create_many(&other.expect("a store"), 10).await;

    let mut connection = redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let hash = "0123456789012345678901";
    for key in [
        "a*[b]?:i",
        "a*[b]?:i:x",
        &format!("a*[b]?:i:{}", &hash[2..]),
    ] {
        let sadd = redis::cmd("SADD").arg(key).arg("x").exec(&mut connection);
        sadd.expect("a key of another kind");
    }
    let (found, pages) = rest(&mut store.scan()).await;
    assert_eq!(found, ids);
    assert!(pages >= 2, "one page");
    assert_eq!(store.count().await.expect("a count"), 3000);
    let other_ids: Vec<_> = others.into_iter().collect();
    store
        .destroy_many(&other_ids)
        .await
        .expect("no such session");
    assert_eq!(store.count().await.expect("a count"), 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_all_nodes_are_found_and_removed() {
    let cluster = Cluster::start();
    let store = lazy(&cluster.url());
    let ids = create_many(&store, 300).await;
    assert_eq!(rest(&mut store.scan()).await.0, ids);
    assert_eq!(store.count().await.expect("a count"), 300);

    let ids: Vec<_> = ids.into_iter().collect();
    store.destroy_many(&ids[..250]).await.expect("removed");
    assert_eq!(
        rest(&mut store.scan()).await.0,
        ids[250..].iter().copied().collect()
    );
    // the nodes are not known yet
    let store = lazy(&cluster.url());
    store.destroy_many(&ids).await.expect("removed");
    assert_eq!(store.count().await.expect("a count"), 0);
}

#[tokio::test]
async fn sessions_are_removed_in_pipelines() {
    let server = Redis::start();
    let url = format!("{}?connections=1", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    let ids: Vec<_> = create_many(&store, 150).await.into_iter().collect();
    let measured = Meter::new(&server).measure(store.destroy_many(&ids)).await;
    measured.result.expect("removed");
    assert_eq!(measured.commands, [("unlink".to_owned(), 150)].into());
    assert_eq!(measured.round_trips, 2);
    let measured = Meter::new(&server).measure(store.destroy_many(&[])).await;
    measured.result.expect("nothing to do");
    assert_eq!(measured.round_trips, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_continues_after_a_hang_and_after_it_was_given_up() {
    let server = Redis::start();
    let store = lazy(&server.url());
    let ids = create_many(&store, 3000).await;
    let mut scan = store.scan();
    let mut found = BTreeSet::from_iter(first_page(&mut scan).await);

    server.pause();
    let given_up = tokio::time::timeout(std::time::Duration::ZERO, scan.next_page()).await;
    assert!(given_up.is_err(), "a server that hangs replies");
    server.resume();
    let (rest, failures) = rest_despite_failures(&mut scan).await;
    assert_eq!(failures, []);
    found.extend(rest);
    assert_eq!(found, ids);

    let mut scan = store.scan();
    first_page(&mut scan).await;
    server.pause();
    let error = scan.next_page().await.expect_err("no reply");
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    let error = scan.next_page().await.expect_err("no connection");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    server.resume();
    // from the beginning
    assert_eq!(rest_despite_failures(&mut scan).await.0, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_scanned_from_the_beginning() {
    let server = Redis::start_durable();
    let store = lazy(&server.url());
    let ids = create_many(&store, 3000).await;
    let mut scan = store.scan();
    first_page(&mut scan).await;
    server.kill();
    let error = scan.next_page().await.expect_err("no server");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    server.restart();
    // the cursor means nothing to the new process
    assert_eq!(rest_despite_failures(&mut scan).await.0, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_of_a_node_that_dies_is_scanned_in_its_place() {
    let cluster = Cluster::with_replicas(1);
    let store = lazy(&cluster.url());
    let ids = create_many(&store, 6000).await;
    let mut scan = store.scan();
    let page = first_page(&mut scan).await;
    let key = format!("session:{}", page[0]);
    let scanned = cluster.primaries().into_iter().find(|&node| {
        let exists = cluster.nodes[node].try_command::<u64>(&["EXISTS", &key]);
        exists == Ok(1)
    });
    let scanned = &cluster.nodes[scanned.expect("the node of the session")];
    scanned.wait_for_replica();
    scanned.kill();
    let (found, failures) = rest_despite_failures(&mut scan).await;
    assert!(
        failures.contains(&StoreErrorKind::Unavailable),
        "{failures:?}"
    );
    assert!(
        failures
            .iter()
            .all(|kind| [StoreErrorKind::Unavailable, StoreErrorKind::Timeout].contains(kind))
    );
    assert_eq!(found, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_primary_is_scanned_after_a_failover() {
    let all = Sentinels::with_down_after(std::time::Duration::from_secs(20));
    let store = lazy(&all.url());
    let ids = create_many(&store, 3000).await;
    let mut scan = store.scan();
    first_page(&mut scan).await;
    all.servers[0].wait_for_replica();
    all.fail_over();
    let new = id();
    eventually("the new primary is used", async || {
        let written = store.create(&new, write(&record(b"1"))).await.is_ok();
        written && !all.servers[0].is_primary()
    })
    .await;
    let error = scan.next_page().await.expect_err("the old primary");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let (found, _) = rest_despite_failures(&mut scan).await;
    assert!(found.is_superset(&ids) && found.contains(&new));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_do_not_move_are_found_while_others_do() {
    let cluster = std::sync::Arc::new(Cluster::start());
    let store = lazy(&cluster.url());
    let ids = create_many(&store, 600).await;
    let stays = |id: &&SessionId| {
        let key = format!("session:{id}");
        cluster.nodes[2].try_command::<u64>(&["EXISTS", &key]) == Ok(1)
    };
    let staying: BTreeSet<_> = ids.iter().filter(stays).copied().collect();
    assert!(
        staying.len() > 100 && staying.len() < 300,
        "{}",
        staying.len()
    );
    let resharding = cluster.clone();
    let mut reshard = tokio::task::spawn_blocking(move || resharding.reshard(0, 1, 2000));
    let mut scans = 0;
    while !reshard.is_finished() {
        let found = rest(&mut store.scan()).await.0;
        assert!(found.is_superset(&staying) && found.is_subset(&ids));
        scans += 1;
    }
    (&mut reshard).await.expect("a reshard");
    assert!(scans > 0, "no scan during the reshard");
    assert_eq!(rest(&mut store.scan()).await.0, ids, "after the reshard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_serves_a_part_of_its_slots_is_not_counted() {
    let cluster = Cluster::start();
    let store = lazy(&cluster.url());
    create_many(&store, 30).await;
    for node in &cluster.nodes {
        let () = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    for node in &cluster.nodes {
        let () = node.command(&["CLUSTER", "DELSLOTS", "0"]);
    }
    let error = lazy(&cluster.url()).count().await.expect_err("slot 0");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let cause = std::error::Error::source(&error).expect("a source");
    assert_eq!(cause.to_string(), "no node serves 1 slots");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_connections_serve_all_scans_and_no_request() {
    let server = Redis::start();
    let store = lazy(&server.url());
    create_many(&store, 3000).await;
    let last_commands = || {
        let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        let clients = clients.lines().filter_map(|client| {
            client
                .split(' ')
                .find_map(|field| field.strip_prefix("cmd="))
        });
        let commands: Vec<_> = clients.map(str::to_owned).collect();
        commands
    };
    let scanning = || {
        let commands = last_commands();
        let of_scans = ["scan", "ping"].map(str::to_owned);
        commands
            .iter()
            .filter(|name| of_scans.contains(name))
            .count()
    };
    let mut counts = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        counts.spawn(async move { store.count().await.expect("a count") });
    }
    assert_eq!(counts.join_all().await, [3000; 20]);
    let connections = scanning();
    assert!((1..=4).contains(&connections), "{:?}", last_commands());
    for _ in 0..10 {
        assert_eq!(store.count().await.expect("a count"), 3000);
        store.load(&id()).await.expect("a reply");
    }
    assert_eq!(scanning(), connections, "{:?}", last_commands());
}
