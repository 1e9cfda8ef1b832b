//! The index of a test store, which records every call and fails or waits as the store does.

use super::store::{Call, TestStore};
use crate::{
    id::SessionId,
    index::{AnyIndex, Index},
    listing::{IndexEntry, IndexKey, Listed, Listing, Nonce},
    store::Store,
    store_error::StoreError,
};

pub(super) struct TestIndex<S> {
    store: TestStore<S>,
    inner: AnyIndex,
}

impl<S> TestIndex<S> {
    pub(super) fn new(store: TestStore<S>, inner: AnyIndex) -> Self {
        Self { store, inner }
    }
}

impl<S: Store> Index for TestIndex<S> {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        self.store.run(Call::Put, self.inner.put(listing)).await
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let entries = self.inner.entries(key, after, limit);
        self.store.run(Call::Entries, entries).await
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        let remove = self.inner.remove(key, id, nonce);
        self.store.run(Call::Remove, remove).await
    }

    fn refresh(&self, listing: Listing) {
        self.inner.refresh(listing);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.inner.forget(key, id);
    }
}
