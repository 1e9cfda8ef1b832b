//! What is sent, as counted by the server.

use std::task::Poll;

use session_core::{Destroy, Destroyed, Saved, SessionId, Store, StoreErrorKind, Touched};
use session_redis::RedisStore;
use test_support::{Meter, Redis, eventually};

use crate::{
    LONG, assert_fails, create, created, destroyed, id, load, record, saved, touched, write,
};

/// Runs operations one after the other, and asserts the commands and the round trips.
async fn assert_costs<T>(
    server: &Redis,
    expected: &[(&str, u64)],
    round_trips: u64,
    operations: impl Future<Output = T>,
) -> T {
    let measured = Meter::new(server).measure(operations).await;
    let expected = expected
        .iter()
        .map(|(name, calls)| (name.to_string(), *calls));
    assert_eq!(measured.commands, expected.collect());
    assert_eq!(measured.round_trips, round_trips, "round trips");
    measured.result
}

/// Connects without a spare connection, which would connect while something is counted.
async fn connect(server: &Redis) -> RedisStore {
    let url = format!("{}?connections=1", server.url());
    RedisStore::connect(&url).await.expect("a store")
}

#[tokio::test]
async fn every_operation_is_one_round_trip_of_known_commands() {
    let server = Redis::start();
    let store = &connect(&server).await;
    let (a, b, absent) = (id(), id(), id());
    let (first, second, third) = (record(b"1"), record(b"2"), record(b"3"));
    let version = first.version();

    // a server that does not know the script needs its source, which is a second round trip
    let learn = [("eval", 1), ("evalsha", 1), ("set", 1)];
    let result = assert_costs(&server, &learn, 2, store.create(&a, write(&first))).await;
    assert_eq!(result.expect("create"), created());
    let create = [("evalsha", 1), ("set", 1)];
    let result = assert_costs(&server, &create, 1, store.create(&b, write(&first))).await;
    assert_eq!(result.expect("create"), created());

    let save = store.save(&b, version, write(&second));
    let learn = [("eval", 1), ("evalsha", 1), ("getrange", 1), ("set", 1)];
    let result = assert_costs(&server, &learn, 2, save).await;
    assert_eq!(result.expect("save"), saved());
    let save = store.save(&a, version, write(&second));
    let expected = [("evalsha", 1), ("getrange", 1), ("set", 1)];
    let result = assert_costs(&server, &expected, 1, save).await;
    assert_eq!(result.expect("save"), saved());

    let header = [("evalsha", 1), ("getrange", 1)];
    let current = [("evalsha", 1), ("get", 1), ("getrange", 1), ("pttl", 1)];
    let none = [("evalsha", 1), ("get", 1), ("getrange", 1)];
    let own = store.save(&a, version, write(&second));
    let result = assert_costs(&server, &header, 1, own).await;
    assert_eq!(result.expect("save"), saved());
    let conflict = store.save(&a, version, write(&third));
    let result = assert_costs(&server, &current, 1, conflict).await;
    assert!(matches!(result.expect("save"), Saved::Conflict(_)));
    let gone = store.save(&absent, version, write(&third));
    let result = assert_costs(&server, &none, 1, gone).await;
    assert_eq!(result.expect("save"), Saved::Gone);

    let load = [("get", 1), ("pttl", 1)];
    let result = assert_costs(&server, &load, 1, store.load(&a)).await;
    assert!(result.expect("load").is_some());
    let result = assert_costs(&server, &load, 1, store.load(&absent)).await;
    assert!(result.expect("load").is_none());

    let _ = store.touch(&a, second.version(), LONG).await;
    let touch = [("evalsha", 1), ("getrange", 1), ("pexpire", 1)];
    let result = assert_costs(&server, &touch, 1, store.touch(&a, second.version(), LONG)).await;
    assert_eq!(result.expect("touch"), touched());
    let result = assert_costs(&server, &current, 1, store.touch(&a, version, LONG)).await;
    assert!(matches!(result.expect("touch"), Touched::Conflict(_)));
    let result = assert_costs(&server, &none, 1, store.touch(&absent, version, LONG)).await;
    assert_eq!(result.expect("touch"), Touched::Gone);

    let expecting = Destroy::expecting;
    let _ = store.destroy(&absent, expecting(version)).await;
    let destroy = store.destroy(&a, expecting(version));
    let result = assert_costs(&server, &current, 1, destroy).await;
    assert!(matches!(result.expect("destroy"), Destroyed::Conflict(_)));
    let destroy = store.destroy(&a, expecting(second.version()));
    let expected = [("evalsha", 1), ("getrange", 1), ("unlink", 1)];
    let result = assert_costs(&server, &expected, 1, destroy).await;
    assert_eq!(result.expect("destroy"), destroyed());
    let destroy = store.destroy(&a, expecting(second.version()));
    // the store remembers that it has ended
    let result = assert_costs(&server, &[], 0, destroy).await;
    assert_eq!(result.expect("destroy"), Destroyed::Gone);
    let never = id();
    let destroy = store.destroy(&never, expecting(version));
    let result = assert_costs(&server, &none, 1, destroy).await;
    assert_eq!(result.expect("destroy"), Destroyed::Gone);
    let destroy = store.destroy(&b, Destroy::any());
    let result = assert_costs(&server, &[("unlink", 1)], 1, destroy).await;
    assert_eq!(result.expect("destroy"), destroyed());
}

/// The store operations of a request that reads, touches, writes, or ends its session.
#[tokio::test]
async fn a_request_is_at_most_two_round_trips() {
    let server = Redis::start();
    let store = &connect(&server).await;
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    // the server learns the scripts
    let _ = store.touch(&id, first.version(), LONG).await;
    let _ = store.save(&id, first.version(), write(&first)).await;
    let expected = Destroy::expecting(first.version());
    let _ = store.destroy(&id, expected).await;
    create(store, &crate::id(), &first).await;

    let write_once = [("evalsha", 1), ("set", 1)];
    assert_costs(&server, &write_once, 1, create(store, &id, &first)).await;
    let read = [("get", 1), ("pttl", 1)];
    assert_costs(&server, &read, 1, load(store, &id)).await;

    let with = |more: &[(&'static str, u64)]| [&read[..], more].concat();
    let touch = with(&[("evalsha", 1), ("getrange", 1), ("pexpire", 1)]);
    assert_costs(&server, &touch, 2, async {
        let version = load(store, &id).await.version();
        let result = store.touch(&id, version, LONG).await;
        assert_eq!(result.expect("touch"), touched());
    })
    .await;
    let save = with(&[("evalsha", 1), ("getrange", 1), ("set", 1)]);
    assert_costs(&server, &save, 2, async {
        let version = load(store, &id).await.version();
        let result = store.save(&id, version, write(&second)).await;
        assert_eq!(result.expect("save"), saved());
    })
    .await;
    let log_out = with(&[("evalsha", 1), ("getrange", 1), ("unlink", 1)]);
    assert_costs(&server, &log_out, 2, async {
        let version = load(store, &id).await.version();
        let result = store.destroy(&id, Destroy::expecting(version)).await;
        assert_eq!(result.expect("destroy"), destroyed());
    })
    .await;
}

#[tokio::test]
async fn no_request_makes_or_checks_a_connection() {
    let server = Redis::start();
    let url = format!("{}?connections=3", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    let id = id();
    create(&store, &id, &record(b"")).await;
    let clients = || {
        let list: String = server.command(&["CLIENT", "LIST"]);
        list.lines().count()
    };
    // one more is the connection that asks
    eventually("all are connected", async || clients() == 4).await;
    let loads = [("get", 500), ("pttl", 500)];
    assert_costs(&server, &loads, 500, async {
        for _ in 0..500 {
            load(&store, &id).await;
        }
    })
    .await;
    assert_eq!(clients(), 4);
}

/// On one thread, nothing is sent before every task that is ready has queued its operation.
#[tokio::test]
async fn operations_that_are_ready_together_share_one_write() {
    let server = Redis::start();
    let store = connect(&server).await;
    let ids: Vec<_> = (0..8).map(|_| id()).collect();
    for id in &ids {
        create(&store, id, &record(id.as_str().as_bytes())).await;
    }
    assert_costs(&server, &[("get", 8), ("pttl", 8)], 1, async {
        let load = |id: SessionId| {
            let store = store.clone();
            tokio::spawn(async move { (id, load(&store, &id).await) })
        };
        let tasks: Vec<_> = ids.into_iter().map(load).collect();
        for task in tasks {
            let (id, record) = task.await.expect("no panic");
            assert_eq!(record.body(), id.as_str(), "each gets its own reply");
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_reply_affects_only_its_own_operation() {
    let server = Redis::start();
    let store = connect(&server).await;
    let ids: Vec<_> = (0..8).map(|_| id()).collect();
    for (n, id) in ids.iter().enumerate() {
        create(&store, id, &record(id.as_str().as_bytes())).await;
        if n % 3 == 0 {
            let key = format!("session:{id}");
            let () = server.command(&["DEL", &key]);
            let _: i64 = server.command(&["RPUSH", &key, "not a record"]);
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
            assert_fails(loaded, StoreErrorKind::Corrupt);
        } else {
            let loaded = loaded.expect("load").expect("present");
            assert_eq!(loaded.record.body(), id.as_str());
            assert!(loaded.ttl.is_some());
        }
    }
}

#[tokio::test]
async fn an_operation_that_is_dropped_before_it_is_sent_is_not_applied() {
    let server = Redis::start();
    let store = connect(&server).await;
    let (id, record) = (id(), record(b""));
    assert_costs(&server, &[("get", 1), ("pttl", 1)], 1, async {
        {
            let mut create = std::pin::pin!(store.create(&id, write(&record)));
            let pending =
                std::future::poll_fn(|cx| Poll::Ready(create.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
        }
        assert!(store.load(&id).await.expect("load").is_none());
    })
    .await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_as_source() {
    let server = Redis::start();
    let store = &connect(&server).await;
    for _ in 0..2 {
        let (id, first, second) = (id(), record(b"1"), record(b"2"));
        let learn = [("eval", 1), ("evalsha", 1), ("set", 1)];
        assert_costs(&server, &learn, 2, create(store, &id, &first)).await;
        let learn = |write| [("eval", 1), ("evalsha", 1), ("getrange", 1), (write, 1)];
        let save = store.save(&id, first.version(), write(&second));
        let result = assert_costs(&server, &learn("set"), 2, save).await;
        assert_eq!(result.expect("save"), saved());
        let touch = store.touch(&id, second.version(), LONG);
        let result = assert_costs(&server, &learn("pexpire"), 2, touch).await;
        assert_eq!(result.expect("touch"), touched());
        let destroy = store.destroy(&id, Destroy::expecting(second.version()));
        let result = assert_costs(&server, &learn("unlink"), 2, destroy).await;
        assert_eq!(result.expect("destroy"), destroyed());
        let () = server.command(&["SCRIPT", "FLUSH"]);
    }
}
