//! A store around a store: writes down every call, fails or waits at the ones it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use session_core::{
    Created, Destroyed, Loaded, MemoryStore, RecordBytes, Saved, SessionId, Store, StoreError,
    StoreErrorKind, Touched, Version,
};
use tokio::sync::Semaphore;

/// An operation of a store.
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
}

/// A store for tests. Clones are the same store.
#[derive(Debug)]
pub struct TestStore<S = MemoryStore> {
    inner: Arc<S>,
    shared: Arc<Mutex<Shared>>,
    yields: bool,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Vec<Call>,
    faults: VecDeque<Fault>,
    gates: Vec<(Call, Gate)>,
}

#[derive(Debug)]
struct Fault {
    at: Call,
    kind: StoreErrorKind,
    /// The operation is carried out, and only the answer is lost.
    applied: bool,
}

/// Holds an operation until it is opened.
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Waits until the operation has come to the gate.
    pub async fn arrived(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    /// Lets the operation go on.
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
        }
    }

    /// Gives way before and after every operation, so that a caller can be dropped there.
    pub fn yielding(self) -> Self {
        Self {
            yields: true,
            ..self
        }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Every call since the last time this was asked.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared().calls)
    }

    /// Makes the next such operation fail before anything is done.
    pub fn fail(&self, at: Call, kind: StoreErrorKind) {
        self.shared().faults.push_back(Fault {
            at,
            kind,
            applied: false,
        });
    }

    /// Carries out the next such operation and loses the answer.
    pub fn lose_answer(&self, at: Call) {
        self.shared().faults.push_back(Fault {
            at,
            kind: StoreErrorKind::Timeout,
            applied: true,
        });
    }

    /// Holds the next such operation, before anything is done.
    pub fn hold(&self, at: Call) -> Gate {
        let gate = Gate {
            arrived: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        };
        self.shared().gates.push((at, gate.clone()));
        gate
    }

    /// Forgets faults that have not come true.
    pub fn heal(&self) {
        self.shared().faults.clear();
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics under it")
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
                .position(|(at, _)| *at == call)
                .map(|at| shared.gates.remove(at).1);
            let fault = shared.faults.iter().position(|fault| fault.at == call);
            (gate, fault.and_then(|at| shared.faults.remove(at)))
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
                Err(StoreError::new(kind, "told to fail"))
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

    async fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Created, StoreError> {
        self.run(Call::Create, self.inner.create(id, record, ttl))
            .await
    }

    async fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Saved, StoreError> {
        self.run(Call::Save, self.inner.save(id, expect, record, ttl))
            .await
    }

    async fn touch(&self, id: &SessionId, ttl: Duration) -> Result<Touched, StoreError> {
        self.run(Call::Touch, self.inner.touch(id, ttl)).await
    }

    async fn destroy(&self, id: &SessionId) -> Result<Destroyed, StoreError> {
        self.run(Call::Destroy, self.inner.destroy(id)).await
    }
}
