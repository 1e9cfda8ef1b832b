//! What a store connects to and how long it waits: the typed form of a URL.

use std::{fmt, path::PathBuf, time::Duration};

use crate::url::{self, UrlError};

/// The beginning of every key, where nothing else is said.
const DEFAULT_PREFIX: &str = "session:";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is, who asks, and with what patience.
///
/// Made of a URL ([`from_url`](Self::from_url)) or of addresses; every option has a default that is safe for a web service.
///
/// ```
/// use std::time::Duration;
/// use session_redis::RedisConfig;
///
/// let config = RedisConfig::sentinel(["10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"], "sessions")?
///     .password("correct horse battery staple")
///     .prefix("shop:session:")
///     .response_timeout(Duration::from_millis(250));
/// # Ok::<(), session_redis::UrlError>(())
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    #[cfg(feature = "tls")]
    pub(crate) root_certificates: Option<Vec<u8>>,
    pub(crate) database: u32,
    pub(crate) login: Login,
    pub(crate) sentinel_login: Login,
    pub(crate) prefix: String,
    pub(crate) connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) failures: u32,
    pub(crate) probe_every: Duration,
}

/// Which servers there are, and what they are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Standalone(Address),
    Unix(PathBuf),
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
    },
    Cluster(Vec<Address>),
}

/// A server. The host is a name or an address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Topology {
    /// For logs: addresses, and no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[Address]| {
            addresses
                .iter()
                .map(Address::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            Self::Standalone(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, service } => {
                write!(f, "{service} of sentinels {}", list(sentinels))
            }
            Self::Cluster(nodes) => write!(f, "cluster {}", list(nodes)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A user and a password; without a user name, Redis takes the user `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// A password, which prints as `Secret(..)`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl RedisConfig {
    /// Reads a URL; the forms and the parameters stand in the [crate's documentation](crate#urls).
    ///
    /// # Errors
    ///
    /// What is wrong with the URL. Never prints a password, also where the URL was cut in the wrong place.
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        url::parse(url)
    }

    /// One server, as `host` or `host:port` (6379).
    ///
    /// # Errors
    ///
    /// The address is not of this form.
    pub fn standalone(address: &str) -> Result<Self, UrlError> {
        Ok(Self::new(Topology::Standalone(url::address(
            address, REDIS_PORT,
        )?)))
    }

    /// One server on this machine, by the path of its socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Topology::Unix(path.into()))
    }

    /// Whichever server the sentinels (`host` or `host:port`, 26379) name as the primary of `service`.
    ///
    /// # Errors
    ///
    /// An address is not of this form, or there is none.
    pub fn sentinel<'a>(
        sentinels: impl IntoIterator<Item = &'a str>,
        service: &str,
    ) -> Result<Self, UrlError> {
        let sentinels = url::addresses(sentinels, SENTINEL_PORT)?;
        Ok(Self::new(Topology::Sentinel {
            sentinels,
            service: service.to_owned(),
        }))
    }

    /// The cluster to which these nodes (`host` or `host:port`, 6379) belong; the others are found through them.
    ///
    /// # Errors
    ///
    /// An address is not of this form, or there is none.
    pub fn cluster<'a>(nodes: impl IntoIterator<Item = &'a str>) -> Result<Self, UrlError> {
        Ok(Self::new(Topology::Cluster(url::addresses(
            nodes, REDIS_PORT,
        )?)))
    }

    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            tls: false,
            #[cfg(feature = "tls")]
            root_certificates: None,
            database: 0,
            login: Login::default(),
            sentinel_login: Login::default(),
            prefix: DEFAULT_PREFIX.to_owned(),
            connections: 2,
            max_in_flight: 64,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            total_timeout: Duration::from_secs(2),
            failures: 3,
            probe_every: Duration::from_millis(250),
        }
    }

    /// Begins every key, which is `{prefix}{session id}`. Default `session:`; must not be empty, so that sessions can be told
    /// from other keys and an ACL user can be confined to them.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The numbered database. Default 0, which is also all that a cluster has.
    pub fn database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }

    /// The ACL user. Without one, Redis takes `default`.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.login.username = Some(username.into());
        self
    }

    /// The password of the user.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.login.password = Some(Secret(password.into()));
        self
    }

    /// The user towards the sentinels, which keep their own.
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_login.username = Some(username.into());
        self
    }

    /// The password towards the sentinels, which keep their own.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_login.password = Some(Secret(password.into()));
        self
    }

    /// Speaks TLS with every server, sentinels too. Certificates and host names are checked against the machine's trusted roots.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Trusts these PEM certificates, and no others, to sign the servers' certificates. Implies TLS.
    #[cfg(feature = "tls")]
    pub fn tls_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self.tls()
    }

    /// How many connections all requests share. Default 2: the first carries everything up to `max_in_flight`, because operations
    /// on one connection share its system calls; the second takes what is beyond, and serves while the first is being replaced.
    /// In a cluster each of them reaches every node, and they take turns.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many operations may be under way on one connection; more wait their turn. Default 64, the most that was measured to
    /// survive a reshard on a cluster connection.
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// How long making a connection may take, handshake included. Default 1 s. A cluster connection reaches many nodes and gets
    /// twice this and one response more.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait for one reply. Default 500 ms; a session command takes Redis microseconds.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long one operation may take with everything: waiting for a connection, for its turn, for the reply, and a retry.
    /// Default 2 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// After how many failures in a row a connection answers at once, without trying. Default 3.
    pub fn breaker_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How often a server that is away is tried, in the background and with jitter. Default 250 ms, and so about the time that
    /// recovery takes.
    pub fn probe_every(mut self, interval: Duration) -> Self {
        self.probe_every = interval;
        self
    }

    /// What no store can be made of.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.prefix.is_empty() {
            return Err(ConfigError::EmptyPrefix);
        }
        if matches!(self.topology, Topology::Cluster(_)) && self.database != 0 {
            return Err(ConfigError::ClusterDatabase {
                database: self.database,
            });
        }
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(ConfigError::NoTls);
        }
        if self.login.username.is_some() && self.login.password.is_none() {
            return Err(ConfigError::UserWithoutPassword);
        }
        let zero = [
            ("connections", self.connections == 0),
            ("max_in_flight", self.max_in_flight == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("response_timeout", self.response_timeout.is_zero()),
            ("total_timeout", self.total_timeout.is_zero()),
            ("breaker_failures", self.failures == 0),
            ("probe_every", self.probe_every.is_zero()),
        ];
        match zero.into_iter().find(|(_, zero)| *zero) {
            Some((option, _)) => Err(ConfigError::Zero { option }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("topology", &self.topology)
            .field("tls", &self.tls)
            .field("database", &self.database)
            .field("login", &self.login)
            .field("sentinel_login", &self.sentinel_login)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("max_in_flight", &self.max_in_flight)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("breaker_failures", &self.failures)
            .field("probe_every", &self.probe_every)
            .finish_non_exhaustive()
    }
}

/// Options that cannot go together, or cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Keys without a prefix cannot be told from other keys.
    #[error("prefix must not be empty: sessions could not be told from other keys")]
    EmptyPrefix,
    /// A number or a length of time that must not be zero.
    #[error("{option} must not be zero")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// A cluster has no numbered databases.
    #[error("database {database} cannot be selected: a cluster has database 0 only")]
    ClusterDatabase {
        /// The database.
        database: u32,
    },
    /// The URL asks for TLS, which is not compiled in.
    #[error("TLS needs the cargo feature `tls` of session-redis")]
    NoTls,
    /// Redis takes a user name only together with a password.
    #[error("a user name needs a password")]
    UserWithoutPassword,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(RedisConfig) -> RedisConfig, expected: ConfigError) {
        let config = RedisConfig::standalone("localhost").expect("an address");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(change(config).validate(), Err(expected));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        refused(|config| config.prefix(""), ConfigError::EmptyPrefix);
        refused(
            |config| config.connections(0),
            ConfigError::Zero {
                option: "connections",
            },
        );
        refused(
            |config| config.total_timeout(Duration::ZERO),
            ConfigError::Zero {
                option: "total_timeout",
            },
        );
        refused(
            |config| config.username("app"),
            ConfigError::UserWithoutPassword,
        );
        let cluster = RedisConfig::cluster(["a"]).expect("addresses").database(1);
        assert_eq!(
            cluster.validate(),
            Err(ConfigError::ClusterDatabase { database: 1 })
        );
    }

    #[test]
    fn debug_does_not_leak_passwords() {
        let config = RedisConfig::unix("/run/redis.sock")
            .username("app")
            .password("hunter2")
            .sentinel_password("hunter3");
        let printed = format!("{config:?} {config:#?}");
        assert!(
            printed.contains("Secret(..)") && printed.contains("app"),
            "{printed}"
        );
        assert!(!printed.contains("hunter"), "{printed}");
    }
}
