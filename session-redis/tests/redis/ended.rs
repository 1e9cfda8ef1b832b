//! Sessions that have ended stay ended, although Redis has lost their ends.

use std::time::Duration;

use session_core::{Destroy, Destroyed, Saved, SessionId, Store, Touched};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Meter, Redis, Sentinels, eventually};

use crate::{LONG, create, created, destroyed, id, load, record, write};

const OFF: &str = "ended_journal=0s";

/// A store with another journal than the default one, if `parameter` says so.
fn store(url: &str, parameter: &str) -> RedisStore {
    let url = format!("{url}?probe_every=50ms&{parameter}");
    RedisStore::lazy(RedisConfig::from_url(&url).expect("a URL")).expect("a store")
}

async fn sessions(store: &RedisStore, count: usize) -> Vec<SessionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = id();
        create(store, &id, &record(b"of a user")).await;
        ids.push(id);
    }
    ids
}

async fn end(store: &RedisStore, ids: &[SessionId]) {
    for id in ids {
        let ended = store.destroy(id, Destroy::any()).await;
        assert_eq!(ended.expect("an acknowledged end"), destroyed());
    }
}

/// How many of these records a server has.
fn present(server: &Redis, ids: &[SessionId]) -> usize {
    let keys = ids.iter().map(|id| format!("session:{id}"));
    let exists = |key: &String| {
        let result = server.try_command::<u64>(&["EXISTS", key]);
        // in a cluster, another node may have it
        result.is_ok_and(|count| count > 0)
    };
    keys.filter(exists).count()
}

async fn found(store: &RedisStore, ids: &[SessionId]) -> usize {
    let mut found = 0;
    for id in ids {
        let loaded = store.load(id).await.expect("the server replies");
        found += usize::from(loaded.is_some());
    }
    found
}

async fn wait_until_served(store: &RedisStore, ids: &[SessionId]) {
    eventually("all nodes serve", async || {
        for id in ids {
            if store.load(id).await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test]
async fn a_restart_from_an_old_snapshot_brings_nothing_back() {
    let server = Redis::start();
    let url = server.url();
    let (ends, other, forgets) = (store(&url, ""), store(&url, ""), store(&url, OFF));
    let ids = sessions(&ends, 8).await;
    let lost = sessions(&forgets, 2).await;
    assert_eq!(found(&other, &ids).await, ids.len());
    let () = server.command(&["SAVE"]);
    end(&ends, &ids[..4]).await;
    ends.destroy_many(&ids[4..]).await.expect("destroyed");
    end(&forgets, &lost).await;
    server.kill();
    server.restart();

    // nobody makes a request
    eventually("they have ended again", async || {
        present(&server, &ids) == 0
    })
    .await;
    assert_eq!(present(&server, &lost), lost.len());
    wait_until_served(&other, &ids).await;
    assert_eq!(found(&other, &ids).await, 0);
    wait_until_served(&forgets, &lost).await;
    assert_eq!(found(&forgets, &lost).await, lost.len());
}

/// Longer than ids are remembered.
#[tokio::test]
async fn what_has_ended_is_remembered_for_as_long_as_the_server_is_away() {
    let server = Redis::start();
    let ends = store(&server.url(), "ended_journal=200ms&connect_timeout=100ms");
    let ids = sessions(&ends, 3).await;
    let () = server.command(&["SAVE"]);
    end(&ends, &ids).await;
    server.kill();
    let away_since = std::time::Instant::now();
    eventually("the time is over", async || {
        away_since.elapsed() > Duration::from_millis(500)
    })
    .await;
    server.restart();
    eventually("they have ended again", async || {
        present(&server, &ids) == 0
    })
    .await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_gone_for_every_operation() {
    let server = Redis::start();
    let store = store(&server.url(), "connections=1");
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    let raw: Vec<u8> = server.command(&["DUMP", &format!("session:{id}")]);
    let expected = Destroy::expecting(first.version());
    let ended = store.destroy(&id, expected).await;
    assert_eq!(ended.expect("a reply"), destroyed());
    let restore = || {
        let mut connection = redis::Client::open(server.url())
            .and_then(|client| client.get_connection())
            .expect("a connection");
        let mut command = redis::cmd("RESTORE");
        command.arg(format!("session:{id}")).arg(0).arg(&raw);
        let () = command.query(&mut connection).expect("restored");
    };
    restore();

    let second = record(b"2");
    let operations = async {
        let saved = store.save(&id, first.version(), write(&second)).await;
        assert_eq!(saved.expect("save"), Saved::Gone);
        let touched = store.touch(&id, first.version(), LONG).await;
        assert_eq!(touched.expect("touch"), Touched::Gone);
        let ended = store.destroy(&id, expected).await;
        assert_eq!(ended.expect("destroy"), Destroyed::Gone);
    };
    let measured = Meter::new(&server).measure(operations).await;
    assert_eq!(measured.commands, [].into());
    assert_eq!(present(&server, &[id]), 1);

    // its record was found, so all of them are destroyed again
    assert_eq!(found(&store, &[id]).await, 0);
    eventually("it has ended again", async || present(&server, &[id]) == 0).await;

    let again = store.create(&id, write(&second)).await;
    assert_eq!(again.expect("create"), created());
    assert_eq!(load(&store, &id).await, second);
}

#[tokio::test]
async fn a_broken_connection_to_the_same_server_is_no_reason_to_end_anything_again() {
    let server = Redis::start();
    let store = store(&server.url(), "");
    let ids = sessions(&store, 3).await;
    end(&store, &ids).await;
    let () = server.command(&["CONFIG", "RESETSTAT"]);
    let mut admin = redis::Client::open(server.url())
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let killed: u64 = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal"])
        .query(&mut admin)
        .expect("killed");
    assert_eq!(killed, 2, "the connections of the store");
    let calls = |name: &str| {
        let stats: String = server.command(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{name}:calls=");
        let calls = stats.lines().find_map(|line| line.strip_prefix(&prefix));
        calls.map_or(0, |calls| {
            let calls = calls.split(',').next().expect("a number");
            calls.parse::<u64>().expect("a number")
        })
    };
    let asked = async || {
        server
            .command::<String>(&["CLIENT", "LIST"])
            .lines()
            .count()
            == 4
    };
    eventually("both are connected again", asked).await;
    wait_until_served(&store, &ids).await;
    assert_eq!(calls("unlink"), 0);
}

#[tokio::test]
async fn without_the_permission_to_ask_each_new_connection_may_lead_to_another_server() {
    let server = Redis::start();
    let url = format!("redis://app:pw@{}", server.addr());
    let config = RedisConfig::from_url(&url).expect("a URL");
    let rules = config.acl_rules();
    assert!(rules.contains(&"+info".to_owned()), "{rules:?}");
    let mut words = vec!["ACL", "SETUSER", "app", "on", ">pw"];
    words.extend(
        rules
            .iter()
            .map(String::as_str)
            .filter(|rule| *rule != "+info"),
    );
    let () = server.command(&words);
    let store = store(&url, "");
    let ids = sessions(&store, 3).await;
    let raw = server.dump();
    end(&store, &ids).await;
    for (key, _) in &raw {
        let () = server.command(&["SET", key, "back"]);
    }
    assert_eq!(present(&server, &ids), 3);
    let _: u64 = server.command(&["CLIENT", "KILL", "USER", "app"]);
    eventually("they have ended again", async || {
        present(&server, &ids) == 0
    })
    .await;
}

#[tokio::test]
async fn a_sentinel_failover_that_loses_ends_brings_nothing_back() {
    let group = Sentinels::start();
    let primary = group.primary().port();
    let [old, new] = &group.servers;
    assert_eq!(old.port(), primary);
    let (ends, other) = (store(&group.url(), ""), store(&group.url(), ""));
    let ids = sessions(&ends, 20).await;
    assert_eq!(found(&other, &ids).await, ids.len());
    old.wait_for_replica();
    old.stop_replication();
    end(&ends, &ids).await;
    old.kill();
    assert_eq!(
        present(new, &ids),
        ids.len(),
        "the replica has not heard of it"
    );
    group.wait_for_failover(primary);
    eventually("they have ended again", async || present(new, &ids) == 0).await;
    wait_until_served(&other, &ids).await;
    assert_eq!(found(&other, &ids).await, 0);
}

#[tokio::test]
async fn a_cluster_failover_that_loses_ends_brings_nothing_back() {
    let cluster = Cluster::with_replicas(1);
    let (ends, other) = (store(&cluster.url(), ""), store(&cluster.url(), ""));
    let ids = sessions(&ends, 60).await;
    assert_eq!(found(&other, &ids).await, ids.len());
    let old = &cluster.nodes[0];
    let on_old = present(old, &ids);
    assert!(on_old > 0);
    old.wait_for_replica();
    old.stop_replication();
    end(&ends, &ids).await;
    old.kill();
    eventually("a replica takes over", async || {
        cluster.primaries().len() == 3
    })
    .await;
    let new = cluster.primaries().into_iter().map(|n| &cluster.nodes[n]);
    let new: Vec<_> = new.collect();
    // nobody makes a request
    let left = || new.iter().map(|node| present(node, &ids)).sum::<usize>();
    eventually("they have ended again", async || left() == 0).await;
    wait_until_served(&other, &ids).await;
    assert_eq!(found(&other, &ids).await, 0);
}
