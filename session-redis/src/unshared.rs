//! Connections that are not shared: for commands that take long or block those behind them, such as
//! a scan, or a write and its `WAIT`.
//!
//! They come from a pool of `deadpool`, which makes a connection when all others are in use, and
//! checks one before it is used again after a pause.

use std::{fmt, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use redis::{Pipeline, Value};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    connector::{Connector, ServerConnection},
    failure::Failure,
    reply::{Values, take_replies},
};

/// The most connections of one pool.
const MAX: usize = 4;

/// A connection that was used so recently is not checked: that costs a round trip.
const RECENTLY: Duration = Duration::from_secs(1);

/// A pool of connections to one node that are not shared. There are none before the first is
/// needed.
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
        metrics: &Metrics,
    ) -> RecycleResult<Failure> {
        let idle = metrics.last_used() > RECENTLY;
        let checked = self.0.check_unshared(connection, idle).await;
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
        take_replies(self.send_all(pipeline, limit).await?.into())
    }

    /// The same, but replies may be errors.
    pub(crate) async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>, Failure> {
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
        values
    }

    /// Closes the connection instead of returning it to its pool.
    pub(crate) fn close(mut self) {
        self.unanswered = true;
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

#[cfg(test)]
mod tests {
    use session_core::Replicas;
    use test_support::{Redis, eventually};

    use super::*;
    use crate::{
        announcer::Announcer,
        command::{Command, Operation, SendMode},
        config::RedisConfig,
        connector::Source,
        node::Node,
        script::ScriptForm,
    };

    fn node(server: &Redis) -> Arc<Node> {
        let config = RedisConfig::from_url(&server.url()).expect("a URL");
        let address = crate::address::Address {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        };
        let announcer = Announcer::new(&config.prefix);
        Node::single(Source::Tcp(address), &Arc::new(config), &announcer, None)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn pipeline(commands: &[&str]) -> Pipeline {
        let mut pipeline = Pipeline::new();
        for command in commands {
            let mut words = command.split(' ');
            let command = pipeline.cmd(words.next().expect("a name"));
            for word in words {
                command.arg(word);
            }
        }
        pipeline
    }

    #[tokio::test]
    async fn a_command_that_blocks_delays_no_operation() {
        let server = Redis::start();
        let node = node(&server);
        let mut connection = node.scanning(soon()).await.expect("a connection");
        // the second one blocks
        let pipeline = pipeline(&["SET a 1", "BLPOP list 0", "GET a"]);
        let blocked = connection.send(&pipeline, Duration::from_secs(5));
        let operations = async {
            eventually("the command blocks", async || {
                let info: String = server.command(&["INFO", "clients"]);
                info.contains("blocked_clients:1")
            })
            .await;
            for _ in 0..3 {
                node.ping(soon()).await.expect("a reply");
            }
            server.command::<u64>(&["RPUSH", "list", "x"])
        };
        let (replies, pushed) = tokio::join!(blocked, operations);
        assert_eq!(pushed, 1);
        let text = |text: &str| Value::BulkString(text.into());
        let popped = Value::Array(vec![text("list"), text("x")]);
        let expected = [Value::Okay, popped, text("1")];
        assert_eq!(replies.expect("replies")[..], expected);
    }

    #[tokio::test]
    async fn a_few_connections_are_made_and_others_wait_for_them() {
        let server = Redis::start();
        let node = node(&server);
        let mut connections = Vec::new();
        for _ in 0..MAX {
            connections.push(node.scanning(soon()).await.expect("a connection"));
        }
        let late = node.scanning(Instant::now()).await.map(drop);
        assert_eq!(
            late,
            Err(Failure::unavailable("timed out while connecting"))
        );
        let next = node.scanning(soon());
        let (next, ()) = tokio::join!(next, async { drop(connections.pop()) });
        next.expect("the connection that was returned");
    }

    #[tokio::test]
    async fn scans_do_not_delay_writes_that_replicas_confirm() {
        let server = Redis::start();
        let node = node(&server);
        let mut scans = Vec::new();
        for _ in 0..MAX {
            scans.push(node.scanning(soon()).await.expect("a connection"));
        }
        let destroy = Command::new("k", Operation::Destroy { expected: None });
        let destroy = destroy.confirmed_by(Some(Replicas::new(0)));
        let mode = SendMode {
            script: ScriptForm::Hash,
            asking: None,
        };
        let sent = node.attempt(&destroy, &mode, soon()).await;
        let values = sent.expect("replies").values;
        assert_eq!(values[..], [Value::Int(0), Value::Int(0)]);
    }

    #[tokio::test]
    async fn a_connection_without_its_replies_is_closed_and_another_made() {
        let server = Redis::start();
        let node = node(&server);
        let blocked = || {
            let info: String = server.command(&["INFO", "clients"]);
            info.contains("blocked_clients:1")
        };
        let mut connection = node.scanning(soon()).await.expect("a connection");
        let pop = pipeline(&["BLPOP list 0"]);
        let replies = connection.send(&pop, Duration::from_millis(20)).await;
        assert_eq!(replies, Err(Failure::TimedOut));
        eventually("the command blocks", async || blocked()).await;
        drop(connection);
        eventually("it is closed", async || !blocked()).await;

        let limit = Duration::from_secs(5);
        let mut connection = node.scanning(soon()).await.expect("a connection");
        let error = connection
            .send(&pipeline(&["NONSENSE", "PING"]), limit)
            .await;
        assert!(matches!(error, Err(Failure::Server(_))), "{error:?}");
        // an error is a reply
        let id = async |connection: &mut UnsharedConnection| {
            let id = pipeline(&["CLIENT ID"]);
            connection.send(&id, limit).await.expect("an id")
        };
        let first = id(&mut connection).await;
        drop(connection);
        let mut connection = node.scanning(soon()).await.expect("a connection");
        assert_eq!(id(&mut connection).await, first);
    }
}
