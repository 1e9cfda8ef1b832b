//! The ACL users of the crate's documentation.

use session_core::{Destroy, Saved, Store, StoreErrorKind, Touched};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Redis};

use crate::{assert_fails, create, destroyed, id, record, saved, touched, write};

const RULES: &str = "on >pw ~session:* -@all +get +pttl +set +getrange +pexpire +unlink \
                     +eval +evalsha +ping +unwatch +role";
const CLUSTER_RULES: &str = "+cluster|info +cluster|slots +asking";

fn set_user(server: &Redis, rules: &str) {
    let words = ["ACL", "SETUSER", "app"].into_iter();
    let words: Vec<&str> = words.chain(rules.split_ascii_whitespace()).collect();
    let () = server.command(&words);
}

/// Every operation, with every answer that runs another command.
async fn assert_permitted(store: &RedisStore) {
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    create(store, &id, &first).await;
    let result = store.save(&id, first.version(), write(&second)).await;
    assert_eq!(result.expect("save"), saved());
    let result = store.save(&id, first.version(), write(&first)).await;
    assert!(matches!(result.expect("save"), Saved::Conflict(_)));
    let result = store.touch(&id, second.version(), crate::LONG).await;
    assert_eq!(result.expect("touch"), touched());
    let result = store.touch(&id, first.version(), crate::LONG).await;
    assert!(matches!(result.expect("touch"), Touched::Conflict(_)));
    assert_eq!(crate::load(store, &id).await, second);
    let expected = Destroy::expecting(second.version());
    let result = store.destroy(&id, expected).await;
    assert_eq!(result.expect("destroy"), destroyed());
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
}

#[tokio::test]
async fn the_documented_user_may_run_every_operation() {
    let server = Redis::start();
    set_user(&server, RULES);
    let url = |prefix| format!("redis://app:pw@{}?prefix={prefix}", server.addr());
    let store = RedisStore::connect(&url("session:"))
        .await
        .expect("a store");
    assert_permitted(&store).await;
    let denied = server.command::<Vec<redis::Value>>(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");

    let config = RedisConfig::from_url(&url("other:")).expect("a URL");
    let elsewhere = RedisStore::lazy(config).expect("a store");
    let cause = assert_fails(elsewhere.load(&id()).await, StoreErrorKind::Refused);
    assert!(cause.starts_with("NOPERM"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_user_may_run_every_operation_in_a_cluster() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        set_user(node, &format!("{RULES} {CLUSTER_RULES}"));
    }
    let url = cluster.url().replace("://", "://app:pw@");
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..30 {
        assert_permitted(&store).await;
    }
}
