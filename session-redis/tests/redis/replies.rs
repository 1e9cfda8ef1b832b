//! Error replies: from a real server where they can be provoked, and from a fake one otherwise.

use std::sync::Arc;

use session_core::{Created, Destroy, Store, StoreErrorKind};
use session_redis::{ConnectError, RedisConfig, RedisStore};
use test_support::{FakeRedis, Redis, eventually, port};

use crate::{LONG, Operation, assert_fails, create, destroyed, id, load, record, touched, write};

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_printed() {
    let server = Redis::with_password("hunter2");
    for (credentials, code) in [
        ("", "NOAUTH"),
        (":hunter3@", "WRONGPASS"),
        ("nobody:hunter2@", "WRONGPASS"),
    ] {
        let url = format!("redis://{credentials}{}", server.addr());
        let Err(ConnectError::Redis(error)) = RedisStore::connect(&url).await else {
            panic!("{url} is accepted")
        };
        let printed = format!("{error:?}");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{printed}");
        assert!(printed.contains(code), "{printed}");
        assert!(!printed.contains("hunter"), "{printed}");
    }
    let url = format!("redis://:hunter2@{}", server.addr());
    let store = RedisStore::connect(&url).await.expect("a store");
    assert_eq!(store.load(&id()).await.expect("load"), None);
}

#[tokio::test]
async fn a_full_server_refuses_records_but_serves_reads_touches_and_logouts() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, other, first) = (id(), crate::id(), record(b"1"));
    create(&store, &id, &first).await;
    create(&store, &other, &first).await;
    // a server that has no memory left rejects a script that it has yet to store
    for script in [Operation::Touch, Operation::DestroyExpected] {
        script.run(&store).await.expect("a reply");
    }
    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let save = store.save(&id, first.version(), write(&record(b"2"))).await;
    let cause = assert_fails(save, StoreErrorKind::Refused);
    assert!(cause.starts_with("OOM"), "{cause}");
    let create = store.create(&crate::id(), write(&record(b"2"))).await;
    assert_fails(create, StoreErrorKind::Refused);

    assert_eq!(load(&store, &id).await, first);
    let result = store.touch(&id, first.version(), LONG).await;
    assert_eq!(result.expect("touch"), touched());
    let result = store
        .destroy(&id, Destroy::expecting(first.version()))
        .await;
    assert_eq!(result.expect("destroy"), destroyed());
    let result = store.destroy(&other, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());

    let () = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    crate::create(&store, &id, &first).await;
}

#[tokio::test]
async fn a_replica_refuses_writes_until_it_is_a_primary_again() {
    let (server, nobody) = (Redis::start(), port::free());
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    let () = server.command(&["REPLICAOF", "127.0.0.1", &nobody.to_string()]);
    let version = first.version();
    for _ in 0..3 {
        let second = record(b"2");
        let causes = [
            assert_fails(
                store.create(&crate::id(), write(&second)).await,
                StoreErrorKind::Refused,
            ),
            assert_fails(
                store.save(&id, version, write(&second)).await,
                StoreErrorKind::Refused,
            ),
            assert_fails(
                store.touch(&id, version, LONG).await,
                StoreErrorKind::Refused,
            ),
            assert_fails(
                store.destroy(&id, Destroy::any()).await,
                StoreErrorKind::Refused,
            ),
            assert_fails(
                store.destroy(&id, Destroy::expecting(version)).await,
                StoreErrorKind::Refused,
            ),
        ];
        for cause in causes {
            assert!(cause.starts_with("READONLY"), "{cause}");
        }
    }
    let () = server.command(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(load(&store, &id).await, first, "nothing was applied");
    create(&store, &crate::id(), &first).await;
}

#[tokio::test]
async fn a_server_that_runs_a_long_script_is_unavailable() {
    let server = Arc::new(Redis::with_options(&["--lua-time-limit", "1"]));
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let endless = server.clone();
    let script = tokio::task::spawn_blocking(move || {
        let _ = endless.try_command::<redis::Value>(&["EVAL", "while true do end", "0"]);
    });
    let kind = async || store.load(&id()).await.err().map(|error| error.kind());
    eventually("the script runs", async || kind().await.is_some()).await;
    eventually("the server reports it", async || {
        kind().await == Some(StoreErrorKind::Unavailable)
    })
    .await;
    let () = server.command(&["SCRIPT", "KILL"]);
    eventually("the script has ended", async || kind().await.is_none()).await;
    script.await.expect("no panic");
}

#[tokio::test]
async fn an_error_reply_has_the_same_kind_for_every_operation() {
    use StoreErrorKind::{Corrupt, Refused, Unavailable};
    for (line, kind) in [
        (
            "LOADING Redis is loading the dataset in memory",
            Unavailable,
        ),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            Unavailable,
        ),
        ("CLUSTERDOWN The cluster is down", Unavailable),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            Unavailable,
        ),
        ("MOVED 3999 127.0.0.1:1", Unavailable),
        ("ASK 3999 127.0.0.1:1", Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        ("NOSCRIPT No matching script.", Refused),
        (
            "MISCONF Errors writing to the AOF file: No space left on device",
            Refused,
        ),
        (
            "NOPERM this user has no permissions to run the 'get' command",
            Refused,
        ),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            Corrupt,
        ),
        ("ERR unknown command", Refused),
    ] {
        let fake = FakeRedis::with_reply(&format!("-{line}\r\n")).await;
        let url = format!("redis://{}?connections=1", fake.addr());
        let config = RedisConfig::from_url(&url).expect("a URL");
        let store = RedisStore::lazy(config).expect("a store");
        for operation in Operation::ALL {
            let cause = assert_fails(operation.run(&store).await, kind);
            assert_eq!(cause, line, "{operation:?}");
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_not_redis_is_unavailable() {
    for reply in ["?what\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let fake = FakeRedis::with_reply(reply).await;
        let url = format!("redis://{}?connections=1", fake.addr());
        let config = RedisConfig::from_url(&url).expect("a URL");
        let store = RedisStore::lazy(config).expect("a store");
        assert_fails(store.load(&id()).await, StoreErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_taken_id_is_not_an_error() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    let result = store.create(&id, write(&record(b"2"))).await;
    assert_eq!(result.expect("create"), Created::Taken);
    // a create does not recognize its own record: it is never sent twice
    let result = store.create(&id, write(&first)).await;
    assert_eq!(result.expect("create"), Created::Taken);
    assert_eq!(load(&store, &id).await, first);
}

#[tokio::test]
async fn a_read_only_server_is_asked_again_on_a_new_connection() {
    for connections in [1, 2] {
        assert_asked_on_a_new_connection(connections).await;
    }
}

async fn assert_asked_on_a_new_connection(connections: usize) {
    let fake = FakeRedis::with_replies(&[]).await;
    fake.set_reply("-READONLY You can't write against a read only replica.\r\n");
    let url = format!("redis://{}?connections={connections}", fake.addr());
    let config = RedisConfig::from_url(&url).expect("a URL");
    let store = RedisStore::lazy(config).expect("a store");
    let commands = async || {
        let before = fake.commands();
        let result = Operation::Touch.run(&store).await;
        let cause = assert_fails(result, StoreErrorKind::Refused);
        assert!(cause.starts_with("READONLY"), "{cause}");
        fake.commands() - before
    };
    // a young connection leads to the server that is there now, so it is kept
    assert_eq!(commands().await, 1);
    eventually("the connection is replaced", async || commands().await == 2).await;
    assert_eq!(commands().await, 1, "the new connection is young");
}
