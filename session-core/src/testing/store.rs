//! A store around a store, which records every call and fails or waits on command.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::relay::Relay;
use crate::{
    changes::{AnyChanges, Changes, Listener, Watched},
    health::Health,
    id::SessionId,
    index::{AnyIndex, Index},
    listing::{IndexEntry, IndexKey, Listed, Listing, Nonce},
    memory::MemoryStore,
    record::{Loaded, Version},
    store::{Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::{StoreError, StoreErrorKind},
};

/// An operation of a [`Store`] or of its [`Index`](crate::Index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Store::load`
    Load,
    /// `Store::create`
    Create,
    /// `Store::save`
    Save,
    /// `Store::touch`
    Touch,
    /// `Store::destroy`
    Destroy,
    /// `Index::put`
    Put,
    /// `Index::entries`
    Entries,
    /// `Index::remove`
    Remove,
}

/// A store for tests: a wrapper that records every call, and fails or holds the ones that the test
/// names.
///
/// Clones are the same store. Faults and gates apply to the next call of their operation that has
/// none yet, each to one call.
#[derive(Debug)]
pub struct TestStore<S = MemoryStore> {
    inner: Arc<S>,
    shared: Arc<Mutex<Shared>>,
    /// Yields to the runtime before and after every operation.
    yields: bool,
    /// The index is not written together with the records.
    splits_index: bool,
    relay: Arc<Relay>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Vec<Call>,
    faults: VecDeque<Fault>,
    gates: Vec<(Call, Gate)>,
}

#[derive(Debug)]
struct Fault {
    call: Call,
    kind: StoreErrorKind,
    /// The operation is carried out; only its answer is lost.
    applied: bool,
}

/// Holds one operation until it is opened. [`TestStore::hold`] makes one.
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Waits until the operation has arrived at the gate.
    pub async fn arrived(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    /// Lets the operation continue.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

impl<S> Clone for TestStore<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: self.shared.clone(),
            yields: self.yields,
            splits_index: self.splits_index,
            relay: self.relay.clone(),
        }
    }
}

impl Default for TestStore {
    fn default() -> Self {
        Self::new(MemoryStore::new())
    }
}

impl<S: Store> TestStore<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Self {
            inner: Arc::new(inner),
            shared: Arc::default(),
            yields: false,
            splits_index: false,
            relay: Arc::default(),
        }
    }

    /// Yields to the runtime before and after every operation, so that a test can drop the caller
    /// there.
    pub fn yielding(self) -> Self {
        Self {
            yields: true,
            ..self
        }
    }

    /// Leaves it to sessions to write the index after the record, as a store must whose index is on
    /// another server.
    pub fn with_split_index(self) -> Self {
        Self {
            splits_index: true,
            ..self
        }
    }

    /// The store inside. Calls to it are not recorded, and they neither fail nor wait.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Returns the calls since the last call of this method.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared().calls)
    }

    /// Makes the next call of this operation fail before it has any effect.
    pub fn fail(&self, call: Call, kind: StoreErrorKind) {
        self.shared().faults.push_back(Fault {
            call,
            kind,
            applied: false,
        });
    }

    /// Carries out the next call of this operation, and then reports a timeout.
    pub fn lose_answer(&self, call: Call) {
        self.shared().faults.push_back(Fault {
            call,
            kind: StoreErrorKind::Timeout,
            applied: true,
        });
    }

    /// Holds the next call of this operation before it has any effect.
    pub fn hold(&self, call: Call) -> Gate {
        let gate = Gate {
            arrived: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        };
        self.shared().gates.push((call, gate.clone()));
        gate
    }

    /// Holds back what the store announces from now on.
    pub fn hold_announcements(&self) {
        self.relay.hold();
    }

    /// Delivers the announcements that were held back, in order, and holds back no more. Returns
    /// how many there were.
    pub fn deliver_announcements(&self) -> usize {
        self.relay.deliver()
    }

    /// Ends the feed of all records that were loaded so far, as a broken connection does.
    /// Announcements that were held back are lost.
    pub fn interrupt_feed(&self) {
        self.relay.interrupt();
    }

    /// Lets the feed give no sign of life for so long.
    pub fn silence_feed(&self, silence: Duration) {
        self.relay.set_silence(silence);
    }

    /// How many faults have not been injected yet, because their operation was not called.
    ///
    /// A test that ends with such a fault has not shown what it claims.
    pub fn pending_faults(&self) -> usize {
        self.shared().faults.len()
    }

    /// Removes the faults that have not been injected.
    pub fn clear_faults(&self) {
        self.shared().faults.clear();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store inside is asked to write.
    fn write<'w>(&self, write: Write<'w>) -> Write<'w> {
        match self.splits_index {
            true => write.listed(&[]),
            false => write,
        }
    }

    async fn run<T>(
        &self,
        call: Call,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (gate, fault) = {
            let mut shared = self.shared();
            shared.calls.push(call);
            let gate = shared
                .gates
                .iter()
                .position(|(held, _)| *held == call)
                .map(|index| shared.gates.remove(index).1);
            let fault = shared.faults.iter().position(|fault| fault.call == call);
            (gate, fault.and_then(|index| shared.faults.remove(index)))
        };
        if let Some(gate) = gate {
            gate.arrived.add_permits(1);
            gate.open.acquire().await.expect("never closed").forget();
        }
        if self.yields {
            tokio::task::yield_now().await;
        }
        let outcome = match fault {
            None => run.await,
            Some(Fault { kind, applied, .. }) => {
                if applied {
                    run.await?;
                }
                Err(StoreError::new(kind, "injected by the test"))
            }
        };
        if self.yields {
            tokio::task::yield_now().await;
        }
        outcome
    }
}

impl<S: Store> Store for TestStore<S> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.run(Call::Load, self.inner.load(id)).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.run(Call::Create, self.inner.create(id, self.write(write)))
            .await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        self.run(Call::Save, self.inner.save(id, expected, self.write(write)))
            .await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        self.run(Call::Touch, self.inner.touch(id, expected, ttl))
            .await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        self.run(Call::Destroy, self.inner.destroy(id, options))
            .await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    fn index(&self) -> Option<AnyIndex> {
        let index = self.inner.index()?;
        Some(AnyIndex::new(TestIndex::new(self.clone(), index)))
    }

    fn changes(&self) -> Option<AnyChanges> {
        let (store, inner) = (self.clone(), self.inner.changes()?);
        Some(AnyChanges::new(TestChanges { store, inner }))
    }
}

/// The index of a test store, which records every call and fails or waits as the store does.
struct TestIndex<S> {
    store: TestStore<S>,
    inner: AnyIndex,
}

impl<S> TestIndex<S> {
    fn new(store: TestStore<S>, inner: AnyIndex) -> Self {
        Self { store, inner }
    }
}

impl<S: Store> Index for TestIndex<S> {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        self.store.run(Call::Put, self.inner.put(listing)).await
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let entries = self.inner.entries(key, after, limit);
        self.store.run(Call::Entries, entries).await
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        let remove = self.inner.remove(key, id, nonce);
        self.store.run(Call::Remove, remove).await
    }

    fn refresh(&self, listing: Listing) {
        self.inner.refresh(listing);
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        self.inner.forget(key, id);
    }
}

/// The changes of a test store, which records every load, and passes on announcements on command.
struct TestChanges<S> {
    store: TestStore<S>,
    inner: AnyChanges,
}

impl<S: Store> Changes for TestChanges<S> {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let (store, relay) = (&self.store, &self.store.relay);
        let number = relay.number();
        let watched = store.run(Call::Load, self.inner.load(id)).await?;
        let feed = watched.feed.map(|inner| relay.feed(inner, number));
        Ok(Watched::new(watched.loaded, feed))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.store.relay.listen(&self.inner, listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn id() -> SessionId {
        SessionId::from_bytes([1; SessionId::BYTES])
    }

    #[tokio::test]
    async fn a_fault_applies_to_one_call_of_its_operation() {
        let store = TestStore::default();
        store.fail(Call::Load, StoreErrorKind::Refused);
        assert!(store.destroy(&id(), Destroy::any()).await.is_ok());
        assert_eq!(store.pending_faults(), 1);
        let error = store.load(&id()).await.expect_err("the fault");
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert_eq!(store.pending_faults(), 0);
        assert!(store.load(&id()).await.is_ok());
        assert_eq!(store.take_calls(), [Call::Destroy, Call::Load, Call::Load]);
    }

    #[tokio::test]
    async fn an_operation_whose_answer_is_lost_is_carried_out() {
        let store = TestStore::default();
        store.lose_answer(Call::Create);
        let record = Record::new(Version::from_bytes([1; 8]), "a body");
        let write = Write::new(&record, Duration::from_secs(1));
        let created = store.create(&id(), write).await;
        assert_eq!(
            created.expect_err("the fault").kind(),
            StoreErrorKind::Timeout
        );
        assert_eq!(store.inner().len(), 1);
    }

    #[tokio::test]
    async fn a_held_operation_waits_until_its_gate_is_opened() {
        let store = TestStore::default();
        let gate = store.hold(Call::Load);
        let loading = tokio::spawn({
            let store = store.clone();
            async move { store.load(&id()).await }
        });
        gate.arrived().await;
        assert!(!loading.is_finished());
        gate.open();
        let loaded = loading.await.expect("no panic").expect("no fault");
        assert_eq!(loaded, None);
    }
}
