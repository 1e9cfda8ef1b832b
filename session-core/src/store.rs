//! The contract between sessions and whatever keeps them.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{RecordBytes, SessionId, Version};

/// Keeps records under ids until their time runs out.
///
/// Bytes in, bytes out: only the [`Version`] of a record concerns a store, and it stands at a fixed place
/// ([`RecordBytes::VERSION`]). The contract, which [`contract!`](crate::contract!) checks:
///
/// * [`create`](Self::create) **must** fail on a taken id. [`save`](Self::save) and [`touch`](Self::touch) **must** leave an
///   absent id absent. No operation upserts.
/// * [`save`](Self::save) **must** be atomic: either the stored version equals `expect` and the record is replaced, or
///   nothing changes.
/// * A record whose ttl has run out, by the store's own clock, **must not** be returned.
/// * A store **may** forget a record at any time. That logs a user out; it is never a breach.
/// * A store that retries after a lost reply **must** recognise its own write: where it finds the version it came to write,
///   the answer is [`Created::Created`] or [`Saved::Saved`].
/// * An operation whose future is dropped **must** have happened wholly or not at all, then or shortly after, and the store
///   stays usable.
/// * Every operation **must** end within a time of the store's choosing: nobody else bounds it.
/// * What cannot be told, for want of an answer, **must** be an error. It is never "absent".
pub trait Store: Send + Sync + 'static {
    /// Reads a record and the life it has left.
    fn load(
        &self,
        id: &SessionId,
    ) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send;

    /// Stores a record under an id that must be free.
    fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// Replaces the record whose version is `expect`, and gives it `ttl` to live from now.
    fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Gives a record `ttl` to live from now, and leaves it as it is.
    fn touch(
        &self,
        id: &SessionId,
        ttl: Duration,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Removes a record. That it was absent already is success.
    fn destroy(&self, id: &SessionId)
    -> impl Future<Output = Result<Destroyed, StoreError>> + Send;
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The stored bytes.
    pub record: RecordBytes,
    /// The life left, or `None` where the store would keep it for ever.
    pub ttl: Option<Duration>,
}

/// Outcome of [`Store::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// The record is stored.
    Created,
    /// The id names another record, which was left alone.
    Taken,
}

/// Outcome of [`Store::save`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Saved {
    /// The record is stored.
    Saved,
    /// Somebody else wrote first; this is what they wrote.
    Conflict(Loaded),
    /// There is no record any more.
    Gone,
}

/// Outcome of [`Store::touch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Touched {
    /// The record lives on.
    Touched,
    /// There is no record any more.
    Gone,
}

/// Outcome of [`Store::destroy`]: the record is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroyed;

/// A store could not do what it was asked.
///
/// Opaque: branch on [`kind`](Self::kind), report by [`source`](std::error::Error::source).
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a store could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It cannot be reached, or is not ready.
    Unavailable,
    /// It did not answer in time. A write may have been applied.
    Timeout,
    /// It holds something that is not a session.
    Corrupt,
    /// It answered that it will not: no permission, no memory, read-only.
    Refused,
}

impl StoreError {
    /// Wraps the reason.
    pub fn new(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// Why, in one word to branch on.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "store is unavailable",
            StoreErrorKind::Timeout => "store did not answer in time",
            StoreErrorKind::Corrupt => "store holds something that is not a session",
            StoreErrorKind::Refused => "store refused the operation",
        })
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A store whose type is forgotten, so that an application can choose it at run time.
#[derive(Clone)]
pub struct AnyStore(Arc<dyn Erased>);

impl AnyStore {
    pub(crate) async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.0.load(id).await
    }

    pub(crate) async fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, ttl).await
    }

    pub(crate) async fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Saved, StoreError> {
        self.0.save(id, expect, record, ttl).await
    }

    pub(crate) async fn touch(&self, id: &SessionId, ttl: Duration) -> Result<Touched, StoreError> {
        self.0.touch(id, ttl).await
    }

    pub(crate) async fn destroy(&self, id: &SessionId) -> Result<Destroyed, StoreError> {
        self.0.destroy(id).await
    }
}

impl<S: Store> From<S> for AnyStore {
    fn from(store: S) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyStore")
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn load<'a>(&'a self, id: &'a SessionId) -> Boxed<'a, Option<Loaded>>;
    fn create<'a>(
        &'a self,
        id: &'a SessionId,
        record: &'a RecordBytes,
        ttl: Duration,
    ) -> Boxed<'a, Created>;
    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        expect: Version,
        record: &'a RecordBytes,
        ttl: Duration,
    ) -> Boxed<'a, Saved>;
    fn touch<'a>(&'a self, id: &'a SessionId, ttl: Duration) -> Boxed<'a, Touched>;
    fn destroy<'a>(&'a self, id: &'a SessionId) -> Boxed<'a, Destroyed>;
}

impl<S: Store> Erased for S {
    fn load<'a>(&'a self, id: &'a SessionId) -> Boxed<'a, Option<Loaded>> {
        Box::pin(Store::load(self, id))
    }

    fn create<'a>(
        &'a self,
        id: &'a SessionId,
        record: &'a RecordBytes,
        ttl: Duration,
    ) -> Boxed<'a, Created> {
        Box::pin(Store::create(self, id, record, ttl))
    }

    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        expect: Version,
        record: &'a RecordBytes,
        ttl: Duration,
    ) -> Boxed<'a, Saved> {
        Box::pin(Store::save(self, id, expect, record, ttl))
    }

    fn touch<'a>(&'a self, id: &'a SessionId, ttl: Duration) -> Boxed<'a, Touched> {
        Box::pin(Store::touch(self, id, ttl))
    }

    fn destroy<'a>(&'a self, id: &'a SessionId) -> Boxed<'a, Destroyed> {
        Box::pin(Store::destroy(self, id))
    }
}
