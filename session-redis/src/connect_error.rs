//! The error of making a store.

use session_core::StoreError;

use crate::{config_error::ConfigError, url::UrlError};

/// A [`RedisStore`](crate::RedisStore) could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is invalid.
    #[error("invalid Redis URL")]
    Url(#[from] UrlError),
    /// An option is invalid, or options exclude each other.
    #[error("invalid Redis configuration")]
    Config(#[from] ConfigError),
    /// Redis cannot be reached, rejects the credentials, or refuses to serve.
    #[error("cannot connect to Redis")]
    Redis(#[from] StoreError),
}
