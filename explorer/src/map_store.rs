//! A small store that is fast to make: each history begins with a new one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use session_core::{
    AnyIndex, Applied, Created, Destroy, Destroyed, Loaded, Record, Saved, SessionId, Store,
    StoreError, Touched, Version, Write,
};

use crate::{map_index::MapIndex, surroundings::ManualClock};

/// A list of records, with an index that it writes in the same step.
#[derive(Debug)]
pub struct MapStore {
    clock: ManualClock,
    entries: Mutex<Vec<Entry>>,
    index: MapIndex,
}

#[derive(Debug)]
struct Entry {
    id: SessionId,
    record: Record,
    /// On the store's clock, in milliseconds.
    expires_at: u64,
}

impl MapStore {
    /// Makes an empty store.
    pub fn new(clock: &ManualClock) -> Self {
        Self {
            clock: clock.clone(),
            entries: Mutex::default(),
            index: MapIndex::default(),
        }
    }

    /// The records, without those whose time is over.
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.millis();
        entries.retain(|entry| entry.expires_at > now);
        entries
    }

    fn expiry(&self, ttl: Duration) -> u64 {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.clock.millis().saturating_add(ttl)
    }

    /// Lists what was written. The answer is that of the first listing.
    fn list(&self, write: Write<'_>) -> Applied {
        let listed = write.listings.iter();
        let listed: Vec<_> = listed
            .map(|listing| self.index.list(listing, false))
            .collect();
        match listed.first() {
            Some(first) => Applied::and_listed(*first),
            None => Applied::new(),
        }
    }

    fn loaded(&self, entry: &Entry) -> Loaded {
        let ttl = Duration::from_millis(entry.expires_at - self.clock.millis());
        Loaded::new(entry.record.clone(), ttl)
    }
}

fn find(entries: &mut [Entry], id: SessionId) -> Option<&mut Entry> {
    entries.iter_mut().find(|entry| entry.id == id)
}

impl Store for MapStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        Ok(find(&mut self.entries(), *id).map(|entry| self.loaded(entry)))
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let mut entries = self.entries();
        if find(&mut entries, *id).is_some() {
            return Ok(Created::Taken);
        }
        entries.push(Entry {
            id: *id,
            record: write.record.clone(),
            expires_at: self.expiry(write.ttl),
        });
        Ok(Created::Created(self.list(write)))
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let mut entries = self.entries();
        let Some(entry) = find(&mut entries, *id) else {
            return Ok(Saved::Gone);
        };
        if entry.record.version() != expected {
            return Ok(Saved::Conflict(self.loaded(entry)));
        }
        entry.record = write.record.clone();
        entry.expires_at = self.expiry(write.ttl);
        Ok(Saved::Saved(self.list(write)))
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let mut entries = self.entries();
        let Some(entry) = find(&mut entries, *id) else {
            return Ok(Touched::Gone);
        };
        if entry.record.version() != expected {
            return Ok(Touched::Conflict(self.loaded(entry)));
        }
        entry.expires_at = self.expiry(ttl);
        Ok(Touched::Touched(Applied::new()))
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let mut entries = self.entries();
        let Some(index) = entries.iter().position(|entry| entry.id == *id) else {
            return Ok(match options.expected {
                Some(_) => Destroyed::Gone,
                None => Destroyed::Destroyed(Applied::new()),
            });
        };
        let stored = entries[index].record.version();
        if options.expected.is_some_and(|expected| expected != stored) {
            return Ok(Destroyed::Conflict(self.loaded(&entries[index])));
        }
        entries.swap_remove(index);
        Ok(Destroyed::Destroyed(Applied::new()))
    }

    fn index(&self) -> Option<AnyIndex> {
        Some(AnyIndex::new(self.index.clone()))
    }
}
