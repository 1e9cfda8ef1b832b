//! A connection that speaks the protocol of Redis.

use std::{
    io,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use deadpool::managed::{Manager as _, Metrics, RecycleError};
use deadpool_redis::Manager;
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{task::AbortHandle, time::timeout};

use crate::{failure::Failure, stream::BoxStream, tracking::Tracking};

/// What a check sends.
pub(crate) const CHECK: [&str; 2] = ["UNWATCH", "PING"];

/// `deadpool-redis` checks connections. It makes none: they could neither share a TLS configuration
/// nor change their credentials, and it would not find the primary.
static CHECKS: LazyLock<RedisResult<Manager>> = LazyLock::new(|| Manager::new("redis://unused"));

/// A connection. Clones share it; it is closed when the last of them is dropped, whether or not the
/// server accepts what was written to it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    requests: MultiplexedConnection,
    driver: Arc<Driver>,
}

/// A connection that is open for as long as others use it.
#[derive(Debug)]
pub(crate) struct WeakConnection(MultiplexedConnection);

/// The task that writes requests and reads replies.
#[derive(Debug)]
struct Driver {
    task: AbortHandle,
    tracked: OnceLock<Tracked>,
}

/// What the connection announces, and the task that makes sure of it.
#[derive(Debug)]
struct Tracked {
    tracking: Arc<Tracking>,
    task: AbortHandle,
}

impl Connection {
    /// Agrees with the server on the protocol, authenticates, and serves the connection on the
    /// current runtime.
    pub(crate) async fn start(
        stream: BoxStream,
        info: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let connected = MultiplexedConnection::new_with_config(info, stream, config);
        let (requests, driver) = connected.await?;
        Ok(Self {
            requests,
            driver: Arc::new(Driver {
                task: tokio::spawn(driver).abort_handle(),
                tracked: OnceLock::new(),
            }),
        })
    }

    /// The same connection, for a task that must not keep it open.
    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection(self.requests.clone())
    }

    /// Keeps what the connection announces, and a task that ends with the connection.
    pub(crate) fn track(&self, tracking: Arc<Tracking>, task: AbortHandle) {
        // a connection is tracked once, when it is made
        let _ = self.driver.tracked.set(Tracked { tracking, task });
    }

    /// What the connection announces, if it can.
    pub(crate) fn tracking(&self) -> Option<&Arc<Tracking>> {
        self.driver.tracked.get().map(|tracked| &tracked.tracking)
    }

    /// Sends a command, and returns what the server replies if that is not an error.
    pub(crate) async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.requests).await
    }

    /// Sends a pipeline, and returns a reply to each of its commands. Some may be errors.
    pub(crate) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        send(&mut self.requests, pipeline).await
    }

    /// Makes sure that the server replies.
    pub(crate) async fn check(&mut self, limit: Duration) -> Result<(), Failure> {
        let checks = CHECKS.as_ref().map_err(Failure::from_connecting)?;
        let metrics = Metrics::default();
        match timeout(limit, checks.recycle(&mut self.requests, &metrics)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RecycleError::Backend(error))) => Err(Failure::from_connecting(&error)),
            Ok(Err(RecycleError::Message(text))) => Err(Failure::unavailable(text)),
            Err(_) => Err(Failure::from_connecting(&timed_out())),
        }
    }
}

impl WeakConnection {
    /// As [`Connection::send`].
    pub(crate) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        send(&mut self.0, pipeline).await
    }
}

async fn send(
    requests: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, Failure> {
    let count = pipeline.len();
    match requests.send_packed_commands(pipeline, 0, count).await {
        Ok(values) if values.len() == count => Ok(values),
        Ok(_) => Err(Failure::unexpected_reply()),
        Err(error) => Err(Failure::from_command(&error)),
    }
}

/// The error of a connection that is not made in time.
pub(crate) fn timed_out() -> redis::RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(tracked) = self.tracked.get() {
            tracked.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::ProtocolVersion;
    use test_support::Redis;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// RESP2 without credentials sends nothing at the beginning.
    async fn start(stream: BoxStream) -> Connection {
        let info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = Connection::start(stream, &info, config);
        connection.await.expect("a connection")
    }

    #[tokio::test]
    async fn a_connection_is_closed_although_its_peer_reads_nothing() {
        const BYTES: usize = 64 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut peer, _) = listener.accept().await.expect("a connection");
        let mut connection = start(Box::new(stream)).await;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("SET").arg("k").arg(vec![0u8; BYTES]);
        // more than the sockets hold
        let mut buffer = vec![0; 1 << 16];
        tokio::select! {
            sent = connection.send(&pipeline) => panic!("nobody replies: {sent:?}"),
            read = peer.read(&mut buffer) => assert!(read.expect("the beginning") > 0),
        }
        drop(connection);
        let mut received = 0;
        while let Ok(read @ 1..) = peer.read(&mut buffer).await {
            received += read;
        }
        assert!(received < BYTES / 2, "{received} bytes were written");
    }

    #[tokio::test]
    async fn a_check_needs_a_reply() {
        let server = Redis::start();
        let stream = TcpStream::connect(server.addr()).await.expect("a stream");
        let mut connection = start(Box::new(stream)).await;
        let limit = Duration::from_millis(200);
        for _ in 0..2 {
            assert_eq!(connection.check(limit).await, Ok(()));
        }
        server.pause();
        let late = Failure::unavailable("timed out while connecting");
        assert_eq!(connection.check(limit).await, Err(late));
        server.resume();
        server.kill();
        let closed = connection.check(limit).await.expect_err("no server");
        assert!(closed.is_outage(), "{closed:?}");
    }
}
