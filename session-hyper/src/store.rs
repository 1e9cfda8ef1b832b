//! Choosing a store by its URL, so that an application changes it with a cargo feature and an
//! environment variable.

use session_core::AnyStore;

/// Opens the store that a URL names.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | inside this process | `memory` |
/// | `redis://host:6379` | one Redis or Valkey server | `redis` |
/// | `redis+unix:///run/redis.sock` | the same, over a Unix socket | `redis` |
/// | `redis+sentinel://host:26379,host:26379/service` | the primary that the sentinels report | `redis` |
/// | `redis+cluster://host:6379,host:6379` | a cluster | `redis` |
///
/// `rediss` connects over TLS (feature `redis-tls`); `valkey` means the same as `redis`. The
/// function connects to Redis before it returns, so a wrong URL is an error at startup; [`lazy`]
/// does not.
///
/// # Errors
///
/// If the URL names no store, the store's feature is not enabled, or the store cannot be reached.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "memory")]
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use session_hyper::{Sessions, SigningKeys, store};
///
/// let url = std::env::var("SESSION_STORE").unwrap_or("memory:".into());
/// let sessions = Sessions::builder(store::connect(&url).await?)
///     .signing_keys(SigningKeys::random()?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<AnyStore, ConnectError> {
    match Kind::of(url)? {
        #[cfg(feature = "memory")]
        Kind::Memory => Ok(AnyStore::new(session_core::MemoryStore::new())),
        #[cfg(feature = "redis")]
        Kind::Redis => Ok(AnyStore::new(
            session_redis::RedisStore::connect(url).await?,
        )),
    }
}

/// Makes the store that a URL names, which connects when it is first used.
///
/// An instance then starts while Redis is unavailable. Requests that load their session are
/// answered with 503 until it is back, and
/// [`Sessions::health`](session_core::Sessions::health) reports that the store is not ready. A
/// wrong host or password shows there, too, and not at startup.
///
/// # Errors
///
/// If the URL names no store, has an invalid option, or the store's feature is not enabled.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use session_hyper::{Sessions, SigningKeys, store};
///
/// let url = std::env::var("SESSION_STORE").unwrap_or("memory:".into());
/// let sessions = Sessions::builder(store::lazy(&url)?)
///     .signing_keys(SigningKeys::random()?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub fn lazy(url: &str) -> Result<AnyStore, ConnectError> {
    match Kind::of(url)? {
        #[cfg(feature = "memory")]
        Kind::Memory => Ok(AnyStore::new(session_core::MemoryStore::new())),
        #[cfg(feature = "redis")]
        Kind::Redis => {
            let config = session_redis::RedisConfig::from_url(url);
            let config = config.map_err(session_redis::ConnectError::from)?;
            Ok(AnyStore::new(session_redis::RedisStore::lazy(config)?))
        }
    }
}

/// The stores of this build.
enum Kind {
    #[cfg(feature = "memory")]
    Memory,
    #[cfg(feature = "redis")]
    Redis,
}

impl Kind {
    fn of(url: &str) -> Result<Self, ConnectError> {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "memory")]
            "memory" => Ok(Self::Memory),
            #[cfg(not(feature = "memory"))]
            "memory" => Err(ConnectError::Disabled {
                scheme: scheme.into(),
                feature: "memory",
            }),
            #[cfg(feature = "redis")]
            _ if is_redis(scheme) => Ok(Self::Redis),
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
}

/// The scheme names the server first, then the kind of connection.
fn is_redis(scheme: &str) -> bool {
    let server = scheme.split('+').next().unwrap_or_default();
    ["redis", "rediss", "valkey", "valkeys"].contains(&server)
}

/// A store could not be opened.
///
/// Messages contain no part of the URL but its scheme, because the rest may contain a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL names no store.
    #[error(
        "unknown scheme of a store URL: expected memory, redis, redis+unix, redis+sentinel or \
         redis+cluster, found {scheme:?}"
    )]
    UnknownScheme {
        /// The part before the colon.
        scheme: String,
    },
    /// The store is not part of this build.
    #[error("store URLs with {scheme:?} need the feature {feature:?} of session-hyper")]
    Disabled {
        /// The part before the colon.
        scheme: String,
        /// The cargo feature to enable.
        feature: &'static str,
    },
    /// The Redis store could not be opened.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] session_redis::ConnectError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn the_scheme_chooses_the_store() {
        assert!(connect("memory:").await.is_ok());
        assert!(lazy("memory:").is_ok());
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_named_and_the_password_is_not() {
        let error = connect("etcd://user:hunter2@host").await;
        let error = error.expect_err("there is no such store").to_string();
        assert!(error.contains("\"etcd\""), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn a_lazy_store_needs_no_server_but_a_valid_url() {
        use session_core::Store;

        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let closed = closed.expect("a free port");
        let store = lazy(&format!("redis://{closed}")).expect("a URL");
        let health = store.health().await;
        assert!(!health.ready);
        assert_eq!(health.parts[0].name, closed.to_string());
        assert!(lazy("redis://host:port").is_err());
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn an_error_and_its_sources_do_not_repeat_each_other() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let closed = closed.expect("a free port");
        for url in [&*format!("redis://{closed}"), "redis://host:port"] {
            let error = connect(url).await.expect_err("there is no server");
            let first: Box<dyn std::error::Error> = Box::new(error);
            let chain = std::iter::successors(Some(&*first), |error| error.source());
            let messages: Vec<_> = chain.map(ToString::to_string).collect();
            assert!(messages.len() > 1, "{messages:?}");
            for pair in messages.windows(2) {
                assert!(!pair[0].contains(&pair[1]), "{messages:?}");
            }
        }
    }

    #[cfg(not(feature = "redis"))]
    #[tokio::test]
    async fn a_store_that_is_not_compiled_in_is_an_error_that_names_the_feature() {
        for scheme in ["redis", "rediss", "valkey", "redis+cluster"] {
            let error = connect(&format!("{scheme}://localhost")).await;
            let error = error.expect_err("no such feature").to_string();
            assert!(error.contains(scheme), "{error}");
            assert!(error.contains("feature \"redis\""), "{error}");
        }
    }
}
