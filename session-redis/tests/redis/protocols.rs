//! Servers that do not speak RESP3.

use session_core::{Store, StoreErrorKind};
use session_redis::{RedisConfig, RedisStore};
use test_support::{FakeRedis, Redis, eventually};

use crate::{Operation, id};

#[tokio::test]
async fn a_server_without_resp3_is_spoken_to_in_resp2() {
    // as a proxy that does not know the command
    let server = Redis::with_password_and_options("pw", &["--rename-command", "HELLO", ""]);
    let url = format!("redis://:pw@{}/3?probe_every=20ms", server.addr());
    let store = RedisStore::connect(&url).await.expect("a store");
    let answers = async || {
        let mut answers = vec![];
        for operation in Operation::ALL {
            answers.push(operation.run(&store).await.expect("an answer"));
        }
        answers
    };
    let over_resp2 = answers().await;
    assert_eq!(
        over_resp2,
        ["None", "Created", "Gone", "Gone", "Destroyed", "Gone"]
    );
    let list: String = server.command(&["CLIENT", "LIST"]);
    let connections = list.lines().filter(|line| line.contains(" db=3 "));
    let connections: Vec<_> = connections.collect();
    assert!(!connections.is_empty(), "{list}");
    // Redis 6.2 does not tell
    assert!(
        connections.iter().all(|line| !line.contains(" resp=3")),
        "{list}"
    );

    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("the store recovers", async || {
        store.load(&id()).await.is_ok()
    })
    .await;
    assert_eq!(answers().await, over_resp2);
}

/// No message reports that both connections are closed. One retry must be enough.
#[tokio::test]
async fn closed_connections_fail_no_load_in_resp2() {
    let server = Redis::with_password_and_options("pw", &["--rename-command", "HELLO", ""]);
    let url = format!("redis://:pw@{}/3?probe_every=20ms", server.addr());
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..5 {
        eventually("both connections are made", async || {
            let list: String = server.command(&["CLIENT", "LIST"]);
            list.matches(" db=3 ").count() == 2
        })
        .await;
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        store.load(&id()).await.expect("load");
    }
}

#[tokio::test]
async fn the_protocol_of_a_node_is_remembered() {
    let refusal = "-NOPROTO unsupported protocol version\r\n";
    let fake = FakeRedis::with_hello(refusal, ":1\r\n").await;
    let url = format!("redis://{}?connections=1&probe_every=20ms", fake.addr());
    let config = RedisConfig::from_url(&url).expect("a URL");
    let store = RedisStore::lazy(config).expect("a store");
    let destroy = async || Operation::Destroy.run(&store).await;
    assert_eq!(destroy().await.expect("an answer"), "Destroyed");
    assert_eq!((fake.hellos(), fake.commands()), (1, 1));

    // closes the connection
    fake.set_reply("");
    destroy().await.expect_err("no connection");
    let before = fake.commands();
    fake.set_reply(":1\r\n");
    eventually("the store recovers", async || destroy().await.is_ok()).await;
    assert!(fake.commands() > before);
    assert_eq!(fake.hellos(), 1);
}

#[tokio::test]
async fn other_errors_of_the_greeting_are_reported() {
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let fake = FakeRedis::with_hello(wrong, ":1\r\n").await;
    let config = RedisConfig::from_url(&format!("redis://:pw@{}", fake.addr()));
    let store = RedisStore::lazy(config.expect("a URL")).expect("a store");
    let result = Operation::Destroy.run(&store).await;
    crate::assert_fails(result, StoreErrorKind::Refused);
    assert_eq!(fake.commands(), 0);
}
