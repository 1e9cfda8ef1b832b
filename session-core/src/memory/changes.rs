//! The changes of the in-process store, which nothing can delay or lose.

use std::{sync::Weak, time::Duration};

use super::MemoryStore;
use crate::{
    changes::{AnyFeed, Changes, Feed, Listener, Watched},
    id::SessionId,
    store::Store,
    store_error::StoreError,
};

/// Announces the changes of a store, in the thread that makes them.
pub(super) struct MemoryChanges(pub(super) MemoryStore);

/// A feed that does not end before the process.
struct Uninterrupted;

impl Changes for MemoryChanges {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let loaded = self.0.load(id).await?;
        Ok(Watched::new(loaded, Some(AnyFeed::new(Uninterrupted))))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.0.listeners.add(listener);
    }
}

impl Feed for Uninterrupted {
    fn silence(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}
