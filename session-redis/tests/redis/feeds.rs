//! When Redis stops to announce changes, and that the store notices.

use session_core::{AnyFeed, Destroy, Store};
use test_support::{Cluster, Fault, Proxy, Redis, Sentinels, eventually};

use crate::{
    changes::{assert_announced, connect, feed_of, listen, watch},
    create, destroyed, id, record,
    topologies::{migrate, session_of_first_node},
};

async fn assert_ends(feed: &AnyFeed) {
    eventually("the feed ends", async || feed.silence().is_none()).await;
}

#[tokio::test]
async fn a_flush_ends_the_feed_and_another_begins_on_the_same_connection() {
    let server = Redis::start();
    let store = connect(&format!("{}?connections=1", server.url())).await;
    let (changes, heard) = listen(&store);
    let (id, first) = (id(), record(b"1"));
    let before = feed_of(&changes, &id).await;
    let connections = || -> String {
        let info: String = server.command(&["CLIENT", "LIST"]);
        let tracking = info.lines().find(|line| line.contains(" flags=t "));
        tracking
            .and_then(|line| line.split(' ').next())
            .expect("a connection")
            .to_owned()
    };
    let connection = connections();
    let () = server.command(&["FLUSHALL"]);
    assert_ends(&before).await;
    assert_eq!(heard.interruptions(), 1);
    let after = feed_of(&changes, &id).await;
    assert_eq!(connections(), connection);
    create(&store, &id, &first).await;
    assert_announced(&heard, &id, 1).await;
    assert_eq!((before.silence(), heard.interruptions()), (None, 1));
    assert!(after.silence().is_some());
}

#[tokio::test]
async fn a_closed_connection_ends_its_feed() {
    let server = Redis::start();
    let url = format!("{}?connections=1&probe_every=20ms", server.url());
    let store = connect(&url).await;
    let (changes, heard) = listen(&store);
    let id = id();
    for times in 1..3 {
        let feed = feed_of(&changes, &id).await;
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert_ends(&feed).await;
        eventually("the end is told", async || heard.interruptions() == times).await;
    }
    feed_of(&changes, &id).await;
    assert_eq!(heard.interruptions(), 2, "once for each");
}

#[tokio::test]
async fn a_feed_ends_with_the_store() {
    let server = Redis::start();
    let store = connect(&format!("{}?connections=1", server.url())).await;
    let (changes, heard) = listen(&store);
    let feed = feed_of(&changes, &id()).await;
    drop((store, changes));
    assert_ends(&feed).await;
    eventually("the end is told", async || heard.interruptions() == 1).await;
}

#[tokio::test]
async fn a_connection_that_stalls_ends_its_feed_and_announces_again_afterwards() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let url = format!(
        "{}?connections=1&response_timeout=200ms&probe_every=20ms",
        proxy.url()
    );
    let store = connect(&url).await;
    let (changes, heard) = listen(&store);
    let (id, first) = (id(), record(b"1"));
    let feed = feed_of(&changes, &id).await;
    proxy.set(Fault::Stall);
    assert_ends(&feed).await;
    assert_eq!(heard.interruptions(), 1);
    proxy.set(Fault::None);
    let again = feed_of(&changes, &id).await;
    assert_eq!(feed.silence(), None);
    create(&connect(&server.url()).await, &id, &first).await;
    eventually("it is announced", async || heard.of(&id) > 0).await;
    assert!(again.silence().is_some());
}

#[tokio::test]
async fn a_primary_that_was_demoted_ends_the_feed_and_none_begins() {
    let server = Redis::start();
    let store = connect(&server.url()).await;
    let (changes, heard) = listen(&store);
    let id = id();
    let feed = feed_of(&changes, &id).await;
    // nobody is there, so nothing is copied, and nothing flushed
    let nobody = test_support::port::free().to_string();
    let () = server.command(&["REPLICAOF", "127.0.0.1", &nobody]);
    assert_ends(&feed).await;
    eventually("no feed is left", async || {
        watch(&changes, &id).await.feed.is_none()
    })
    .await;
    eventually("the end of each is told", async || {
        heard.interruptions() == 2
    })
    .await;
    let () = server.command(&["REPLICAOF", "NO", "ONE"]);
    feed_of(&changes, &id).await;
    assert_eq!((feed.silence(), heard.interruptions()), (None, 2));
}

#[tokio::test]
async fn a_server_without_resp3_announces_nothing() {
    let server = Redis::with_password_and_options("pw", &["--rename-command", "HELLO", ""]);
    let store = connect(&format!("redis://:pw@{}", server.addr())).await;
    let (changes, heard) = listen(&store);
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    for _ in 0..3 {
        let watched = watch(&changes, &id).await;
        assert_eq!(watched.loaded.expect("a session").record, first);
        assert!(watched.feed.is_none());
    }
    let stats: String = server.command(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_role"), "{stats}");
    assert_eq!((heard.of(&id), heard.interruptions()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_end_the_feed_of_the_node_that_had_them() {
    let cluster = Cluster::start();
    let store = connect(&cluster.url()).await;
    let (changes, heard) = listen(&store);
    let (id, slot) = session_of_first_node(&cluster);
    let first = record(b"1");
    create(&store, &id, &first).await;
    let feed = feed_of(&changes, &id).await;
    migrate(&cluster, &id, &slot);
    assert_announced(&heard, &id, 1).await;
    for _ in 0..5 {
        let watched = watch(&changes, &id).await;
        assert_eq!(watched.loaded.expect("at the target").record, first);
        assert!(watched.feed.is_none(), "a slot in transit");
    }
    let (source, target) = (&cluster.nodes[0], &cluster.nodes[1]);
    let target_id: String = target.command(&["CLUSTER", "MYID"]);
    for node in [target, source] {
        let () = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
    }
    assert_ends(&feed).await;
    eventually("the end is told", async || heard.interruptions() > 0).await;
    let at_target = feed_of(&changes, &id).await;
    let heard_before = heard.of(&id);
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_announced(&heard, &id, heard_before + 1).await;
    drop(at_target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_a_cluster_ends_the_feed() {
    let cluster = Cluster::with_replicas(1);
    let store = connect(&cluster.url()).await;
    let (changes, heard) = listen(&store);
    let (id, _) = session_of_first_node(&cluster);
    create(&store, &id, &record(b"1")).await;
    let feed = feed_of(&changes, &id).await;
    cluster.nodes[0].wait_for_replica();
    cluster.fail_over(0);
    assert_ends(&feed).await;
    eventually("the end is told", async || heard.interruptions() > 0).await;
    feed_of(&changes, &id).await;
    let before = heard.of(&id);
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    eventually("it is announced", async || heard.of(&id) > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_sentinels_ends_the_feed() {
    let all = Sentinels::start();
    let store = connect(&all.url()).await;
    let (changes, heard) = listen(&store);
    let id = id();
    create(&store, &id, &record(b"1")).await;
    let feed = feed_of(&changes, &id).await;
    all.servers[0].wait_for_replica();
    all.fail_over();
    assert_ends(&feed).await;
    eventually("the end is told", async || heard.interruptions() > 0).await;
    feed_of(&changes, &id).await;
    let before = heard.of(&id);
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    eventually("it is announced", async || heard.of(&id) > before).await;
}
