//! Several runtimes that share a store, and runtimes that nothing drives.

use std::time::Duration;

use session_core::Store;
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Redis, eventually};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::id;

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// The servers hang while the first operation makes the store connect, and its runtime is not
/// driven any more. Then they reply again, to a store on another runtime.
fn assert_another_runtime_connects(url: &str, servers: &[&Redis]) {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!(
        "{url}{separator}connect_timeout=100ms&response_timeout=100ms&total_timeout=200ms&\
         probe_every=100ms"
    );
    let config = RedisConfig::from_url(&url).expect("a URL");
    let store = RedisStore::lazy(config).expect("a store");
    for server in servers {
        server.pause();
    }
    let stopped = runtime();
    let first = async { timeout(Duration::from_millis(10), store.load(&id())).await };
    let first = stopped.block_on(first);
    first.expect_err("the operation waits for a connection");
    for server in servers {
        server.resume();
    }
    runtime().block_on(eventually("the store connects", async || {
        store.load(&id()).await.is_ok()
    }));
    drop(stopped);
}

#[test]
fn a_connection_is_made_although_nothing_drives_the_runtime_that_began_to() {
    let server = Redis::start();
    assert_another_runtime_connects(&server.url(), &[&server]);
}

#[test]
fn the_map_is_fetched_although_nothing_drives_the_runtime_that_began_to() {
    let cluster = Cluster::start();
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    assert_another_runtime_connects(&cluster.url(), &nodes);
}

/// The first connection is accepted, and gets no reply.
#[tokio::test]
async fn operations_do_not_wait_for_one_connection_if_another_is_made() {
    let server = Redis::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("a bound listener");
    let accepting = tokio::spawn({
        let server = server.addr();
        async move {
            let mut first = None;
            while let Ok((mut client, _)) = listener.accept().await {
                if first.is_none() {
                    first = Some(client);
                    continue;
                }
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        }
    });
    let url = format!("redis://{addr}?connect_timeout=60s&total_timeout=10s");
    let config = RedisConfig::from_url(&url).expect("a URL");
    let store = RedisStore::lazy(config).expect("a store");
    store.load(&id()).await.expect("the other connection");
    accepting.abort();
}
