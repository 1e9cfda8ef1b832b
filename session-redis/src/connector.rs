//! Makes, checks and replaces connections to one node.
//!
//! Connections to one server come from `deadpool-redis`: a pool of one makes a connection within a
//! deadline, checks it with a `PING` if it is suspect, and makes another if the check fails.
//! Requests use clones of the pooled connection, so none is checked out for them. The Sentinel and
//! Cluster managers of the pool are not used: they can set neither `TCP_NODELAY` nor deadlines.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
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
    sentinel,
};

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
    /// The primary that the sentinels named last, whichever connection asked.
    primary: Mutex<Option<Address>>,
    /// How often the primary has changed.
    generation: AtomicU64,
    /// The server refused RESP3, so RESP2 is used. Then no message reports a closed connection;
    /// the next operation finds out.
    resp2: AtomicBool,
}

/// A connection that replies, and the generation it belongs to.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Batcher,
    pub(crate) generation: u64,
}

/// What a node connection keeps between one connection and the next.
#[derive(Default)]
pub(crate) struct PooledConnection {
    pool: Option<Pool>,
    /// The pool makes connections with these.
    credentials: Credentials,
    reauthentication: Option<Reauthentication>,
    /// The server of the pool, if the sentinels chose it.
    primary: Option<Address>,
    connection: Option<Connection>,
}

impl PooledConnection {
    /// Returns the connection to the pool, which checks it before it is used again, or drops it.
    fn release(&mut self, discard: bool) {
        if let Some(connection) = self.connection.take()
            && discard
        {
            drop(Connection::take(connection));
        }
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
    pub(crate) fn new(source: Source, config: Arc<RedisConfig>) -> Self {
        Self {
            source,
            config,
            primary: Mutex::default(),
            generation: AtomicU64::new(0),
            resp2: AtomicBool::new(false),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Connections of earlier generations lead to a server that is no longer the primary.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
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
        let (connection, generation) = match &self.source {
            Source::Tcp(address) => {
                let endpoint = Endpoint::Tcp(address);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                (connection.await?, 0)
            }
            Source::Unix(path) => {
                let endpoint = Endpoint::Unix(path);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                (connection.await?, 0)
            }
            Source::Sentinel { sentinels, service } => {
                let primary = sentinel::find_primary(&self.config, sentinels, service).await?;
                if pooled.primary.as_ref() != Some(&primary) {
                    *pooled = PooledConnection {
                        primary: Some(primary.clone()),
                        ..PooledConnection::default()
                    };
                }
                let endpoint = Endpoint::Tcp(&primary);
                let connection = self.pooled(pooled, discard, endpoint, on_disconnect);
                let mut connection = connection.await?;
                self.check_role(&mut connection, &primary)
                    .await
                    .inspect_err(|_| pooled.release(true))?;
                (connection, self.generation_of(primary))
            }
        };
        let connection = Batcher::start(connection, self.config.response_timeout, observer);
        Ok(Connected {
            connection,
            generation,
        })
    }

    /// Returns the generation of connections to this primary. A primary other than before begins a
    /// new one, which also reaches connections that have not noticed the failover.
    fn generation_of(&self, primary: Address) -> u64 {
        let mut known = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&primary) {
            tracing::info!(%primary, "sentinels named the Redis primary");
            *known = Some(primary);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.generation()
    }

    async fn pooled(
        &self,
        pooled: &mut PooledConnection,
        discard: bool,
        endpoint: Endpoint<'_>,
        on_disconnect: &OnDisconnect,
    ) -> Result<MultiplexedConnection, Failure> {
        pooled.release(discard);
        pooled.reauthentication = None;
        let (config, login) = (&self.config, self.config.login(Role::Server));
        let credentials = login.credentials(config.connect_timeout).await;
        let credentials = credentials.map_err(|failure| failure.at(endpoint))?;
        if !pooled.credentials.is_same_login(&credentials) {
            // connections of the pool have the old ones
            pooled.connection = None;
            pooled.pool = None;
            pooled.credentials = credentials.clone();
        }
        let connection = match self.get(pooled, endpoint, on_disconnect).await? {
            Err(PoolError::Backend(error)) if refuses_resp3(&error) => {
                if !self.resp2.swap(true, Ordering::AcqRel) {
                    tracing::info!(server = %endpoint, "Redis refuses RESP3, so RESP2 is used");
                }
                pooled.pool = None;
                self.get(pooled, endpoint, on_disconnect).await?
            }
            result => result,
        };
        let connection = connection.map_err(|error| Failure::from_pool(&error).at(endpoint))?;
        let shared = MultiplexedConnection::clone(&connection);
        pooled.connection = Some(connection);
        let reauthenticate = Reauthenticate {
            connection: shared.clone(),
            login: login.clone(),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            server: endpoint.to_string(),
        };
        pooled.reauthentication = reauthenticate.start(&credentials);
        Ok(shared)
    }

    async fn get(
        &self,
        pooled: &mut PooledConnection,
        endpoint: Endpoint<'_>,
        on_disconnect: &OnDisconnect,
    ) -> Result<Result<Connection, PoolError>, Failure> {
        let pool = match &pooled.pool {
            Some(pool) => pool.clone(),
            None => {
                let pool = self.pool(&endpoint, &pooled.credentials, on_disconnect.clone())?;
                pooled.pool.insert(pool).clone()
            }
        };
        Ok(pool.get().await)
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
    ) -> Result<(), Failure> {
        let cmd = redis::cmd("ROLE");
        let role = timeout(
            self.config.response_timeout,
            cmd.query_async::<Value>(connection),
        );
        match role.await {
            Ok(Ok(Value::Array(role)))
                if role.first() == Some(&Value::BulkString(b"master".into())) =>
            {
                Ok(())
            }
            Ok(Ok(_)) => Err(Failure::unavailable(
                "sentinels name it, but it is not a primary",
            )),
            Ok(Err(error)) => Err(Failure::from_connecting(&error)),
            Err(_) => Err(Failure::unavailable("timed out while checking the role")),
        }
        .map_err(|failure| failure.at(primary))
    }
}
