//! The store on real servers, and on a fake one that misbehaves on request.

mod acl;
mod changes;
mod commands;
mod confirm;
mod contract;
mod credentials;
mod ended;
mod feeds;
mod health;
mod lost_replies;
#[cfg(feature = "metrics")]
mod metrics;
mod outages;
mod overload;
mod protocols;
mod replies;
mod runtimes;
mod scan;
mod sentinels;
mod stored_values;
#[cfg(feature = "tls")]
mod tls;
mod topologies;
mod with_server;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use session_core::{
    Applied, Created, Destroy, Destroyed, Entropy, OsEntropy, Record, Saved, SessionId, Store,
    StoreError, StoreErrorKind, Touched, Version, Write,
};
use session_redis::RedisStore;

/// Long enough that nothing expires during a test.
const LONG: Duration = Duration::from_secs(60);

fn id() -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    OsEntropy.fill(&mut bytes).expect("entropy");
    SessionId::from_bytes(bytes)
}

/// A record with a version that no other record of this process has.
fn record(body: &[u8]) -> Record {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let version = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Record::new(Version::from_bytes(version), body.to_vec())
}

/// A write that does not expire during a test.
fn write(record: &Record) -> Write<'_> {
    Write::new(record, LONG)
}

fn created() -> Created {
    Created::Created(Applied::new())
}

fn saved() -> Saved {
    Saved::Saved(Applied::new())
}

fn touched() -> Touched {
    Touched::Touched(Applied::new())
}

fn destroyed() -> Destroyed {
    Destroyed::Destroyed(Applied::new())
}

/// Creates a session.
async fn create(store: &RedisStore, id: &SessionId, record: &Record) {
    let result = store.create(id, write(record)).await;
    assert_eq!(result.expect("create"), created());
}

/// Loads the record of a session that exists.
async fn load(store: &RedisStore, id: &SessionId) -> Record {
    let loaded = store.load(id).await.expect("load");
    loaded.expect("the session is absent").record
}

/// An operation of the store, on a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Load,
    Create,
    Save,
    Touch,
    Destroy,
    DestroyExpected,
}

impl Operation {
    const ALL: [Self; 6] = [
        Self::Load,
        Self::Create,
        Self::Save,
        Self::Touch,
        Self::Destroy,
        Self::DestroyExpected,
    ];

    /// Runs the operation, and returns the name of its answer, such as `Saved`.
    async fn run(self, store: &RedisStore) -> Result<String, StoreError> {
        let (id, first, second) = (id(), record(b"1"), record(b"2"));
        let version = first.version();
        let answer = match self {
            Self::Load => format!("{:?}", store.load(&id).await?),
            Self::Create => format!("{:?}", store.create(&id, write(&first)).await?),
            Self::Save => format!("{:?}", store.save(&id, version, write(&second)).await?),
            Self::Touch => format!("{:?}", store.touch(&id, version, LONG).await?),
            Self::Destroy => format!("{:?}", store.destroy(&id, Destroy::any()).await?),
            Self::DestroyExpected => {
                let options = Destroy::expecting(version);
                format!("{:?}", store.destroy(&id, options).await?)
            }
        };
        let name = answer.split('(').next().unwrap_or_default();
        Ok(name.to_owned())
    }
}

/// Asserts that an operation failed with this kind, and returns the message of the cause.
#[track_caller]
fn assert_fails<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: StoreErrorKind) -> String {
    let error = result.expect_err("the operation succeeded");
    let cause = std::error::Error::source(&error).expect("a source");
    assert_eq!(error.kind(), kind, "{cause}");
    cause.to_string()
}
