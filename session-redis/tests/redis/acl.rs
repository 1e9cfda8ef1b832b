//! Users with exactly the permissions that the configuration asks for.

use std::{collections::BTreeSet, time::SystemTime};

use session_core::{
    Created, Destroy, Index, IndexKey, Listing, Nonce, Replicas, Saved, SessionId, Store,
    StoreErrorKind, Touched,
};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Redis, Sentinels, eventually};

use crate::{
    assert_fails,
    changes::{feed_of, listen, watch},
    create, destroyed, id, load, record, saved,
    topologies::{migrate, session_of_first_node},
    touched, write,
};

/// What tests and servers send to servers, without the store.
const OTHERS: &[&str] = &[
    "acl",
    "acl|log",
    "acl|setuser",
    "auth",
    "client",
    "client|setinfo",
    "config",
    "config|resetstat",
    "hello",
    "info",
];

/// What sentinels, replicas and primaries send to servers.
const OF_REPLICATION: &[&str] = &[
    "client|kill",
    "client|setname",
    "config|rewrite",
    "exec",
    "multi",
    "pexpireat",
    "ping",
    "psync",
    "publish",
    "replconf",
    "slaveof",
    "subscribe",
];

/// What moving a slot sends to the nodes of a cluster.
const OF_RESHARDING: &[&str] = &[
    "cluster|keyslot",
    "cluster|myid",
    "cluster|setslot",
    "migrate",
    "restore-asking",
    "select",
];

/// Gives a user these permissions and no others, and forgets what was sent and denied before.
fn permit(server: &Redis, rules: &[impl AsRef<str>]) {
    let mut words = vec!["ACL", "SETUSER", "app", "reset", "on", ">pw"];
    words.extend(rules.iter().map(AsRef::as_ref));
    let () = server.command(&words);
    let () = server.command(&["ACL", "LOG", "RESET"]);
}

fn reset_sent(server: &Redis) {
    let () = server.command(&["CONFIG", "RESETSTAT"]);
}

fn denied(server: &Redis) -> Vec<redis::Value> {
    server.command(&["ACL", "LOG"])
}

#[track_caller]
fn assert_nothing_denied<'s>(servers: impl IntoIterator<Item = &'s Redis>) {
    for server in servers {
        assert_eq!(denied(server), [], "{}", server.addr());
    }
}

/// The commands that a server has carried out, such as `cluster|slots`.
fn sent(server: &Redis) -> BTreeSet<String> {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let commands = stats.lines().filter_map(|line| {
        let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        (!stats.starts_with("calls=0,")).then(|| name.to_owned())
    });
    commands.collect()
}

/// Asserts that the store has sent every command that its user may run, and no other.
#[track_caller]
fn assert_sent<'s>(
    rules: &[String],
    servers: impl IntoIterator<Item = &'s Redis>,
    others: &[&str],
) {
    let sent: BTreeSet<String> = servers.into_iter().flat_map(sent).collect();
    // Redis 6.2 does not count subcommands
    let counts_subcommands = sent.iter().any(|name| name.contains('|'));
    let permitted = rules.iter().filter_map(|rule| rule.strip_prefix('+'));
    let permitted: BTreeSet<&str> = permitted
        .map(|name| match name.split_once('|') {
            Some((command, _)) if !counts_subcommands => command,
            _ => name,
        })
        .collect();
    let not_sent = permitted.iter().filter(|name| !sent.contains(**name));
    assert_eq!(
        not_sent.collect::<Vec<_>>(),
        [""; 0].each_ref(),
        "not needed"
    );
    let known = |name: &&String| {
        permitted.contains(name.as_str())
            || OTHERS.contains(&name.as_str())
            || others.contains(&name.as_str())
    };
    let unknown: Vec<_> = sent.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "not among the permissions: {unknown:?}");
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).expect("a URL")
}

async fn open(config: &RedisConfig) -> RedisStore {
    RedisStore::open(config.clone()).await.expect("a store")
}

/// Every operation, with every answer that runs another command.
async fn assert_permitted(store: &RedisStore) {
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    create(store, &id, &first).await;
    let result = store.save(&id, first.version(), write(&second)).await;
    assert_eq!(result.expect("save"), saved());
    let result = store.save(&id, first.version(), write(&first)).await;
    assert!(matches!(result.expect("save"), Saved::Conflict(_)));
    let result = store.touch(&id, second.version(), crate::LONG).await;
    assert_eq!(result.expect("touch"), touched());
    let result = store.touch(&id, first.version(), crate::LONG).await;
    assert!(matches!(result.expect("touch"), Touched::Conflict(_)));
    assert_eq!(load(store, &id).await, second);
    let expected = Destroy::expecting(second.version());
    let result = store.destroy(&id, expected).await;
    assert_eq!(result.expect("destroy"), destroyed());
    let confirmed = Destroy::any().confirm(Replicas::new(0));
    let result = store.destroy(&id, confirmed).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_index_permitted(store).await;
}

/// Lists sessions together with their records and afterwards, and removes entries.
async fn assert_index_permitted(store: &RedisStore) {
    let index = store.index().expect("Redis has one");
    let key = IndexKey::of_principal(id().as_str());
    let listing = |id, nonce| {
        let nonce = Nonce::from_bytes([nonce; 8]);
        Listing::new(key, id, nonce, SystemTime::now(), crate::LONG)
    };
    let (first, second) = (record(b"1"), record(b"2"));
    let (ended, alive) = (listing(id(), 1), listing(id(), 2));
    index.put(&ended).await.expect("a listing");
    let listings = [alive.clone()];
    let created = store
        .create(&alive.id, write(&first).listed(&listings))
        .await;
    assert!(matches!(created.expect("create"), Created::Created(_)));
    let saved = store
        .save(&alive.id, first.version(), write(&second).listed(&listings))
        .await;
    assert!(matches!(saved.expect("save"), Saved::Saved(_)));
    index.put(&alive).await.expect("a listing");
    eventually(
        "the entry of a session that has ended is removed",
        async || {
            let entries = index.entries(&key, 0, 10).await.expect("entries");
            entries.len() == 1 && entries[0].id == alive.id
        },
    )
    .await;
    index.refresh(alive.clone());
    eventually("the session is forgotten", async || {
        // nobody waits for a refresh, so it may come after the first of these
        index.forget(key, alive.id);
        index
            .entries(&key, 0, 10)
            .await
            .expect("entries")
            .is_empty()
    })
    .await;
}

/// Lets a server hang until the store has checked a connection to it.
async fn force_check(store: &RedisStore, server: &Redis, id: &SessionId) {
    eventually("a connection is checked", async || {
        server.pause();
        let late = store.load(id).await;
        server.resume();
        assert!(late.is_err(), "a server that hangs replies");
        sent(server).contains("unwatch")
    })
    .await;
    eventually("the connection is in use again", async || {
        store.load(id).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_gets_the_permitted_commands_and_no_others() {
    for database in [0, 3] {
        let server = Redis::start();
        let address = server.addr();
        let config = config(&format!(
            "redis://app:pw@{address}/{database}?response_timeout=200ms"
        ));
        permit(&server, &config.acl_rules());
        reset_sent(&server);
        let store = open(&config).await;
        assert_permitted(&store).await;
        force_check(&store, &server, &id()).await;
        assert_permitted(&store).await;
        assert_nothing_denied([&server]);
        assert_sent(&config.acl_rules(), [&server], &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_announced_with_the_permitted_commands_and_no_others() {
    let (server, cluster) = (Redis::start(), Cluster::start());
    let of_server = format!("redis://app:pw@{}?response_timeout=200ms", server.addr());
    let of_cluster = cluster.url().replace("://", "://app:pw@");
    let (session, slot) = session_of_first_node(&cluster);
    for (url, servers) in [
        (of_server, vec![&server]),
        (
            format!("{of_cluster}?response_timeout=200ms"),
            cluster.nodes.iter().collect(),
        ),
    ] {
        let config = config(&url);
        for server in &servers {
            permit(server, &config.changes_acl_rules());
            reset_sent(server);
        }
        let store = open(&config).await;
        let (changes, _heard) = listen(&store);
        feed_of(&changes, &session).await;
        for _ in 0..30 {
            assert_permitted(&store).await;
        }
        force_check(&store, servers[0], &session).await;
        if servers.len() > 1 {
            create(&store, &session, &record(b"1")).await;
            migrate(&cluster, &session, &slot);
            watch(&changes, &session).await;
        }
        assert_nothing_denied(servers.iter().copied());
        assert_sent(&config.changes_acl_rules(), servers, OF_RESHARDING);
    }
}

#[tokio::test]
async fn a_user_who_may_not_track_is_told_of_no_change_and_can_do_the_rest() {
    let server = Redis::start();
    let config = config(&format!("redis://app:pw@{}", server.addr()));
    let rules = config.changes_acl_rules();
    let more: Vec<_> = rules[config.acl_rules().len()..].to_vec();
    assert_eq!(more.len(), 3, "{more:?}");
    for missing in more {
        let rest: Vec<_> = rules.iter().filter(|rule| **rule != missing).collect();
        permit(&server, &rest);
        let store = open(&config).await;
        let (changes, heard) = listen(&store);
        // to be denied `CLIENT CACHING` takes a load on a connection that tracks
        eventually("it is denied", async || {
            watch(&changes, &id()).await;
            let name = missing[1..].split('|').next().expect("a name");
            let mut log = denied(&server).into_iter();
            log.any(|entry| format!("{entry:?}").contains(name))
        })
        .await;
        assert_permitted(&store).await;
        let (id, first) = (id(), record(b"1"));
        create(&store, &id, &first).await;
        let watched = watch(&changes, &id).await;
        assert_eq!(watched.loaded.expect("a session").record, first);
        assert!(watched.feed.is_none(), "without {missing}");
        drop(heard);
    }
}

#[tokio::test]
async fn the_permissions_end_with_the_prefix() {
    let server = Redis::start();
    let with_prefix = |prefix| config(&format!("redis://app:pw@{}", server.addr())).prefix(prefix);
    let permitted = with_prefix("a[b]*:");
    permit(&server, &permitted.acl_rules());
    assert_permitted(&open(&permitted).await).await;
    assert_nothing_denied([&server]);
    for other in ["ab:", "a[b]c:", "other:"] {
        let store = RedisStore::lazy(with_prefix(other)).expect("a store");
        let cause = assert_fails(store.load(&id()).await, StoreErrorKind::Refused);
        assert!(cause.starts_with("NOPERM"), "{cause}");
    }
}

/// The tools of operators, on connections that are used again.
async fn assert_tools_permitted(store: &RedisStore) {
    let id = id();
    create(store, &id, &record(b"1")).await;
    for _ in 0..2 {
        assert_eq!(store.count().await.expect("a count"), 1);
    }
    store.destroy_many(&[id]).await.expect("removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_may_scan() {
    for database in [0, 3] {
        let server = Redis::start();
        let address = server.addr();
        let config = config(&format!(
            "redis://app:pw@{address}/{database}?response_timeout=200ms"
        ));
        permit(&server, &config.acl_rules());
        let store = open(&config).await;
        let cause = assert_fails(store.count().await, StoreErrorKind::Refused);
        assert!(cause.starts_with("NOPERM"), "{cause}");

        permit(&server, &config.operator_acl_rules());
        reset_sent(&server);
        let store = open(&config).await;
        assert_tools_permitted(&store).await;
        force_check(&store, &server, &id()).await;
        assert_permitted(&store).await;
        assert_nothing_denied([&server]);
        assert_sent(&config.operator_acl_rules(), [&server], &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_scan_a_cluster_and_the_primary_of_sentinels() {
    let cluster = Cluster::start();
    let all = Sentinels::with_down_after(std::time::Duration::from_secs(20));
    let url = cluster.url().replace("://", "://app:pw@");
    let with_cluster = (config(&url), cluster.nodes.iter().collect::<Vec<_>>());
    let with_sentinels = (with_users(&all), all.servers.iter().collect());
    for (config, servers) in [with_cluster, with_sentinels] {
        for server in &servers {
            permit(server, &config.operator_acl_rules());
        }
        for sentinel in &all.sentinels {
            permit(sentinel, &config.sentinel_acl_rules());
        }
        let store = open(&config).await;
        assert_tools_permitted(&store).await;
        assert!(servers.iter().any(|server| sent(server).contains("scan")));
        assert_nothing_denied(servers);
    }
    assert_nothing_denied(&all.sentinels);
}

fn with_users(all: &Sentinels) -> RedisConfig {
    let url = all.url().replace("://", "://app:pw@");
    config(&format!(
        "{url}?sentinel_username=app&sentinel_password=pw&response_timeout=200ms"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_behind_sentinels_get_the_permitted_commands_and_no_others() {
    let all = Sentinels::with_down_after(std::time::Duration::from_secs(20));
    let config = with_users(&all);
    for server in &all.servers {
        permit(server, &config.acl_rules());
        reset_sent(server);
    }
    for sentinel in &all.sentinels {
        permit(sentinel, &config.sentinel_acl_rules());
    }
    let store = open(&config).await;
    assert_permitted(&store).await;
    force_check(&store, &all.servers[0], &id()).await;
    all.servers[0].wait_for_replica();
    all.fail_over();
    eventually("the other server is used", async || {
        store.load(&id()).await.is_ok() && sent(&all.servers[1]).contains("get")
    })
    .await;
    assert_permitted(&store).await;
    assert_nothing_denied(all.servers.iter().chain(&all.sentinels));
    assert_sent(&config.acl_rules(), &all.servers, OF_REPLICATION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_permission_on_sentinels_is_needed() {
    let all = Sentinels::with_down_after(std::time::Duration::from_secs(20));
    let config = with_users(&all);
    for server in &all.servers {
        permit(server, &config.acl_rules());
    }
    let rules = config.sentinel_acl_rules();
    let needed = rules
        .iter()
        .filter(|rule| rule.starts_with(['+', '&']))
        .collect::<Vec<_>>();
    assert_eq!(needed.len(), 4, "{rules:?}");
    for missing in needed {
        let rest: Vec<_> = rules.iter().filter(|rule| *rule != missing).collect();
        for sentinel in &all.sentinels {
            permit(sentinel, &rest);
        }
        let store = RedisStore::lazy(config.clone()).expect("a store");
        // without the subscription, it serves all the same
        let _ = store.load(&id()).await;
        eventually("a sentinel denies it", async || {
            let log = all.sentinels.iter().flat_map(denied);
            // Redis 6.2 does not log the subcommand
            let name = missing[1..].split('|').next().expect("a name");
            log.map(|entry| format!("{entry:?}"))
                .any(|entry| entry.contains(name))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_gets_the_permitted_commands_and_no_others() {
    let cluster = Cluster::start();
    let url = cluster.url().replace("://", "://app:pw@");
    let config = config(&format!("{url}?response_timeout=200ms"));
    for node in &cluster.nodes {
        permit(node, &config.acl_rules());
        reset_sent(node);
    }
    let store = open(&config).await;
    for _ in 0..30 {
        assert_permitted(&store).await;
    }
    let (id, slot) = session_of_first_node(&cluster);
    force_check(&store, &cluster.nodes[0], &id).await;

    let (first, second) = (record(b"1"), record(b"2"));
    create(&store, &id, &first).await;
    migrate(&cluster, &id, &slot);
    assert_eq!(load(&store, &id).await, first);
    let result = store.save(&id, first.version(), write(&second)).await;
    assert_eq!(result.expect("save"), saved());
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert!(sent(&cluster.nodes[1]).contains("asking"));

    assert_nothing_denied(&cluster.nodes);
    assert_sent(&config.acl_rules(), &cluster.nodes, OF_RESHARDING);
}
