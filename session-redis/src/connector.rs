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
        atomic::{AtomicU64, Ordering},
    },
};

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{
    address::Address,
    batcher::{Batcher, Observer},
    config::RedisConfig,
    endpoint::{Endpoint, driver_config},
    failure::Failure,
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
    /// The primary that the sentinels named last, whichever connection asked.
    primary: Mutex<Option<Address>>,
    /// How often the primary has changed.
    generation: AtomicU64,
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
        #[cfg(feature = "tls")]
        if config.tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // an error means that the application has installed another one, which is kept
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self {
            source,
            config,
            primary: Mutex::default(),
            generation: AtomicU64::new(0),
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
        let pool = match &pooled.pool {
            Some(pool) => pool.clone(),
            None => {
                let pool = self.pool(&endpoint, on_disconnect.clone())?;
                pooled.pool.insert(pool).clone()
            }
        };
        let connection = pool.get().await;
        let connection = connection.map_err(|error| Failure::from_pool(&error).at(endpoint))?;
        let shared = MultiplexedConnection::clone(&connection);
        pooled.connection = Some(connection);
        Ok(shared)
    }

    fn pool(&self, endpoint: &Endpoint<'_>, on_disconnect: OnDisconnect) -> Result<Pool, Failure> {
        let config = &self.config;
        let info = endpoint.connection_info(config, &config.credentials, config.database)?;
        // the redis crate reports a closed connection as a push message, before a request fails
        let on_push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                on_disconnect();
            }
            Ok(())
        };
        let driver = driver_config(config).set_push_sender(on_push);
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
