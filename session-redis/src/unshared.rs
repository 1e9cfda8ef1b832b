//! Connections that are not shared: for commands that take long or block those behind them, such as
//! a scan, or a write and its `WAIT`.
//!
//! They come from a pool of `deadpool`, which makes a connection when all others are in use, and
//! checks one before it is used again.

use std::{fmt, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use redis::Pipeline;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    connector::{Connector, ServerConnection},
    failure::Failure,
    reply::{Values, take_replies},
};

/// The most connections of this kind to one node.
const MAX: usize = 4;

/// The connections to one node that are not shared. There are none before the first is needed.
pub(crate) struct UnsharedConnections(Option<Pool<Manager>>);

/// Makes and checks connections as the node does.
struct Manager(Arc<Connector>);

impl managed::Manager for Manager {
    type Type = ServerConnection;
    type Error = Failure;

    async fn create(&self) -> Result<ServerConnection, Failure> {
        self.0.connect_unshared().await
    }

    async fn recycle(
        &self,
        connection: &mut ServerConnection,
        _: &Metrics,
    ) -> RecycleResult<Failure> {
        let checked = self.0.check_unshared(connection).await;
        checked.map_err(RecycleError::Backend)
    }
}

impl UnsharedConnections {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        let pool = Pool::builder(Manager(connector)).max_size(MAX).build();
        // an error is about timeouts, which this pool does not have
        Self(pool.ok())
    }

    /// Takes a connection that is free, or makes one, or waits for one.
    pub(crate) async fn get(&self, deadline: Instant) -> Result<UnsharedConnection, Failure> {
        let Some(pool) = &self.0 else {
            return Err(Failure::unavailable("connection pool is unusable"));
        };
        match timeout_at(deadline, pool.get()).await {
            Ok(Ok(connection)) => Ok(UnsharedConnection {
                connector: pool.manager().0.clone(),
                connection: Some(connection),
                unanswered: false,
            }),
            Ok(Err(PoolError::Backend(failure))) => Err(failure.into_not_sent()),
            Ok(Err(error)) => Err(Failure::unavailable(error.to_string())),
            Err(_) => Err(Failure::unavailable("timed out while connecting")),
        }
    }
}

impl fmt::Debug for UnsharedConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0.as_ref().map(Pool::status);
        f.debug_tuple("UnsharedConnections").field(&status).finish()
    }
}

/// A connection that nobody else uses. It returns to its pool when it is dropped, or is closed if
/// replies are missing.
pub(crate) struct UnsharedConnection {
    connector: Arc<Connector>,
    /// `None` after it was dropped.
    connection: Option<Object<Manager>>,
    unanswered: bool,
}

impl UnsharedConnection {
    /// Sends commands as one pipeline, and waits for their replies for `limit` at most. Nothing is
    /// sent to a server that is no longer the primary.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the commands may have been carried out. The connection can be used
    /// further; replies to them are discarded.
    pub(crate) async fn send(
        &mut self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Values, Failure> {
        let generation = self.connector.generation();
        let Some(server) = self.connection.as_deref_mut() else {
            return Err(Failure::Closed);
        };
        if server.generation() != generation {
            return Err(Failure::Closed);
        }
        self.unanswered = true;
        let sent = timeout(limit, server.connection.send(pipeline)).await;
        let values = sent.unwrap_or(Err(Failure::TimedOut));
        self.unanswered = values.is_err();
        take_replies(values?.into())
    }
}

impl Drop for UnsharedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.unanswered) {
            drop(Object::take(connection));
        }
    }
}

impl fmt::Debug for UnsharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsharedConnection")
            .field("unanswered", &self.unanswered)
            .finish_non_exhaustive()
    }
}
