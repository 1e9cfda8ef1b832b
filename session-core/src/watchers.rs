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
struct Watched(Mutex<HashMap<SessionId, watch::Sender<Signals>>>);

/// How many there were of each.
#[derive(Clone, Copy, Debug, Default)]
struct Signals {
    changes: u64,
    interruptions: u64,
}

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
            .or_insert_with(|| watch::Sender::new(Signals::default()));
        let signals = sender.subscribe();
        let changes = signals.borrow().changes;
        Subscription {
            id,
            signals: Some(signals),
            changes,
            watched: Arc::downgrade(&self.watched),
        }
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, watch::Sender<Signals>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Watched {
    fn changed(&self, id: &SessionId) {
        if let Some(sender) = self.lock().get(id) {
            sender.send_modify(|signals| signals.changes += 1);
        }
    }

    fn interrupted(&self) {
        for sender in self.lock().values() {
            sender.send_modify(|signals| signals.interruptions += 1);
        }
    }
}

/// Hears of the changes of one record.
pub(crate) struct Subscription {
    id: SessionId,
    /// `None` once it was dropped.
    signals: Option<watch::Receiver<Signals>>,
    /// The changes that were noticed.
    changes: u64,
    watched: Weak<Watched>,
}

impl Subscription {
    /// Forgets the signals so far.
    pub(crate) fn reset(&mut self) {
        if let Some(signals) = &mut self.signals {
            self.changes = signals.borrow_and_update().changes;
        }
    }

    /// Waits for a signal since the last one, or since it was reset.
    pub(crate) async fn signal(&mut self) -> Signal {
        let Some(signals) = &mut self.signals else {
            return std::future::pending().await;
        };
        if signals.changed().await.is_err() {
            // the sessions of this instance exist no more
            return std::future::pending().await;
        }
        let Signals { changes, .. } = *signals.borrow_and_update();
        match std::mem::replace(&mut self.changes, changes) == changes {
            true => Signal::Interrupted,
            false => Signal::Changed,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(watched) = self.watched.upgrade() else {
            return;
        };
        let mut watched = watched.lock();
        // under the lock, so that of two that are dropped at once the second is the last
        self.signals = None;
        let is_last = |sender: &watch::Sender<Signals>| sender.receiver_count() == 0;
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
        watchers.watched.interrupted();
        let signal = first.signal().now_or_never();
        assert_eq!(signal, Some(Signal::Changed), "no interruption hides it");
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
