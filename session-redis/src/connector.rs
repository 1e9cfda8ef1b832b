//! Makes, checks and replaces connections, in each topology.
//!
//! Connections to one server come from `deadpool-redis`: a pool of one makes a connection within a
//! deadline, checks it with a `PING` if it is suspect, and makes another if the check fails.
//! Requests use clones of the pooled connection, so none is checked out for them. The Sentinel and
//! Cluster managers of the pool are not used: they can set neither `TCP_NODELAY` nor deadlines, and
//! the latter retries a write sixteen times without telling the caller.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use redis::{
    ProtocolVersion, PushInfo, PushKind, Value, aio::MultiplexedConnection, cluster::ClusterClient,
};
use tokio::time::timeout;

use crate::{
    address::Address,
    batcher::Batcher,
    cluster_connection::ClusterConnection,
    config::RedisConfig,
    endpoint::{Endpoint, driver_config, tcp_settings},
    failure::Failure,
    sentinel,
    shared_connection::SharedConnection,
    topology::Topology,
};

/// Called when the server closes a connection.
pub(crate) type OnDisconnect = Arc<dyn Fn() + Send + Sync>;

/// Makes the connections of one store.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Arc<RedisConfig>,
    /// The primary that the sentinels named last, whichever connection asked.
    primary: Mutex<Option<Address>>,
    /// How often the primary has changed.
    generation: AtomicU64,
}

/// A connection that replies, and the generation it belongs to.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: SharedConnection,
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
    pub(crate) fn new(config: Arc<RedisConfig>) -> Self {
        #[cfg(feature = "tls")]
        if config.tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // an error means that the application has installed another one, which is kept
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self {
            config,
            primary: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// The servers, for log lines.
    pub(crate) fn topology(&self) -> &Topology {
        &self.config.topology
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
    ) -> Result<Connected, Failure> {
        let first_generation = |connection| Connected {
            connection,
            generation: 0,
        };
        match &self.config.topology {
            Topology::Standalone(address) => {
                let endpoint = Endpoint::Tcp(address);
                let connection = self
                    .pooled(pooled, discard, endpoint, on_disconnect)
                    .await?;
                Ok(first_generation(self.batching(connection)))
            }
            Topology::Unix(path) => {
                let endpoint = Endpoint::Unix(path);
                let connection = self
                    .pooled(pooled, discard, endpoint, on_disconnect)
                    .await?;
                Ok(first_generation(self.batching(connection)))
            }
            Topology::Sentinel { sentinels, service } => {
                let primary = sentinel::find_primary(&self.config, sentinels, service).await?;
                if pooled.primary.as_ref() != Some(&primary) {
                    *pooled = PooledConnection {
                        primary: Some(primary.clone()),
                        ..PooledConnection::default()
                    };
                }
                let endpoint = Endpoint::Tcp(&primary);
                let mut connection = self
                    .pooled(pooled, discard, endpoint, on_disconnect)
                    .await?;
                self.check_role(&mut connection, &primary)
                    .await
                    .inspect_err(|_| pooled.release(true))?;
                Ok(Connected {
                    connection: self.batching(connection),
                    generation: self.generation_of(primary),
                })
            }
            Topology::Cluster(nodes) => Ok(first_generation(self.cluster(nodes).await?)),
        }
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

    fn batching(&self, connection: MultiplexedConnection) -> SharedConnection {
        SharedConnection::Server(Batcher::start(connection, self.config.response_timeout))
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

    async fn cluster(&self, nodes: &[Address]) -> Result<SharedConnection, Failure> {
        let config = &self.config;
        let infos = nodes.iter().map(|node| {
            let endpoint = Endpoint::Tcp(node);
            endpoint.connection_info(config, &config.credentials, 0)
        });
        let infos = infos.collect::<Result<Vec<_>, _>>()?;
        let builder = ClusterClient::builder(infos)
            // the store follows redirections and retries: it knows what is in doubt
            .retries(0)
            .connection_timeout(config.connect_timeout)
            .response_timeout(config.response_timeout)
            .overall_response_timeout(None)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp_settings());
        #[cfg(feature = "tls")]
        let builder = match &config.root_certificates {
            Some(pem) => builder.certs(crate::endpoint::root_certificates(pem)),
            None => builder,
        };
        let client = builder
            .build()
            .map_err(|error| Failure::from_connecting(&error))?;
        let limit = 2 * config.connect_timeout + config.response_timeout;
        match timeout(limit, client.get_async_connection()).await {
            Ok(Ok(connection)) => {
                let connection = ClusterConnection::new(connection, config.clone());
                Ok(SharedConnection::Cluster(Arc::new(connection)))
            }
            Ok(Err(error)) => Err(Failure::from_connecting(&error).at(&config.topology)),
            Err(_) => Err(Failure::unavailable("timed out while connecting").at(&config.topology)),
        }
    }
}
