//! A store whose type is erased, so that an application can choose it at run time.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    changes::AnyChanges,
    health::Health,
    id::SessionId,
    index::AnyIndex,
    record::{Loaded, Version},
    store::{Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::StoreError,
};

/// Any [`Store`], chosen at run time. Clones share the store.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use session_core::{AnyStore, MemoryStore};
///
/// fn choose(name: &str) -> Option<AnyStore> {
///     match name {
///         "memory" => Some(AnyStore::new(MemoryStore::new())),
///         _ => None,
///     }
/// }
/// assert!(choose("memory").is_some());
/// # }
/// ```
#[derive(Clone)]
pub struct AnyStore(Arc<dyn ErasedStore>);

impl AnyStore {
    /// Erases the type of a store. An `AnyStore` is returned as it is.
    pub fn new(store: impl Store) -> Self {
        match (&store as &dyn Any).downcast_ref::<Self>() {
            Some(erased) => erased.clone(),
            None => Self(Arc::new(store)),
        }
    }
}

impl Store for AnyStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.0.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.0.create(id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        self.0.save(id, expected, write).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, expected, ttl).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        self.0.destroy(id, options).await
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    fn index(&self) -> Option<AnyIndex> {
        self.0.index()
    }

    fn changes(&self) -> Option<AnyChanges> {
        self.0.changes()
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyStore")
    }
}

type Operation<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

trait ErasedStore: Send + Sync {
    fn load<'a>(&'a self, id: &'a SessionId) -> Operation<'a, Option<Loaded>>;
    fn create<'a>(&'a self, id: &'a SessionId, write: Write<'a>) -> Operation<'a, Created>;
    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        expected: Version,
        write: Write<'a>,
    ) -> Operation<'a, Saved>;
    fn touch<'a>(
        &'a self,
        id: &'a SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Operation<'a, Touched>;
    fn destroy<'a>(&'a self, id: &'a SessionId, options: Destroy) -> Operation<'a, Destroyed>;
    fn health<'a>(&'a self) -> Pin<Box<dyn Future<Output = Health> + Send + 'a>>;
    fn index(&self) -> Option<AnyIndex>;
    fn changes(&self) -> Option<AnyChanges>;
}

impl<S: Store> ErasedStore for S {
    fn load<'a>(&'a self, id: &'a SessionId) -> Operation<'a, Option<Loaded>> {
        Box::pin(Store::load(self, id))
    }

    fn create<'a>(&'a self, id: &'a SessionId, write: Write<'a>) -> Operation<'a, Created> {
        Box::pin(Store::create(self, id, write))
    }

    fn save<'a>(
        &'a self,
        id: &'a SessionId,
        expected: Version,
        write: Write<'a>,
    ) -> Operation<'a, Saved> {
        Box::pin(Store::save(self, id, expected, write))
    }

    fn touch<'a>(
        &'a self,
        id: &'a SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Operation<'a, Touched> {
        Box::pin(Store::touch(self, id, expected, ttl))
    }

    fn destroy<'a>(&'a self, id: &'a SessionId, options: Destroy) -> Operation<'a, Destroyed> {
        Box::pin(Store::destroy(self, id, options))
    }

    fn health<'a>(&'a self) -> Pin<Box<dyn Future<Output = Health> + Send + 'a>> {
        Box::pin(Store::health(self))
    }

    fn index(&self) -> Option<AnyIndex> {
        Store::index(self)
    }

    fn changes(&self) -> Option<AnyChanges> {
        Store::changes(self)
    }
}
