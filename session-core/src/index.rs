//! The contract between sessions and the index that lists them by principal and tag.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{
    id::SessionId,
    listing::{IndexEntry, IndexKey, Listed, Listing, Nonce},
    store_error::StoreError,
};

/// Lists the ids of sessions under keys: a capability of a [`Store`](crate::Store).
///
/// Sessions are listed after their record is written and before the login is acknowledged, and an
/// entry is removed only by its nonce or once its session has ended for good. So no entry of a
/// session that somebody can use is missing, and a stale entry harms nobody: whoever reads one
/// looks at the record.
///
/// * [`put`](Self::put) **must** be atomic, and visible to every read that begins after it was
///   acknowledged. It lists the session with the given nonce, whatever was there. A session that is
///   listed already keeps its sequence number; another one gets a number higher than that of every
///   other entry of the key.
/// * [`remove`](Self::remove) **must** be atomic: the entry has this nonce and is removed, or
///   nothing changes.
/// * A store **may** forget entries at any time. The next touch of each session lists it again.
/// * [`refresh`](Self::refresh) and [`forget`](Self::forget) **must not** delay the caller: they
///   happen later, or not at all.
/// * An index **should** remove the entries of some ended sessions with each `put`, so that entries
///   do not pile up where nobody asks for them.
/// * An error of kind [`Timeout`](crate::StoreErrorKind::Timeout) says that the outcome is unknown.
pub trait Index: Send + Sync + 'static {
    /// Lists a session.
    fn put(&self, listing: &Listing) -> impl Future<Output = Result<Listed, StoreError>> + Send;

    /// Returns up to `limit` entries of a key whose sequence number is higher than `after`, in the
    /// order of their numbers.
    fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<IndexEntry>, StoreError>> + Send;

    /// Removes the entry of a session if it has this nonce. Succeeds if there is none.
    fn remove(
        &self,
        key: &IndexKey,
        id: &SessionId,
        nonce: Nonce,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The session was used: sets [`IndexEntry::seen_at`], and extends the life of the key. Lists
    /// the session if it is not listed; an entry that is there keeps its nonce.
    fn refresh(&self, listing: Listing);

    /// The session has ended and its id will not be used again: removes its entry, whatever its
    /// nonce.
    fn forget(&self, key: IndexKey, id: SessionId);
}

/// Any [`Index`]. Clones share it.
#[derive(Clone)]
pub struct AnyIndex(Arc<dyn ErasedIndex>);

impl AnyIndex {
    /// Erases the type of an index.
    pub fn new(index: impl Index) -> Self {
        Self(Arc::new(index))
    }
}

impl Index for AnyIndex {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        self.0.put(listing).await
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        self.0.entries(key, after, limit).await
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        self.0.remove(key, id, nonce).await
    }

    fn refresh(&self, listing: Listing) {
        self.0.refresh(listing);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.0.forget(key, id);
    }
}

impl fmt::Debug for AnyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyIndex")
    }
}

type Operation<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

trait ErasedIndex: Send + Sync {
    fn put<'a>(&'a self, listing: &'a Listing) -> Operation<'a, Listed>;
    fn entries<'a>(
        &'a self,
        key: &'a IndexKey,
        after: u64,
        limit: usize,
    ) -> Operation<'a, Vec<IndexEntry>>;
    fn remove<'a>(
        &'a self,
        key: &'a IndexKey,
        id: &'a SessionId,
        nonce: Nonce,
    ) -> Operation<'a, ()>;
    fn refresh(&self, listing: Listing);
    fn forget(&self, key: IndexKey, id: SessionId);
}

impl<I: Index> ErasedIndex for I {
    fn put<'a>(&'a self, listing: &'a Listing) -> Operation<'a, Listed> {
        Box::pin(Index::put(self, listing))
    }

    fn entries<'a>(
        &'a self,
        key: &'a IndexKey,
        after: u64,
        limit: usize,
    ) -> Operation<'a, Vec<IndexEntry>> {
        Box::pin(Index::entries(self, key, after, limit))
    }

    fn remove<'a>(
        &'a self,
        key: &'a IndexKey,
        id: &'a SessionId,
        nonce: Nonce,
    ) -> Operation<'a, ()> {
        Box::pin(Index::remove(self, key, id, nonce))
    }

    fn refresh(&self, listing: Listing) {
        Index::refresh(self, listing);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        Index::forget(self, key, id);
    }
}
