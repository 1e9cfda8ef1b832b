//! What is sent, counted by the server, and what becomes of it there.

use std::{task::Poll, time::Duration};

use session_core::{
    Created, Destroyed, RecordBytes, Saved, SessionId, Store, StoreErrorKind, Touched,
};
use session_redis::{RedisConfig, RedisStore};

use test_support::{Redis, eventually};

use crate::{LONG, fails, id, record, version};

/// Runs an operation and compares what the server did.
async fn counted<T>(
    server: &Redis,
    expected: &[(&str, u64)],
    operation: impl Future<Output = T>,
) -> T {
    server.reset_counts();
    let outcome = operation.await;
    assert_eq!(
        server.counts(),
        expected
            .iter()
            .map(|(name, calls)| (name.to_string(), *calls))
            .collect()
    );
    outcome
}

#[tokio::test]
async fn each_operation_is_one_round_trip_of_known_commands() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (a, b, absent) = (id(), id(), id());
    let (first, second, third) = (record(b"1"), record(b"2"), record(b"3"));
    let store = &store;

    // the first time, the server learns the script
    let eval = [("eval", 1), ("evalsha", 1), ("set", 1)];
    assert_eq!(
        counted(&server, &eval, store.create(&a, &first, LONG))
            .await
            .expect("create"),
        Created::Created
    );
    let evalsha = [("evalsha", 1), ("set", 1)];
    assert_eq!(
        counted(&server, &evalsha, store.create(&b, &first, LONG))
            .await
            .expect("create"),
        Created::Created
    );
    let taken = [("evalsha", 1), ("getrange", 1), ("set", 1)];
    assert_eq!(
        counted(&server, &taken, store.create(&b, &second, LONG))
            .await
            .expect("create"),
        Created::Taken
    );

    let learn = [("eval", 1), ("evalsha", 1), ("getrange", 1), ("set", 1)];
    let saved = store.save(&b, version(&first), &second, LONG);
    assert_eq!(
        counted(&server, &learn, saved).await.expect("save"),
        Saved::Saved
    );
    let save = [("evalsha", 1), ("getrange", 1), ("set", 1)];
    let saved = store.save(&a, version(&first), &second, LONG);
    assert_eq!(
        counted(&server, &save, saved).await.expect("save"),
        Saved::Saved
    );
    let own = store.save(&a, version(&first), &second, LONG);
    assert_eq!(
        counted(&server, &[("evalsha", 1), ("getrange", 1)], own)
            .await
            .expect("save"),
        Saved::Saved
    );
    let conflict = [("evalsha", 1), ("get", 1), ("getrange", 1), ("pttl", 1)];
    let saved = store.save(&a, version(&first), &third, LONG);
    assert!(matches!(
        counted(&server, &conflict, saved).await.expect("save"),
        Saved::Conflict(_)
    ));
    let gone = [("evalsha", 1), ("get", 1), ("getrange", 1)];
    let saved = store.save(&absent, version(&first), &third, LONG);
    assert_eq!(
        counted(&server, &gone, saved).await.expect("save"),
        Saved::Gone
    );

    let load = [("get", 1), ("pttl", 1)];
    assert!(
        counted(&server, &load, store.load(&a))
            .await
            .expect("load")
            .is_some()
    );
    assert!(
        counted(&server, &load, store.load(&absent))
            .await
            .expect("load")
            .is_none()
    );
    assert_eq!(
        counted(&server, &[("pexpire", 1)], store.touch(&a, LONG))
            .await
            .expect("touch"),
        Touched::Touched
    );
    assert_eq!(
        counted(&server, &[("unlink", 1)], store.destroy(&a))
            .await
            .expect("destroy"),
        Destroyed
    );
}

#[tokio::test]
async fn no_connection_is_made_or_checked_on_the_way_of_a_request() {
    let server = Redis::start();
    let store = RedisStore::connect(&format!("{}?connections=3", server.url()))
        .await
        .expect("a store");
    let id = id();
    let _ = store.create(&id, &record(b""), LONG).await.expect("create");
    // one more is the connection that asks
    let clients = || {
        server
            .command::<String>(&["CLIENT", "LIST"])
            .lines()
            .count()
    };
    eventually("all are there", async || clients() == 4).await;
    let load = [("get", 500), ("pttl", 500)];
    counted(&server, &load, async {
        for _ in 0..500 {
            assert!(store.load(&id).await.expect("load").is_some());
        }
    })
    .await;
    assert_eq!(clients(), 4);
}

/// On one thread nothing is sent before everybody who can run has said what is wanted.
#[tokio::test]
async fn operations_that_are_ready_together_share_one_write() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let ids: Vec<_> = (0..8).map(|_| id()).collect();
    for id in &ids {
        let _ = store
            .create(id, &record(id.as_str().as_bytes()), LONG)
            .await
            .expect("create");
    }
    let reads = || server.info("stats", "total_reads_processed");
    let asking = {
        let before = reads();
        reads() - before
    };
    let before = reads();
    let tasks: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { (id, store.load(&id).await) })
        })
        .collect();
    for task in tasks {
        let (id, loaded) = task.await.expect("no panic");
        let loaded = loaded.expect("load").expect("present").record;
        assert!(
            loaded.as_bytes().ends_with(id.as_str().as_bytes()),
            "each gets its own"
        );
    }
    assert_eq!(reads() - before - asking, 1);
}

#[tokio::test]
async fn an_error_reply_concerns_its_own_operation_alone() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let ids: Vec<_> = (0..8).map(|_| id()).collect();
    for (n, id) in ids.iter().enumerate() {
        let _ = store
            .create(id, &record(id.as_str().as_bytes()), LONG)
            .await
            .expect("create");
        if n % 3 == 0 {
            let key = format!("session:{id}");
            let () = server.command(&["DEL", &key]);
            let _: i64 = server.command(&["RPUSH", &key, "no record"]);
        }
    }
    let load = |(n, id): (usize, SessionId)| {
        let store = store.clone();
        tokio::spawn(async move { (n, id, store.load(&id).await) })
    };
    let tasks: Vec<_> = ids.into_iter().enumerate().map(load).collect();
    for task in tasks {
        let (n, id, loaded) = task.await.expect("no panic");
        if n % 3 == 0 {
            fails(loaded, StoreErrorKind::Corrupt);
        } else {
            let loaded = loaded.expect("load").expect("present");
            assert!(
                loaded.record.as_bytes().ends_with(id.as_str().as_bytes()) && loaded.ttl.is_some()
            );
        }
    }
}

#[tokio::test]
async fn an_operation_dropped_before_it_is_sent_has_not_happened() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, record) = (id(), record(b""));
    counted(&server, &[("get", 1), ("pttl", 1)], async {
        {
            let mut create = std::pin::pin!(store.create(&id, &record, LONG));
            assert!(
                std::future::poll_fn(|cx| Poll::Ready(create.as_mut().poll(cx).is_pending())).await
            );
        }
        assert!(store.load(&id).await.expect("load").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_script_is_sent_again() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    let _ = store.create(&id, &first, LONG).await.expect("create");
    let () = server.command(&["SCRIPT", "FLUSH"]);
    let relearn = [("eval", 1), ("evalsha", 1), ("getrange", 1), ("set", 1)];
    let saved = store.save(&id, version(&first), &second, LONG);
    assert_eq!(
        counted(&server, &relearn, saved).await.expect("save"),
        Saved::Saved
    );
}

#[tokio::test]
async fn keys_are_prefix_and_id_in_the_chosen_database() {
    let server = Redis::start();
    let url = format!("{}/3?prefix=shop:", server.url());
    let (store, id) = (RedisStore::connect(&url).await.expect("a store"), id());
    let record = record(b"hello");
    let _ = store.create(&id, &record, LONG).await.expect("create");
    let client = redis::Client::open(format!("{}/3", server.url())).expect("a client");
    let mut admin = client.get_connection().expect("a connection");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut admin).expect("keys");
    assert_eq!(keys, [format!("shop:{id}")]);
    let stored: Vec<u8> = redis::cmd("GET")
        .arg(&keys[0])
        .query(&mut admin)
        .expect("a value");
    assert_eq!(stored, record.as_bytes()[..]);

    let config = RedisConfig::unix(server.socket())
        .database(3)
        .prefix("shop:");
    let same = RedisStore::open(config)
        .await
        .expect("a store by its socket");
    assert_eq!(
        same.load(&id).await.expect("load").expect("present").record,
        record
    );
}

#[tokio::test]
async fn every_ttl_is_taken() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), LONG] {
        let (id, first, second) = (id(), record(b"1"), record(b"2"));
        assert_eq!(
            store.create(&id, &first, ttl).await.expect("create"),
            Created::Created
        );
        assert_eq!(
            store
                .save(&id, version(&first), &second, ttl)
                .await
                .expect("save"),
            Saved::Saved
        );
        assert_eq!(
            store.touch(&id, ttl).await.expect("touch"),
            Touched::Touched
        );
        let left = store
            .load(&id)
            .await
            .expect("load")
            .expect("present")
            .ttl
            .expect("a life");
        assert!(left > LONG / 2);
    }
    for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
        let id = id();
        assert_eq!(
            store.create(&id, &record(b""), ttl).await.expect("create"),
            Created::Created
        );
        eventually("a millisecond passes", async || {
            store.load(&id).await.expect("load").is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_no_session_is_left_alone() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    let (list, garbage, mine) = (id(), id(), record(b"mine"));
    let key = |id| format!("session:{id}");

    let _: u64 = server.command(&["RPUSH", &key(list), "a", "b"]);
    fails(store.load(&list).await, StoreErrorKind::Corrupt);
    fails(
        store.create(&list, &mine, LONG).await,
        StoreErrorKind::Corrupt,
    );
    fails(
        store.save(&list, version(&mine), &mine, LONG).await,
        StoreErrorKind::Corrupt,
    );
    assert_eq!(
        server.command::<Vec<String>>(&["LRANGE", &key(list), "0", "-1"]),
        ["a", "b"]
    );

    for bytes in [
        "",
        "x",
        "\u{1}short",
        "some text that is longer than a head of a record, and then some",
    ] {
        let () = server.command(&["SET", &key(garbage), bytes]);
        let loaded = store.load(&garbage).await.expect("load").expect("present");
        assert_eq!(
            (&loaded.record, loaded.ttl),
            (&RecordBytes::new(bytes.to_owned()), None)
        );
        assert_eq!(
            store.create(&garbage, &mine, LONG).await.expect("create"),
            Created::Taken
        );
        let saved = store
            .save(&garbage, version(&mine), &record(b""), LONG)
            .await
            .expect("save");
        assert_eq!(saved, Saved::Conflict(loaded));
    }
    assert_eq!(store.destroy(&garbage).await.expect("destroy"), Destroyed);
    assert_eq!(store.destroy(&list).await.expect("destroy"), Destroyed);
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn the_documented_acl_user_may_do_everything() {
    let server = Redis::start();
    let rules = "on >pw ~session:* -@all +get +pttl +set +getrange +pexpire +unlink +eval +evalsha +ping +role";
    let words: Vec<&str> = ["ACL", "SETUSER", "app"]
        .into_iter()
        .chain(rules.split(' '))
        .collect();
    let () = server.command(&words);
    let url = |prefix| format!("redis://app:pw@{}?prefix={prefix}", server.addr());
    let (store, id, first) = (
        RedisStore::connect(&url("session:"))
            .await
            .expect("a store"),
        id(),
        record(b"1"),
    );
    assert_eq!(
        store.create(&id, &first, LONG).await.expect("create"),
        Created::Created
    );
    assert_eq!(
        store.create(&id, &record(b""), LONG).await.expect("create"),
        Created::Taken
    );
    assert_eq!(
        store
            .save(&id, version(&first), &record(b"2"), LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    assert!(matches!(
        store
            .save(&id, version(&first), &first, LONG)
            .await
            .expect("save"),
        Saved::Conflict(_)
    ));
    assert!(store.load(&id).await.expect("load").is_some());
    assert_eq!(
        store.touch(&id, LONG).await.expect("touch"),
        Touched::Touched
    );
    assert_eq!(store.destroy(&id).await.expect("destroy"), Destroyed);
    let denied = server.command::<Vec<redis::Value>>(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");

    let elsewhere =
        RedisStore::lazy(RedisConfig::from_url(&url("other:")).expect("a URL")).expect("a store");
    let reason = fails(elsewhere.load(&id).await, StoreErrorKind::Refused);
    assert!(reason.starts_with("NOPERM"), "{reason}");
}
