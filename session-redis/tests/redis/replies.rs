//! Error replies, forced on a real server where that is possible and told by a fake one where not.

use session_core::{Created, Saved, Store, StoreErrorKind, Touched};
use session_redis::{ConnectError, RedisConfig, RedisStore};

use test_support::{FakeRedis, Redis, eventually, port};

use crate::{LONG, fails, id, record, version};

#[tokio::test]
async fn passwords_are_asked_for_and_never_told() {
    let server = Redis::with_password("hunter2");
    for (login, code) in [
        ("", "NOAUTH"),
        (":hunter3@", "WRONGPASS"),
        ("nobody:hunter2@", "WRONGPASS"),
    ] {
        let url = format!("redis://{login}{}", server.addr());
        let Err(ConnectError::Redis(error)) = RedisStore::connect(&url).await else {
            panic!("{url} is let in")
        };
        let told = format!("{error:?}");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{told}");
        assert!(told.contains(code) && !told.contains("hunter"), "{told}");
    }
    let store = RedisStore::connect(&format!("redis://:hunter2@{}", server.addr()))
        .await
        .expect("a store");
    assert_eq!(store.load(&id()).await.expect("load"), None);
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_serves_reads() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, first) = (id(), record(b"1"));
    let _ = store.create(&id, &first, LONG).await.expect("create");
    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let reason = fails(
        store.save(&id, version(&first), &record(b"2"), LONG).await,
        StoreErrorKind::Refused,
    );
    assert!(reason.starts_with("OOM"), "{reason}");
    fails(
        store.create(&crate::id(), &record(b"2"), LONG).await,
        StoreErrorKind::Refused,
    );
    assert_eq!(
        store
            .load(&id)
            .await
            .expect("load")
            .expect("present")
            .record,
        first
    );
    assert_eq!(
        store.touch(&id, LONG).await.expect("touch"),
        Touched::Touched
    );
    store.destroy(&id).await.expect("a logout needs no memory");
    let () = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(
        store.create(&id, &first, LONG).await.expect("create"),
        Created::Created
    );
}

#[tokio::test]
async fn a_replica_refuses_writes_until_it_is_a_primary_again() {
    let (server, nobody) = (Redis::start(), port::free());
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let id = id();
    let () = server.command(&["REPLICAOF", "127.0.0.1", &nobody.to_string()]);
    for _ in 0..3 {
        let reason = fails(
            store.create(&id, &record(b""), LONG).await,
            StoreErrorKind::Refused,
        );
        assert!(reason.starts_with("READONLY"), "{reason}");
    }
    let () = server.command(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(
        store.create(&id, &record(b""), LONG).await.expect("create"),
        Created::Created
    );
}

#[tokio::test]
async fn a_server_busy_with_a_script_is_unavailable() {
    let server = std::sync::Arc::new(Redis::with_options(&["--lua-time-limit", "1"]));
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let endless = server.clone();
    let script = tokio::task::spawn_blocking(move || {
        let _ = endless.try_command::<redis::Value>(&["EVAL", "while true do end", "0"]);
    });
    eventually("the script runs", async || store.load(&id()).await.is_err()).await;
    eventually("the server says so", async || {
        store
            .load(&id())
            .await
            .is_err_and(|error| error.kind() == StoreErrorKind::Unavailable)
    })
    .await;
    let () = server.command(&["SCRIPT", "KILL"]);
    eventually("it is over", async || store.load(&id()).await.is_ok()).await;
    script.await.expect("no panic");
}

#[tokio::test]
async fn error_replies_have_their_kinds() {
    use StoreErrorKind::{Refused, Unavailable};
    let table = [
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
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        (
            "MISCONF Errors writing to the AOF file: No space left on device",
            Refused,
        ),
        (
            "NOPERM this user has no permissions to run the 'get' command",
            Refused,
        ),
        ("ERR unknown command", Refused),
    ];
    for (line, kind) in table {
        let fake = FakeRedis::with_reply(&format!("-{line}\r\n")).await;
        let store = lazy(&fake);
        assert_eq!(fails(store.load(&id()).await, kind), line);
        assert_eq!(
            fails(store.create(&id(), &record(b""), LONG).await, kind),
            line
        );
        assert_eq!(fails(store.touch(&id(), LONG).await, kind), line);
        assert_eq!(fails(store.destroy(&id()).await, kind), line);
    }
}

#[tokio::test]
async fn a_reply_that_makes_no_sense_is_no_session() {
    for nonsense in [
        "?what\r\n",
        ":1\r\n:2\r\n",
        "+OK\r\n+OK\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let fake = FakeRedis::with_reply(nonsense).await;
        fails(lazy(&fake).load(&id()).await, StoreErrorKind::Unavailable);
    }
    let fake = FakeRedis::with_reply("$5\r\nhello\r\n").await;
    fails(
        lazy(&fake).create(&id(), &record(b""), LONG).await,
        StoreErrorKind::Timeout,
    );
}

#[tokio::test]
async fn a_write_whose_reply_was_lost_is_repeated_once() {
    // an empty reply closes the connection
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    let fake = FakeRedis::with_replies(&["", ":1\r\n"]).await;
    assert_eq!(
        lazy(&fake)
            .save(&id, version(&first), &second, LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    assert_eq!(fake.commands(), 2);

    let fake = FakeRedis::with_replies(&["", ":0\r\n"]).await;
    assert_eq!(
        lazy(&fake)
            .save(&id, version(&first), &second, LONG)
            .await
            .expect("save"),
        Saved::Gone
    );

    let fake = FakeRedis::with_replies(&["", "", ":1\r\n"]).await;
    let reason = fails(
        lazy(&fake).save(&id, version(&first), &second, LONG).await,
        StoreErrorKind::Timeout,
    );
    assert!(reason.contains("unknown"), "{reason}");
    assert_eq!(fake.commands(), 2);
}

#[tokio::test]
async fn a_conflict_after_a_lost_reply_stays_unknown() {
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    let conflict = "*2\r\n$6\r\ntheirs\r\n:1000\r\n";
    let fake = FakeRedis::with_replies(&[conflict]).await;
    let saved = lazy(&fake)
        .save(&id, version(&first), &second, LONG)
        .await
        .expect("save");
    assert!(matches!(saved, Saved::Conflict(_)));

    let fake = FakeRedis::with_replies(&["", conflict]).await;
    let reason = fails(
        lazy(&fake).save(&id, version(&first), &second, LONG).await,
        StoreErrorKind::Timeout,
    );
    assert!(reason.contains("unknown"), "{reason}");
}

fn lazy(fake: &FakeRedis) -> RedisStore {
    let url = format!("redis://{}?connections=1&breaker_failures=100", fake.addr());
    RedisStore::lazy(RedisConfig::from_url(&url).expect("a URL")).expect("a store")
}
