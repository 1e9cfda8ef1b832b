//! More operations than the connections accept.

use std::{net::SocketAddr, time::Duration};

use session_core::{Store, StoreErrorKind};
use session_redis::RedisStore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{id, record, server::Server, write};

/// Forwards connections to a server over a link with this latency.
async fn slow_link(server: SocketAddr, latency: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await?;
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_client, &mut to_server).await },
                );
                let mut bytes = vec![0; 4096];
                loop {
                    let count = from_server.read(&mut bytes).await?;
                    if count == 0 {
                        return std::io::Result::Ok(());
                    }
                    tokio::time::sleep(latency).await;
                    to_client.write_all(&bytes[..count]).await?;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_gets_no_permit_in_time_is_overloaded_and_not_applied() {
    let server = Server::start();
    let address = server.address().parse().expect("an address");
    let link = slow_link(address, Duration::from_millis(300)).await;
    let url = format!("redis://{link}?connections=1&max_in_flight=1&total_timeout=3s");
    let store = RedisStore::connect(&url).await.expect("a store");
    let tasks: Vec<_> = (0..30)
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
        assert_eq!(store.load(&id).await.expect("load"), None);
    }
}
