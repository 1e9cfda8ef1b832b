//! The records of a store, and those that are kept in the process.
//!
//! Every write of this instance goes through here, so that what it has changed is not served from
//! the process any more once the write is acknowledged.

use std::time::Duration;

use crate::{
    any_store::AnyStore,
    health::Health,
    id::SessionId,
    near_cache::NearRecords,
    record::{Loaded, Version},
    store::{Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::StoreError,
};

pub(crate) struct Records {
    store: AnyStore,
    near: Option<NearRecords>,
}

impl Records {
    pub(crate) fn new(store: AnyStore, near: Option<NearRecords>) -> Self {
        Self { store, near }
    }

    /// The records that are kept in the process, if any.
    pub(crate) fn near(&self) -> Option<&NearRecords> {
        self.near.as_ref()
    }

    /// Reads a record from the store.
    pub(crate) async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let loaded = self.store.load(id).await;
        // it may show that a write of this instance was applied after its call had failed
        self.changed(id);
        loaded
    }

    pub(crate) async fn create(
        &self,
        id: &SessionId,
        write: Write<'_>,
    ) -> Result<Created, StoreError> {
        let created = self.store.create(id, write).await;
        self.changed(id);
        created
    }

    pub(crate) async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let saved = self.store.save(id, expected, write).await;
        self.changed(id);
        saved
    }

    pub(crate) async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let touched = self.store.touch(id, expected, ttl).await;
        self.changed(id);
        touched
    }

    pub(crate) async fn destroy(
        &self,
        id: &SessionId,
        options: Destroy,
    ) -> Result<Destroyed, StoreError> {
        let destroyed = self.store.destroy(id, options).await;
        self.changed(id);
        destroyed
    }

    pub(crate) async fn health(&self) -> Health {
        self.store.health().await
    }

    /// Whatever the answer was: it proves that what is kept may be outdated.
    fn changed(&self, id: &SessionId) {
        if let Some(near) = &self.near {
            near.changed(id);
        }
    }
}
