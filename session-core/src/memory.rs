//! The store inside the process: the default on one machine, and the reference for what a store must do.

use std::{
    fmt,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use moka::{
    Expiry,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};

use crate::{
    Clock, RecordBytes, SessionId, SystemClock, Version,
    store::{Created, Destroyed, Loaded, Saved, Store, StoreError, Touched},
};

/// What an entry takes beside its bytes: key, times, and the cache's own bookkeeping.
const OVERHEAD_BYTES: usize = 256;
const DEFAULT_CAPACITY_BYTES: u64 = 256 * 1024 * 1024;
/// How often the memory of expired sessions is given back.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keeps sessions in memory, bounded, until they expire or the process ends.
///
/// A full store forgets the least recently used session, which logs its user out. Expired sessions are swept by a thread of the
/// store, so their memory comes back without a request. Clones share their sessions.
#[derive(Clone)]
pub struct MemoryStore {
    sessions: Arc<Cache<SessionId, Entry>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    record: RecordBytes,
    ttl: Duration,
    expires_at: SystemTime,
}

impl MemoryStore {
    /// A store of 256 MiB.
    pub fn new() -> Self {
        Self::with(DEFAULT_CAPACITY_BYTES, SystemClock)
    }

    /// A store that holds about this many bytes of sessions.
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        Self::with(capacity_bytes, SystemClock)
    }

    /// A store that tells time by this clock, for tests.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self::with(DEFAULT_CAPACITY_BYTES, clock)
    }

    /// About how many sessions it holds. Those that have expired since the last sweep may count.
    pub fn len(&self) -> u64 {
        self.sessions.run_pending_tasks();
        self.sessions.entry_count()
    }

    /// Whether it holds no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stored bytes of every session, for tests and inspection.
    pub fn dump(&self) -> Vec<(SessionId, RecordBytes)> {
        self.sessions
            .iter()
            .map(|(id, entry)| (*id, entry.record))
            .collect()
    }

    fn with(capacity_bytes: u64, clock: impl Clock) -> Self {
        let weigh = |_: &SessionId, entry: &Entry| {
            u32::try_from(entry.record.as_bytes().len() + OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        let sessions = Cache::builder()
            .max_capacity(capacity_bytes)
            .weigher(weigh)
            // the default policy may turn a newcomer away, which here would be a user who just logged in
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByTtl)
            .build();
        let sessions = Arc::new(sessions);
        sweep(Arc::downgrade(&sessions));
        Self {
            sessions,
            clock: Arc::new(clock),
        }
    }

    fn entry(&self, record: &RecordBytes, ttl: Duration, now: SystemTime) -> Entry {
        Entry {
            record: record.clone(),
            ttl,
            expires_at: now.checked_add(ttl).unwrap_or(now + MAX_TTL),
        }
    }

    /// Does one step on the live entry of an id, alone among all threads.
    fn step<T>(
        &self,
        id: &SessionId,
        step: impl FnOnce(Option<Entry>, SystemTime) -> (Op<Entry>, T),
    ) -> T {
        let mut outcome = None;
        let _: CompResult<_, _> = self.sessions.entry_by_ref(id).and_compute_with(|entry| {
            let now = self.clock.now();
            let live = entry
                .map(|entry| entry.into_value())
                .filter(|entry| entry.expires_at > now);
            let (op, value) = step(live, now);
            outcome = Some(value);
            op
        });
        outcome.unwrap_or_else(|| unreachable!("the cache runs the step once"))
    }
}

/// Longer than anybody waits; keeps arithmetic in range.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} sessions)", self.sessions.entry_count())
    }
}

impl Store for MemoryStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let now = self.clock.now();
        let live = self.sessions.get(id).filter(|entry| entry.expires_at > now);
        Ok(live.map(|entry| entry.loaded(now)))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Created, StoreError> {
        Ok(self.step(id, |entry, now| match entry {
            None => (Op::Put(self.entry(record, ttl, now)), Created::Created),
            Some(entry) if entry.record.version() == record.version() => {
                (Op::Nop, Created::Created)
            }
            Some(_) => (Op::Nop, Created::Taken),
        }))
    }

    async fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Saved, StoreError> {
        Ok(self.step(id, |entry, now| match entry {
            None => (Op::Nop, Saved::Gone),
            Some(entry) if entry.record.version() == Some(expect) => {
                (Op::Put(self.entry(record, ttl, now)), Saved::Saved)
            }
            Some(entry) if entry.record.version() == record.version() => (Op::Nop, Saved::Saved),
            Some(entry) => (Op::Nop, Saved::Conflict(entry.loaded(now))),
        }))
    }

    async fn touch(&self, id: &SessionId, ttl: Duration) -> Result<Touched, StoreError> {
        Ok(self.step(id, |entry, now| match entry {
            None => (Op::Nop, Touched::Gone),
            Some(entry) => (
                Op::Put(self.entry(&entry.record, ttl, now)),
                Touched::Touched,
            ),
        }))
    }

    async fn destroy(&self, id: &SessionId) -> Result<Destroyed, StoreError> {
        Ok(self.step(id, |_, _| (Op::Remove, Destroyed)))
    }
}

impl Entry {
    fn loaded(self, now: SystemTime) -> Loaded {
        Loaded {
            record: self.record,
            ttl: Some(self.expires_at.duration_since(now).unwrap_or_default()),
        }
    }
}

/// Lets the cache give memory back when an entry's time is over. What is *served* is decided by the store's own clock.
struct ByTtl;

impl Expiry<SessionId, Entry> for ByTtl {
    fn expire_after_create(&self, _: &SessionId, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl.min(MAX_TTL))
    }

    fn expire_after_update(
        &self,
        _: &SessionId,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl.min(MAX_TTL))
    }
}

/// The cache does its housekeeping when it is used; a quiet server would keep its dead sessions. This thread ends with the store.
fn sweep(sessions: Weak<Cache<SessionId, Entry>>) {
    let sweeper = thread::Builder::new()
        .name("session-sweep".into())
        .spawn(move || {
            while let Some(sessions) = sessions.upgrade() {
                sessions.run_pending_tasks();
                drop(sessions);
                thread::sleep(SWEEP_EVERY);
            }
        });
    if let Err(error) = sweeper {
        tracing::warn!(%error, "no thread to sweep expired sessions; their memory comes back as the store is used");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u8, len: usize) -> RecordBytes {
        let mut bytes = vec![version; 41 + len];
        bytes[0] = RecordBytes::FORMAT;
        RecordBytes::new(bytes)
    }

    #[cfg(feature = "contract")]
    mod contract {
        crate::contract!(|| async { super::MemoryStore::new() });
    }

    #[tokio::test]
    async fn expired_sessions_give_their_memory_back_without_a_request() {
        let store = MemoryStore::new();
        for n in 0..100 {
            let created = store
                .create(
                    &SessionId::from_bytes([n; 16]),
                    &record(n, 0),
                    Duration::from_millis(5),
                )
                .await;
            assert_eq!(created.expect("memory"), Created::Created);
        }
        let swept = || store.sessions.entry_count() == 0;
        for _ in 0..200 {
            if swept() {
                break;
            }
            // only the sweeper touches the cache meanwhile: entry_count does no housekeeping
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(swept());
    }

    #[tokio::test]
    async fn a_full_store_forgets_the_oldest_and_takes_the_newest() {
        let store = MemoryStore::with_capacity(50 * (1000 + 41 + OVERHEAD_BYTES as u64));
        for n in 0..200u8 {
            let _ = store
                .create(&SessionId::from_bytes([n; 16]), &record(n, 1000), MAX_TTL)
                .await
                .expect("memory");
            assert!(store.len() <= 50);
            assert!(
                store
                    .load(&SessionId::from_bytes([n; 16]))
                    .await
                    .expect("memory")
                    .is_some(),
                "the newest is there"
            );
        }
        assert!(
            store
                .load(&SessionId::from_bytes([0; 16]))
                .await
                .expect("memory")
                .is_none()
        );
    }
}
