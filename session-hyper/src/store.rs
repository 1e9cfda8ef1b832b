//! Choosing the store by a URL, so that an application changes it by a feature and an environment variable.

use session_core::AnyStore;

/// Opens the store that the URL names.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | inside this process | `memory` |
/// | `redis://host:6379` | one Redis or Valkey server | `redis` |
/// | `redis+unix:///run/redis.sock` | the same by a unix socket | `redis` |
/// | `redis+sentinel://host:26379,host:26379/service` | the primary that sentinels name | `redis` |
/// | `redis+cluster://host:6379,host:6379` | a cluster | `redis` |
///
/// `rediss` is TLS (feature `redis-tls`), and `valkey` may be said for `redis`. A Redis store is asked before this returns, so
/// that a wrong URL fails at the start and not at the first visitor.
///
/// # Errors
///
/// When the URL names no store, or one whose feature is not enabled, or the store cannot be used.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use session_hyper::{Sessions, SigningKeys, store};
///
/// let url = std::env::var("SESSION_STORE").unwrap_or("memory:".into());
/// let sessions = Sessions::builder(store::connect(&url).await?).signing_keys(SigningKeys::random()?).build()?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<AnyStore, ConnectError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "memory")]
        "memory" => Ok(session_core::MemoryStore::new().into()),
        #[cfg(not(feature = "memory"))]
        "memory" => Err(ConnectError::Disabled {
            scheme: scheme.into(),
            feature: "memory",
        }),
        #[cfg(feature = "redis")]
        _ if is_redis(scheme) => Ok(session_redis::RedisStore::connect(url).await?.into()),
        #[cfg(not(feature = "redis"))]
        _ if is_redis(scheme) => Err(ConnectError::Disabled {
            scheme: scheme.into(),
            feature: "redis",
        }),
        _ => Err(ConnectError::UnknownScheme {
            scheme: scheme.into(),
        }),
    }
}

/// The first word of a scheme names the server, the rest how it is reached.
fn is_redis(scheme: &str) -> bool {
    let server = scheme.split('+').next().unwrap_or_default();
    ["redis", "rediss", "valkey", "valkeys"].contains(&server)
}

/// A store could not be opened. The messages never contain the rest of a URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL names no store.
    #[error(
        "{scheme:?} is not the scheme of a session store: expected memory:, redis:, redis+unix:, redis+sentinel: or redis+cluster:"
    )]
    UnknownScheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The store is not part of this build.
    #[error("{scheme:?} needs the feature {feature:?} of session-hyper")]
    Disabled {
        /// What stands before the colon.
        scheme: String,
        /// The cargo feature to enable.
        feature: &'static str,
    },
    /// Redis could not be used.
    #[cfg(feature = "redis")]
    #[error("the Redis store cannot be used")]
    Redis(#[from] session_redis::ConnectError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scheme_chooses_and_secrets_stay_out_of_errors() {
        #[cfg(feature = "memory")]
        assert!(connect("memory:").await.is_ok());
        let error = connect("etcd://user:hunter2@host")
            .await
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("etcd") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
