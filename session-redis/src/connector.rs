//! Makes, checks and replaces connections to one node.
//!
//! Connections to one server come from `deadpool-redis`: a pool of one makes a connection within a
//! deadline. It is checked with a `PING` if it is suspect, and replaced if the check fails.
//! Requests use clones of the pooled connection, so none is checked out for them. The Sentinel and
//! Cluster managers of the pool are not used: they can set neither `TCP_NODELAY` nor deadlines.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::{ProtocolVersion, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{
    address::Address,
    batcher::{Batcher, Observer},
    config::{RedisConfig, Role},
    credentials::Credentials,
    endpoint::{Endpoint, driver_config, refuses_resp3},
    failure::Failure,
    reauthentication::{Reauthenticate, Reauthentication},
    role::is_primary,
    sentinel::{OnChange, Sentinels},
    sentinel_watcher::Watching,
};

/// What is sent to check a suspect connection.
pub(crate) const CHECK: [&str; 2] = ["UNWATCH", "PING"];

/// Called when the server closes a connection.
pub(crate) type OnDisconnect = Arc<dyn Fn() + Send + Sync>;

/// Where the server of a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Tcp(Address),
    Unix(PathBuf),
    /// Wherever the sentinels say that the primary of a service is.
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
    },
}

impl Source {
    /// A short name, for metrics.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tcp(_) | Self::Unix(_) => self.to_string(),
            Self::Sentinel { service, .. } => service.clone(),
        }
    }
}

impl fmt::Display for Source {
    /// Writes the addresses, for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, service } => {
                let sentinels: Vec<_> = sentinels.iter().map(Address::to_string).collect();
                write!(f, "service {service} of sentinels {}", sentinels.join(","))
            }
        }
    }
}

/// Makes the connections to one node.
#[derive(Debug)]
pub(crate) struct Connector {
    source: Source,
    config: Arc<RedisConfig>,
    server: Server,
    /// The server refused RESP3, so RESP2 is used. Then no message reports a closed connection;
    /// the next operation finds out.
    resp2: AtomicBool,
}

/// How the address of the server is known.
#[derive(Debug)]
enum Server {
    Tcp(Address),
    Unix(PathBuf),
    Sentinel {
        sentinels: Arc<Sentinels>,
        watching: Watching,
    },
}

/// A connection that replies, and the generation it belongs to.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Batcher,
    pub(crate) generation: u64,
    /// It passed a check. Otherwise it is new.
    pub(crate) checked: bool,
}

/// What a node connection keeps between one connection and the next.
#[derive(Default)]
pub(crate) struct PooledConnection {
    /// The pool of the connection.
    pool: Option<Pool>,
    /// The pool makes connections with these.
    credentials: Credentials,
    reauthentication: Option<Reauthentication>,
    /// The server of the pool, if the sentinels chose it.
    primary: Option<Address>,
    connection: Option<Connection>,
}

impl PooledConnection {
    /// Drops the connection. The next one has a pool of its own, because all connections of a pool
    /// report to the same [`OnDisconnect`].
    fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Connection::take(connection));
        }
        self.pool = None;
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("primary", &self.primary)
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// `on_change` is called when connections lead to a server that is no longer the primary.
    pub(crate) fn new(source: Source, config: Arc<RedisConfig>, on_change: OnChange) -> Self {
        let server = match &source {
            Source::Tcp(address) => Server::Tcp(address.clone()),
            Source::Unix(path) => Server::Unix(path.clone()),
            Source::Sentinel { sentinels, service } => {
                let (addresses, service) = (sentinels.clone(), service.clone());
                let sentinels = Sentinels::new(config.clone(), addresses, service, on_change);
                Server::Sentinel {
                    watching: Watching::new(sentinels.clone()),
                    sentinels,
                }
            }
        };
        Self {
            source,
            config,
            server,
            resp2: AtomicBool::new(false),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Connections of earlier generations lead to a server that is no longer the primary.
    pub(crate) fn generation(&self) -> u64 {
        match &self.server {
            Server::Tcp(_) | Server::Unix(_) => 0,
            Server::Sentinel { sentinels, .. } => sentinels.generation(),
        }
    }

    /// How long one attempt to connect takes at most, about: to get credentials, to ask sentinels,
    /// to connect with either protocol, and to check the result.
    pub(crate) fn longest_attempt(&self) -> Duration {
        let RedisConfig {
            connect_timeout,
            response_timeout,
            ..
        } = &*self.config;
        (*connect_timeout * 5).saturating_add(*response_timeout * 2)
    }

    /// Whether a message reports a connection that the server closes.
    pub(crate) fn reports_disconnects(&self) -> bool {
        !self.resp2.load(Ordering::Acquire)
    }

    /// Watches the sentinels, if the server is found through them.
    pub(crate) fn keep_watching(&self) {
        if let Server::Sentinel { watching, .. } = &self.server {
            watching.keep_running();
        }
    }

    /// The server behaves as a primary does that was cut off: asks the sentinels soon.
    pub(crate) fn suspect_primary(&self) {
        if let Server::Sentinel { watching, .. } = &self.server {
            watching.suspect_primary();
        }
    }

    /// Checks the pooled connection, or makes another; either way the result replies. `discard`
    /// replaces a connection that would pass the check, because its server must not be used.
    pub(crate) async fn connect(
        &self,
        pooled: &mut PooledConnection,
        discard: bool,
        on_disconnect: &OnDisconnect,
        observer: Observer,
    ) -> Result<Connected, Failure> {
        let ((connection, checked), generation) = match &self.server {
            Server::Tcp(address) => {
                let endpoint = Endpoint::Tcp(address);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                (connection.await?, 0)
            }
            Server::Unix(path) => {
                let endpoint = Endpoint::Unix(path);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                (connection.await?, 0)
            }
            Server::Sentinel {
                sentinels,
                watching,
            } => {
                watching.keep_alive();
                let primary = sentinels.find_primary().await?;
                if pooled.primary.as_ref() != Some(&primary.address) {
                    *pooled = PooledConnection {
                        primary: Some(primary.address.clone()),
                        ..PooledConnection::default()
                    };
                }
                let endpoint = Endpoint::Tcp(&primary.address);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                let connection = sentinels
                    .while_primary(primary.generation, connection)
                    .await;
                let (mut connection, checked) = connection.unwrap_or_else(|| {
                    Err(Failure::unavailable("the primary is another now").at(endpoint))
                })?;
                self.check_role(&mut connection, &primary.address, sentinels)
                    .await
                    .inspect_err(|_| pooled.discard())?;
                ((connection, checked), primary.generation)
            }
        };
        let connection = Batcher::start(connection, self.config.response_timeout, observer);
        Ok(Connected {
            connection,
            generation,
            checked,
        })
    }

    /// Returns the connection of the pool, and whether it is the one that was there before.
    async fn pooled(
        &self,
        pooled: &mut PooledConnection,
        discard: bool,
        endpoint: Endpoint<'_>,
        on_disconnect: &OnDisconnect,
    ) -> Result<(MultiplexedConnection, bool), Failure> {
        if discard {
            pooled.discard();
        }
        pooled.reauthentication = None;
        let (config, login) = (&self.config, self.config.login(Role::Server));
        let credentials = login.credentials(config.connect_timeout).await;
        let credentials = credentials.map_err(|failure| failure.at(endpoint))?;
        if !pooled.credentials.is_same_login(&credentials) {
            pooled.discard();
            pooled.credentials = credentials.clone();
        }
        let checked = match pooled.connection.as_mut() {
            Some(connection) => self.check(connection).await,
            None => false,
        };
        if !checked {
            pooled.discard();
            let mut made = self.get(pooled, endpoint, on_disconnect).await?;
            if let Err(PoolError::Backend(error)) = &made
                && refuses_resp3(error)
            {
                if !self.resp2.swap(true, Ordering::AcqRel) {
                    tracing::info!(server = %endpoint, "Redis refuses RESP3, so RESP2 is used");
                }
                made = self.get(pooled, endpoint, on_disconnect).await?;
            }
            let connection = made.map_err(|error| Failure::from_pool(&error).at(endpoint))?;
            pooled.connection = Some(connection);
        }
        let shared = match &pooled.connection {
            Some(connection) => MultiplexedConnection::clone(connection),
            None => return Err(Failure::unavailable("there is no connection")),
        };
        let reauthenticate = Reauthenticate {
            connection: shared.clone(),
            login: login.clone(),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            server: endpoint.to_string(),
        };
        pooled.reauthentication = reauthenticate.start(&credentials);
        Ok((shared, checked))
    }

    /// Whether a connection still gets replies, as the pool checks that.
    async fn check(&self, connection: &mut Connection) -> bool {
        let mut pipeline = redis::pipe();
        for name in CHECK {
            pipeline.cmd(name);
        }
        let replies = pipeline.query_async::<(Value, String)>(connection);
        match timeout(self.config.response_timeout, replies).await {
            Ok(Ok((_, reply))) => reply == "PONG",
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn get(
        &self,
        pooled: &mut PooledConnection,
        endpoint: Endpoint<'_>,
        on_disconnect: &OnDisconnect,
    ) -> Result<Result<Connection, PoolError>, Failure> {
        let pool = self.pool(&endpoint, &pooled.credentials, on_disconnect.clone())?;
        let result = pool.get().await;
        pooled.pool = Some(pool);
        Ok(result)
    }

    fn pool(
        &self,
        endpoint: &Endpoint<'_>,
        credentials: &Credentials,
        on_disconnect: OnDisconnect,
    ) -> Result<Pool, Failure> {
        let config = &self.config;
        let protocol = match self.resp2.load(Ordering::Acquire) {
            true => ProtocolVersion::RESP2,
            false => ProtocolVersion::RESP3,
        };
        let info = endpoint.connection_info(config, Role::Server, credentials, protocol)?;
        // the redis crate reports a closed connection as a push message, before a request fails
        let on_push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                on_disconnect();
            }
            Ok(())
        };
        let driver = driver_config(config);
        let driver = match protocol {
            ProtocolVersion::RESP2 => driver,
            _ => driver.set_push_sender(on_push),
        };
        let manager = Manager::new_with_config(info, driver)
            .map_err(|error| Failure::from_connecting(&error).at(endpoint))?;
        Pool::builder(manager)
            .max_size(1)
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.response_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| Failure::unavailable("connection pool is unusable"))
    }

    /// Asks the connection that will be used, so that the role cannot change in between.
    async fn check_role(
        &self,
        connection: &mut MultiplexedConnection,
        primary: &Address,
        sentinels: &Sentinels,
    ) -> Result<(), Failure> {
        let role = timeout(self.config.response_timeout, is_primary(connection)).await;
        let timed_out = |_| Err(Failure::unavailable("timed out while checking the role"));
        role.unwrap_or_else(timed_out)
            .and_then(|is_primary| {
                sentinels.on_role(primary, is_primary);
                match is_primary {
                    true => Ok(()),
                    false => Err(Failure::unavailable(
                        "sentinels name it, but it is not a primary",
                    )),
                }
            })
            .map_err(|failure| failure.at(primary))
    }
}
