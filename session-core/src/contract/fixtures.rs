//! Ids, records and assertions that the checks share.

use std::time::{Duration, Instant};

use crate::{
    entropy::{Entropy, OsEntropy},
    id::SessionId,
    record::{Loaded, Record, Version},
    store::{Created, Destroyed, Saved, Store, Touched, Write},
};

/// Nothing with this life expires during a check.
pub(super) const LONG: Duration = Duration::from_secs(60);
/// Expires soon.
pub(super) const SHORT: Duration = Duration::from_millis(60);
/// How long to wait for an expiry. A store may count in whole seconds.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn id() -> SessionId {
    SessionId::from_bytes(random())
}

/// A record with a version of its own.
pub(super) fn record(body: &[u8]) -> Record {
    Record::new(Version::from_bytes(random()), body.to_vec())
}

/// A write that does not expire during the check.
pub(super) fn lasting(record: &Record) -> Write<'_> {
    Write::new(record, LONG)
}

pub(super) async fn load(store: &impl Store, id: &SessionId) -> Option<Loaded> {
    store.load(id).await.expect("load failed")
}

pub(super) async fn create(store: &impl Store, id: &SessionId, record: &Record) {
    assert_created(
        store
            .create(id, lasting(record))
            .await
            .expect("create failed"),
    );
}

/// Asserts that the id holds this record and nothing else.
pub(super) async fn assert_holds(store: &impl Store, id: &SessionId, record: &Record) {
    match load(store, id).await {
        Some(loaded) => assert_same(&loaded.record, record),
        None => panic!("the record is absent"),
    }
}

pub(super) async fn assert_absent(store: &impl Store, id: &SessionId) {
    assert_eq!(load(store, id).await, None, "the record is present");
}

/// Waits until the id is absent.
pub(super) async fn wait_until_absent(store: &impl Store, id: &SessionId) {
    let started = Instant::now();
    while load(store, id).await.is_some() {
        assert!(started.elapsed() < PATIENCE, "the record does not expire");
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// Waits until the id has a time to live of at most `limit`.
pub(super) async fn wait_for_ttl(store: &impl Store, id: &SessionId, limit: Duration) {
    let started = Instant::now();
    while ttl(&load(store, id).await.expect("the record is absent")) > limit {
        assert!(
            started.elapsed() < PATIENCE,
            "the reported ttl does not decrease"
        );
        tokio::time::sleep(SHORT / 10).await;
    }
}

#[track_caller]
pub(super) fn assert_same(found: &Record, expected: &Record) {
    assert_eq!(
        found.version(),
        expected.version(),
        "another version is stored"
    );
    assert!(found.body() == expected.body(), "another body is stored");
}

#[track_caller]
pub(super) fn ttl(loaded: &Loaded) -> Duration {
    loaded.ttl.expect("the record has no ttl")
}

/// Asserts that a record that was just given `expected` still has most of it.
#[track_caller]
pub(super) fn assert_ttl(loaded: &Loaded, expected: Duration) {
    let ttl = ttl(loaded);
    assert!(
        ttl <= expected && ttl > expected / 2,
        "the ttl is {ttl:?} instead of {expected:?}"
    );
}

#[track_caller]
pub(super) fn assert_created(created: Created) {
    assert!(
        matches!(created, Created::Created(_)),
        "{created:?} instead of Created"
    );
}

#[track_caller]
pub(super) fn assert_saved(saved: Saved) {
    assert!(
        matches!(saved, Saved::Saved(_)),
        "{saved:?} instead of Saved"
    );
}

#[track_caller]
pub(super) fn assert_touched(touched: Touched) {
    assert!(
        matches!(touched, Touched::Touched(_)),
        "{touched:?} instead of Touched"
    );
}

#[track_caller]
pub(super) fn assert_destroyed(destroyed: Destroyed) {
    assert!(
        matches!(destroyed, Destroyed::Destroyed(_)),
        "{destroyed:?} instead of Destroyed"
    );
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsEntropy
        .fill(&mut bytes)
        .expect("the random number generator failed");
    bytes
}
