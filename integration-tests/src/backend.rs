//! The store that a test runs on: in memory, or a Redis server.

use std::{sync::Arc, time::Duration};

use session_core::{
    AnyIndex, Created, Destroy, Destroyed, Health, Loaded, MemoryStore, Saved, SessionId, Store,
    StoreError, Touched, Version, Write, testing::TestStore,
};
use session_redis::RedisStore;

use test_support::Redis;

/// A store whose records a test can inspect.
#[derive(Clone, Debug)]
pub enum Backend {
    /// In memory.
    Memory(MemoryStore),
    /// On a Redis server of its own.
    Redis {
        /// The store.
        store: RedisStore,
        /// The server.
        server: Arc<Redis>,
    },
}

impl Backend {
    /// An empty store in memory.
    pub fn memory() -> TestStore<Self> {
        TestStore::new(Self::Memory(MemoryStore::new()))
    }

    /// An empty store on a Redis server that is started for it.
    pub async fn redis() -> TestStore<Self> {
        let server = Arc::new(Redis::start());
        let store = RedisStore::connect(&server.url())
            .await
            .expect("the server answers");
        TestStore::new(Self::Redis { store, server })
    }

    /// An empty store of the same kind, without the faults of the test so far. A Redis server is
    /// emptied for it.
    pub fn emptied(&self) -> TestStore<Self> {
        match self {
            Self::Memory(_) => Self::memory(),
            Self::Redis { server, .. } => {
                let () = server.command(&["FLUSHALL"]);
                TestStore::new(self.clone())
            }
        }
    }

    /// How many sessions are stored.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(store) => store.len(),
            Self::Redis { server, .. } => {
                let keys: Vec<String> = server.command(&["KEYS", "*"]);
                let sessions = keys.iter().filter(|key| !key.contains(":index:"));
                sessions.count() as u64
            }
        }
    }

    /// Whether no session is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every key with the bytes stored under it.
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::Memory(store) => store
                .dump()
                .into_iter()
                .map(|(id, record)| (id.to_string(), record.body().to_vec()))
                .collect(),
            Self::Redis { server, .. } => server.dump(),
        }
    }
}

impl Store for Backend {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        match self {
            Self::Memory(store) => store.load(id).await,
            Self::Redis { store, .. } => store.load(id).await,
        }
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        match self {
            Self::Memory(store) => store.create(id, write).await,
            Self::Redis { store, .. } => store.create(id, write).await,
        }
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        match self {
            Self::Memory(store) => store.save(id, expected, write).await,
            Self::Redis { store, .. } => store.save(id, expected, write).await,
        }
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        match self {
            Self::Memory(store) => store.touch(id, expected, ttl).await,
            Self::Redis { store, .. } => store.touch(id, expected, ttl).await,
        }
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        match self {
            Self::Memory(store) => store.destroy(id, options).await,
            Self::Redis { store, .. } => store.destroy(id, options).await,
        }
    }

    async fn health(&self) -> Health {
        match self {
            Self::Memory(store) => store.health().await,
            Self::Redis { store, .. } => store.health().await,
        }
    }

    fn index(&self) -> Option<AnyIndex> {
        match self {
            Self::Memory(store) => store.index(),
            Self::Redis { store, .. } => store.index(),
        }
    }
}
