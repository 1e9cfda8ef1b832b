//! The store: session operations on one side, commands and replies on the other.

use std::{fmt, sync::Arc, time::Duration};

use session_core::{
    AnyChanges, AnyIndex, Applied, Created, Destroy, Destroyed, Health, Loaded, Replicas, Saved,
    SessionId, Store, StoreError, Touched, Version, Write,
};

use crate::{
    announcer::Announcer,
    bulk,
    changes::RedisChanges,
    command::{Command, Operation},
    config::RedisConfig,
    connect_error::ConnectError,
    ended::EndedIds,
    index::RedisIndex,
    metrics,
    router::Router,
    scan::Scan,
    topology::Topology,
};

/// Keeps sessions in Redis or Valkey: on one server, on the primary that sentinels name, or in a
/// cluster.
///
/// Clones share the connections. Operations run on a tokio runtime, and so do the tasks that make
/// and replace connections. A store may outlive the runtime it was first used on.
///
/// # Cancel safety
///
/// An operation whose future is dropped is applied completely or not at all, then or shortly after.
/// The store stays usable.
#[derive(Clone)]
pub struct RedisStore {
    router: Arc<Router>,
    config: Arc<RedisConfig>,
    index: RedisIndex,
    announcer: Arc<Announcer>,
    ended: EndedIds,
}

impl RedisStore {
    /// Connects to the store of a URL, and checks that sessions can be read.
    ///
    /// The [documentation of the crate](crate#urls) lists the forms of the URL.
    ///
    /// # Errors
    ///
    /// The URL or an option is invalid; or Redis cannot be reached, rejects the credentials, is
    /// loading its data, or denies the commands. Use [`lazy`](Self::lazy) if the service must start
    /// while Redis is unavailable.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), session_redis::ConnectError> {
    /// use session_redis::RedisStore;
    ///
    /// let url = "redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/sessions";
    /// let store = RedisStore::connect(url).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::open(RedisConfig::from_url(url)?).await
    }

    /// Connects as configured, and checks that sessions can be read.
    ///
    /// # Errors
    ///
    /// An option is invalid; otherwise as [`connect`](Self::connect).
    pub async fn open(config: RedisConfig) -> Result<Self, ConnectError> {
        let store = Self::lazy(config)?;
        // loads an id that no session has, which takes the commands and permissions of any load
        store
            .load(&SessionId::from_bytes([0; SessionId::BYTES]))
            .await?;
        Ok(store)
    }

    /// Makes a store that connects when it is first used.
    ///
    /// While Redis is unavailable, operations fail with an error of kind
    /// [`Unavailable`](session_core::StoreErrorKind::Unavailable).
    ///
    /// # Errors
    ///
    /// An option is invalid ([`ConnectError::Config`]).
    ///
    /// # Examples
    ///
    /// ```
    /// use session_redis::{RedisConfig, RedisStore};
    ///
    /// // succeeds whether or not the server is up
    /// let store = RedisStore::lazy(RedisConfig::from_url("redis://127.0.0.1")?)?;
    /// # Ok::<(), session_redis::ConnectError>(())
    /// ```
    pub fn lazy(config: RedisConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        #[cfg(feature = "tls")]
        config.check_tls()?;
        let config = Arc::new(config);
        let announcer = Announcer::new(&config.prefix);
        let ended = EndedIds::new(&config, &announcer);
        let router = ended.router().clone();
        Ok(Self {
            index: RedisIndex::new(router.clone(), config.clone()),
            router,
            config,
            announcer,
            ended,
        })
    }

    /// Finds the ids of all sessions, on every node.
    ///
    /// For tools of operators: it takes Redis about a millisecond for 1000 keys, other keys
    /// included. Scans use connections of their own, at most four to each node, so requests are not
    /// queued behind their replies. The user needs [`RedisConfig::operator_acl_rules`].
    ///
    /// # Examples
    ///
    /// Ending all sessions, in bulk:
    ///
    /// ```no_run
    /// # use session_core::StoreError;
    /// # async fn example(store: session_redis::RedisStore) -> Result<(), StoreError> {
    /// let mut scan = store.scan();
    /// while let Some(ids) = scan.next_page().await? {
    ///     store.destroy_many(&ids).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn scan(&self) -> Scan {
        Scan::new(self.router.clone(), self.config.clone())
    }

    /// Counts the sessions, by a [`scan`](Self::scan) with its limits: one that is found twice is
    /// counted twice, which happens while Redis resizes its table of keys.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_page`].
    pub async fn count(&self) -> Result<u64, StoreError> {
        let (mut scan, mut count) = (self.scan(), 0);
        while let Some(ids) = scan.next_page().await? {
            count += ids.len() as u64;
        }
        Ok(count)
    }

    /// Removes these sessions, whatever their versions, in pipelines of 100 to each node. An id
    /// without a session is skipped.
    ///
    /// # Errors
    ///
    /// A node cannot be reached or does not reply in time. Some of the sessions may have been
    /// removed; the call can be repeated.
    pub async fn destroy_many(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        let begun = self.ended.begin();
        let removal = bulk::remove(&self.router, &self.config.prefix, ids).await;
        self.ended.ended(&removal.absent, begun);
        removal.error.map_or(Ok(()), Err)
    }

    fn key(&self, id: &SessionId) -> String {
        [&self.config.prefix, id.as_str()].concat()
    }

    /// What a write may do in one step: on a cluster, the index is on other nodes.
    fn atomic<'w>(&self, write: Write<'w>) -> Write<'w> {
        match self.config.topology {
            Topology::Cluster(_) => write.listed(&[]),
            Topology::Standalone(_) | Topology::Unix(_) | Topology::Sentinel { .. } => write,
        }
    }

    /// Counts a write that fewer replicas have than were asked for.
    fn confirmed(&self, asked: Option<Replicas>, applied: &Applied) {
        if let (Some(asked), Some(count)) = (asked, applied.replicas) {
            metrics::confirmed(count >= asked.count());
        }
    }

    /// Looks after the index once a session is listed together with its record.
    fn listed(&self, write: Write<'_>, applied: &Applied) {
        if applied.listed.is_some_and(|listed| listed.entries > 1) {
            write
                .listings
                .iter()
                .for_each(|listing| self.index.clean_later(listing.key));
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("topology", &self.config.topology)
            .field("prefix", &self.config.prefix)
            .finish_non_exhaustive()
    }
}

impl Store for RedisStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let key = self.key(id);
        let command = Command::new(&key, Operation::Load);
        let begun = self.ended.begin();
        let loaded = self.router.run(command).await?.into_loaded()?;
        Ok(self.ended.loaded(id, begun, loaded))
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let (key, write) = (self.key(id), self.atomic(write));
        let command = Command::new(&key, Operation::Create(write))
            .with_prefix(&self.config.prefix)
            .confirmed_by(write.replicas);
        let created = self.router.run(command).await?.into_created()?;
        if let Created::Created(applied) = &created {
            self.ended.created(id);
            self.confirmed(write.replicas, applied);
            self.listed(write, applied);
        }
        Ok(created)
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        if self.ended.contains(id) {
            return Ok(Saved::Gone);
        }
        let (key, write) = (self.key(id), self.atomic(write));
        let command = Command::new(&key, Operation::Save { expected, write })
            .with_prefix(&self.config.prefix)
            .confirmed_by(write.replicas);
        let saved = self.router.run(command).await?.into_saved()?;
        if let Saved::Saved(applied) = &saved {
            self.confirmed(write.replicas, applied);
            self.listed(write, applied);
        }
        Ok(saved)
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        if self.ended.contains(id) {
            return Ok(Touched::Gone);
        }
        let key = self.key(id);
        let command = Command::new(&key, Operation::Touch { expected, ttl });
        self.router.run(command).await?.into_touched()
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let expected = options.expected;
        if expected.is_some() && self.ended.contains(id) {
            return Ok(Destroyed::Gone);
        }
        let key = self.key(id);
        let command = Command::new(&key, Operation::Destroy { expected });
        let command = command.confirmed_by(options.replicas);
        let begun = self.ended.begin();
        let reply = self.router.run(command).await?;
        let destroyed = match expected {
            Some(_) => reply.into_destroyed_if_expected(),
            None => reply.into_destroyed(),
        }?;
        if let Destroyed::Destroyed(applied) = &destroyed {
            self.confirmed(options.replicas, applied);
        }
        match destroyed {
            // an absent record has ended for good, too
            Destroyed::Destroyed(_) | Destroyed::Gone => self.ended.ended(&[*id], begun),
            Destroyed::Conflict(_) => {}
        }
        Ok(destroyed)
    }

    /// Sends one `PING` to each node that serves sessions. Ready means that all of them replied.
    ///
    /// The parts are the nodes, by address, or by the name of the service with Sentinel. If the
    /// store was not used yet it connects first. It takes no longer than
    /// [`RedisConfig::total_timeout`].
    async fn health(&self) -> Health {
        self.router.health().await
    }

    fn index(&self) -> Option<AnyIndex> {
        Some(AnyIndex::new(self.index.clone()))
    }

    /// Redis announces changes of the sessions that it is asked to remember (`CLIENT TRACKING`).
    /// The [documentation of the crate](crate#changes) says when a feed ends.
    ///
    /// Nothing is tracked, and nothing more is sent, while nobody listens.
    fn changes(&self) -> Option<AnyChanges> {
        let (router, config) = (self.router.clone(), self.config.clone());
        let (announcer, ended) = (self.announcer.clone(), self.ended.clone());
        let changes = RedisChanges::new(router, config, announcer, ended);
        Some(AnyChanges::new(changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_passwords() {
        let config = RedisConfig::from_url("redis://app:hunter2@h").expect("a URL");
        let store = RedisStore::lazy(config).expect("a store");
        let printed = format!("{store:?} {:?}", store.router);
        assert!(!printed.contains("hunter"), "{printed}");
    }
}
