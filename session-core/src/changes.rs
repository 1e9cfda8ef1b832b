//! The contract between sessions and the feed that announces changes of their records.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use crate::{id::SessionId, record::Loaded, store_error::StoreError};

/// Announces when a record that was loaded has changed: a capability of a
/// [`Store`](crate::Store), which a near cache and the watching of sessions need.
///
/// * After a record was loaded with [`load`](Self::load), and for as long as the [`Feed`] of the
///   answer is alive, the next operation that changes the record **must** be announced: every
///   `save`, every `touch` that changes the time to live, every `destroy`, and a removal by an
///   operator, whoever carries them out. Once it was announced, no further change need be: whoever
///   wants to know of the next one loads again.
/// * An announcement that arrives between the beginning of a load and its answer **may** be about
///   the record that the answer contains, or about the one before it. Whoever keeps the answer
///   discards it in this case.
/// * That the time to live has passed **need not** be announced.
/// * A store **may** announce changes that did not happen, or that nobody waits for.
/// * If announcements may be missing, because a connection broke or a server was replaced, the
///   feed **must** end: [`Feed::silence`] is `None` from then on, and [`Listener::interrupted`] is
///   called.
pub trait Changes: Send + Sync + 'static {
    /// Reads a record as [`Store::load`](crate::Store::load) does, and announces its next change.
    fn load(&self, id: &SessionId) -> impl Future<Output = Result<Watched, StoreError>> + Send;

    /// Announces changes to this listener from now on, for as long as it exists.
    fn listen(&self, listener: Weak<dyn Listener>);
}

/// A record whose next change is announced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Watched {
    /// The record, if there is one.
    pub loaded: Option<Loaded>,
    /// What announces its next change; `None` if nothing does at the moment.
    pub feed: Option<AnyFeed>,
}

impl Watched {
    /// Makes the result of a load.
    pub fn new(loaded: Option<Loaded>, feed: Option<AnyFeed>) -> Self {
        Self { loaded, feed }
    }
}

/// What announces the changes of the records that were loaded through it, such as one connection
/// to a server.
pub trait Feed: Send + Sync + 'static {
    /// How long ago it was last certain that nothing is left to announce of what had happened by
    /// then. `None` if the feed has ended; it does not come back.
    fn silence(&self) -> Option<Duration>;
}

/// Any [`Feed`]. Clones share it.
#[derive(Clone)]
pub struct AnyFeed(Arc<dyn Feed>);

impl AnyFeed {
    /// Erases the type of a feed.
    pub fn new(feed: impl Feed) -> Self {
        Self(Arc::new(feed))
    }

    /// Erases the type of a feed that is shared already.
    pub fn of(feed: Arc<impl Feed>) -> Self {
        Self(feed)
    }

    /// See [`Feed::silence`].
    pub fn silence(&self) -> Option<Duration> {
        self.0.silence()
    }
}

impl fmt::Debug for AnyFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyFeed").field(&self.silence()).finish()
    }
}

/// Hears of changes. It is called where the announcement arrives, and **must not** block.
pub trait Listener: Send + Sync + 'static {
    /// The record of this session may have changed.
    fn changed(&self, id: &SessionId);

    /// A feed has ended. Changes of what was loaded through it are not announced any more.
    fn interrupted(&self) {}
}

/// The listeners of a store, for its implementation of [`Changes`]. Clones share them.
#[derive(Clone, Default)]
pub struct Listeners(Arc<RwLock<Vec<Weak<dyn Listener>>>>);

impl Listeners {
    /// Adds a listener. Those that do not exist any more are removed.
    pub fn add(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }

    /// Whether somebody listens.
    pub fn any(&self) -> bool {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().any(|listener| listener.strong_count() > 0)
    }

    /// Calls [`Listener::changed`] of each.
    pub fn changed(&self, id: &SessionId) {
        self.each(|listener| listener.changed(id));
    }

    /// Calls [`Listener::interrupted`] of each.
    pub fn interrupted(&self) {
        self.each(|listener| listener.interrupted());
    }

    fn each(&self, call: impl Fn(&dyn Listener)) {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let living = listeners.iter().filter_map(Weak::upgrade);
        living.for_each(|listener| call(&*listener));
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listeners")
    }
}

/// Any [`Changes`]. Clones share them.
#[derive(Clone)]
pub struct AnyChanges(Arc<dyn ErasedChanges>);

impl AnyChanges {
    /// Erases the type.
    pub fn new(changes: impl Changes) -> Self {
        Self(Arc::new(changes))
    }
}

impl Changes for AnyChanges {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        self.0.load(id).await
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.0.listen(listener);
    }
}

impl fmt::Debug for AnyChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyChanges")
    }
}

type Load<'a> = Pin<Box<dyn Future<Output = Result<Watched, StoreError>> + Send + 'a>>;

trait ErasedChanges: Send + Sync {
    fn load<'a>(&'a self, id: &'a SessionId) -> Load<'a>;
    fn listen(&self, listener: Weak<dyn Listener>);
}

impl<C: Changes> ErasedChanges for C {
    fn load<'a>(&'a self, id: &'a SessionId) -> Load<'a> {
        Box::pin(Changes::load(self, id))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        Changes::listen(self, listener);
    }
}
