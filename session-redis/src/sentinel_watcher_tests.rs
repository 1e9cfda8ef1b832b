//! On real sentinels, and on a fake one that accepts no subscription.

use test_support::{FakeRedis, Redis, eventually};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{address::Address, config::RedisConfig};

/// No check happens by itself during a test.
const NEVER: Duration = Duration::from_secs(3600);

fn watching(servers: &test_support::Sentinels, check_every: Duration) -> Watching {
    let addresses = servers.sentinels.iter().map(|sentinel| Address {
        host: "127.0.0.1".to_owned(),
        port: sentinel.port(),
    });
    let config = RedisConfig::from_url(&servers.url()).expect("a URL");
    let service = test_support::Sentinels::SERVICE.to_owned();
    let on_change = Arc::new(|| {});
    let sentinels = Sentinels::new(Arc::new(config), addresses.collect(), service, on_change);
    Watching::with_interval(sentinels, check_every)
}

/// How many clients subscribe to a sentinel.
fn subscribers(sentinel: &Redis) -> usize {
    let clients = sentinel.try_command::<String>(&["CLIENT", "LIST"]);
    clients.map_or(0, |clients| clients.matches(" sub=2 ").count())
}

async fn assert_subscribers(servers: &test_support::Sentinels, expected: usize) {
    eventually("a sentinel is subscribed to", async || {
        servers.sentinels.iter().map(subscribers).sum::<usize>() == expected
    })
    .await;
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_noticed_by_the_subscriptions() {
    let servers = test_support::Sentinels::start();
    assert_subscribers(&servers, 0).await;
    let watching = watching(&servers, NEVER);
    assert_subscribers(&servers, 0).await;
    watching.keep_running();
    watching.keep_running();
    assert_subscribers(&servers, 3).await;
    eventually("the first check", async || {
        watching.sentinels.generation() == 1
    })
    .await;
    servers.fail_over();
    eventually("the failover is noticed", async || {
        watching.sentinels.generation() > 1
    })
    .await;
    let found = watching.sentinels.find_primary().await.expect("a primary");
    assert_eq!(found.address.port, servers.servers[1].port());

    let _: u64 = servers.sentinels[0].command(&["CLIENT", "KILL", "TYPE", "PUBSUB"]);
    assert_subscribers(&servers, 3).await;
    drop(watching);
    assert_subscribers(&servers, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_hung_is_subscribed_to_again() {
    let servers = test_support::Sentinels::start();
    let watching = watching(&servers, Duration::from_millis(500));
    watching.keep_running();
    assert_subscribers(&servers, 3).await;
    let hung = &servers.sentinels[0];
    hung.pause();
    // the first one is left when it does not reply in time
    eventually("the subscription is lost", async || {
        watching.shared.subscribed.load(Ordering::Acquire) == 2
    })
    .await;
    hung.resume();
    eventually("the sentinel is subscribed to again", async || {
        watching.shared.subscribed.load(Ordering::Acquire) == 3
    })
    .await;
}

#[test]
fn the_task_is_started_again_if_its_runtime_ended() {
    let servers = test_support::Sentinels::start();
    let watching = watching(&servers, NEVER);
    watching.keep_running();
    assert_eq!(watching.shared.running.load(Ordering::Acquire), NONE);
    let first = runtime();
    first.block_on(async {
        watching.keep_running();
        assert_subscribers(&servers, 3).await;
    });
    drop(first);
    let second = runtime();
    second.block_on(async {
        assert_subscribers(&servers, 0).await;
        watching.keep_running();
        assert_subscribers(&servers, 3).await;
    });
}

#[test]
fn a_task_on_a_runtime_that_nothing_drives_is_replaced() {
    let servers = test_support::Sentinels::start();
    let watching = watching(&servers, Duration::from_millis(200));
    let stopped = runtime();
    stopped.block_on(async {
        watching.keep_alive();
        assert_subscribers(&servers, 3).await;
    });
    let other = runtime();
    other.block_on(async {
        eventually("the task is replaced", async || {
            watching.keep_alive();
            watching.shared.running.load(Ordering::Acquire) == 2
        })
        .await;
        assert_subscribers(&servers, 6).await;
    });
    // it learns of that when it runs again, and changes nothing
    stopped.block_on(assert_subscribers(&servers, 3));
    assert_eq!(watching.shared.running.load(Ordering::Acquire), 2);
}

/// The sentinel is a fake one that accepts no subscription.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspicion_makes_the_task_ask_the_sentinels() {
    let sentinel = FakeRedis::with_reply("").await;
    let name_primary = |port: &str, epoch: &str| {
        let words = [
            "ip",
            "h",
            "port",
            port,
            "flags",
            "master",
            "config-epoch",
            epoch,
        ];
        let words = words.map(|word| format!("${}\r\n{word}\r\n", word.len()));
        sentinel.set_reply(&format!("*8\r\n{}", words.concat()));
    };
    name_primary("1", "1");
    let address = Address::parse(&sentinel.addr().to_string(), 1).expect("an address");
    let config = Arc::new(RedisConfig::standalone("h").expect("an address"));
    let service = "sessions".to_owned();
    let sentinels = Sentinels::new(config, vec![address], service, Arc::new(|| {}));
    let watching = Watching::with_interval(sentinels, NEVER);
    let found = watching.sentinels.find_primary().await.expect("a primary");
    assert_eq!((found.address.port, found.generation), (1, 1));
    watching.keep_running();
    eventually("a subscription fails", async || sentinel.commands() > 1).await;
    name_primary("2", "2");
    watching.suspect_primary();
    eventually("the primary is another", async || {
        watching.sentinels.generation() == 2
    })
    .await;
}
