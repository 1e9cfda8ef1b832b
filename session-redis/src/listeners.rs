//! Who is told that sessions have changed.

use std::{
    fmt, str,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use session_core::{Listener, SessionId};
use tokio::sync::watch;

/// The listeners of a store. Nothing is tracked before there is one.
pub(crate) struct Listeners {
    /// The prefix of the keys of sessions.
    prefix: String,
    on: watch::Sender<bool>,
    all: RwLock<Arc<[Weak<dyn Listener>]>>,
    /// Held while the list is replaced.
    adding: Mutex<()>,
    refusal_logged: AtomicBool,
}

impl Listeners {
    pub(crate) fn new(prefix: &str) -> Arc<Self> {
        Arc::new(Self {
            prefix: prefix.to_owned(),
            on: watch::Sender::new(false),
            all: RwLock::new(Arc::new([])),
            adding: Mutex::default(),
            refusal_logged: AtomicBool::new(false),
        })
    }

    /// Adds a listener, and switches tracking on.
    pub(crate) fn add(&self, listener: Weak<dyn Listener>) {
        {
            let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
            let all = self.all();
            let alive = all.iter().filter(|known| known.strong_count() > 0).cloned();
            let with_new = alive.chain([listener]).collect();
            *self.all.write().unwrap_or_else(PoisonError::into_inner) = with_new;
        }
        self.on.send_replace(true);
    }

    pub(crate) fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    /// Waits for the first listener.
    pub(crate) async fn switched_on(&self) {
        // an error means that the sender was dropped, and it is a field of this
        let _ = self.on.subscribe().wait_for(|on| *on).await;
    }

    /// Announces a change of the session of a key. A key that is not one of a session is ignored.
    /// Returns whether it is.
    pub(crate) fn changed(&self, key: &[u8]) -> bool {
        let id = str::from_utf8(key).ok();
        let id = id.and_then(|key| key.strip_prefix(&*self.prefix));
        let Some(Ok(id)) = id.map(str::parse::<SessionId>) else {
            return false;
        };
        self.tell(|listener| listener.changed(&id));
        true
    }

    /// Announces that a feed has ended.
    pub(crate) fn interrupted(&self) {
        self.tell(|listener| listener.interrupted());
    }

    /// Whether this is the first time that a server refuses to announce changes.
    pub(crate) fn is_first_refusal(&self) -> bool {
        !self.refusal_logged.swap(true, Ordering::Relaxed)
    }

    /// Calls the listeners, without a lock.
    fn tell(&self, call: impl Fn(&dyn Listener)) {
        for listener in self.all().iter().filter_map(Weak::upgrade) {
            call(&*listener);
        }
    }

    fn all(&self) -> Arc<[Weak<dyn Listener>]> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners")
            .field("prefix", &self.prefix)
            .field("on", &self.is_on())
            .field("count", &self.all().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

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
        let listeners = Listeners::new("shop:");
        let heard = Arc::new(Heard::default());
        let weak: Weak<Heard> = Arc::downgrade(&heard);
        listeners.add(weak);
        let id = SessionId::from_bytes([7; SessionId::BYTES]);
        assert!(listeners.changed(format!("shop:{id}").as_bytes()));
        for other in [
            format!("session:{id}"),
            format!("shop:{id}x"),
            "shop:".to_owned(),
            id.to_string(),
        ] {
            assert!(!listeners.changed(other.as_bytes()), "{other}");
        }
        assert!(!listeners.changed(b"shop:\xff"));
        assert_eq!(*heard.ids.lock().expect("a lock"), [id]);
        assert_eq!(heard.interruptions.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_refusal_is_logged_once() {
        let listeners = Listeners::new("");
        assert!(listeners.is_first_refusal());
        assert!(!listeners.is_first_refusal());
    }

    #[test]
    fn a_listener_that_is_gone_is_forgotten() {
        let listeners = Listeners::new("");
        assert!(!listeners.is_on());
        let (first, second) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let weak: Weak<Heard> = Arc::downgrade(&first);
        listeners.add(weak);
        assert!(listeners.is_on());
        drop(first);
        listeners.interrupted();
        let weak: Weak<Heard> = Arc::downgrade(&second);
        listeners.add(weak);
        assert_eq!(listeners.all().len(), 1);
        listeners.interrupted();
        assert_eq!(second.interruptions.load(Ordering::Relaxed), 1);
    }
}
