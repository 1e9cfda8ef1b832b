//! A session store in Redis or Valkey: on one server, on the primary that sentinels name, or in a
//! cluster.
//!
//! # Example
//!
//! A service connects a [`RedisStore`] when it starts, and passes it to the builder of
//! [`Sessions`](session_core::Sessions). Nothing else in the service names the store.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use session_core::{Sessions, SigningKeys};
//! use session_redis::{RedisConfig, RedisStore};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = RedisConfig::from_url("redis://app:password@127.0.0.1:6379")?
//!     // a request fails after 250 ms if Redis hangs
//!     .response_timeout(Duration::from_millis(250));
//! // fails if Redis cannot be reached or denies the commands, before the first request arrives
//! let store = RedisStore::open(config).await?;
//! let sessions = Sessions::builder(store)
//!     .signing_keys(SigningKeys::new([std::env::var("SESSION_KEY")?])?)
//!     .idle_timeout(Duration::from_secs(30 * 60))
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! What a session then does with the store: it creates a record, and replaces it on the condition
//! that no other request has written in the meantime.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use session_core::{Created, Record, Saved, SessionId, Store, Version, Write};
//!
//! # async fn example(store: session_redis::RedisStore) -> Result<(), Box<dyn std::error::Error>> {
//! let id = SessionId::from_bytes(*b"16 random bytes!");
//! let hour = Duration::from_secs(3600);
//! let first = Record::new(Version::from_bytes(*b"random 1"), "contents");
//! match store.create(&id, Write::new(&first, hour)).await? {
//!     Created::Created(_) => {}
//!     Created::Taken => return Err("the id is taken: draw another".into()),
//! }
//!
//! let second = Record::new(Version::from_bytes(*b"random 2"), "new contents");
//! match store.save(&id, first.version(), Write::new(&second, hour)).await? {
//!     Saved::Saved(_) => println!("stored"),
//!     Saved::Conflict(current) => println!("apply the change again to {:?}", current.record),
//!     Saved::Gone => println!("the session was ended concurrently"),
//! }
//! # Ok(()) }
//! ```
//!
//! To go on: [`RedisConfig`] has every option with its default, and the sections below describe the
//! URL, the commands, and what happens while Redis is unavailable.
//!
//! # URLs
//!
//! | topology | URL |
//! |---|---|
//! | one server | `redis://user:password@host:6379/database` |
//! | Unix socket | `redis+unix:///run/redis.sock?db=0` |
//! | Sentinel | `redis+sentinel://host:26379,host:26379/service/database` |
//! | Cluster | `redis+cluster://host:6379,host:6379` |
//!
//! Everything but the host (or the path, or the service) is optional. `rediss` in place of `redis`
//! uses TLS and requires the cargo feature `tls`; `valkey` and `valkeys` are synonyms. User and
//! password are those of the Redis servers, and are percent-encoded.
//!
//! Parameters are options of [`RedisConfig`]: `prefix`, `db` (the database), `connections`,
//! `max_in_flight`, `connect_timeout`, `response_timeout`, `total_timeout`, `breaker_failures`,
//! `probe_every`, `ended_journal`, `sentinel_username` and `sentinel_password`. Durations have a
//! unit, as in `500ms` or `2s`. Certificates and [providers of credentials](RedisConfig::credentials_provider) are set
//! in code.
//!
//! # Commands
//!
//! | operation | commands | round trips |
//! |---|---|---|
//! | load | `GET` and `PTTL` in one pipeline | 1 |
//! | create, save, touch, destroy of an expected version | one script each: `EVALSHA`, and `EVAL` when a server sees it first | 1 |
//! | destroy of any version | `UNLINK` | 1 |
//! | load of [`Changes`](session_core::Changes) | `CLIENT CACHING YES`, `GET` and `PTTL` in one pipeline | 1 |
//! | a write that [replicas](session_core::Replicas) confirm | the same and `WAIT` in one pipeline, on a connection of its own: at most four to each node | 1, and one from the primary to the replicas |
//! | scan, count | `SCAN`, on a connection of their own: at most four others to each node | 1 for about 1000 keys |
//!
//! Every command but those of `CLIENT`, `WAIT` and `SCAN` names one key, `{prefix}{session id}`, so
//! the same commands work in a cluster. The value is a format byte `0x02`, the version of the record
//! in 8 bytes, and its body. Any other value is an error of kind
//! [`Corrupt`](session_core::StoreErrorKind::Corrupt) and is left as it is.
//!
//! The store needs Redis 6.2 or Valkey 7.2.
//!
//! # Permissions
//!
//! [`RedisConfig::acl_rules`] returns the rules of an ACL user that may run the commands that a
//! store sends, and nothing else. For one server they are:
//!
//! ```text
//! ACL SETUSER app on >password resetkeys resetchannels ~session:* -@all +get +pttl +evalsha +eval
//!     +set +getrange +pexpire +unlink +hget +hincrby +hset +hlen +exists
//!     +hdel +hgetall +hrandfield +unwatch +ping +wait +info
//! ```
//!
//! Scripts call `SET`, `GETRANGE`, `PEXPIRE` and most of the commands on hashes. A suspect
//! connection is checked with `UNWATCH` and `PING`, and the server of a new one identifies itself with
//! `INFO`; `WAIT` is for [`Replicas`](session_core::Replicas). More rules are needed for
//!
//! * a database other than 0: `+select`
//! * Sentinel, to check that a server is a primary: `+role`
//! * a cluster, to find the nodes and to follow slots that move:
//!   `+cluster|info +cluster|slots +asking`
//! * [changes](#changes): `+client|tracking +client|caching +role`, see
//!   [`RedisConfig::changes_acl_rules`]
//! * the tools of an operator, [`RedisStore::scan`] and [`RedisStore::count`]: `+scan`, see
//!   [`RedisConfig::operator_acl_rules`]
//!
//! Sentinels have users of their own, with the rules of [`RedisConfig::sentinel_acl_rules`]:
//!
//! ```text
//! ACL SETUSER app on >password resetkeys resetchannels &+failover-state-send-slaveof-noone
//!     &+switch-master -@all +sentinel|master +subscribe
//! ```
//!
//! # Failures
//!
//! All requests share a few connections. A connection that fails is replaced in the background; no
//! request waits for that longer than for the first attempts. Until there is a connection,
//! operations fail at once with [`Unavailable`](session_core::StoreErrorKind::Unavailable).
//! Recovery needs neither a restart nor a request. No operation takes longer than
//! [`RedisConfig::total_timeout`].
//!
//! If a write may or may not have been applied, the error is
//! [`Timeout`](session_core::StoreErrorKind::Timeout). Every other kind of error means that nothing
//! was applied. After a broken connection, an operation is sent once more if that cannot apply it
//! twice; a create is never sent twice.
//!
//! Replication is asynchronous: a failover can lose the last writes that the old primary had
//! acknowledged, including a logout. With Sentinel, `min-replicas-to-write` on the servers limits
//! how many. The store asks the sentinels for the primary whenever it connects, and does not use a
//! server that reports another role. Sessions that have ended stay ended: see
//! [`RedisConfig::ended_journal`].
//!
//! With Sentinel, the store also notices a failover while it is connected, with requests or
//! without. It subscribes to `+switch-master` on each of the sentinels, asks all of them at least
//! every ten seconds, and asks them within a second if the primary misses its replicas
//! (`NOREPLICAS`). It also subscribes to `+failover-state-send-slaveof-noone`, which the sentinel
//! that leads a failover publishes just before it promotes a replica. Operations then wait, for
//! half a second at most, until the replica is the primary, and go there: the old primary does not
//! acknowledge writes any more that its successor never gets.
//!
//! The store remembers the highest configuration epoch, so an answer with an older one does not
//! lead it back to an older primary. Sentinels that were set up again, and begin with epoch 0, are
//! believed when a majority of the configured ones has reported only lower epochs for 30 seconds,
//! or at once if the remembered primary is one no more.
//!
//! # Changes
//!
//! [`Store::changes`](session_core::Store::changes) announces changes of sessions, whoever makes
//! them: this store, other instances, or an operator. It needs RESP3. If the server refuses that,
//! the store announces nothing, and works otherwise.
//!
//! With the first listener, the store sends `CLIENT TRACKING ON OPTIN` on the connections that it
//! has and on those that it makes. Redis then remembers each key that is read after `CLIENT CACHING
//! YES`, which a load of [`Changes`](session_core::Changes) sends, and announces its next change on
//! the same connection. Other loads and all writes are sent as ever, and cost Redis nothing more.
//!
//! Announcements and replies arrive in one order. Every 500 ms each connection asks for the `ROLE`
//! of its server, and in a cluster for `CLUSTER INFO`; while the replies are as they should be, no
//! announcement is missing that is older than the question. Whoever accepts a feed that has been
//! silent for a while should accept at least four times that, two seconds.
//!
//! A feed ends if
//!
//! * its connection is lost or replaced,
//! * a heartbeat gets no reply within `response_timeout`. A missed reply to anything else does not
//!   end it: the heartbeat on the same connection decides,
//! * Redis forgets what it tracks, as it does with `FLUSHALL`,
//! * the server is not a primary, or sentinels name another one,
//! * the cluster is down or has a new epoch, or slots have moved away from the node.
//!
//! The next good heartbeat on the connection begins another feed, for loads from then on. A primary
//! that was cut off from its replicas and sentinels, but not from this instance, is trusted until
//! it notices, as it is for loads.
//!
//! # Health
//!
//! [`Store::health`](session_core::Store::health), which
//! [`Sessions::health`](session_core::Sessions::health) calls, sends one `PING` to each node that
//! serves sessions. Its parts are the nodes, so a readiness probe can tell a cluster that has lost
//! one node from one that has lost all.
//!
//! # Metrics
//!
//! With the feature `metrics`, the store reports through the `metrics` facade. Install the recorder
//! before the store is made: handles are made once, and belong to the recorder of that time. The
//! label `node` is the address of a server, or the service with Sentinel.
//!
//! | metric | type, unit | labels | meaning |
//! |---|---|---|---|
//! | `session_redis_operation_duration_seconds` | histogram, seconds | `node`, `operation`, `result` | one attempt of an operation, with connecting and waiting for its turn; `result` is `ok` or `error`. An operation that is sent again has several. |
//! | `session_redis_in_flight` | gauge, operations | `node` | sent and not answered |
//! | `session_redis_waiting` | gauge, operations | `node` | waiting until fewer are in flight |
//! | `session_redis_wait_duration_seconds` | histogram, seconds | `node` | how long operations waited until fewer were in flight, whether or not they got their turn. Those that did not have to wait are not counted. |
//! | `session_redis_in_flight_limit` | gauge, operations | `node` | how many may be in flight, adapted to the measured round trips |
//! | `session_redis_connections` | gauge, connections | `node`, `state` | `idle` (never used), `connecting`, `up`, or `down`: its breaker is open |
//! | `session_redis_connects_total` | counter, attempts | `node`, `result` | attempts to make a connection, or to check a suspect one |
//! | `session_redis_breaker_openings_total` | counter, openings | `node` | connections that were given up until the server is back |
//! | `session_redis_timeouts_total` | counter, attempts | `node` | no reply within `response_timeout` |
//! | `session_redis_overloads_total` | counter, operations | `node` | refused, because too many wait |
//! | `session_redis_redirects_total` | counter, replies | `node`, `kind` | `moved` or `ask`, by the node that replied so |
//! | `session_redis_retries_total` | counter, attempts | `cause` | sent again because of `connection_lost`, `connection_closed`, `read_only`, `script_missing` or `cluster_unsettled` |
//! | `session_redis_map_refreshes_total` | counter, requests | `result` | requests for the map of the cluster: `changed`, `unchanged` or `failed` |
//! | `session_redis_feeds` | gauge, connections | `node` | connections that announce changes |
//! | `session_redis_announcements_total` | counter, changes | `node` | changes of sessions that the server has announced |
//! | `session_redis_feed_ends_total` | counter, feeds | `node`, `cause` | feeds that have ended: `connection_lost`, `no_reply`, `flushed`, `not_primary`, `cluster_changed`, `refused`: the user may not track, or `nobody_listens` |
//! | `session_redis_confirmations_total` | counter, writes | `result` | writes that replicas were to confirm: `confirmed` by as many as asked for, or by `too_few` |
//! | `session_redis_ended_again_total` | counter, sessions | `record` | sessions that were destroyed once more because a server may have lost writes: their record was `present` or `absent` |
//! | `session_redis_journal_drops_total` | counter, sessions | | sessions whose end was forgotten before [`RedisConfig::ended_journal`], because more than 100,000 have ended since |
//!
//! An operation whose future is dropped is not measured, except for its wait.

mod address;
mod admission;
mod announcer;
mod backoff;
mod batcher;
mod breaker;
mod breaker_cell;
mod bulk;
mod changes;
mod cluster;
mod cluster_map;
mod cluster_query;
mod command;
mod config;
mod config_error;
mod confirmation;
mod connect_error;
mod connection;
mod connector;
mod credentials;
mod ended;
mod endpoint;
mod failure;
mod feed;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod health;
mod heartbeat;
mod identity;
mod index;
mod index_entry;
mod index_script;
mod journal;
mod limit;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod node;
mod node_connection;
mod permissions;
mod pushes;
mod reauthentication;
mod replay;
mod reply;
mod retry;
mod role;
mod router;
mod scan;
mod script;
mod sentinel;
mod sentinel_subscription;
mod sentinel_view;
mod sentinel_watcher;
mod server_error;
mod slot_map;
mod store;
mod stored_record;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod tracking;
mod unshared;
mod url;

pub use address::AddressError;
pub use config::RedisConfig;
pub use config_error::ConfigError;
pub use connect_error::ConnectError;
pub use credentials::{BoxError, Credentials, CredentialsProvider};
pub use scan::Scan;
pub use store::RedisStore;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsError};
pub use url::UrlError;
