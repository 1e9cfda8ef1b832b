//! The changes of a test store, which arrive late or not at all on command.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::{Call, TestStore};
use crate::{
    changes::{AnyChanges, AnyFeed, Changes, Feed, Listener, Listeners, Watched},
    id::SessionId,
    store::Store,
    store_error::StoreError,
};

/// Passes on what the store inside announces.
#[derive(Debug, Default)]
pub(super) struct Relay {
    listeners: Listeners,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// How many feeds have ended.
    ended: u64,
    silence: Duration,
    /// The announcements that wait to be delivered; `None` if none has to wait.
    held: Option<Vec<SessionId>>,
    listens: bool,
}

impl Relay {
    pub(super) fn hold(&self) {
        self.shared().held.get_or_insert_default();
    }

    pub(super) fn deliver(&self) -> usize {
        let held = mem::take(&mut self.shared().held).unwrap_or_default();
        for id in &held {
            self.listeners.changed(id);
        }
        held.len()
    }

    pub(super) fn interrupt(&self) {
        {
            let mut shared = self.shared();
            shared.ended += 1;
            if let Some(held) = &mut shared.held {
                held.clear();
            }
        }
        self.listeners.interrupted();
    }

    pub(super) fn set_silence(&self, silence: Duration) {
        self.shared().silence = silence;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Relay {
    fn changed(&self, id: &SessionId) {
        if let Some(held) = &mut self.shared().held {
            held.push(*id);
            return;
        }
        self.listeners.changed(id);
    }

    fn interrupted(&self) {
        self.interrupt();
    }
}

/// The changes of a test store.
pub(super) struct TestChanges<S> {
    store: TestStore<S>,
    inner: AnyChanges,
    relay: Arc<Relay>,
}

impl<S> TestChanges<S> {
    pub(super) fn new(store: TestStore<S>, inner: AnyChanges, relay: Arc<Relay>) -> Self {
        Self {
            store,
            inner,
            relay,
        }
    }
}

impl<S: Store> Changes for TestChanges<S> {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let number = self.relay.shared().ended;
        let watched = self.store.run(Call::Load, self.inner.load(id)).await?;
        let feed = watched.feed.map(|inner| {
            let relay = self.relay.clone();
            AnyFeed::new(TestFeed {
                inner,
                relay,
                number,
            })
        });
        Ok(Watched::new(watched.loaded, feed))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.relay.listeners.add(listener);
        if !mem::replace(&mut self.relay.shared().listens, true) {
            let relay: Arc<dyn Listener> = self.relay.clone();
            self.inner.listen(Arc::downgrade(&relay));
        }
    }
}

struct TestFeed {
    inner: AnyFeed,
    relay: Arc<Relay>,
    number: u64,
}

impl Feed for TestFeed {
    fn silence(&self) -> Option<Duration> {
        let inner = self.inner.silence()?;
        let shared = self.relay.shared();
        (shared.ended == self.number).then(|| inner.max(shared.silence))
    }
}
