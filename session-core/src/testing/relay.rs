//! Passes on the announcements of a store late, or not at all, on command.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crate::{
    changes::{AnyChanges, AnyFeed, Changes, Feed, Listener, Listeners},
    id::SessionId,
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

    /// The number of the feed that a load gets which begins now.
    pub(super) fn number(&self) -> u64 {
        self.shared().ended
    }

    /// A feed that ends as the one inside does, or with the next interruption after this number.
    pub(super) fn feed(self: &Arc<Self>, inner: AnyFeed, number: u64) -> AnyFeed {
        AnyFeed::new(TestFeed {
            inner,
            relay: self.clone(),
            number,
        })
    }

    /// Passes on what the store inside announces, to this listener too.
    pub(super) fn listen(self: &Arc<Self>, inner: &AnyChanges, listener: Weak<dyn Listener>) {
        self.listeners.add(listener);
        if !mem::replace(&mut self.shared().listens, true) {
            let relay: Arc<dyn Listener> = self.clone();
            inner.listen(Arc::downgrade(&relay));
        }
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

/// A feed that ends with the interruption of its relay.
struct TestFeed {
    inner: AnyFeed,
    relay: Arc<Relay>,
    /// How many feeds had ended when it began.
    number: u64,
}

impl Feed for TestFeed {
    fn silence(&self) -> Option<Duration> {
        let inner = self.inner.silence()?;
        let shared = self.relay.shared();
        (shared.ended == self.number).then(|| inner.max(shared.silence))
    }
}
