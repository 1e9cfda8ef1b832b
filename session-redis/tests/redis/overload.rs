//! More operations than the connections accept.

use std::time::Duration;

use session_core::{Store, StoreErrorKind};
use session_redis::RedisStore;
use test_support::{Fault, Proxy, Redis};

use crate::{create, id, record, write};

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
