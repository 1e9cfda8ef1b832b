//! More operations than the connections accept.

use std::time::Duration;

use session_core::{Applied, Destroy, Destroyed, Replicas, Store, StoreErrorKind};
use session_redis::RedisStore;
use test_support::{Fault, Proxy, Redis};

use crate::{assert_fails, create, id, record, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_gets_no_permit_in_time_is_overloaded_and_not_applied() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let options = "connections=1&max_in_flight=1&total_timeout=2s&breaker_failures=1000";
    let store = RedisStore::connect(&format!("{}?{options}", proxy.url()))
        .await
        .expect("a store");
    // the server learns the script
    create(&store, &id(), &record(b"")).await;
    // of requests and of replies: a round trip takes twice as long
    proxy.set(Fault::Delay(Duration::from_millis(100)));
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let (id, record) = (id(), record(b""));
                (id, store.create(&id, write(&record)).await)
            })
        })
        .collect();
    let (mut applied, mut overloaded) = (0, vec![]);
    for task in tasks {
        match task.await.expect("no panic") {
            (_, Ok(_)) => applied += 1,
            (id, Err(error)) => match error.kind() {
                StoreErrorKind::Overloaded => overloaded.push(id),
                // it got its permit just before its deadline
                kind => assert_eq!(kind, StoreErrorKind::Timeout),
            },
        }
    }
    assert!(applied > 0 && !overloaded.is_empty(), "{applied}");
    for id in overloaded {
        let key = format!("session:{id}");
        assert_eq!(server.command::<u64>(&["EXISTS", &key]), 0);
    }
}

#[tokio::test]
async fn a_write_that_replicas_confirm_needs_a_permit_too() {
    let server = Redis::start();
    let proxy = Proxy::start(server.addr()).await;
    let options = "connections=1&max_in_flight=1&total_timeout=2s&response_timeout=1s";
    let store = RedisStore::connect(&format!("{}?{options}", proxy.url()))
        .await
        .expect("a store");
    let (first, id) = (id(), id());
    for id in [first, id] {
        create(&store, &id, &record(b"")).await;
    }
    let confirmed = Destroy::any().confirm(Replicas::new(0));
    // makes the connection
    let ended = store.destroy(&first, confirmed).await;
    let applied = Applied::new().on_replicas(0);
    assert_eq!(ended.expect("a reply"), Destroyed::Destroyed(applied));
    // longer than an operation may wait for its turn
    proxy.set(Fault::Delay(Duration::from_millis(200)));
    let load = store.load(&id);
    let end = async {
        tokio::task::yield_now().await;
        store.destroy(&id, confirmed).await
    };
    let (loaded, ended) = tokio::join!(load, end);
    assert!(loaded.expect("a reply").is_some());
    assert_fails(ended, StoreErrorKind::Overloaded);
    let key = format!("session:{id}");
    assert_eq!(server.command::<u64>(&["EXISTS", &key]), 1);
    // the permit is free again
    proxy.set(Fault::None);
    let ended = store.destroy(&id, confirmed).await;
    assert_eq!(ended.expect("a reply"), Destroyed::Destroyed(applied));
}
