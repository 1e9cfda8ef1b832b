//! The graceful shutdown.

use std::time::Duration;

use demo::{Server, options::Options};
use http::StatusCode;
use test_support::Browser;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    client::{Client, check},
    events,
    slow_request::SlowRequest,
};

/// Fails a test whose server does not stop.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_shutdown_closes_streams_and_waits_for_requests_in_progress() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let options = Options::from_arguments([""; 0]).expect("valid flags");
    let server = Server::open(&options).await.expect("it starts");
    let (shut_down, shutdown) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async { drop(shutdown.await) }));

    let browser = Browser::new();
    let client = Client { address, browser };
    let mut stream = events::open(&events::log_in(&client).await).await;
    let slow = SlowRequest::start(&client, "PUT /api/session/x", "7").await;
    shut_down.send(()).expect("the server runs");
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // the session lives on, so the browser connects again
    let event = tokio::time::timeout(LIMIT, stream.next()).await;
    assert_eq!(event.expect("the stream is closed"), None);
    check(&slow.complete().await, StatusCode::NO_CONTENT);
    let stopped = tokio::time::timeout(LIMIT, serving).await;
    stopped.expect("it stops").expect("without a panic");
}
