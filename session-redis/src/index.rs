//! The index of a store: which sessions a principal or a tag has.

use std::{fmt, future::Future, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use session_core::{Index, IndexEntry, IndexKey, Listed, Listing, Nonce, SessionId, StoreError};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    command::{Command, Operation},
    config::RedisConfig,
    index_entry::redis_key,
    router::Router,
};

/// How many operations that nobody waits for may be under way. More are left out: the next touch
/// or login makes up for them.
const MAX_BACKGROUND: usize = 256;
/// How many entries of a key are looked at after a session was listed under it.
const CLEANED: usize = 32;
/// How many of them are looked up at a time.
const CONCURRENCY: usize = 4;

/// Lists the sessions of a store. Clones share everything.
#[derive(Clone)]
pub(crate) struct RedisIndex {
    router: Arc<Router>,
    config: Arc<RedisConfig>,
    background: Arc<Semaphore>,
}

impl RedisIndex {
    pub(crate) fn new(router: Arc<Router>, config: Arc<RedisConfig>) -> Self {
        Self {
            router,
            config,
            background: Arc::new(Semaphore::new(MAX_BACKGROUND)),
        }
    }

    fn key(&self, key: &IndexKey) -> String {
        redis_key(&self.config.prefix, key)
    }

    async fn list(&self, listing: &Listing, keep_nonce: bool) -> Result<Listed, StoreError> {
        let key = self.key(&listing.key);
        let operation = Operation::List {
            listing,
            keep_nonce,
        };
        let reply = self.router.run(Command::new(&key, operation)).await?;
        reply.into_listed()
    }

    async fn remove(
        &self,
        key: &IndexKey,
        id: &SessionId,
        nonce: Option<Nonce>,
    ) -> Result<(), StoreError> {
        let key = self.key(key);
        let operation = Operation::Unlist { id, nonce };
        let reply = self.router.run(Command::new(&key, operation)).await?;
        reply.into_count().map(drop)
    }

    async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        let key = [&self.config.prefix, id.as_str()].concat();
        let reply = self
            .router
            .run(Command::new(&key, Operation::Exists))
            .await?;
        Ok(reply.into_count()? > 0)
    }

    /// Removes the entries of sessions that have ended, among some that Redis chooses.
    pub(crate) fn clean_later(&self, key: IndexKey) {
        let index = self.clone();
        self.in_background("clean", async move { index.clean(&key).await });
    }

    async fn clean(&self, key: &IndexKey) -> Result<(), StoreError> {
        let redis_key = self.key(key);
        let operation = Operation::SomeEntries { count: CLEANED };
        let reply = self.router.run(Command::new(&redis_key, operation)).await?;
        let entries = reply.into_entries()?;
        // a session that was ever listed and is absent now has ended for good
        let clean = |entry: IndexEntry| async move {
            match self.exists(&entry.id).await? {
                true => Ok(()),
                false => self.remove(key, &entry.id, Some(entry.nonce)).await,
            }
        };
        let cleaned = stream::iter(entries).map(clean);
        cleaned.buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Does something that nobody waits for.
    fn in_background(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) {
        let (Ok(runtime), Ok(permit)) = (
            Handle::try_current(),
            self.background.clone().try_acquire_owned(),
        ) else {
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = work.await {
                tracing::debug!(%error, what, "the index was not brought up to date");
            }
            drop(permit);
        });
    }
}

impl Index for RedisIndex {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        let listed = self.list(listing, false).await?;
        if listed.entries > 1 {
            self.clean_later(listing.key);
        }
        Ok(listed)
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let key = self.key(key);
        let command = Command::new(&key, Operation::Entries);
        let mut entries = self.router.run(command).await?.into_entries()?;
        entries.retain(|entry| entry.sequence > after);
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries.truncate(limit);
        Ok(entries)
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        self.remove(key, id, Some(nonce)).await
    }

    fn refresh(&self, listing: Listing) {
        let index = self.clone();
        self.in_background("refresh", async move {
            index.list(&listing, true).await.map(drop)
        });
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        let index = self.clone();
        self.in_background("forget", async move { index.remove(&key, &id, None).await });
    }
}

impl fmt::Debug for RedisIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisIndex")
    }
}
