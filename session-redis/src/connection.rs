//! A connection that speaks the protocol of Redis.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use deadpool::managed::{Manager as _, Metrics, RecycleError};
use deadpool_redis::Manager;
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{task::AbortHandle, time::timeout};

use crate::{failure::Failure, stream::BoxStream};

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
    _driver: Arc<Driver>,
}

/// The task that writes requests and reads replies.
#[derive(Debug)]
struct Driver(AbortHandle);

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
            _driver: Arc::new(Driver(tokio::spawn(driver).abort_handle())),
        })
    }

    /// Sends a command, and returns what the server replies if that is not an error.
    pub(crate) async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.requests).await
    }

    /// Sends a pipeline, and returns a reply to each of its commands. Some may be errors.
    pub(crate) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        let count = pipeline.len();
        match self.requests.send_packed_commands(pipeline, 0, count).await {
            Ok(values) if values.len() == count => Ok(values),
            Ok(_) => Err(Failure::unexpected_reply()),
            Err(error) => Err(Failure::from_command(&error)),
        }
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

/// The error of a connection that is not made in time.
pub(crate) fn timed_out() -> redis::RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
