//! The configuration of a store: addresses, credentials, limits and timeouts.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    address::{Address, AddressError},
    credentials::{Credentials, Password},
    topology::Topology,
};

const DEFAULT_PREFIX: &str = "session:";
pub(crate) const REDIS_PORT: u16 = 6379;
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// Address, credentials, limits and timeouts of a [`RedisStore`](crate::RedisStore).
///
/// Made from a URL with [`from_url`](Self::from_url), or from addresses with one function per
/// topology. The defaults suit a web service whose Redis is in the same data center. Options are
/// checked when a store is made from them, by [`RedisStore::open`](crate::RedisStore::open) or
/// [`RedisStore::lazy`](crate::RedisStore::lazy).
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
    pub(crate) root_certificates: Option<Vec<u8>>,
    pub(crate) database: u32,
    pub(crate) credentials: Credentials,
    pub(crate) sentinel_credentials: Credentials,
    pub(crate) prefix: String,
    pub(crate) connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) breaker_failures: u32,
    pub(crate) probe_every: Duration,
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
            root_certificates: None,
            database: 0,
            credentials: Credentials::default(),
            sentinel_credentials: Credentials::default(),
            prefix: DEFAULT_PREFIX.to_owned(),
            connections: 2,
            max_in_flight: 64,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            total_timeout: Duration::from_secs(2),
            breaker_failures: 3,
            probe_every: Duration::from_millis(250),
        }
    }

    /// Sets the prefix of every key, which is `{prefix}{session id}`. Default `session:`.
    ///
    /// The prefix must not be empty: it tells sessions from other keys, and lets an ACL user be
    /// restricted to them.
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
        self.credentials.username = Some(username.into());
        self
    }

    /// Sets the password of the user. By default the store does not authenticate.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.credentials.password = Some(Password::new(password));
        self
    }

    /// Sets the ACL user of the sentinels, which have users of their own. Default as
    /// [`username`](Self::username).
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_credentials.username = Some(username.into());
        self
    }

    /// Sets the password of the sentinels, which have passwords of their own. By default the store
    /// does not authenticate to them.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_credentials.password = Some(Password::new(password));
        self
    }

    /// Uses TLS with every server, including sentinels. Default off.
    ///
    /// Certificates and host names are verified against the trusted roots of the machine.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Trusts these root certificates, in PEM, instead of those of the machine. Implies
    /// [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    pub fn tls_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self.tls()
    }

    /// Sets the number of connections that all requests share. Default 2.
    ///
    /// The first connection carries all operations up to [`max_in_flight`](Self::max_in_flight),
    /// because operations on one connection share its system calls. The second carries what is
    /// beyond, and serves while the first is being replaced. In a cluster each connection reaches
    /// every node, and operations alternate between them.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Limits the operations in flight on one connection; further ones wait. Default 64, the
    /// largest number that was measured to survive a reshard on a cluster connection.
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// Limits how long it takes to connect, including the handshake. Default 1 s.
    ///
    /// A cluster connection reaches several nodes; its limit is twice this and one
    /// [`response_timeout`](Self::response_timeout) more.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits how long the store waits for one reply. Default 500 ms; a session command takes
    /// Redis microseconds.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Limits how long one operation takes, including waiting for a connection, waiting for other
    /// operations, and a retry. Default 2 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// Sets the number of consecutive failures that open the circuit breaker of a connection.
    /// Default 3. While it is open, operations fail at once.
    pub fn breaker_failures(mut self, failures: u32) -> Self {
        self.breaker_failures = failures;
        self
    }

    /// Sets the longest pause between two attempts to reconnect, which are made in the background.
    /// Default 250 ms, which is also about how long recovery takes. The actual pauses vary between
    /// half of it and all of it, so that instances do not reconnect in step.
    pub fn probe_every(mut self, interval: Duration) -> Self {
        self.probe_every = interval;
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
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(ConfigError::NoTls);
        }
        if self.credentials.username.is_some() && self.credentials.password.is_none() {
            return Err(ConfigError::UserWithoutPassword);
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
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("topology", &self.topology)
            .field("tls", &self.tls)
            .field("database", &self.database)
            .field("credentials", &self.credentials)
            .field("sentinel_credentials", &self.sentinel_credentials)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("max_in_flight", &self.max_in_flight)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("breaker_failures", &self.breaker_failures)
            .field("probe_every", &self.probe_every)
            .finish_non_exhaustive()
    }
}

/// The options are invalid, or exclude each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The key prefix is empty.
    #[error("prefix must not be empty: it tells sessions from other keys")]
    EmptyPrefix,
    /// A number or a duration is zero.
    #[error("{option} must not be zero")]
    Zero {
        /// The name of the option.
        option: &'static str,
    },
    /// A cluster has no numbered databases.
    #[error("database {database} cannot be selected: a cluster has database 0 only")]
    ClusterDatabase {
        /// The configured database.
        database: u32,
    },
    /// The URL requires TLS, which this build does not include.
    #[error("TLS requires the cargo feature `tls` of session-redis")]
    NoTls,
    /// Redis accepts a user name only together with a password.
    #[error("username requires a password")]
    UserWithoutPassword,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_rejected(change: impl FnOnce(RedisConfig) -> RedisConfig, expected: ConfigError) {
        let config = RedisConfig::standalone("localhost").expect("an address");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(change(config).validate(), Err(expected));
    }

    #[test]
    fn invalid_options_are_named() {
        let zero = |option| ConfigError::Zero { option };
        assert_rejected(|config| config.prefix(""), ConfigError::EmptyPrefix);
        assert_rejected(|config| config.connections(0), zero("connections"));
        assert_rejected(|config| config.max_in_flight(0), zero("max_in_flight"));
        let none = Duration::ZERO;
        assert_rejected(
            |config| config.connect_timeout(none),
            zero("connect_timeout"),
        );
        assert_rejected(
            |config| config.response_timeout(none),
            zero("response_timeout"),
        );
        assert_rejected(|config| config.total_timeout(none), zero("total_timeout"));
        assert_rejected(
            |config| config.breaker_failures(0),
            zero("breaker_failures"),
        );
        assert_rejected(|config| config.probe_every(none), zero("probe_every"));
        assert_rejected(
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
    fn debug_output_hides_passwords() {
        let config = RedisConfig::unix("/run/redis.sock")
            .username("app")
            .password("hunter2")
            .sentinel_password("hunter3");
        let printed = format!("{config:?} {config:#?}");
        assert!(
            printed.contains("Password(..)") && printed.contains("app"),
            "{printed}"
        );
        assert!(!printed.contains("hunter"), "{printed}");
    }
}
