//! What stands in Redis: keys, the layout of values, and values that are not records.

use std::time::Duration;

use session_core::{Created, Destroy, Record, Store, StoreErrorKind, Version};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Redis, eventually};

use crate::{
    LONG, assert_fails, create, created, destroyed, id, load, record, saved, touched, write,
};

#[tokio::test]
async fn a_record_is_stored_under_prefix_and_id_in_the_configured_database() {
    let server = Redis::start();
    let url = format!("{}/3?prefix=shop:", server.url());
    let (store, id) = (RedisStore::connect(&url).await.expect("a store"), id());
    let version = Version::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    let record = Record::new(version, &b"\x81\xa4name\xa3ann"[..]);
    create(&store, &id, &record).await;

    let client = redis::Client::open(format!("{}/3", server.url())).expect("a client");
    let mut admin = client.get_connection().expect("a connection");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut admin).expect("keys");
    assert_eq!(keys, [format!("shop:{id}")]);
    let stored: Vec<u8> = redis::cmd("GET")
        .arg(&keys[0])
        .query(&mut admin)
        .expect("a value");
    assert_eq!(stored, include_bytes!("../vectors/stored-v2.bin"));

    let config = RedisConfig::unix(server.socket())
        .database(3)
        .prefix("shop:");
    let same = RedisStore::open(config).await.expect("a store");
    assert_eq!(load(&same, &id).await, record);
}

#[tokio::test]
async fn every_time_to_live_is_accepted() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), LONG] {
        let (id, first, second) = (id(), record(b"1"), record(b"2"));
        let write = |record| session_core::Write::new(record, ttl);
        let result = store.create(&id, write(&first)).await;
        assert_eq!(result.expect("create"), created());
        let result = store.save(&id, first.version(), write(&second)).await;
        assert_eq!(result.expect("save"), saved());
        let result = store.touch(&id, second.version(), ttl).await;
        assert_eq!(result.expect("touch"), touched());
        let loaded = store.load(&id).await.expect("load").expect("present");
        assert!(loaded.ttl.expect("a time to live") > LONG / 2);
    }
    for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
        let (id, record) = (id(), record(b""));
        let result = store
            .create(&id, session_core::Write::new(&record, ttl))
            .await;
        assert_eq!(result.expect("create"), created());
        eventually("a millisecond passes", async || {
            store.load(&id).await.expect("load").is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_value_that_is_not_a_record_is_corrupt_and_left_alone() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, mine) = (id(), record(b"mine"));
    let key = format!("session:{id}");
    let assert_corrupt = async || {
        let causes = [
            assert_fails(store.load(&id).await, StoreErrorKind::Corrupt),
            assert_fails(
                store.save(&id, mine.version(), write(&record(b""))).await,
                StoreErrorKind::Corrupt,
            ),
            assert_fails(
                store.touch(&id, mine.version(), LONG).await,
                StoreErrorKind::Corrupt,
            ),
            assert_fails(
                store.destroy(&id, Destroy::expecting(mine.version())).await,
                StoreErrorKind::Corrupt,
            ),
        ];
        let created = store.create(&id, write(&mine)).await.expect("create");
        assert_eq!(created, Created::Taken);
        causes
    };

    for (value, message) in [
        ("", "it has 0 bytes"),
        ("x", "found 0x78"),
        ("\u{2}short", "it has 6 bytes"),
        ("\u{1}a record of the first format", "found 0x01"),
        (
            "some text that is longer than a version header",
            "found 0x73",
        ),
    ] {
        let () = server.command(&["SET", &key, value]);
        for cause in assert_corrupt().await {
            assert!(cause.contains(message), "{value:?}: {cause}");
        }
        assert_eq!(server.command::<String>(&["GET", &key]), value);
        assert_eq!(server.command::<i64>(&["PTTL", &key]), -1);
    }

    let () = server.command(&["DEL", &key]);
    let _: u64 = server.command(&["RPUSH", &key, "a", "b"]);
    for cause in assert_corrupt().await {
        assert!(cause.starts_with("WRONGTYPE"), "{cause}");
    }
    let list: Vec<String> = server.command(&["LRANGE", &key, "0", "-1"]);
    assert_eq!(list, ["a", "b"]);

    // an unconditional destroy is for an administrator, and removes it
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn a_record_without_expiry_is_loaded_without_a_time_to_live() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, record) = (id(), record(b""));
    create(&store, &id, &record).await;
    let _: u64 = server.command(&["PERSIST", &format!("session:{id}")]);
    let loaded = store.load(&id).await.expect("load").expect("present");
    assert_eq!((loaded.record, loaded.ttl), (record, None));
}
