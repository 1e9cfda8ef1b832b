//! The store itself: session operations on one side, calls and replies on the other.

use std::{fmt, sync::Arc, time::Duration};

use redis::Value;
use session_core::{
    Created, Destroyed, Loaded, RecordBytes, Saved, SessionId, Store, StoreError, Touched, Version,
};

use crate::{
    config::RedisConfig,
    connections::{Connections, Reply},
    error::{ConnectError, Failure},
    script::Call,
};

/// The longest life Redis is asked for, in milliseconds: it refuses what overflows when the time of day is added.
const MAX_TTL_MS: u64 = i64::MAX as u64 / 2;

/// Keeps sessions in Redis or Valkey: one server, the primary that sentinels name, or a cluster.
///
/// Clones share their connections. A store lives on a tokio runtime: connections are made and replaced by tasks of the runtime on
/// which an operation runs.
///
/// # Cancel safety
///
/// An operation whose future is dropped has happened wholly or not at all, then or shortly after; the connection serves on.
#[derive(Clone)]
pub struct RedisStore {
    connections: Arc<Connections>,
    config: Arc<RedisConfig>,
}

impl RedisStore {
    /// Connects to a URL, and proves that sessions can be read there.
    ///
    /// # Errors
    ///
    /// The URL cannot be read, the options make no sense, or Redis does not serve: it cannot be reached, refuses the password, is
    /// loading, or denies the commands. Better at start-up than at the first visitor; see [`lazy`](Self::lazy) otherwise.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::open(RedisConfig::from_url(url)?).await
    }

    /// Connects as configured, and proves that sessions can be read there.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn open(config: RedisConfig) -> Result<Self, ConnectError> {
        let store = Self::lazy(config)?;
        // a load of an id that nobody has: the same commands and the same permissions as for a session
        store
            .load(&SessionId::from_bytes([0; SessionId::BYTES]))
            .await?;
        Ok(store)
    }

    /// Makes a store that connects when it is first used, so that a service can start while Redis is away.
    ///
    /// # Errors
    ///
    /// The options make no sense.
    pub fn lazy(config: RedisConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        Ok(Self {
            connections: Arc::new(Connections::new(config.clone())),
            config: Arc::new(config),
        })
    }

    fn key(&self, id: &SessionId) -> String {
        [&self.config.prefix, id.as_str()].concat()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore")
            .field(&self.config.topology)
            .field(&self.config.prefix)
            .finish()
    }
}

impl Store for RedisStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let key = self.key(id);
        let reply = self.connections.run(Call::load(&key)).await?;
        loaded(reply.values).map_err(|failure| failure.into_store_error(false))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Created, StoreError> {
        let key = self.key(id);
        let call = Call::create(&key, record.as_bytes(), millis(ttl), stamp(record));
        match single(self.connections.run(call).await?) {
            Some(Value::Int(1)) => Ok(Created::Created),
            Some(Value::Int(0)) => Ok(Created::Taken),
            _ => Err(Failure::nonsense().into_store_error(true)),
        }
    }

    async fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Saved, StoreError> {
        let key = self.key(id);
        let mut expected = [RecordBytes::FORMAT; RecordBytes::VERSION.end];
        expected[RecordBytes::VERSION].copy_from_slice(expect.as_bytes());
        let call = Call::save(
            &key,
            record.as_bytes(),
            millis(ttl),
            stamp(record),
            &expected,
        );
        let reply = self.connections.run(call).await?;
        let unsure = reply.unsure;
        match single(reply) {
            Some(Value::Int(1)) => Ok(Saved::Saved),
            Some(Value::Int(0)) => Ok(Saved::Gone),
            // ours may have been written before theirs: replayed on theirs, it would count twice
            Some(Value::Array(_)) if unsure => Err(Failure::Lost {
                text: "another write followed".to_owned(),
            }
            .into_store_error(true)),
            Some(Value::Array(current)) => match loaded(current) {
                Ok(Some(current)) => Ok(Saved::Conflict(current)),
                Ok(None) => Ok(Saved::Gone),
                Err(failure) => Err(failure.into_store_error(false)),
            },
            _ => Err(Failure::nonsense().into_store_error(true)),
        }
    }

    async fn touch(&self, id: &SessionId, ttl: Duration) -> Result<Touched, StoreError> {
        let key = self.key(id);
        match single(self.connections.run(Call::touch(&key, millis(ttl))).await?) {
            Some(Value::Int(1)) => Ok(Touched::Touched),
            Some(Value::Int(0)) => Ok(Touched::Gone),
            _ => Err(Failure::nonsense().into_store_error(true)),
        }
    }

    async fn destroy(&self, id: &SessionId) -> Result<Destroyed, StoreError> {
        let key = self.key(id);
        match single(self.connections.run(Call::destroy(&key)).await?) {
            Some(Value::Int(_)) => Ok(Destroyed),
            _ => Err(Failure::nonsense().into_store_error(true)),
        }
    }
}

/// A ttl as Redis takes it: at least one millisecond, as 0 would delete at once where it is not refused.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis())
        .unwrap_or(MAX_TTL_MS)
        .clamp(1, MAX_TTL_MS)
}

/// Format byte and version, or nothing where the bytes are no record and so cannot be recognised.
fn stamp(record: &RecordBytes) -> &[u8] {
    match record.version() {
        Some(_) => &record.as_bytes()[..RecordBytes::VERSION.end],
        None => &[],
    }
}

fn single(reply: Reply) -> Option<Value> {
    let mut values = reply.values.into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Reads a value and its `PTTL`, of which -1 says that it never expires and -2 that it just did.
fn loaded(values: impl IntoIterator<Item = Value>) -> Result<Option<Loaded>, Failure> {
    let mut values = values.into_iter();
    match (values.next(), values.next(), values.next()) {
        (Some(Value::Nil), Some(Value::Int(_)), None)
        | (Some(Value::BulkString(_)), Some(Value::Int(-2)), None) => Ok(None),
        (Some(Value::BulkString(bytes)), Some(Value::Int(ttl)), None) => {
            let ttl = u64::try_from(ttl).ok().map(Duration::from_millis);
            Ok(Some(Loaded {
                record: RecordBytes::new(bytes),
                ttl,
            }))
        }
        _ => Err(Failure::nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_clamped_to_what_redis_takes() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_micros(999)), 1);
        assert_eq!(millis(Duration::from_micros(2999)), 2);
        assert_eq!(millis(Duration::MAX), MAX_TTL_MS);
    }

    #[test]
    fn replies_to_a_load_are_read() {
        let bytes = || Value::BulkString(b"abc".to_vec());
        let with = |ttl| Loaded {
            record: RecordBytes::new(&b"abc"[..]),
            ttl,
        };
        assert_eq!(
            loaded(vec![bytes(), Value::Int(5)]),
            Ok(Some(with(Some(Duration::from_millis(5)))))
        );
        assert_eq!(
            loaded(vec![bytes(), Value::Int(0)]),
            Ok(Some(with(Some(Duration::ZERO))))
        );
        assert_eq!(loaded(vec![bytes(), Value::Int(-1)]), Ok(Some(with(None))));
        assert_eq!(loaded(vec![bytes(), Value::Int(-2)]), Ok(None));
        assert_eq!(loaded(vec![Value::Nil, Value::Int(-2)]), Ok(None));
        assert_eq!(
            loaded(vec![Value::Nil, Value::Int(9)]),
            Ok(None),
            "created between the two commands"
        );
        for nonsense in [
            vec![],
            vec![bytes()],
            vec![Value::Okay, Value::Int(1)],
            vec![bytes(), bytes()],
        ] {
            assert_eq!(loaded(nonsense), Err(Failure::nonsense()));
        }
    }

    #[test]
    fn what_is_no_record_has_no_stamp() {
        assert_eq!(stamp(&RecordBytes::new(&b"x"[..])), b"");
        let mut record = vec![7; 50];
        record[0] = RecordBytes::FORMAT;
        assert_eq!(
            stamp(&RecordBytes::new(record)),
            [1, 7, 7, 7, 7, 7, 7, 7, 7]
        );
    }

    #[test]
    fn debug_does_not_leak_passwords() {
        let config = RedisConfig::from_url("redis://app:hunter2@h").expect("a URL");
        let store = RedisStore::lazy(config).expect("a store");
        assert!(!format!("{store:?} {:?}", store.connections).contains("hunter"));
    }
}
