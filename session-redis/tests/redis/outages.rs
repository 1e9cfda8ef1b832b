//! Servers that are away, hang, or come back.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::{Created, Destroyed, Store, StoreErrorKind};
use session_redis::{ConnectError, RedisConfig, RedisStore};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    LONG, eventually, fails, id, record,
    server::{Cluster, Server, free_port},
};

/// Far more than any operation may take, and less than a hang.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_that_was_never_there_is_told_at_start_up() {
    for url in [
        format!("redis://127.0.0.1:{}", free_port()),
        "redis+unix:///nonexistent/redis.sock".to_owned(),
        "redis://no-such-host.invalid".to_owned(),
        format!("redis+sentinel://127.0.0.1:{}/sessions", free_port()),
        format!("redis+cluster://127.0.0.1:{}", free_port()),
    ] {
        match timeout(BOUND, RedisStore::connect(&url))
            .await
            .expect("an answer in time")
        {
            Err(ConnectError::Redis(error)) => {
                assert_eq!(
                    error.kind(),
                    StoreErrorKind::Unavailable,
                    "{url}: {error:?}"
                )
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lazy_store_finds_a_server_that_starts_later() {
    let server = Server::start();
    server.kill();
    let store =
        RedisStore::lazy(RedisConfig::from_url(&server.url()).expect("a URL")).expect("a store");
    fails(store.load(&id()).await, StoreErrorKind::Unavailable);
    server.restart();
    eventually("it is found", || async { store.load(&id()).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_refused_at_once_and_found_again() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.expect("a store");
    for _ in 0..3 {
        let under_way = (0..64).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { while store.load(&id()).await.is_ok() {} })
        });
        let under_way: Vec<_> = under_way.collect();
        server.kill();
        for task in under_way {
            timeout(BOUND, task)
                .await
                .expect("no task hangs")
                .expect("no panic");
        }
        let begun = Instant::now();
        for _ in 0..1000 {
            fails(store.load(&id()).await, StoreErrorKind::Unavailable);
            fails(
                store.create(&id(), &record(b""), LONG).await,
                StoreErrorKind::Unavailable,
            );
        }
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        server.restart();
        eventually("it is found again", || async {
            store.load(&id()).await.is_ok()
        })
        .await;
        assert_eq!(
            store
                .create(&id(), &record(b""), LONG)
                .await
                .expect("scripts are learnt again"),
            Created::Created
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_times_out_then_is_refused_at_once() {
    let server = Server::start();
    let url = format!("{}?response_timeout=200ms", server.url());
    let store = RedisStore::connect(&url).await.expect("a store");
    for _ in 0..2 {
        server.freeze();
        let stuck: Vec<_> = (0..32)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.create(&id(), &record(b""), LONG).await })
            })
            .collect();
        for task in stuck {
            let outcome = timeout(BOUND, task)
                .await
                .expect("a deadline")
                .expect("no panic");
            fails(outcome, StoreErrorKind::Timeout);
        }
        let begun = Instant::now();
        for _ in 0..1000 {
            fails(store.load(&id()).await, StoreErrorKind::Unavailable);
        }
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        server.thaw();
        eventually("it is found again", || async {
            store.load(&id()).await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_refused_at_once_and_found_again() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url()).await.expect("a store");
    cluster.nodes.iter().for_each(Server::kill);
    let refused_at_once = || async {
        let begun = Instant::now();
        for _ in 0..100 {
            if store.load(&id()).await.is_ok() || begun.elapsed() > BOUND {
                return false;
            }
        }
        true
    };
    eventually("it is refused at once", refused_at_once).await;
    cluster.nodes.iter().for_each(Server::restart);
    let ids: Vec<_> = (0..30).map(|_| id()).collect();
    for id in &ids {
        eventually("every slot is found again", || async {
            store.load(id).await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_operations_never_answer_others() {
    let server = Server::start();
    let store = RedisStore::connect(&format!("{}?max_in_flight=8", server.url()))
        .await
        .expect("a store");
    let ids: Arc<Vec<_>> = Arc::new((0..64).map(|_| id()).collect());
    for id in ids.iter() {
        let _ = store
            .create(id, &record(id.as_str().as_bytes()), LONG)
            .await
            .expect("create");
    }
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, ids) = (store.clone(), ids.clone());
            tokio::spawn(async move {
                for round in 0..500usize {
                    let id = &ids[(task * 31 + round) % ids.len()];
                    let patience = Duration::from_micros((round % 7) as u64 * 40);
                    if let Ok(loaded) = timeout(patience, store.load(id)).await {
                        let loaded = loaded.expect("load").expect("present").record;
                        assert!(loaded.as_bytes().ends_with(id.as_str().as_bytes()));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(store.load(&ids[0]).await.expect("load").is_some());
}

#[test]
fn a_store_outlives_the_runtime_of_its_connections() {
    let server = Server::start();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (id, first) = (id(), runtime());
    let store = first.block_on(async {
        let store = RedisStore::connect(&server.url()).await.expect("a store");
        let _ = store.create(&id, &record(b""), LONG).await.expect("create");
        store
    });
    drop(first);
    runtime().block_on(async {
        assert!(store.load(&id).await.expect("load").is_some());
        assert_eq!(store.destroy(&id).await.expect("destroy"), Destroyed);
    });
}

#[test]
fn a_connection_on_a_runtime_that_stands_still_is_replaced() {
    let server = Server::start();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (id, standing) = (id(), runtime());
    let url = format!("{}?response_timeout=100ms", server.url());
    let store = standing
        .block_on(RedisStore::connect(&url))
        .expect("a store");
    runtime().block_on(async {
        let late = timeout(BOUND, store.load(&id)).await.expect("a deadline");
        fails(late, StoreErrorKind::Timeout);
        eventually("another takes its place", || async {
            store.load(&id).await.is_ok()
        })
        .await;
    });
    drop(standing);
}

/// Passes everything on to a server, but for what comes on one of its connections from some moment on.
struct Staller {
    address: SocketAddr,
    /// What came on each connection, in the order in which they were made, in bytes.
    passed: Arc<Mutex<Vec<u64>>>,
    stalled: Arc<AtomicUsize>,
}

impl Staller {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (passed, stalled) = (
            Arc::new(Mutex::new(vec![])),
            Arc::new(AtomicUsize::new(usize::MAX)),
        );
        let staller = Self {
            address,
            passed: passed.clone(),
            stalled: stalled.clone(),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = {
                    let mut passed = passed.lock().expect("no panic");
                    passed.push(0);
                    passed.len() - 1
                };
                let (passed, stalled) = (passed.clone(), stalled.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await?;
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(
                        async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                    );
                    let mut bytes = vec![0; 4096];
                    loop {
                        let count = from_client.read(&mut bytes).await?;
                        if count == 0 {
                            return std::io::Result::Ok(());
                        }
                        if stalled.load(Ordering::SeqCst) == number {
                            std::future::pending::<()>().await;
                        }
                        passed.lock().expect("no panic")[number] += count as u64;
                        to_server.write_all(&bytes[..count]).await?;
                    }
                });
            }
        });
        staller
    }

    /// Stalls the connection that has carried most.
    fn stall_the_busiest(&self) {
        let passed = self.passed.lock().expect("no panic");
        let busiest = (0..passed.len())
            .max_by_key(|&number| passed[number])
            .expect("a connection");
        self.stalled.store(busiest, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_stalls_costs_one_request_and_no_other_connection() {
    let server = Server::start();
    let staller = Staller::start(server.address().parse().expect("an address")).await;
    let store = RedisStore::connect(&format!(
        "redis://{}?response_timeout=300ms",
        staller.address
    ))
    .await
    .expect("a store");
    let both = || async { staller.passed.lock().expect("no panic").len() == 2 };
    eventually("the spare connection is there", both).await;
    for _ in 0..50 {
        store.load(&id()).await.expect("load");
    }
    staller.stall_the_busiest();
    fails(store.load(&id()).await, StoreErrorKind::Timeout);
    for _ in 0..50 {
        store
            .load(&id())
            .await
            .expect("the other connection serves");
    }
    let again = || async { staller.passed.lock().expect("no panic").len() == 3 };
    eventually("the stalled one is replaced", again).await;
    store.load(&id()).await.expect("load");
}
