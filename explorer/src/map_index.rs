//! The index of the small store. It promises no more than the contract of an index does: a sequence
//! number can be used again once its entry is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_core::{Index, IndexEntry, IndexKey, Listed, Listing, Nonce, SessionId, StoreError};

/// A list of entries. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MapIndex(Arc<Mutex<Vec<(IndexKey, IndexEntry)>>>);

impl MapIndex {
    fn entries(&self) -> MutexGuard<'_, Vec<(IndexKey, IndexEntry)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a session, and keeps the nonce of a listed one if asked to.
    pub(crate) fn list(&self, listing: &Listing, keeps_nonce: bool) -> Listed {
        let mut entries = self.entries();
        let of_key = entries.iter_mut().filter(|(key, _)| *key == listing.key);
        let (mut highest, mut count, mut found) = (0, 0, None);
        for (_, entry) in of_key {
            highest = highest.max(entry.sequence);
            count += 1;
            if entry.id == listing.id {
                entry.seen_at = listing.seen_at;
                if !keeps_nonce {
                    entry.nonce = listing.nonce;
                }
                found = Some(entry.sequence);
            }
        }
        if let Some(sequence) = found {
            return Listed::new(sequence, count);
        }
        let sequence = highest + 1;
        let entry = IndexEntry::new(listing.id, listing.nonce, sequence, listing.seen_at);
        entries.push((listing.key, entry));
        Listed::new(sequence, count + 1)
    }

    fn remove_if(&self, key: &IndexKey, id: &SessionId, is_it: impl Fn(&IndexEntry) -> bool) {
        self.entries()
            .retain(|(other, entry)| other != key || entry.id != *id || !is_it(entry));
    }
}

impl Index for MapIndex {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        Ok(self.list(listing, false))
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let entries = self.entries();
        let of_key = entries.iter().filter(|(other, _)| other == key);
        let later = of_key.filter(|(_, entry)| entry.sequence > after);
        let mut found: Vec<_> = later.map(|(_, entry)| *entry).collect();
        found.sort_unstable_by_key(|entry| entry.sequence);
        found.truncate(limit);
        Ok(found)
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        self.remove_if(key, id, |entry| entry.nonce == nonce);
        Ok(())
    }

    fn refresh(&self, listing: Listing) {
        self.list(&listing, true);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.remove_if(&key, &id, |_| true);
    }
}
