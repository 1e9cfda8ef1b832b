//! Why a configuration is rejected.

#[cfg(feature = "tls")]
use crate::tls::TlsError;

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
    /// In a cluster, the prefix would put all sessions into one slot.
    #[error("prefix {prefix:?} contains a hash tag, which puts all sessions into one cluster slot")]
    HashTag {
        /// The configured prefix.
        prefix: String,
    },
    /// Redis accepts a user name only together with a password.
    #[error("username requires a password")]
    UserWithoutPassword,
    /// Credentials come either from the configuration or from a provider.
    #[error("a credentials provider excludes a username and a password")]
    CredentialsAndProvider,
    /// Certificates or keys are invalid.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
}
