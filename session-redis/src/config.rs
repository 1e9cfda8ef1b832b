//! The configuration of a store: addresses, credentials, limits and timeouts.

use std::{fmt, path::PathBuf, time::Duration};

#[cfg(feature = "tls")]
use crate::tls::TlsConfig;
use crate::{
    address::{Address, AddressError},
    config_error::ConfigError,
    credentials::{AnyProvider, CredentialsProvider, Login, Password},
    slot_map::hash_tag,
    topology::Topology,
};

const DEFAULT_PREFIX: &str = "session:";
pub(crate) const REDIS_PORT: u16 = 6379;
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// The longest timeout and interval. Longer ones are cut to this: they are added to each other and
/// to the clock, which ends somewhere.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Address, credentials, limits and timeouts of a [`RedisStore`](crate::RedisStore).
///
/// Made from a URL with [`from_url`](Self::from_url), or from addresses with one function per
/// topology. The defaults suit a web service whose Redis is in the same data center. Options are
/// checked when a store is made from them, by [`RedisStore::open`](crate::RedisStore::open) or
/// [`RedisStore::lazy`](crate::RedisStore::lazy). Timeouts and intervals of more than a day count
/// as a day.
///
/// # Examples
///
/// Options that a URL leaves open can be set in code. Here the password comes from a file and the
/// response timeout is shortened, so that a request that finds Redis hanging fails sooner:
///
/// ```
/// use std::time::Duration;
/// use session_redis::RedisConfig;
///
/// # fn read_secret() -> std::io::Result<String> { Ok("correct horse battery staple".into()) }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = RedisConfig::from_url("redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/sessions")?
///     .password(read_secret()?)
///     .prefix("shop:session:")
///     .response_timeout(Duration::from_millis(250));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    #[cfg(feature = "tls")]
    server_tls: TlsConfig,
    /// `None` if the sentinels are connected to as the servers are.
    #[cfg(feature = "tls")]
    sentinel_tls: Option<Option<TlsConfig>>,
    pub(crate) database: u32,
    pub(crate) login: Login,
    pub(crate) sentinel_login: Login,
    pub(crate) prefix: String,
    pub(crate) connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) breaker_failures: u32,
    pub(crate) probe_every: Duration,
    pub(crate) ended_journal: Duration,
}

/// What a server is to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It keeps sessions.
    Server,
    /// It knows the primary.
    Sentinel,
}

impl RedisConfig {
    /// Uses one server, given as `host` or `host:port`. The default port is 6379.
    ///
    /// # Errors
    ///
    /// The address is invalid.
    pub fn standalone(address: &str) -> Result<Self, AddressError> {
        let address = Address::parse(address, REDIS_PORT)?;
        Ok(Self::new(Topology::Standalone(address)))
    }

    /// Uses one server on this machine, by the path of its Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Topology::Unix(path.into()))
    }

    /// Uses the server that the sentinels name as the primary of `service`.
    ///
    /// Each sentinel is given as `host` or `host:port`; the default port is 26379. Give all of
    /// them: the store asks every sentinel and believes the newest configuration.
    ///
    /// # Errors
    ///
    /// An address is invalid, or the list is empty.
    pub fn sentinel<'a>(
        sentinels: impl IntoIterator<Item = &'a str>,
        service: &str,
    ) -> Result<Self, AddressError> {
        let sentinels = Address::parse_list(sentinels, SENTINEL_PORT)?;
        Ok(Self::new(Topology::Sentinel {
            sentinels,
            service: service.to_owned(),
        }))
    }

    /// Uses the cluster that these nodes belong to; the other nodes are discovered.
    ///
    /// Each node is given as `host` or `host:port`; the default port is 6379.
    ///
    /// # Errors
    ///
    /// An address is invalid, or the list is empty.
    pub fn cluster<'a>(nodes: impl IntoIterator<Item = &'a str>) -> Result<Self, AddressError> {
        let nodes = Address::parse_list(nodes, REDIS_PORT)?;
        Ok(Self::new(Topology::Cluster(nodes)))
    }

    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            tls: false,
            #[cfg(feature = "tls")]
            server_tls: TlsConfig::new(),
            #[cfg(feature = "tls")]
            sentinel_tls: None,
            database: 0,
            login: Login::default(),
            sentinel_login: Login::default(),
            prefix: DEFAULT_PREFIX.to_owned(),
            connections: 2,
            max_in_flight: 1024,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            total_timeout: Duration::from_secs(2),
            breaker_failures: 3,
            probe_every: Duration::from_secs(2),
            ended_journal: Duration::from_secs(60),
        }
    }

    /// Sets the prefix of every key, which is `{prefix}{session id}`. Default `session:`.
    ///
    /// The prefix must not be empty: it tells sessions from other keys, and lets an ACL user be
    /// restricted to them. In a cluster it must not contain a hash tag such as `{shop}`, which
    /// would put all sessions into one slot.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Selects a numbered database. Default 0, the only one that a cluster has.
    pub fn database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }

    /// Sets the ACL user. By default Redis authenticates the user `default`. A user name requires
    /// a [`password`](Self::password).
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.login.fixed.username = Some(username.into());
        self
    }

    /// Sets the password of the user. By default the store does not authenticate.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.login.fixed.password = Some(Password::new(password));
        self
    }

    /// Sets the ACL user of the sentinels, which have users of their own. Default as
    /// [`username`](Self::username).
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_login.fixed.username = Some(username.into());
        self
    }

    /// Sets the password of the sentinels, which have passwords of their own. By default the store
    /// does not authenticate to them.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_login.fixed.password = Some(Password::new(password));
        self
    }

    /// Asks this provider for the credentials of each connection to a server, instead of
    /// [`username`](Self::username) and [`password`](Self::password).
    ///
    /// Use it for passwords that rotate and for tokens that expire. It is asked before a connection
    /// is made, and before a suspect one is checked. A connection is replaced rather than checked
    /// if the credentials have changed. While the provider fails, no connection is made, and
    /// operations fail with [`Unavailable`](session_core::StoreErrorKind::Unavailable).
    ///
    /// A living connection stays authenticated if the password changes. One that the server closes
    /// when a token expires is authenticated again in time if
    /// [`Credentials::refresh_after`](crate::Credentials::refresh_after) is set.
    ///
    /// # Examples
    ///
    /// A password in a file that another process replaces:
    ///
    /// ```
    /// use session_redis::{Credentials, RedisConfig};
    ///
    /// let config = RedisConfig::standalone("10.0.0.1")?.credentials_provider(async || {
    ///     let password = std::fs::read_to_string("/run/secrets/redis")?;
    ///     Ok::<_, std::io::Error>(Credentials::new("app", password.trim_end()))
    /// });
    /// # Ok::<(), session_redis::AddressError>(())
    /// ```
    ///
    /// A token that is valid for 15 minutes:
    ///
    /// ```
    /// use std::time::Duration;
    /// use session_redis::{BoxError, Credentials, RedisConfig};
    ///
    /// # async fn cached_token() -> Result<String, BoxError> { Ok("token".to_owned()) }
    /// let config = RedisConfig::standalone("10.0.0.1")?.credentials_provider(async || {
    ///     let credentials = Credentials::new("app", cached_token().await?);
    ///     Ok::<_, BoxError>(credentials.refresh_after(Duration::from_secs(10 * 60)))
    /// });
    /// # Ok::<(), session_redis::AddressError>(())
    /// ```
    pub fn credentials_provider(mut self, provider: impl CredentialsProvider) -> Self {
        self.login.provider = Some(AnyProvider::new(provider));
        self
    }

    /// Asks this provider for the credentials of each connection to a sentinel, instead of
    /// [`sentinel_username`](Self::sentinel_username) and
    /// [`sentinel_password`](Self::sentinel_password).
    pub fn sentinel_credentials_provider(mut self, provider: impl CredentialsProvider) -> Self {
        self.sentinel_login.provider = Some(AnyProvider::new(provider));
        self
    }

    /// Uses TLS with every server, including sentinels. Default off.
    ///
    /// Certificates and host names are verified, by default against the trusted roots of the
    /// machine. They are read once for each store, and its connections share TLS sessions; see
    /// [`TlsConfig`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Uses TLS with every server, including sentinels, with these settings.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: TlsConfig) -> Self {
        self.server_tls = config;
        self.tls()
    }

    /// Trusts these root certificates, in PEM, instead of those of the machine. Implies
    /// [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    pub fn tls_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.server_tls = self.server_tls.root_certificates(pem);
        self.tls()
    }

    /// Presents this certificate to servers that request one. Both are in PEM. Implies
    /// [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    pub fn tls_client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.server_tls = self.server_tls.client_certificate(certificate, key);
        self.tls()
    }

    /// Uses these settings with sentinels, or no TLS if `None`, whatever is used with the servers.
    /// By default sentinels are connected to as the servers are.
    #[cfg(feature = "tls")]
    pub fn sentinel_tls(mut self, config: Option<TlsConfig>) -> Self {
        self.sentinel_tls = Some(config);
        self
    }

    /// Sets the number of connections to each node. Default 2.
    ///
    /// The first connection of a node carries all operations, because operations on one connection
    /// share its system calls. The others are spare: the next one serves while the first is being
    /// replaced.
    ///
    /// All connections live on the runtime that used the store first. If each thread of the
    /// application has a current-thread runtime of its own, a handler that blocks the first one
    /// delays the operations of all: give each thread a store then.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Limits the operations in flight to one node. Default 1024.
    ///
    /// The actual limit adapts to the measured round trips and stays at or below this number.
    /// Further operations wait, or fail with
    /// [`Overloaded`](session_core::StoreErrorKind::Overloaded) if their turn would come too late.
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// Limits how long it takes to connect, including the handshake. Default 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(LONGEST);
        self
    }

    /// Limits how long the store waits for one reply. Default 500 ms; a session command takes
    /// Redis microseconds.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout.min(LONGEST);
        self
    }

    /// Limits how long one operation takes, including waiting for a connection, waiting for other
    /// operations, and a retry. Default 2 s.
    ///
    /// On Linux a connection also ends if the server acknowledges nothing for so long
    /// (`TCP_USER_TIMEOUT`).
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the number of consecutive failures that open the circuit breaker of a connection.
    /// Default 3. While it is open, operations fail at once.
    pub fn breaker_failures(mut self, failures: u32) -> Self {
        self.breaker_failures = failures;
        self
    }

    /// Sets the longest pause between two attempts to reconnect, which are made in the background.
    /// Default 2 s.
    ///
    /// The first pause is 10 ms, and each doubles the one before. While the server refuses
    /// connections, as one that is being restarted does, pauses are 250 ms at most for the first
    /// four seconds. The actual pauses vary between half of that and all of it, so that instances
    /// do not reconnect in step. Only the first connection of a node probes a server that is down;
    /// the others follow when it is back.
    ///
    /// An attempt that gets no answer, as when packets are dropped, takes
    /// [`connect_timeout`](Self::connect_timeout) itself. A server that is reached again is then
    /// found within `connect_timeout` and this pause.
    pub fn probe_every(mut self, interval: Duration) -> Self {
        self.probe_every = interval.min(LONGEST);
        self
    }

    /// Sets how long the store remembers the sessions that it has ended. Default one minute; zero
    /// switches it off.
    ///
    /// A failover, or a restart from an old snapshot, can bring back sessions whose end Redis has
    /// acknowledged. This store does not find them again, and when it reaches a server that may
    /// have lost writes it destroys them once more, for the other instances. Choose at least twice
    /// the time that a failover takes, counted from the last write that reached the replica; the
    /// time does not run while a server cannot be reached. Of more than 100,000 ids, the newest are
    /// remembered.
    ///
    /// An id must not be used for another session within this time. A proxy that does not pass
    /// `INFO` on, and closes the connection instead, needs zero.
    pub fn ended_journal(mut self, time: Duration) -> Self {
        self.ended_journal = time.min(LONGEST);
        self
    }

    /// Checks each option and how the options combine.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.prefix.is_empty() {
            return Err(ConfigError::EmptyPrefix);
        }
        if matches!(self.topology, Topology::Cluster(_)) && self.database != 0 {
            return Err(ConfigError::ClusterDatabase {
                database: self.database,
            });
        }
        if matches!(self.topology, Topology::Cluster(_)) && hash_tag(&self.prefix).is_some() {
            return Err(ConfigError::HashTag {
                prefix: self.prefix.clone(),
            });
        }
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(ConfigError::NoTls);
        }
        for Login { fixed, provider } in [&self.login, &self.sentinel_login] {
            if provider.is_some() && (fixed.username.is_some() || fixed.password.is_some()) {
                return Err(ConfigError::CredentialsAndProvider);
            }
            if fixed.username.is_some() && fixed.password.is_none() {
                return Err(ConfigError::UserWithoutPassword);
            }
        }
        let zero = [
            ("connections", self.connections == 0),
            ("max_in_flight", self.max_in_flight == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("response_timeout", self.response_timeout.is_zero()),
            ("total_timeout", self.total_timeout.is_zero()),
            ("breaker_failures", self.breaker_failures == 0),
            ("probe_every", self.probe_every.is_zero()),
        ];
        match zero.into_iter().find(|(_, zero)| *zero) {
            Some((option, _)) => Err(ConfigError::Zero { option }),
            None => Ok(()),
        }
    }

    /// As whom to connect.
    pub(crate) fn login(&self, role: Role) -> &Login {
        match role {
            Role::Server => &self.login,
            Role::Sentinel => &self.sentinel_login,
        }
    }

    /// The TLS settings, if TLS is used.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_of(&self, role: Role) -> Option<&TlsConfig> {
        let servers = self.tls.then_some(&self.server_tls);
        match (role, &self.sentinel_tls) {
            (Role::Server, _) | (Role::Sentinel, None) => servers,
            (Role::Sentinel, Some(own)) => own.as_ref(),
        }
    }

    /// Parses the certificates that will be used, once for all connections.
    #[cfg(feature = "tls")]
    pub(crate) fn check_tls(&self) -> Result<(), ConfigError> {
        let roles = match self.topology {
            Topology::Sentinel { .. } => &[Role::Server, Role::Sentinel][..],
            Topology::Standalone(_) | Topology::Cluster(_) => &[Role::Server],
            Topology::Unix(_) => &[],
        };
        let mut used = roles.iter().filter_map(|role| self.tls_of(*role));
        used.try_for_each(|tls| Ok(tls.check()?))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RedisConfig");
        debug
            .field("topology", &self.topology)
            .field("tls", &self.tls);
        #[cfg(feature = "tls")]
        debug
            .field("server_tls", &self.server_tls)
            .field("sentinel_tls", &self.sentinel_tls);
        debug
            .field("database", &self.database)
            .field("login", &self.login)
            .field("sentinel_login", &self.sentinel_login)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("max_in_flight", &self.max_in_flight)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("breaker_failures", &self.breaker_failures)
            .field("probe_every", &self.probe_every)
            .field("ended_journal", &self.ended_journal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
