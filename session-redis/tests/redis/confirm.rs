//! Writes that replicas confirm.

use std::{task::Poll, time::Duration};

use session_core::{
    Applied, Created, Destroy, Destroyed, Record, Replicas, Saved, SessionId, Store,
    StoreErrorKind, Write,
};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, FakeRedis, Meter, Redis, Sentinels, eventually};

use crate::{
    assert_fails, create, destroyed, id, load, record,
    topologies::{migrate, session_of_first_node},
    write,
};

fn store(url: &str) -> RedisStore {
    let url = format!("{url}?connections=1");
    RedisStore::lazy(RedisConfig::from_url(&url).expect("a URL")).expect("a store")
}

/// A primary and its replica, which has a copy.
fn replicated() -> (Redis, Redis) {
    let primary = Redis::with_options(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let replica = Redis::with_options(&["--replicaof", "127.0.0.1", &port]);
    replica.wait_until_replica();
    primary.wait_for_replica();
    (primary, replica)
}

fn on(replicas: u32) -> Applied {
    Applied::new().on_replicas(replicas)
}

/// Long enough for a replica that works.
fn one() -> Replicas {
    Replicas::new(1).timeout(Duration::from_secs(1))
}

async fn confirmed(store: &RedisStore, id: &SessionId, record: &Record) -> Created {
    let write = write(record).confirm(one());
    store.create(id, write).await.expect("a reply")
}

#[tokio::test]
async fn each_write_is_confirmed_by_a_replica_that_has_it() {
    let (primary, replica) = replicated();
    let store = store(&primary.url());
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    let key = format!("session:{id}");
    let on_replica = || replica.command::<u64>(&["EXISTS", &key]) == 1;
    assert_eq!(
        confirmed(&store, &id, &first).await,
        Created::Created(on(1))
    );
    assert!(on_replica());
    assert_eq!(confirmed(&store, &id, &second).await, Created::Taken);

    let save = |expected, record| {
        let write = Write::new(record, crate::LONG).confirm(one());
        store.save(&id, expected, write)
    };
    let saved = save(first.version(), &second).await;
    assert_eq!(saved.expect("a reply"), Saved::Saved(on(1)));
    let conflict = save(first.version(), &first).await;
    assert!(matches!(conflict.expect("a reply"), Saved::Conflict(_)));
    assert_eq!(load(&store, &id).await, second);

    let destroy = |options: Destroy| store.destroy(&id, options.confirm(one()));
    let conflict = destroy(Destroy::expecting(first.version())).await;
    assert!(matches!(conflict.expect("a reply"), Destroyed::Conflict(_)));
    let ended = destroy(Destroy::expecting(second.version())).await;
    assert_eq!(ended.expect("a reply"), Destroyed::Destroyed(on(1)));
    assert!(!on_replica());
    // there is nothing to confirm
    let ended = destroy(Destroy::any()).await;
    assert_eq!(ended.expect("a reply"), destroyed());
}

#[tokio::test]
async fn the_write_and_the_wait_are_one_round_trip() {
    let server = Redis::start();
    let store = store(&server.url());
    let (known, first) = (id(), record(b"1"));
    // the server learns the script, and the connection is made
    let nobody = Replicas::new(0);
    let created = store.create(&known, write(&first).confirm(nobody)).await;
    assert_eq!(created.expect("a reply"), Created::Created(on(0)));

    let id = id();
    let create = store.create(&id, write(&first).confirm(nobody));
    let measured = Meter::new(&server).measure(create).await;
    assert_eq!(measured.result.expect("a reply"), Created::Created(on(0)));
    let mut commands = measured.commands;
    // a connection that was idle for a second is checked first
    let checks = ["ping", "unwatch"].map(|name| commands.remove(name).unwrap_or(0));
    let expected = ["evalsha", "set", "wait"].map(|name| (name.to_owned(), 1));
    assert_eq!(commands, expected.into());
    assert_eq!(measured.round_trips, 1 + checks[0]);
}

#[tokio::test]
async fn a_replica_that_hangs_confirms_nothing_and_delays_no_other_operation() {
    let (primary, replica) = replicated();
    let url = format!("{}?total_timeout=60s", primary.url());
    let config = RedisConfig::from_url(&url).expect("a URL");
    let store = RedisStore::lazy(config).expect("a store");
    let (slow, other, first) = (id(), id(), record(b"1"));
    create(&store, &other, &first).await;
    create(&store, &slow, &first).await;
    primary.wait_for_replica();
    replica.pause();
    let short = Replicas::new(1).timeout(Duration::from_millis(20));
    let created = store.create(&id(), write(&first).confirm(short)).await;
    assert_eq!(created.expect("a reply"), Created::Created(on(0)));

    let long = Replicas::new(1).timeout(Duration::from_secs(50));
    let ends = store.destroy(&slow, Destroy::any().confirm(long));
    let mut ends = std::pin::pin!(ends);
    let waits = async || {
        let polled = std::future::poll_fn(|cx| Poll::Ready(ends.as_mut().poll(cx)));
        assert!(polled.await.is_pending(), "it waits for a replica");
        let info: String = primary.command(&["INFO", "clients"]);
        info.contains("blocked_clients:1")
    };
    eventually("the write waits", waits).await;
    // neither reads nor writes wait with it
    assert_eq!(load(&store, &other).await, first);
    let ended = store.destroy(&other, Destroy::any()).await;
    assert_eq!(ended.expect("a reply"), destroyed());
    let polled = std::future::poll_fn(|cx| Poll::Ready(ends.as_mut().poll(cx).is_pending()));
    assert!(polled.await, "it still waits");
    assert_eq!(store.load(&slow).await.expect("a reply"), None);
    replica.resume();
    assert_eq!(ends.await.expect("a reply"), Destroyed::Destroyed(on(1)));
}

#[tokio::test]
async fn a_write_is_acknowledged_although_nobody_may_wait() {
    let server = Redis::start();
    let url = format!("redis://app:pw@{}", server.addr());
    let rules = RedisConfig::from_url(&url).expect("a URL").acl_rules();
    assert!(rules.contains(&"+wait".to_owned()), "{rules:?}");
    let mut words = vec!["ACL", "SETUSER", "app", "on", ">pw"];
    words.extend(
        rules
            .iter()
            .map(String::as_str)
            .filter(|rule| *rule != "+wait"),
    );
    let () = server.command(&words);
    let store = store(&url);
    let (id, first) = (id(), record(b"1"));
    assert_eq!(
        confirmed(&store, &id, &first).await,
        Created::Created(on(0))
    );
    assert_eq!(load(&store, &id).await, first);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_same_doubt_as_without_replicas() {
    const LOST: &str = "";
    const CONFIRMED: &str = ":1\r\n";
    let (id, first) = (id(), record(b"1"));
    let fake = FakeRedis::with_replies(&[LOST, ":1\r\n", CONFIRMED]).await;
    let failed = store(&format!("redis://{}", fake.addr()))
        .create(&id, write(&first).confirm(one()))
        .await;
    assert_fails(failed, StoreErrorKind::Timeout);
    assert_eq!(fake.commands(), 1, "a create is not repeated");

    // the first attempt may have ended it
    let fake = FakeRedis::with_replies(&[LOST, ":0\r\n", CONFIRMED]).await;
    let ended = store(&format!("redis://{}", fake.addr()))
        .destroy(&id, Destroy::any().confirm(one()))
        .await;
    assert_eq!(ended.expect("a reply"), Destroyed::Destroyed(on(0)));
    assert_eq!(fake.commands(), 3);

    // only that of `WAIT` is lost: the write may be applied
    let fake = FakeRedis::with_replies(&[":1\r\n", LOST]).await;
    let failed = store(&format!("redis://{}", fake.addr()))
        .create(&id, write(&first).confirm(one()))
        .await;
    assert_fails(failed, StoreErrorKind::Timeout);
}

#[tokio::test]
async fn redirections_of_a_cluster_are_followed() {
    let cluster = Cluster::with_replicas(1);
    let store = store(&cluster.url());
    let (moved, slot) = session_of_first_node(&cluster);
    let first = record(b"1");
    assert_eq!(
        confirmed(&store, &moved, &first).await,
        Created::Created(on(1))
    );
    // the slot is in transit: a redirection by `ASK`
    migrate(&cluster, &moved, &slot);
    let second = record(b"2");
    let saved = store
        .save(&moved, first.version(), write(&second).confirm(one()))
        .await;
    assert_eq!(saved.expect("a reply"), Saved::Saved(on(1)));
    // it has arrived: a redirection by `MOVED`
    let target: String = cluster.nodes[1].command(&["CLUSTER", "MYID"]);
    for node in [&cluster.nodes[1], &cluster.nodes[0]] {
        let () = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
    }
    let expected = Destroy::expecting(second.version()).confirm(one());
    let ended = store.destroy(&moved, expected).await;
    assert_eq!(ended.expect("a reply"), Destroyed::Destroyed(on(1)));
}

#[tokio::test]
async fn writes_follow_a_failover_to_the_new_primary() {
    let group = Sentinels::start();
    let store = store(&group.url());
    let first = record(b"1");
    let before = id();
    assert_eq!(
        confirmed(&store, &before, &first).await,
        Created::Created(on(1))
    );
    group.fail_over();
    let new = group.primary().port();
    assert_ne!(new, group.servers[0].port());
    eventually("writes are confirmed again", async || {
        let write = write(&first).confirm(one());
        let created = store.create(&id(), write).await;
        matches!(created, Ok(Created::Created(applied)) if applied.replicas == Some(1))
    })
    .await;
    assert_eq!(load(&store, &before).await, first);
}
