//! How a connection is made, checked and replaced, for each topology.
//!
//! Connections to one server come from `deadpool-redis`: a pool of one makes it within a deadline, checks it with a `PING` when it
//! is suspected, and makes another where that fails. What requests use is a clone of the pooled connection, so nothing is checked
//! out on their way. The pool's own Sentinel and Cluster managers are not used: they can set neither `TCP_NODELAY` nor deadlines,
//! and the latter retries a write sixteen times behind the caller's back.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

use crate::{
    batch::Batcher,
    config::{Address, Login, RedisConfig, Topology},
    error::Failure,
    lane::Lane,
    link::{ClusterLink, Link},
    sentinel,
};

/// How long a connection may be silent: less than any router on the way is likely to forget it in.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Makes connections as a configuration says.
#[derive(Debug)]
pub(crate) struct Connector {
    config: RedisConfig,
    /// Whom the sentinels named last, by whichever lane asked.
    primary: Mutex<Option<Address>>,
    /// How often that has changed.
    era: AtomicU64,
}

/// A connection that answers, and the era to which it belongs.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) link: Link,
    pub(crate) era: u64,
}

/// What a lane keeps between one connection and the next.
#[derive(Default)]
pub(crate) struct Held {
    pool: Option<Pool>,
    /// Whose pool it is, where that can change.
    primary: Option<Address>,
    connection: Option<Connection>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("primary", &self.primary)
            .field("connected", &self.connection.is_some())
            .finish()
    }
}

impl Held {
    /// Lets go of the connection: back to the pool, which checks it before it gives it out again, or away.
    fn release(&mut self, discard: bool) {
        if let Some(connection) = self.connection.take()
            && discard
        {
            drop(Connection::take(connection));
        }
    }
}

pub(crate) enum Endpoint<'a> {
    Tcp(&'a Address),
    Unix(&'a std::path::Path),
}

impl Connector {
    pub(crate) fn new(config: RedisConfig) -> Self {
        #[cfg(feature = "tls")]
        if config.tls && rustls::crypto::CryptoProvider::get_default().is_none() {
            // an application that installed another one first keeps it
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self {
            config,
            primary: Mutex::default(),
            era: AtomicU64::new(0),
        }
    }

    /// What it connects to, for logs.
    pub(crate) fn server(&self) -> &Topology {
        &self.config.topology
    }

    /// Connections of earlier eras lead to a server that is no longer the primary, or will soon not be.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Checks the connection that is held, or makes another: in any case one that answers. `discard` is for a server that answers
    /// well but must not be used any more.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        held: &mut Held,
        discard: bool,
        lane: Weak<Lane>,
    ) -> Result<Made, Failure> {
        let link = match &self.config.topology {
            Topology::Standalone(address) => self.link(
                self.pooled(held, discard, Endpoint::Tcp(address), lane)
                    .await?,
            ),
            Topology::Unix(path) => self.link(
                self.pooled(held, discard, Endpoint::Unix(path), lane)
                    .await?,
            ),
            Topology::Sentinel { sentinels, service } => {
                let primary = sentinel::primary(&self.config, sentinels, service).await?;
                if held.primary.as_ref() != Some(&primary) {
                    *held = Held {
                        primary: Some(primary.clone()),
                        ..Held::default()
                    };
                }
                let mut connection = self
                    .pooled(held, discard, Endpoint::Tcp(&primary), lane)
                    .await?;
                self.is_primary(&mut connection, &primary)
                    .await
                    .inspect_err(|_| held.release(true))?;
                let era = self.era_of(primary);
                return Ok(Made {
                    link: self.link(connection),
                    era,
                });
            }
            Topology::Cluster(nodes) => self.cluster(nodes).await?,
        };
        Ok(Made { link, era: 0 })
    }

    /// A primary other than before begins an era, for all lanes: those that have not noticed the failover are told.
    fn era_of(&self, primary: Address) -> u64 {
        let mut known = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&primary) {
            tracing::info!(%primary, "redis primary, as the sentinels name it");
            *known = Some(primary);
            self.era.fetch_add(1, Ordering::AcqRel);
        }
        self.era()
    }

    /// A connection to one node of the cluster, beside the cluster client's own.
    pub(crate) async fn node(&self, address: &Address) -> Result<MultiplexedConnection, Failure> {
        let info = info(&self.config, &Endpoint::Tcp(address), &self.config.login, 0)?;
        let client = redis::Client::open(info).map_err(|error| Failure::connecting(&error))?;
        let config = self
            .driver()
            .set_connection_timeout(Some(self.config.connect_timeout));
        let made = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        made.map_err(|error| Failure::connecting(&error))
    }

    async fn pooled(
        &self,
        held: &mut Held,
        discard: bool,
        endpoint: Endpoint<'_>,
        lane: Weak<Lane>,
    ) -> Result<MultiplexedConnection, Failure> {
        held.release(discard);
        let pool = match &held.pool {
            Some(pool) => pool.clone(),
            None => held.pool.insert(self.pool(&endpoint, lane)?).clone(),
        };
        let connection = pool.get().await.map_err(|error| Failure::pooling(&error))?;
        let shared = MultiplexedConnection::clone(&connection);
        held.connection = Some(connection);
        Ok(shared)
    }

    fn link(&self, connection: MultiplexedConnection) -> Link {
        Link::Node(Batcher::start(connection, self.config.response_timeout))
    }

    fn pool(&self, endpoint: &Endpoint<'_>, lane: Weak<Lane>) -> Result<Pool, Failure> {
        let info = info(
            &self.config,
            endpoint,
            &self.config.login,
            self.config.database,
        )?;
        // RESP3 tells when the server hangs up, so that a request need not find out
        let hangs_up = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection
                && let Some(lane) = lane.upgrade()
            {
                lane.hung_up();
            }
            Ok(())
        };
        let manager = Manager::new_with_config(info, self.driver().set_push_sender(hangs_up));
        Pool::builder(manager.map_err(|error| Failure::connecting(&error))?)
            .max_size(1)
            .create_timeout(Some(self.config.connect_timeout))
            .recycle_timeout(Some(self.config.response_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| Failure::unreached("no pool can be made"))
    }

    /// Deadlines are kept outside the driver, where they cover waiting too.
    fn driver(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(self.config.max_in_flight)
    }

    /// Asks the very connection that will be used, so that no change of roles slips in between.
    async fn is_primary(
        &self,
        connection: &mut MultiplexedConnection,
        address: &Address,
    ) -> Result<(), Failure> {
        let cmd = redis::cmd("ROLE");
        let role = timeout(
            self.config.response_timeout,
            cmd.query_async::<Value>(connection),
        )
        .await;
        match role.map_err(|_| Failure::unreached(format!("{address} does not tell its role")))? {
            Ok(Value::Array(role)) if matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") => {
                Ok(())
            }
            Ok(_) => Err(Failure::unreached(format!(
                "sentinels name {address}, which is no primary"
            ))),
            Err(error) => Err(Failure::connecting(&error)),
        }
    }

    async fn cluster(self: &Arc<Self>, nodes: &[Address]) -> Result<Link, Failure> {
        let infos = nodes
            .iter()
            .map(|node| info(&self.config, &Endpoint::Tcp(node), &self.config.login, 0));
        let infos = infos.collect::<Result<Vec<_>, _>>()?;
        let builder = ClusterClient::builder(infos)
            // redirections and retries are followed here, where it is known what an unknown outcome means
            .retries(0)
            .connection_timeout(self.config.connect_timeout)
            .response_timeout(self.config.response_timeout)
            .overall_response_timeout(None)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp());
        #[cfg(feature = "tls")]
        let builder = match &self.config.root_certificates {
            Some(pem) => builder.certs(certificates(pem)),
            None => builder,
        };
        let client = builder
            .build()
            .map_err(|error| Failure::connecting(&error))?;
        let patience = 2 * self.config.connect_timeout + self.config.response_timeout;
        match timeout(patience, client.get_async_connection()).await {
            Ok(Ok(connection)) => Ok(Link::Cluster(Arc::new(ClusterLink::new(
                connection,
                self.clone(),
            )))),
            Ok(Err(error)) => Err(Failure::connecting(&error)),
            Err(_) => Err(Failure::unreached(
                "no cluster connection within its deadline",
            )),
        }
    }
}

/// What is small is sent at once, and a connection that is idle is kept open or found to be dead: the spare one is, as long as all is
/// well.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

/// Where and as whom to connect.
pub(crate) fn info(
    config: &RedisConfig,
    endpoint: &Endpoint<'_>,
    login: &Login,
    database: u32,
) -> Result<ConnectionInfo, Failure> {
    let addr = match endpoint {
        Endpoint::Unix(path) => ConnectionAddr::Unix(path.to_path_buf()),
        Endpoint::Tcp(Address { host, port }) if config.tls => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        Endpoint::Tcp(Address { host, port }) => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(database.into())
        // one command fewer that an ACL must allow
        .set_skip_set_lib_name();
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(&password.0);
    }
    let info = addr
        .into_connection_info()
        .map_err(|error| Failure::connecting(&error))?;
    let info = info.set_redis_settings(settings).set_tcp_settings(tcp());
    #[cfg(feature = "tls")]
    if let Some(pem) = &config.root_certificates {
        let client = redis::Client::build_with_tls(info, certificates(pem))
            .map_err(|error| Failure::connecting(&error))?;
        return Ok(client.get_connection_info().clone());
    }
    Ok(info)
}

#[cfg(feature = "tls")]
fn certificates(pem: &[u8]) -> redis::TlsCertificates {
    redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    }
}
