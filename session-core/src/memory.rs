//! A store inside the process: for one machine, for development and for tests.

mod cache;
mod changes;
mod index;

use std::{fmt, sync::Arc, time::Duration};

use moka::{
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    sync::{Cache, CacheBuilder},
};

use self::{
    cache::{ByTtl, Lives, cache, reclaim_periodically},
    changes::MemoryChanges,
    index::MemoryIndex,
};
use crate::{
    changes::{AnyChanges, Listeners},
    clock::{Clock, SystemClock},
    health::{Health, HealthPart, PartState},
    id::SessionId,
    index::AnyIndex,
    record::{Loaded, Record, Version},
    store::{Applied, Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::StoreError,
};

/// What an entry takes beside its body: the key, times, and the bookkeeping of the cache.
const OVERHEAD_BYTES: usize = 256;
const DEFAULT_CAPACITY_BYTES: u64 = 256 * 1024 * 1024;
/// The part of the capacity that the index may take beside it.
const INDEX_PART: u64 = 4;

/// Keeps sessions in memory until they expire or the process ends.
///
/// The memory is bounded. If the store is full it forgets the session that was not used for
/// longest, which logs its user out, and announces that. A thread of the store reclaims the memory
/// of expired sessions, so it becomes free without requests. Clones share their sessions.
#[derive(Clone)]
pub struct MemoryStore {
    sessions: Arc<Cache<SessionId, Entry>>,
    index: MemoryIndex,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    record: Record,
    ttl: Duration,
    /// On the monotonic clock.
    expires_at: Duration,
}

impl MemoryStore {
    /// Makes a store with a capacity of 256 MiB.
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY_BYTES)
    }

    /// Makes a store with a capacity of about this many bytes, and a quarter of it for the index.
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        let listeners = Listeners::default();
        let sessions = sessions(capacity_bytes, &listeners).expire_after(ByTtl);
        let sessions = Arc::new(sessions.build());
        reclaim_periodically(Arc::downgrade(&sessions));
        let clock = Arc::new(SystemClock);
        Self::of(sessions, listeners, capacity_bytes, clock, true)
    }

    /// Makes a store for tests, whose sessions expire by [`Clock::monotonic`] of this clock.
    ///
    /// A closure that returns the wall clock is not enough, because its monotonic clock is that of
    /// the process. No thread reclaims the memory of expired sessions.
    pub fn with_clock(clock: impl Clock) -> Self {
        // the cache has a clock of its own, which must not end what is alive by this one
        let (capacity_bytes, listeners) = (DEFAULT_CAPACITY_BYTES, Listeners::default());
        let sessions = Arc::new(sessions(capacity_bytes, &listeners).build());
        Self::of(sessions, listeners, capacity_bytes, Arc::new(clock), false)
    }

    fn of(
        sessions: Arc<Cache<SessionId, Entry>>,
        listeners: Listeners,
        capacity_bytes: u64,
        clock: Arc<dyn Clock>,
        reclaims: bool,
    ) -> Self {
        let capacity_bytes = capacity_bytes / INDEX_PART;
        let is_alive = {
            let (sessions, clock) = (sessions.clone(), clock.clone());
            move |id: &SessionId| {
                let now = clock.monotonic();
                let session = sessions.get(id);
                session.is_some_and(|entry| entry.expires_at > now)
            }
        };
        let index = MemoryIndex::new(capacity_bytes, is_alive, clock.clone(), reclaims);
        Self {
            sessions,
            index,
            listeners,
            clock,
        }
    }

    /// Returns about how many sessions are stored. Sessions that expired recently may be counted.
    pub fn len(&self) -> u64 {
        self.sessions.run_pending_tasks();
        self.sessions.entry_count()
    }

    /// Returns whether no session is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many principals and tags have sessions. Ones that expired recently may be
    /// counted.
    pub fn index_len(&self) -> u64 {
        self.index.len()
    }

    /// Returns every stored record, for tests and inspection.
    pub fn dump(&self) -> Vec<(SessionId, Record)> {
        let now = self.clock.monotonic();
        let live = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.expires_at > now);
        live.map(|(id, entry)| (*id, entry.record)).collect()
    }

    /// Decides on the live entry of an id, atomically.
    fn update<T>(
        &self,
        id: &SessionId,
        decide: impl FnOnce(Option<Entry>, Duration) -> (Op<Entry>, T),
    ) -> T {
        let (mut answer, mut changes) = (None, false);
        let _: CompResult<_, _> = self.sessions.entry_by_ref(id).and_compute_with(|entry| {
            let now = self.clock.monotonic();
            let live = entry
                .map(|entry| entry.into_value())
                .filter(|entry| entry.expires_at > now);
            let (op, value) = decide(live, now);
            changes = !matches!(op, Op::Nop);
            answer = Some(value);
            op
        });
        if changes {
            self.listeners.changed(id);
        }
        answer.unwrap_or_else(|| unreachable!("the cache calls the closure exactly once"))
    }

    /// Lists a session whose record has just been written. Whoever looks between the two sees a
    /// login that is not acknowledged yet.
    fn applied(&self, write: Write<'_>) -> Applied {
        let mut listed = write
            .listings
            .iter()
            .map(|listing| self.index.list(listing));
        let first = listed.next();
        listed.for_each(drop);
        first.map_or_else(Applied::new, Applied::and_listed)
    }
}

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
        let now = self.clock.monotonic();
        let live = self.sessions.get(id).filter(|entry| entry.expires_at > now);
        Ok(live.map(|entry| entry.loaded(now)))
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let created = self.update(id, |entry, now| match entry {
            None => (Op::Put(Entry::new(write, now)), true),
            Some(_) => (Op::Nop, false),
        });
        Ok(match created {
            true => Created::Created(self.applied(write)),
            false => Created::Taken,
        })
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let saved = Saved::Saved(Applied::new());
        let answer = self.update(id, |entry, now| match entry {
            None => (Op::Nop, Saved::Gone),
            Some(entry) => match entry.record.version() {
                version if version == expected => (Op::Put(Entry::new(write, now)), saved),
                version if version == write.record.version() => (Op::Nop, saved),
                _ => (Op::Nop, Saved::Conflict(entry.loaded(now))),
            },
        });
        Ok(match answer {
            Saved::Saved(_) => Saved::Saved(self.applied(write)),
            answer @ (Saved::Conflict(_) | Saved::Gone) => answer,
        })
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        Ok(self.update(id, |entry, now| match entry {
            None => (Op::Nop, Touched::Gone),
            Some(entry) if entry.record.version() == expected => {
                let write = Write::new(&entry.record, ttl);
                (
                    Op::Put(Entry::new(write, now)),
                    Touched::Touched(Applied::new()),
                )
            }
            Some(entry) => (Op::Nop, Touched::Conflict(entry.loaded(now))),
        }))
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let destroyed = Destroyed::Destroyed(Applied::new());
        Ok(
            self.update(id, |entry, now| match (entry, options.expected) {
                (_, None) => (Op::Remove, destroyed),
                (None, Some(_)) => (Op::Nop, Destroyed::Gone),
                (Some(entry), Some(expected)) if entry.record.version() == expected => {
                    (Op::Remove, destroyed)
                }
                (Some(entry), Some(_)) => (Op::Nop, Destroyed::Conflict(entry.loaded(now))),
            }),
        )
    }

    async fn health(&self) -> Health {
        Health::of([HealthPart::new("memory", PartState::Ready)])
    }

    fn index(&self) -> Option<AnyIndex> {
        Some(AnyIndex::new(self.index.clone()))
    }

    fn changes(&self) -> Option<AnyChanges> {
        Some(AnyChanges::new(MemoryChanges {
            store: self.clone(),
            listeners: self.listeners.clone(),
        }))
    }
}

impl Entry {
    fn new(write: Write<'_>, now: Duration) -> Self {
        let Write { record, ttl, .. } = write;
        Self {
            record: record.clone(),
            ttl,
            expires_at: now.saturating_add(ttl),
        }
    }

    fn loaded(self, now: Duration) -> Loaded {
        Loaded::new(self.record, self.expires_at.saturating_sub(now))
    }
}

/// The cache of the sessions. Those that it forgets because it is full are announced.
fn sessions(
    capacity_bytes: u64,
    listeners: &Listeners,
) -> CacheBuilder<SessionId, Entry, Cache<SessionId, Entry>> {
    let listeners = listeners.clone();
    cache(capacity_bytes, weigh).eviction_listener(move |id, _, cause| match cause {
        RemovalCause::Size => listeners.changed(&id),
        // the operation announces it, or the time to live has passed
        RemovalCause::Explicit | RemovalCause::Replaced | RemovalCause::Expired => {}
    })
}

fn weigh(entry: &Entry) -> usize {
    entry.record.body().len() + OVERHEAD_BYTES
}

impl Lives for Entry {
    fn ttl(&self) -> Duration {
        self.ttl
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
        time::SystemTime,
    };

    use super::*;
    use crate::changes::{Changes, Listener};

    #[cfg(feature = "contract")]
    mod contract {
        crate::contract!(|| async { super::MemoryStore::new() });
        crate::index_contract!(|| async { super::MemoryStore::new() });
    }

    /// Two clocks that stand still until a test moves them.
    #[derive(Clone)]
    struct TestClock {
        wall: Arc<AtomicU64>,
        monotonic: Arc<AtomicU64>,
    }

    impl TestClock {
        fn new() -> Self {
            let at = |seconds| Arc::new(AtomicU64::new(seconds));
            Self {
                wall: at(1_700_000_000),
                monotonic: at(0),
            }
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.wall.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.monotonic.load(Ordering::Relaxed))
        }
    }

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    fn record(version: u8, len: usize) -> Record {
        Record::new(Version::from_bytes([version; 8]), vec![version; len])
    }

    async fn create(store: &MemoryStore, id: SessionId, record: &Record, ttl: Duration) {
        let created = store
            .create(&id, Write::new(record, ttl))
            .await
            .expect("memory");
        assert_eq!(created, Created::Created(Applied::new()));
    }

    #[tokio::test]
    async fn sessions_expire_by_the_monotonic_clock() {
        let clock = TestClock::new();
        let store = MemoryStore::with_clock(clock.clone());
        let record = record(1, 10);
        create(&store, id(1), &record, Duration::from_secs(10)).await;
        create(&store, id(2), &record, Duration::MAX).await;

        clock.wall.fetch_add(1_000_000, Ordering::Relaxed);
        clock.monotonic.store(9, Ordering::Relaxed);
        let loaded = store.load(&id(1)).await.expect("memory");
        assert_eq!(
            loaded,
            Some(Loaded::new(record.clone(), Duration::from_secs(1)))
        );
        assert_eq!(store.dump().len(), 2);

        clock.monotonic.store(10, Ordering::Relaxed);
        assert_eq!(store.load(&id(1)).await.expect("memory"), None);
        assert_eq!(store.dump(), [(id(2), record)]);
    }

    #[tokio::test]
    async fn memory_of_expired_sessions_is_reclaimed_without_requests() {
        let store = MemoryStore::new();
        for n in 0..100 {
            create(&store, id(n), &record(n, 0), Duration::from_secs(1)).await;
        }
        assert_eq!(store.len(), 100);
        // `entry_count` reclaims nothing, so only the thread does
        for _ in 0..200 {
            if store.sessions.entry_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(store.sessions.entry_count(), 0);
    }

    #[tokio::test]
    async fn a_full_store_forgets_the_oldest_session_and_keeps_the_newest() {
        let store = MemoryStore::with_capacity(50 * (1000 + OVERHEAD_BYTES as u64));
        for n in 0..200u8 {
            create(&store, id(n), &record(n, 1000), Duration::MAX).await;
            assert!(store.len() <= 50);
            assert!(
                store.load(&id(n)).await.expect("memory").is_some(),
                "the newest is kept"
            );
        }
        assert_eq!(store.load(&id(0)).await.expect("memory"), None);
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<SessionId>>);

    impl Listener for Heard {
        fn changed(&self, id: &SessionId) {
            self.0.lock().expect("a lock").push(*id);
        }
    }

    #[tokio::test]
    async fn a_session_that_a_full_store_forgets_is_announced() {
        let heard = Arc::new(Heard::default());
        let store = MemoryStore::with_capacity(50 * (1000 + OVERHEAD_BYTES as u64));
        for n in 0..40 {
            create(&store, id(n), &record(n, 1000), Duration::MAX).await;
        }
        let listener: Arc<dyn Listener> = heard.clone();
        let changes = store.changes().expect("memory announces changes");
        changes.listen(Arc::downgrade(&listener));
        for n in 40..80 {
            create(&store, id(n), &record(n, 1000), Duration::MAX).await;
        }
        assert!(store.len() <= 50);
        let heard = heard.0.lock().expect("a lock");
        let mut forgotten = 0;
        for n in 0..40 {
            let times = heard.iter().filter(|heard| **heard == id(n)).count();
            let lives = store.sessions.contains_key(&id(n));
            assert_eq!(times, usize::from(!lives), "session {n}");
            forgotten += times;
        }
        assert!(forgotten >= 30, "{forgotten}");
    }
}
