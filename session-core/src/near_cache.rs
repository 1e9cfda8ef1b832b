//! Decoded records that are kept in the process for as long as their changes are announced.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{
    body::Body,
    changes::{AnyChanges, AnyFeed, Changes, Listener},
    clock::Clock,
    id::SessionId,
    state::Current,
};

/// What an entry takes beside the encoded body: the key, decoded fields, and the bookkeeping of the
/// cache.
const OVERHEAD_BYTES: usize = 1152;
const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
const DEFAULT_LEASE: Duration = Duration::from_secs(2);
/// How many parts the ids are divided into. Loads of ids of one part disturb each other if one of
/// the ids changes meanwhile: the record is then not kept.
const PARTS: usize = 256;

/// Options of the near cache, which answers reads without a round trip to the store:
/// [`Builder::near_cache`](crate::Builder::near_cache).
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use session_core::{MemoryStore, NearCache, Sessions, SigningKeys};
///
/// let near_cache = NearCache::new()
///     .max_bytes(256 * 1024 * 1024)
///     .lease(Duration::from_secs(5));
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .near_cache(near_cache)
///     .build()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct NearCache {
    pub(crate) max_bytes: u64,
    pub(crate) lease: Duration,
}

impl NearCache {
    /// The default: 64 MiB, and a lease of two seconds.
    pub fn new() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_BYTES,
            lease: DEFAULT_LEASE,
        }
    }

    /// About how much memory the kept records may take, in bytes. A record takes its encoded size
    /// and some 1,150 bytes. Those that were not used for longest make room.
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// For how long a record is served after the last sign of life of the feed that announces its
    /// changes. This is the longest that a change can go unnoticed if the network fails; if it does
    /// not, a change is noticed after one message.
    ///
    /// The Redis store asks for a sign of life every half second, so a lease below one second makes
    /// the cache miss now and then.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }
}

impl Default for NearCache {
    fn default() -> Self {
        Self::new()
    }
}

/// What the near cache has done so far:
/// [`Sessions::near_cache_stats`](crate::Sessions::near_cache_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearCacheStats {
    /// Lookups that were answered without the store.
    pub hits: u64,
    /// Lookups that asked the store.
    pub misses: u64,
    /// About how many records are kept.
    pub records: u64,
    /// About how much memory they take, in bytes.
    pub bytes: u64,
}

/// The records that are kept.
pub(crate) struct NearRecords {
    changes: AnyChanges,
    kept: Arc<Kept>,
    lease: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What a change removes.
struct Kept {
    records: Cache<SessionId, Arc<Entry>>,
    hasher: RandomState,
    /// How many changes there were in each part.
    parts: Box<[Mutex<u64>]>,
}

struct Entry {
    current: Current,
    body_bytes: usize,
    feed: AnyFeed,
}

/// A record that is kept.
pub(crate) struct NearRecord {
    entry: Arc<Entry>,
    /// The life that is left.
    ttl: Option<Duration>,
}

impl NearRecord {
    pub(crate) fn body(&self) -> &Body {
        &self.entry.current.body
    }

    /// A copy, as of now.
    pub(crate) fn current(&self, now: Duration) -> Current {
        Current {
            version: self.entry.current.version,
            body: self.entry.current.body.clone(),
            ttl: self.ttl,
            seen_at: now,
        }
    }
}

/// Remembers what was known when a load began.
pub(crate) struct Ticket {
    part: usize,
    changes: u64,
    began_at: Duration,
}

impl NearRecords {
    pub(crate) fn new(options: NearCache, changes: AnyChanges) -> Self {
        let weigh = |_: &SessionId, entry: &Arc<Entry>| {
            u32::try_from(entry.body_bytes.saturating_add(OVERHEAD_BYTES)).unwrap_or(u32::MAX)
        };
        let kept = Arc::new(Kept {
            records: Cache::builder()
                .max_capacity(options.max_bytes)
                .weigher(weigh)
                // the default policy may refuse a new record in favor of one that was popular
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::new(0)).collect(),
        });
        let listener: Arc<dyn Listener> = kept.clone();
        changes.listen(Arc::downgrade(&listener));
        Self {
            changes,
            kept,
            lease: options.lease,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// What announces changes, and loads records whose changes it announces.
    pub(crate) fn changes(&self) -> &AnyChanges {
        &self.changes
    }

    /// Returns the record of a session, as it was not longer ago than the lease.
    pub(crate) fn get(&self, id: &SessionId, now: Duration) -> Option<NearRecord> {
        let entry = self.kept.records.get(id)?;
        match entry.feed.silence() {
            Some(silence) if silence <= self.lease => {}
            Some(_) => return None,
            None => {
                // it would not be served again
                self.kept.records.invalidate(id);
                return None;
            }
        }
        let ttl = match entry.current.ttl {
            Some(ttl) => {
                let age = now.saturating_sub(entry.current.seen_at);
                Some(ttl.checked_sub(age).filter(|left| !left.is_zero())?)
            }
            None => None,
        };
        Some(NearRecord { entry, ttl })
    }

    /// A lookup was answered by a kept record, or it asks the store.
    pub(crate) fn count(&self, is_hit: bool) {
        let count = match is_hit {
            true => &self.hits,
            false => &self.misses,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A load of this record begins.
    pub(crate) fn begin(&self, id: &SessionId, clock: &dyn Clock) -> Ticket {
        let part = self.kept.part(id);
        Ticket {
            part,
            changes: *self.kept.lock(part),
            began_at: clock.monotonic(),
        }
    }

    /// Keeps a record, unless a change was announced since its load began.
    pub(crate) fn keep(
        &self,
        id: SessionId,
        ticket: Ticket,
        current: Current,
        body_bytes: usize,
        feed: AnyFeed,
    ) {
        let entry = Arc::new(Entry {
            // counted from before the store told the remaining life, so that it is not overstated
            current: Current {
                seen_at: ticket.began_at,
                ..current
            },
            body_bytes,
            feed,
        });
        let changes = self.kept.lock(ticket.part);
        if *changes == ticket.changes {
            self.kept.records.insert(id, entry);
        }
    }

    /// This instance has changed a record, or may have.
    pub(crate) fn changed(&self, id: &SessionId) {
        self.kept.changed(id);
    }

    pub(crate) fn stats(&self) -> NearCacheStats {
        self.kept.records.run_pending_tasks();
        NearCacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            records: self.kept.records.entry_count(),
            bytes: self.kept.records.weighted_size(),
        }
    }
}

impl Kept {
    fn part(&self, id: &SessionId) -> usize {
        let hash = self.hasher.hash_one(id);
        usize::try_from(hash % PARTS as u64).unwrap_or_default()
    }

    fn lock(&self, part: usize) -> MutexGuard<'_, u64> {
        self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Kept {
    fn changed(&self, id: &SessionId) {
        let mut changes = self.lock(self.part(id));
        *changes = changes.wrapping_add(1);
        self.records.invalidate(id);
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::{
        body::{Secrets, Transport},
        clock::{Millis, SystemClock},
        memory::MemoryStore,
        record::Version,
        secret::SecretHash,
        store::Store,
    };

    fn records() -> NearRecords {
        let changes = MemoryStore::new().changes().expect("it has changes");
        NearRecords::new(NearCache::new(), changes)
    }

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; SessionId::BYTES])
    }

    fn current(version: u8) -> Current {
        Current {
            version: Version::from_bytes([version; 8]),
            body: Body {
                secrets: Secrets::one(SecretHash::from_bytes([1; 32])),
                created_at: Millis(0),
                authenticated_at: None,
                renewed_at: None,
                listed_at: None,
                transport: Transport::Cookie,
                contents: Arc::default(),
                unknown: Vec::new(),
            },
            ttl: None,
            seen_at: Duration::ZERO,
        }
    }

    struct Alive;

    impl crate::changes::Feed for Alive {
        fn silence(&self) -> Option<Duration> {
            Some(Duration::ZERO)
        }
    }

    fn keep(records: &NearRecords, ticket: Ticket, id: SessionId, version: u8) {
        let feed = AnyFeed::new(Alive);
        records.keep(id, ticket, current(version), 100, feed);
    }

    fn kept(records: &NearRecords, id: SessionId) -> Option<u8> {
        let kept = records.get(&id, Duration::ZERO)?;
        Some(kept.current(Duration::ZERO).version.as_bytes()[0])
    }

    #[test]
    fn a_record_is_kept_until_it_changes() {
        let records = records();
        let ticket = records.begin(&id(1), &SystemClock);
        keep(&records, ticket, id(1), 1);
        assert_eq!(kept(&records, id(1)), Some(1));
        records.changed(&id(1));
        assert_eq!(kept(&records, id(1)), None);
    }

    #[test]
    fn a_record_that_changed_while_it_was_loaded_is_not_kept() {
        let records = records();
        let ticket = records.begin(&id(1), &SystemClock);
        records.changed(&id(1));
        keep(&records, ticket, id(1), 1);
        assert_eq!(kept(&records, id(1)), None);
        let ticket = records.begin(&id(1), &SystemClock);
        keep(&records, ticket, id(1), 2);
        assert_eq!(kept(&records, id(1)), Some(2));
    }

    #[test]
    fn the_memory_is_bounded() {
        let changes = MemoryStore::new().changes().expect("it has changes");
        let max_bytes = 100 * 1024;
        let records = NearRecords::new(NearCache::new().max_bytes(max_bytes), changes);
        for n in 0..=u8::MAX {
            let ticket = records.begin(&id(n), &SystemClock);
            keep(&records, ticket, id(n), n);
        }
        let stats = records.stats();
        assert!(stats.bytes <= max_bytes, "{stats:?}");
        assert!((1..=81).contains(&stats.records), "{stats:?}");
    }

    #[test]
    fn a_remaining_life_is_counted_from_before_the_load() {
        let records = records();
        let ticket = Ticket {
            began_at: Duration::from_secs(10),
            ..records.begin(&id(1), &SystemClock)
        };
        let loaded = Current {
            ttl: Some(Duration::from_secs(60)),
            seen_at: Duration::from_secs(15),
            ..current(1)
        };
        records.keep(id(1), ticket, loaded, 100, AnyFeed::new(Alive));
        let at = |seconds| {
            let kept = records.get(&id(1), Duration::from_secs(seconds))?;
            kept.ttl.map(|ttl| ttl.as_secs())
        };
        assert_eq!(
            [at(30), at(69), at(70), at(99)],
            [Some(40), Some(1), None, None]
        );
    }
}
