//! The store on real servers, and on one that misbehaves as told.

mod commands;
mod contract;
mod outages;
mod replies;
#[cfg(feature = "tls")]
mod tls;
mod topologies;
mod with_server;

use std::{sync::atomic::AtomicU64, sync::atomic::Ordering, time::Duration};

use session_core::{
    Entropy, OsEntropy, RecordBytes, SessionId, StoreError, StoreErrorKind, Version,
};

/// Long enough that nothing expires during a test.
const LONG: Duration = Duration::from_secs(60);

fn id() -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    OsEntropy.fill(&mut bytes).expect("entropy");
    SessionId::from_bytes(bytes)
}

/// A record with a version of its own.
fn record(body: &[u8]) -> RecordBytes {
    static VERSION: AtomicU64 = AtomicU64::new(1);
    let version = VERSION.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    RecordBytes::new([&[RecordBytes::FORMAT][..], &version, &[0; 32], body].concat())
}

fn version(record: &RecordBytes) -> Version {
    record.version().expect("a record")
}

#[track_caller]
fn fails<T: std::fmt::Debug>(outcome: Result<T, StoreError>, kind: StoreErrorKind) -> String {
    let error = outcome.expect_err("a failure");
    let reason = std::error::Error::source(&error)
        .expect("a reason")
        .to_string();
    assert_eq!(error.kind(), kind, "{reason}");
    reason
}
