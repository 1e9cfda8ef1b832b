//! The index of the in-process store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use moka::{
    ops::compute::{CompResult, Op},
    sync::Cache,
};

use super::cache::{ByTtl, Lives, cache, reclaim_periodically};
use crate::{
    clock::Clock,
    id::SessionId,
    index::Index,
    listing::{IndexEntry, IndexKey, Listed, Listing, Nonce},
    store_error::StoreError,
};

/// What an entry takes, and what a key takes beside its entries.
const ENTRY_BYTES: usize = 128;
const KEY_BYTES: usize = 256;
/// How many of the oldest entries are looked at when a session is listed.
const CLEANED: usize = 64;

/// Lists the sessions of a store by key.
#[derive(Clone)]
pub(super) struct MemoryIndex {
    keys: Arc<Cache<IndexKey, Members>>,
    is_alive: Arc<dyn Fn(&SessionId) -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
}

/// The sessions of one key.
#[derive(Clone, Default)]
struct Members {
    entries: Arc<BTreeMap<SessionId, IndexEntry>>,
    /// The highest sequence number given so far.
    highest: u64,
    ttl: Duration,
    /// On the monotonic clock.
    expires_at: Duration,
}

impl MemoryIndex {
    /// An index for these sessions. The cache reclaims expired keys if the clock is its own.
    pub(super) fn new(
        capacity_bytes: u64,
        is_alive: impl Fn(&SessionId) -> bool + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
        reclaims: bool,
    ) -> Self {
        let weigh = |members: &Members| KEY_BYTES + members.entries.len() * ENTRY_BYTES;
        let builder = cache(capacity_bytes, weigh);
        let keys = Arc::new(match reclaims {
            true => builder.expire_after(ByTtl).build(),
            false => builder.build(),
        });
        if reclaims {
            reclaim_periodically(Arc::downgrade(&keys));
        }
        Self {
            keys,
            is_alive: Arc::new(is_alive),
            clock,
        }
    }

    /// How many keys there are, expired ones included.
    pub(super) fn len(&self) -> u64 {
        self.keys.run_pending_tasks();
        self.keys.entry_count()
    }

    /// Lists a session.
    pub(super) fn list(&self, listing: &Listing) -> Listed {
        self.update(&listing.key, |members| {
            let sequence = members.put(listing, listing.nonce);
            self.remove_ended(members);
            Listed::new(sequence, members.entries.len() as u64)
        })
    }

    /// Changes the entries of a key, atomically. A key without entries is removed.
    fn update<T>(&self, key: &IndexKey, change: impl FnOnce(&mut Members) -> T) -> T {
        let mut answer = None;
        let _: CompResult<_, _> = self.keys.entry_by_ref(key).and_compute_with(|entry| {
            let now = self.clock.monotonic();
            let mut members = entry
                .map(|entry| entry.into_value())
                .filter(|members| members.expires_at > now)
                .unwrap_or_default();
            members.ttl = members.expires_at.saturating_sub(now);
            answer = Some(change(&mut members));
            members.expires_at = now.saturating_add(members.ttl);
            match members.entries.is_empty() {
                true => Op::Remove,
                false => Op::Put(members),
            }
        });
        answer.unwrap_or_else(|| unreachable!("the cache calls the closure exactly once"))
    }

    /// Removes entries whose session has ended, of the oldest ones.
    fn remove_ended(&self, members: &mut Members) {
        let mut oldest: Vec<_> = members.entries.values().copied().collect();
        oldest.sort_unstable_by_key(|entry| entry.sequence);
        for entry in oldest.iter().take(CLEANED) {
            if !(self.is_alive)(&entry.id) {
                Arc::make_mut(&mut members.entries).remove(&entry.id);
            }
        }
    }
}

impl Lives for Members {
    fn ttl(&self) -> Duration {
        self.ttl
    }
}

impl Members {
    /// Lists a session with this nonce, and returns its number.
    fn put(&mut self, listing: &Listing, nonce: Nonce) -> u64 {
        let sequence = match self.entries.get(&listing.id) {
            Some(entry) => entry.sequence,
            None => {
                self.highest += 1;
                self.highest
            }
        };
        let entry = IndexEntry::new(listing.id, nonce, sequence, listing.seen_at);
        Arc::make_mut(&mut self.entries).insert(listing.id, entry);
        self.ttl = self.ttl.max(listing.ttl);
        sequence
    }
}

impl Index for MemoryIndex {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        Ok(self.list(listing))
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let now = self.clock.monotonic();
        let members = self
            .keys
            .get(key)
            .filter(|members| members.expires_at > now)
            .unwrap_or_default();
        let mut entries: Vec<_> = members
            .entries
            .values()
            .filter(|entry| entry.sequence > after)
            .copied()
            .collect();
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries.truncate(limit);
        Ok(entries)
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        self.update(key, |members| {
            if members
                .entries
                .get(id)
                .is_some_and(|entry| entry.nonce == nonce)
            {
                Arc::make_mut(&mut members.entries).remove(id);
            }
        });
        Ok(())
    }

    fn refresh(&self, listing: Listing) {
        self.update(&listing.key, |members| {
            let listed = members.entries.get(&listing.id);
            let nonce = listed.map_or(listing.nonce, |entry| entry.nonce);
            members.put(&listing, nonce);
        });
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.update(&key, |members| {
            if members.entries.contains_key(&id) {
                Arc::make_mut(&mut members.entries).remove(&id);
            }
        });
    }
}
