//! A store that keeps the servers of its test running.

use std::{sync::Arc, time::Duration};

use session_core::{
    AnyChanges, AnyIndex, Created, Destroy, Destroyed, Loaded, Saved, SessionId, Store, StoreError,
    Touched, Version, Write,
};
use session_redis::RedisStore;

/// A store, and the servers that run as long as it does.
#[expect(dead_code, reason = "held for its Drop")]
pub(crate) struct WithServer<T>(pub(crate) RedisStore, pub(crate) Arc<T>);

impl<T: Send + Sync + 'static> Store for WithServer<T> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.0.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.0.create(id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        self.0.save(id, expected, write).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, expected, ttl).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        self.0.destroy(id, options).await
    }

    fn index(&self) -> Option<AnyIndex> {
        self.0.index()
    }

    fn changes(&self) -> Option<AnyChanges> {
        self.0.changes()
    }
}
