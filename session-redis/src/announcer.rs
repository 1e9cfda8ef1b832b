//! Tells those who listen that sessions have changed.

use std::{
    str,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use session_core::{Listener, Listeners, SessionId};
use tokio::sync::watch;

/// The listeners of a store, and what keys mean to them. Nothing is tracked while there is none.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// The prefix of the keys of sessions.
    prefix: String,
    /// Told when there is another listener.
    added: watch::Sender<()>,
    listeners: Listeners,
    refusal_logged: AtomicBool,
}

impl Announcer {
    pub(crate) fn new(prefix: &str) -> Arc<Self> {
        Arc::new(Self {
            prefix: prefix.to_owned(),
            added: watch::Sender::new(()),
            listeners: Listeners::default(),
            refusal_logged: AtomicBool::new(false),
        })
    }

    /// Adds a listener, and switches tracking on.
    pub(crate) fn add(&self, listener: Weak<dyn Listener>) {
        self.listeners.add(listener);
        self.added.send_replace(());
    }

    /// Whether somebody listens.
    pub(crate) fn is_on(&self) -> bool {
        self.listeners.any()
    }

    /// Waits until somebody listens.
    pub(crate) async fn switched_on(&self) {
        let mut added = self.added.subscribe();
        while !self.is_on() {
            // an error means that the sender was dropped, and it is a field of this
            let _ = added.changed().await;
        }
    }

    /// Announces a change of the session of a key. A key that is not one of a session is ignored.
    /// Returns whether it is.
    pub(crate) fn changed(&self, key: &[u8]) -> bool {
        let id = str::from_utf8(key).ok();
        let id = id.and_then(|key| key.strip_prefix(&*self.prefix));
        let Some(Ok(id)) = id.map(str::parse::<SessionId>) else {
            return false;
        };
        self.listeners.changed(&id);
        true
    }

    /// Announces that a feed has ended.
    pub(crate) fn interrupted(&self) {
        self.listeners.interrupted();
    }

    /// Whether this is the first time that a server refuses to announce changes.
    pub(crate) fn is_first_refusal(&self) -> bool {
        !self.refusal_logged.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{Mutex, atomic::AtomicUsize},
    };

    use futures_util::FutureExt;

    use super::*;

    /// Keeps what it hears.
    #[derive(Default)]
    struct Heard {
        ids: Mutex<Vec<SessionId>>,
        interruptions: AtomicUsize,
    }

    impl Listener for Heard {
        fn changed(&self, id: &SessionId) {
            self.ids.lock().expect("a lock").push(*id);
        }

        fn interrupted(&self) {
            self.interruptions.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_keys_of_sessions_are_announced() {
        let announcer = Announcer::new("shop:");
        let heard = Arc::new(Heard::default());
        let weak: Weak<Heard> = Arc::downgrade(&heard);
        announcer.add(weak);
        let id = SessionId::from_bytes([7; SessionId::BYTES]);
        assert!(announcer.changed(format!("shop:{id}").as_bytes()));
        for other in [
            format!("session:{id}"),
            format!("shop:{id}x"),
            "shop:".to_owned(),
            id.to_string(),
        ] {
            assert!(!announcer.changed(other.as_bytes()), "{other}");
        }
        assert!(!announcer.changed(b"shop:\xff"));
        assert_eq!(*heard.ids.lock().expect("a lock"), [id]);
        assert_eq!(heard.interruptions.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_refusal_is_logged_once() {
        let announcer = Announcer::new("");
        assert!(announcer.is_first_refusal());
        assert!(!announcer.is_first_refusal());
    }

    #[test]
    fn tracking_is_on_while_somebody_listens() {
        let announcer = Announcer::new("");
        assert!(!announcer.is_on());
        let heard = Arc::new(Heard::default());
        let weak: Weak<Heard> = Arc::downgrade(&heard);
        announcer.add(weak);
        announcer.interrupted();
        assert!(announcer.is_on());
        assert_eq!(heard.interruptions.load(Ordering::Relaxed), 1);
        drop(heard);
        assert!(!announcer.is_on());
    }

    #[test]
    fn the_next_listener_is_waited_for_after_the_last_one_is_gone() {
        let announcer = Announcer::new("");
        for _ in 0..2 {
            let mut waits = pin!(announcer.switched_on());
            assert_eq!(waits.as_mut().now_or_never(), None);
            let heard = Arc::new(Heard::default());
            let weak: Weak<Heard> = Arc::downgrade(&heard);
            announcer.add(weak);
            assert_eq!(waits.now_or_never(), Some(()));
            assert_eq!(announcer.switched_on().now_or_never(), Some(()));
        }
    }
}
