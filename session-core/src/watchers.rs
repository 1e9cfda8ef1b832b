//! Who waits for the change of which record.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
};

use tokio::sync::watch;

use crate::{
    changes::{AnyChanges, Changes, Listener},
    id::SessionId,
};

/// The watches of all sessions of an instance.
pub(crate) struct Watchers {
    changes: Option<AnyChanges>,
    listens: Once,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched(Mutex<HashMap<SessionId, watch::Sender<Signal>>>);

/// Why to look at a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It has changed.
    Changed,
    /// Its changes are not announced any more.
    Interrupted,
}

impl Watchers {
    pub(crate) fn new(changes: Option<AnyChanges>) -> Self {
        Self {
            changes,
            listens: Once::new(),
            watched: Arc::default(),
        }
    }

    /// What announces changes, if the store does.
    pub(crate) fn changes(&self) -> Option<&AnyChanges> {
        self.changes.as_ref()
    }

    /// Waits for changes of a record from now on.
    pub(crate) fn subscribe(&self, id: SessionId) -> Subscription {
        self.listens.call_once(|| {
            if let Some(changes) = &self.changes {
                let listener: Arc<dyn Listener> = self.watched.clone();
                changes.listen(Arc::downgrade(&listener));
            }
        });
        let mut watched = self.watched.lock();
        let sender = watched
            .entry(id)
            .or_insert_with(|| watch::Sender::new(Signal::Changed));
        Subscription {
            id,
            signals: sender.subscribe(),
            watched: Arc::downgrade(&self.watched),
        }
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, watch::Sender<Signal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Watched {
    fn changed(&self, id: &SessionId) {
        if let Some(sender) = self.lock().get(id) {
            sender.send_replace(Signal::Changed);
        }
    }

    fn interrupted(&self) {
        for sender in self.lock().values() {
            sender.send_replace(Signal::Interrupted);
        }
    }
}

/// Hears of the changes of one record.
pub(crate) struct Subscription {
    id: SessionId,
    signals: watch::Receiver<Signal>,
    watched: Weak<Watched>,
}

impl Subscription {
    /// Forgets the signals so far.
    pub(crate) fn reset(&mut self) {
        self.signals.mark_unchanged();
    }

    /// Waits for a signal since the last one, or since it was reset.
    pub(crate) async fn signal(&mut self) -> Signal {
        match self.signals.changed().await {
            Ok(()) => *self.signals.borrow_and_update(),
            // the sessions of this instance exist no more
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(watched) = self.watched.upgrade() else {
            return;
        };
        let mut watched = watched.lock();
        let is_last = |sender: &watch::Sender<Signal>| sender.receiver_count() == 1;
        if watched.get(&self.id).is_some_and(is_last) {
            watched.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; SessionId::BYTES])
    }

    #[test]
    fn a_subscription_hears_of_its_own_record() {
        let watchers = Watchers::new(None);
        let mut first = watchers.subscribe(id(1));
        let mut second = watchers.subscribe(id(2));
        watchers.watched.changed(&id(1));
        assert_eq!(first.signal().now_or_never(), Some(Signal::Changed));
        assert_eq!(first.signal().now_or_never(), None);
        assert_eq!(second.signal().now_or_never(), None);
        watchers.watched.interrupted();
        for subscription in [&mut first, &mut second] {
            let signal = subscription.signal().now_or_never();
            assert_eq!(signal, Some(Signal::Interrupted));
        }
        watchers.watched.changed(&id(1));
        first.reset();
        assert_eq!(first.signal().now_or_never(), None);
    }

    #[test]
    fn a_record_that_nobody_waits_for_is_forgotten() {
        let watchers = Watchers::new(None);
        let first = watchers.subscribe(id(1));
        let second = watchers.subscribe(id(1));
        drop(first);
        assert_eq!(watchers.watched.lock().len(), 1);
        drop(second);
        assert_eq!(watchers.watched.lock().len(), 0);
    }
}
