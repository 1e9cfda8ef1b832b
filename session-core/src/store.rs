//! The contract between sessions and the store that keeps them.

use std::{
    future::{self, Future},
    sync::Arc,
    time::Duration,
};

use crate::{
    changes::AnyChanges,
    health::Health,
    id::SessionId,
    index::AnyIndex,
    listing::{Listed, Listing},
    record::{Loaded, Record, Version},
    replicas::Replicas,
    store_error::StoreError,
};

/// Keeps records under ids until their time to live runs out.
///
/// A store sees a version and opaque bytes. [`contract!`] tests an implementation against these
/// rules:
///
/// * A store **must** keep and return [`Record::version`] unchanged. [`touch`](Self::touch) does
///   not change it.
/// * [`create`](Self::create) **must** fail if the id is taken. [`save`](Self::save) and
///   [`touch`](Self::touch) **must** leave an absent id absent. No operation upserts.
/// * `save`, `touch`, and [`destroy`](Self::destroy) with [`Destroy::expected`] **must** be atomic:
///   the stored version equals the expected one and the operation is applied, or nothing changes.
/// * `destroy` with an expected version **must** succeed for at most one caller: an absent record
///   is [`Destroyed::Gone`]. Without an expected version, an absent record is
///   [`Destroyed::Destroyed`].
/// * A store **must not** return a record whose time to live has passed by the store's own clock.
///   It **may** forget a record at any time; the user is then logged out.
/// * A store that repeats `save` after a lost reply **must** recognize its own write: if the stored
///   version is the one it was about to write, the answer is [`Saved::Saved`]. It **must not**
///   repeat `create`.
/// * If the outcome is unknown, the store **must** return an error of kind
///   [`Timeout`](crate::StoreErrorKind::Timeout). Every other error promises that nothing was
///   applied. The store **must not** report the record as absent.
/// * An operation whose future is dropped **must** be applied completely or not at all, then or
///   shortly after, and the store **must** stay usable.
/// * Every operation **must** end within a time that the store chooses; callers set no timeout.
///
#[cfg_attr(feature = "contract", doc = "[`contract!`]: crate::contract!")]
#[cfg_attr(
    not(feature = "contract"),
    doc = "[`contract!`]: crate#features \"with the feature `contract`\""
)]
pub trait Store: Send + Sync + 'static {
    /// Reads a record and its remaining time to live.
    fn load(
        &self,
        id: &SessionId,
    ) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send;

    /// Stores a record under an id that is not taken.
    fn create(
        &self,
        id: &SessionId,
        write: Write<'_>,
    ) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// Replaces the record if its version is `expected`, and sets its time to live.
    fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Sets the time to live of the record if its version is `expected`.
    fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Removes the record, or removes it only if its version is [`Destroy::expected`].
    fn destroy(
        &self,
        id: &SessionId,
        options: Destroy,
    ) -> impl Future<Output = Result<Destroyed, StoreError>> + Send;

    /// Reports whether the store can serve, for readiness probes.
    ///
    /// A store **may** connect for it, and **must not** put more load on its servers than one small
    /// request to each. A store that does not know its health leaves the default, which is ready.
    fn health(&self) -> impl Future<Output = Health> + Send {
        future::ready(Health::unknown())
    }

    /// Returns the index that lists the sessions of this store, if it has one.
    fn index(&self) -> Option<AnyIndex> {
        None
    }

    /// Returns what announces changes of records, if this store can.
    fn changes(&self) -> Option<AnyChanges> {
        None
    }
}

/// A record to store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Write<'a> {
    /// The version and the body to store.
    pub record: &'a Record,
    /// How long the store keeps it, from now on.
    pub ttl: Duration,
    /// What the session is to be listed under, once the record is stored.
    ///
    /// A store that can write the record and these entries in one step does so, and says so
    /// ([`Applied::listed`]). Any other ignores them: sessions then call [`Index::put`].
    ///
    /// [`Index::put`]: crate::Index::put
    pub listings: &'a [Listing],
    /// How many replicas are to confirm the write. A store without replicas ignores it.
    pub replicas: Option<Replicas>,
}

impl<'a> Write<'a> {
    /// Makes a write of `record` that lives for `ttl`.
    pub fn new(record: &'a Record, ttl: Duration) -> Self {
        Self {
            record,
            ttl,
            listings: &[],
            replicas: None,
        }
    }

    /// The same write, of a session that is to be listed.
    pub fn listed(self, listings: &'a [Listing]) -> Self {
        Self { listings, ..self }
    }

    /// The same write, which so many replicas are to confirm.
    pub fn confirm(self, replicas: impl Into<Option<Replicas>>) -> Self {
        let replicas = replicas.into();
        Self { replicas, ..self }
    }
}

/// Which record [`Store::destroy`] removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destroy {
    /// Remove the record only if it has this version; `None` removes any.
    pub expected: Option<Version>,
    /// How many replicas are to confirm it. A store without replicas ignores it.
    pub replicas: Option<Replicas>,
}

impl Destroy {
    /// Removes the record whatever its version.
    pub fn any() -> Self {
        Self::default()
    }

    /// Removes the record only if it has this version.
    pub fn expecting(version: Version) -> Self {
        Self {
            expected: Some(version),
            ..Self::default()
        }
    }

    /// The same, which so many replicas are to confirm.
    pub fn confirm(self, replicas: impl Into<Option<Replicas>>) -> Self {
        let replicas = replicas.into();
        Self { replicas, ..self }
    }
}

/// What a store reports about an operation that it applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The answer to the first of [`Write::listings`]; `None` if the store has not listed them.
    pub listed: Option<Listed>,
    /// How many replicas are known to have what was written; `None` if nothing was to be confirmed
    /// or written, or the store has no replicas.
    ///
    /// The operation is acknowledged however few they are. A store **must not** count a replica
    /// that may lack the write.
    pub replicas: Option<u32>,
}

impl Applied {
    /// Reports that the operation was applied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports that all of [`Write::listings`] were applied in the same step.
    pub fn and_listed(listed: Listed) -> Self {
        Self {
            listed: Some(listed),
            ..Self::default()
        }
    }

    /// The same report, of a write that so many replicas have.
    pub fn on_replicas(self, replicas: impl Into<Option<u32>>) -> Self {
        let replicas = replicas.into();
        Self { replicas, ..self }
    }
}

/// The answer of [`Store::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// The record is stored.
    Created(Applied),
    /// The id is taken; nothing changed.
    Taken,
}

/// The answer of [`Store::save`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Saved {
    /// The record is stored.
    Saved(Applied),
    /// The stored version was another one; nothing changed. This is the current record.
    Conflict(Loaded),
    /// There is no record.
    Gone,
}

/// The answer of [`Store::touch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Touched {
    /// The time to live is set.
    Touched(Applied),
    /// The stored version was another one; nothing changed. This is the current record.
    Conflict(Loaded),
    /// There is no record.
    Gone,
}

/// The answer of [`Store::destroy`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Destroyed {
    /// The record is removed; without an expected version also if there was none.
    Destroyed(Applied),
    /// The stored version was another one; nothing changed. This is the current record.
    Conflict(Loaded),
    /// There is no record. Only an answer to a destroy with an expected version.
    Gone,
}

impl<S: Store> Store for Arc<S> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        S::load(self, id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        S::create(self, id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        S::save(self, id, expected, write).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        S::touch(self, id, expected, ttl).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        S::destroy(self, id, options).await
    }

    async fn health(&self) -> Health {
        S::health(self).await
    }

    fn index(&self) -> Option<AnyIndex> {
        S::index(self)
    }

    fn changes(&self) -> Option<AnyChanges> {
        S::changes(self)
    }
}
