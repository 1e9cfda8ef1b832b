//! The changes of the in-process store, which nothing can delay or lose.

use std::{sync::Weak, time::Duration};

use crate::{
    changes::{AnyFeed, Changes, Feed, Listener, Listeners, Watched},
    id::SessionId,
    store::Store,
    store_error::StoreError,
};

/// Announces the changes of a store, in the thread that makes them.
pub(super) struct MemoryChanges<S> {
    pub(super) store: S,
    pub(super) listeners: Listeners,
}

/// A feed that does not end before the process.
struct Uninterrupted;

impl<S: Store> Changes for MemoryChanges<S> {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let loaded = self.store.load(id).await?;
        Ok(Watched::new(loaded, Some(AnyFeed::new(Uninterrupted))))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.listeners.add(listener);
    }
}

impl Feed for Uninterrupted {
    fn silence(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}
