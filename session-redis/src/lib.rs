//! Sessions in Redis or Valkey: one server, the primary that sentinels name, or a cluster.
//!
//! ```no_run
//! # async fn example() -> Result<(), session_redis::ConnectError> {
//! use session_redis::RedisStore;
//!
//! let store = RedisStore::connect("redis://127.0.0.1").await?;
//! # Ok(()) }
//! ```
//!
//! # URLs
//!
//! | topology | URL |
//! |---|---|
//! | one server | `redis://user:password@host:6379/database` |
//! | unix socket | `redis+unix:///run/redis.sock?db=0` |
//! | Sentinel | `redis+sentinel://host:26379,host:26379/service/database` |
//! | Cluster | `redis+cluster://host:6379,host:6379` |
//!
//! Only the host (or the path, or the service) is needed. `rediss` instead of `redis` is TLS (cargo feature `tls`); `valkey` and
//! `valkeys` mean the same. User and password are those of the Redis servers, percent-encoded. Parameters, each an option of
//! [`RedisConfig`]: `prefix`, `db`, `connections`, `max_in_flight`, `connect_timeout`, `response_timeout`, `total_timeout`,
//! `breaker_failures`, `probe_every`, `sentinel_username`, `sentinel_password`; lengths of time carry a unit (`500ms`, `2s`).
//!
//! # What Redis is asked
//!
//! | operation | commands | round trips |
//! |---|---|---|
//! | load | `GET` + `PTTL`, one pipeline | 1 |
//! | create, save | one script each, `EVALSHA` (`EVAL` the first time a server sees it) | 1 |
//! | touch | `PEXPIRE` | 1 |
//! | destroy | `UNLINK` | 1 |
//!
//! Every command names one key, `{prefix}{session id}`, so the same code is right in a cluster. Redis 6.2 or Valkey 7.2 is enough.
//! An ACL user needs no more than
//!
//! ```text
//! ACL SETUSER app on >password ~session:* -@all +get +pttl +set +getrange +pexpire +unlink +eval +evalsha +ping +role
//! ```
//!
//! `SET` and `GETRANGE` are used inside the scripts; `PING` checks a suspected connection; `ROLE` is needed with Sentinel only, and
//! a cluster needs `+cluster|slots +asking` besides (and where `CLIENT SETINFO` exists, `+client|setinfo`
//! keeps the ACL log quiet).
//!
//! # When Redis is away
//!
//! A few connections are shared by all requests; none is checked out, and none is made on a request's time. One that fails is
//! replaced in the background. Until then operations fail at once with
//! [`StoreErrorKind::Unavailable`](session_core::StoreErrorKind::Unavailable), and recovery needs neither a restart nor a request.
//! An operation never takes longer than [`RedisConfig::total_timeout`]. Where a write may or may not have been applied, the error
//! is [`StoreErrorKind::Timeout`](session_core::StoreErrorKind::Timeout), never a guess.
//!
//! Replication is asynchronous: a failover can lose the last writes, a logout among them, that the old primary had acknowledged.
//! With Sentinel, `min-replicas-to-write` on the servers bounds that; a primary that was cut off is not written to again before
//! the sentinels have been asked who the primary is.

mod batch;
mod config;
mod connections;
mod connector;
mod error;
mod lane;
mod link;
mod script;
mod sentinel;
mod store;
mod url;

pub use config::{ConfigError, RedisConfig};
pub use error::ConnectError;
pub use store::RedisStore;
pub use url::UrlError;
