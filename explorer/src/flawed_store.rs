//! Stores that break their contract, to show that the explorer notices.

use std::{fmt, time::Duration};

use session_core::{
    AnyIndex, Applied, Created, Destroy, Destroyed, Index, IndexEntry, IndexKey, Listed, Listing,
    Loaded, Nonce, Record, Saved, SessionId, Store, StoreError, Touched, Version, Write,
};

/// A rule of the store contract that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A save of an absent record stores it.
    SaveCreates,
    /// A save replaces any version.
    SaveIgnoresVersion,
    /// A save that is repeated after a lost reply takes its own write for a concurrent one.
    SaveForgetsItself,
    /// A save does not set the time to live.
    SaveKeepsLife,
    /// A touch extends any version.
    TouchIgnoresVersion,
    /// A touch changes the version.
    TouchChangesVersion,
    /// A destroy removes any version.
    DestroyIgnoresVersion,
    /// A destroy of an absent record succeeds although a version was expected.
    DestroyTakesAbsentForDone,
    /// A save that conflicts claims to have succeeded.
    SaveLies,
    /// A session that is listed already keeps the nonce of its entry when it is listed again.
    PutKeepsNonce,
    /// An entry is removed whatever its nonce.
    RemoveIgnoresNonce,
    /// A session that is listed again gets a new sequence number.
    PutRenumbers,
}

impl Flaw {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::SaveCreates,
        Self::SaveIgnoresVersion,
        Self::SaveForgetsItself,
        Self::SaveKeepsLife,
        Self::TouchIgnoresVersion,
        Self::TouchChangesVersion,
        Self::DestroyIgnoresVersion,
        Self::DestroyTakesAbsentForDone,
        Self::SaveLies,
        Self::PutKeepsNonce,
        Self::RemoveIgnoresNonce,
        Self::PutRenumbers,
    ];

    /// Whether only an index has it.
    pub fn is_of_index(self) -> bool {
        matches!(
            self,
            Self::PutKeepsNonce | Self::RemoveIgnoresNonce | Self::PutRenumbers
        )
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SaveCreates => "save stores an absent record",
            Self::SaveIgnoresVersion => "save replaces any version",
            Self::SaveForgetsItself => "save takes its own write for a concurrent one",
            Self::SaveKeepsLife => "save does not set the time to live",
            Self::TouchIgnoresVersion => "touch extends any version",
            Self::TouchChangesVersion => "touch changes the version",
            Self::DestroyIgnoresVersion => "destroy removes any version",
            Self::DestroyTakesAbsentForDone => "destroy of an absent record succeeds",
            Self::SaveLies => "save that conflicts claims success",
            Self::PutKeepsNonce => "put of a listed session keeps the nonce",
            Self::RemoveIgnoresNonce => "remove ignores the nonce",
            Self::PutRenumbers => "put of a listed session gives a new number",
        })
    }
}

/// A store with a flaw.
#[derive(Debug)]
pub struct FlawedStore<S> {
    inner: S,
    flaw: Flaw,
}

impl<S: Store> FlawedStore<S> {
    /// Breaks one rule of a store.
    pub fn new(inner: S, flaw: Flaw) -> Self {
        Self { inner, flaw }
    }

    async fn stored(&self, id: &SessionId) -> Result<Option<Version>, StoreError> {
        let loaded = self.inner.load(id).await?;
        Ok(loaded.map(|loaded| loaded.record.version()))
    }
}

impl<S: Store> Store for FlawedStore<S> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.inner.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.inner.create(id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let stored = self.inner.load(id).await?;
        let version = stored.as_ref().map(|stored| stored.record.version());
        match (self.flaw, stored) {
            (Flaw::SaveCreates, None) => {
                let _ = self.inner.create(id, write).await?;
                Ok(Saved::Saved(Applied::new()))
            }
            (Flaw::SaveIgnoresVersion, Some(_)) => {
                let version = version.unwrap_or(expected);
                self.inner.save(id, version, write).await
            }
            (Flaw::SaveForgetsItself, _) => {
                let _ = self.inner.save(id, expected, write).await?;
                self.inner.save(id, expected, write).await
            }
            (Flaw::SaveKeepsLife, Some(stored)) => {
                let ttl = stored.ttl.unwrap_or(write.ttl);
                let write = Write::new(write.record, ttl);
                self.inner.save(id, expected, write).await
            }
            (Flaw::SaveLies, Some(_)) if version != Some(expected) => {
                Ok(Saved::Saved(Applied::new()))
            }
            _ => self.inner.save(id, expected, write).await,
        }
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let stored = self.inner.load(id).await?;
        match (self.flaw, stored) {
            (Flaw::TouchIgnoresVersion, Some(stored)) => {
                self.inner.touch(id, stored.record.version(), ttl).await
            }
            (Flaw::TouchChangesVersion, Some(stored)) if stored.record.version() == expected => {
                let other = expected.as_bytes().map(|byte| byte ^ 0xff);
                let record = Record::new(Version::from_bytes(other), stored.record.into_body());
                let _ = self
                    .inner
                    .save(id, expected, Write::new(&record, ttl))
                    .await?;
                Ok(Touched::Touched(Applied::new()))
            }
            _ => self.inner.touch(id, expected, ttl).await,
        }
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        match self.flaw {
            Flaw::DestroyIgnoresVersion if self.stored(id).await?.is_some() => {
                self.inner.destroy(id, Destroy::any()).await
            }
            Flaw::DestroyTakesAbsentForDone if self.stored(id).await?.is_none() => {
                self.inner.destroy(id, Destroy::any()).await
            }
            _ => self.inner.destroy(id, options).await,
        }
    }

    fn index(&self) -> Option<AnyIndex> {
        let inner = self.inner.index()?;
        let flaw = self.flaw;
        Some(AnyIndex::new(FlawedIndex { inner, flaw }))
    }
}

/// An index with a flaw.
struct FlawedIndex {
    inner: AnyIndex,
    flaw: Flaw,
}

impl FlawedIndex {
    async fn listed(&self, key: &IndexKey, id: &SessionId) -> Result<Option<Nonce>, StoreError> {
        let entries = self.inner.entries(key, 0, usize::MAX).await?;
        let mut entries = entries.iter();
        let found = entries.find(|entry| entry.id == *id);
        Ok(found.map(|entry| entry.nonce))
    }
}

impl Index for FlawedIndex {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        let nonce = self.listed(&listing.key, &listing.id).await?;
        match (self.flaw, nonce) {
            (Flaw::PutKeepsNonce, Some(nonce)) => {
                let Listing {
                    key,
                    id,
                    seen_at,
                    ttl,
                    ..
                } = listing.clone();
                let listing = Listing::new(key, id, nonce, seen_at, ttl);
                self.inner.put(&listing).await
            }
            (Flaw::PutRenumbers, Some(_)) => {
                self.inner.forget(listing.key, listing.id);
                self.inner.put(listing).await
            }
            _ => self.inner.put(listing).await,
        }
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        self.inner.entries(key, after, limit).await
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        if self.flaw == Flaw::RemoveIgnoresNonce {
            self.inner.forget(*key, *id);
        }
        self.inner.remove(key, id, nonce).await
    }

    fn refresh(&self, listing: Listing) {
        self.inner.refresh(listing);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.inner.forget(key, id);
    }
}
