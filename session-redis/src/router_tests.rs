//! Several operations in one pipeline, on real servers.

use std::{sync::Arc, time::Duration};

use session_core::{Record, StoreErrorKind, Version, Write};
use test_support::{Cluster, Fault, Meter, Proxy, Redis};

use super::*;
use crate::command::Operation;

const LONG: Duration = Duration::from_secs(60);

fn router(url: &str) -> Router {
    let url = format!("{url}?connections=1");
    let config = RedisConfig::from_url(&url).expect("a URL");
    Router::new(&Arc::new(config), &Announcer::new("session:"), None)
}

fn version(version: &[u8; 8]) -> Version {
    Version::from_bytes(*version)
}

/// A record whose version is its body.
fn record(body: &'static [u8; 8]) -> Record {
    Record::new(version(body), &body[..])
}

fn create<'a>(key: &'a str, record: &'a Record) -> Command<'a> {
    Command::new(key, Operation::Create(Write::new(record, LONG)))
}

fn save<'a>(key: &'a str, expected: &[u8; 8], record: &'a Record) -> Command<'a> {
    let (expected, write) = (version(expected), Write::new(record, LONG));
    Command::new(key, Operation::Save { expected, write })
}

fn touch<'a>(key: &'a str, expected: &[u8; 8]) -> Command<'a> {
    let (expected, ttl) = (version(expected), LONG);
    Command::new(key, Operation::Touch { expected, ttl })
}

fn load(key: &str) -> Command<'_> {
    Command::new(key, Operation::Load)
}

/// Runs operations and names their answers, such as `Saved`, or the kinds of their errors.
async fn answers(router: &Router, commands: &[Command<'_>]) -> Vec<String> {
    let replies = router.run_all(commands).await;
    assert_eq!(replies.len(), commands.len());
    let answers = commands.iter().zip(replies).map(|(command, reply)| {
        let answer = reply.and_then(|reply| {
            Ok(match command.name() {
                "load" => format!(
                    "{:?}",
                    reply.into_loaded()?.map(|found| found.record.version())
                ),
                "create" => format!("{:?}", reply.into_created()?),
                "save" => format!("{:?}", reply.into_saved()?),
                "touch" => format!("{:?}", reply.into_touched()?),
                other => panic!("{other} is not tested"),
            })
        });
        let answer = answer.unwrap_or_else(|error| format!("{:?}", error.kind()));
        answer.split('(').next().unwrap_or_default().to_owned()
    });
    answers.collect()
}

#[tokio::test]
async fn operations_on_one_server_share_a_round_trip_and_have_their_own_answers() {
    let server = Redis::start();
    let router = router(&server.url());
    let (first, second) = (record(b"first..."), record(b"second.."));
    let all = [
        create("a", &first),
        save("a", b"first...", &second),
        touch("a", b"first..."),
        save("b", b"first...", &second),
        load("a"),
        create("a", &first),
    ];
    // the server has seen none of the scripts
    answers(&router, &all).await;
    let () = server.command(&["FLUSHALL"]);

    let measured = Meter::new(&server).measure(answers(&router, &all)).await;
    let expected = ["Created", "Saved", "Conflict", "Gone", "Some", "Taken"];
    assert_eq!(measured.result, expected);
    assert_eq!(measured.round_trips, 1);
    assert_eq!(measured.commands["evalsha"], 5);
    assert_eq!(answers(&router, &[]).await, [""; 0]);
}

#[tokio::test]
async fn a_script_that_the_server_does_not_know_is_sent_as_source_and_the_others_are_not_repeated()
{
    let server = Redis::start();
    let router = router(&server.url());
    let first = record(b"first...");
    assert_eq!(answers(&router, &[create("a", &first)]).await, ["Created"]);

    let all = [
        create("b", &first),
        touch("a", b"first..."),
        create("c", &first),
    ];
    let measured = Meter::new(&server).measure(answers(&router, &all)).await;
    assert_eq!(measured.result, ["Created", "Touched", "Created"]);
    assert_eq!(measured.round_trips, 2);
    assert_eq!(measured.commands["set"], 2);
    assert_eq!(measured.commands["eval"], 1);
}

#[tokio::test]
async fn an_error_reply_is_the_answer_of_its_operation_only() {
    let server = Redis::start();
    let router = router(&server.url());
    let first = record(b"first...");
    let () = server.command(&["SADD", "b", "x"]);
    let all = [create("a", &first), load("b"), create("c", &first)];
    assert_eq!(
        answers(&router, &all).await,
        ["Created", "Corrupt", "Created"]
    );
}

#[tokio::test]
async fn after_a_lost_reply_only_what_cannot_be_applied_twice_is_sent_again() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let router = router(&proxy.url());
    let (first, second, third) = (
        record(b"first..."),
        record(b"second.."),
        record(b"third..."),
    );
    // every script is known
    let warm_up = [create("a", &first), save("b", b"first...", &second)];
    assert_eq!(answers(&router, &warm_up).await, ["Created", "Gone"]);

    proxy.set(Fault::LoseReplyTo("EVALSHA"));
    let all = [
        save("a", b"first...", &second),
        create("c", &first),
        save("a", b"second..", &third),
    ];
    // all were applied: the first finds the record of the last, and the create is not repeated
    let expected = ["Timeout", "Timeout", "Saved"];
    assert_eq!(answers(&router, &all).await, expected);
    assert_eq!(proxy.replies_lost(), 1);

    proxy.set(Fault::LoseReplyTo("EVALSHA"));
    let all = [
        save("a", b"third...", &first),
        save("c", b"first...", &second),
    ];
    assert_eq!(answers(&router, &all).await, ["Saved", "Saved"]);
    assert_eq!(proxy.replies_lost(), 2);
}

#[tokio::test]
async fn without_a_server_every_operation_is_unavailable() {
    let server = Redis::start();
    let router = router(&server.url());
    server.kill();
    let first = record(b"first...");
    let all = [create("a", &first), load("b")];
    let expected = [StoreErrorKind::Unavailable; 2].map(|kind| format!("{kind:?}"));
    assert_eq!(answers(&router, &all).await, expected);
}

fn node_id(node: &Redis) -> String {
    node.command(&["CLUSTER", "MYID"])
}

/// A slot of the first node, by a tag for keys in it.
fn tag_of_first_node() -> (String, String) {
    let mut tags = (0..).map(|number| format!("{{{number}}}"));
    let tag = tags
        .find(|tag| crate::slot_map::slot(tag) < 5000)
        .expect("a tag");
    let slot = crate::slot_map::slot(&tag).to_string();
    (tag, slot)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_has_moved_is_followed() {
    let cluster = Cluster::start();
    let router = router(&cluster.url());
    let (tag, slot) = tag_of_first_node();
    let keys = ["a", "b"].map(|name| format!("{tag}{name}"));
    let (first, second) = (record(b"first..."), record(b"second.."));
    let all = [create(&keys[0], &first), create(&keys[1], &first)];
    let router_knows_the_first_node = answers(&router, &[load(&keys[0])]).await;
    assert_eq!(router_knows_the_first_node, ["None"]);
    for node in &cluster.nodes {
        let words = [
            "CLUSTER",
            "SETSLOT",
            &slot,
            "NODE",
            &node_id(&cluster.nodes[1]),
        ];
        let () = node.command(&words);
    }
    assert_eq!(answers(&router, &all).await, ["Created", "Created"]);
    let all = [
        save(&keys[0], b"first...", &second),
        load(&keys[1]),
        load(&keys[0]),
    ];
    // it is known now
    let mut meter = Meter::new(&cluster.nodes[0]);
    let measured = meter.measure(answers(&router, &all)).await;
    assert_eq!(measured.result, ["Saved", "Some", "Some"]);
    let asked = measured
        .commands
        .keys()
        .filter(|name| !name.starts_with("cluster"));
    assert_eq!(
        asked.collect::<Vec<_>>(),
        [""; 0].each_ref(),
        "the old node"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_slot_that_moves_each_key_is_found_where_it_is() {
    let cluster = Cluster::start();
    let router = router(&cluster.url());
    let (tag, slot) = tag_of_first_node();
    let keys = ["a", "b", "c"].map(|name| format!("{tag}{name}"));
    let (first, second) = (record(b"first..."), record(b"second.."));
    let all = keys.each_ref().map(|key| create(key, &first));
    assert_eq!(answers(&router, &all[..2]).await, ["Created"; 2]);

    let (source, target) = (&cluster.nodes[0], &cluster.nodes[1]);
    let () = target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &node_id(source)]);
    let () = source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &node_id(target)]);
    let port = target.port().to_string();
    let () = source.command(&["MIGRATE", "127.0.0.1", &port, &keys[1], "0", "5000"]);
    // one is at the source, one at the target, and one is new
    let all = [
        save(&keys[0], b"first...", &second),
        save(&keys[1], b"first...", &second),
        create(&keys[2], &first),
        load(&keys[0]),
        load(&keys[1]),
    ];
    let expected = ["Saved", "Saved", "Created", "Some", "Some"];
    assert_eq!(answers(&router, &all).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_keys_of_other_nodes_are_redirected() {
    let cluster = Cluster::start();
    let router = router(&cluster.url());
    let first = record(b"first...");
    let keys: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let all: Vec<_> = keys.iter().map(|key| create(key, &first)).collect();
    assert_eq!(answers(&router, &all).await, ["Created"; 20]);
    for node in &cluster.nodes {
        assert!(node.command::<u64>(&["DBSIZE"]) > 0, "a node without a key");
    }
}
