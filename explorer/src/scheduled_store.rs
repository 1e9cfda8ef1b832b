//! A store around a store: every call is a scheduling point before it is applied and before its
//! answer arrives.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use session_core::{
    AnyIndex, Created, Destroy, Destroyed, Index, IndexKey, Loaded, Saved, SessionId, Store,
    StoreError, Touched, Version, Write,
};

use crate::{
    call::{Call, IndexCall, Op},
    case::Indexing,
    fault::Fault,
    footprint::Footprint,
    operation::{Create, Load, Operation, Remove, Save, Touch},
    outcome,
    point::{self, Event},
    scheduled_index::{Notes, ScheduledIndex},
};

/// The store that requests use.
pub(crate) struct ScheduledStore<S> {
    shared: Arc<Shared<S>>,
    indexing: Option<Indexing>,
    /// Calls are not written down.
    silent: bool,
}

struct Shared<S> {
    inner: Mutex<Arc<S>>,
    calls: Mutex<Vec<Call>>,
    index_calls: Notes,
}

impl<S> Clone for ScheduledStore<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            indexing: self.indexing,
            silent: self.silent,
        }
    }
}

impl<S> fmt::Debug for ScheduledStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScheduledStore")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store> ScheduledStore<S> {
    pub(crate) fn new(inner: S, indexing: Option<Indexing>) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(Arc::new(inner)),
                calls: Mutex::default(),
                index_calls: Notes::default(),
            }),
            indexing,
            silent: false,
        }
    }

    /// The same store, for those who only watch.
    pub(crate) fn silent(&self) -> Self {
        Self {
            silent: true,
            ..self.clone()
        }
    }

    /// Goes on with another store inside.
    pub(crate) fn replace(&self, inner: S) {
        *lock(&self.shared.inner) = Arc::new(inner);
        lock(&self.shared.calls).clear();
        lock(&self.shared.index_calls).clear();
    }

    /// Moves the calls since the last time to the end of a list.
    pub(crate) fn take_calls(&self, into: &mut Vec<Call>) {
        into.append(&mut lock(&self.shared.calls));
    }

    /// The same for the calls of the index.
    pub(crate) fn take_index_calls(&self, into: &mut Vec<IndexCall>) {
        into.append(&mut lock(&self.shared.index_calls));
    }

    fn inner(&self) -> Arc<S> {
        lock(&self.shared.inner).clone()
    }

    fn log(&self, call: Call) {
        if !self.silent {
            lock(&self.shared.calls).push(call);
        }
    }

    /// The index of the store inside.
    pub(crate) fn inner_index(&self) -> Option<AnyIndex> {
        self.inner().index()
    }

    /// Carries out an operation, or what a fault makes of it.
    async fn run<A>(
        &self,
        call: Call,
        operation: impl Operation<S, Answer = A>,
    ) -> Result<A, StoreError>
    where
        A: Send,
    {
        let (inner, indexing) = (self.inner(), self.indexing);
        let event = operation.event(indexing);
        let fault = point::reach(event).await;
        let call = Call {
            step: point::step(),
            owner: point::owner(),
            fault,
            ..call
        };
        let applied = match fault {
            None | Some(Fault::ReplyLost | Fault::AbortAfter) => {
                let result = operation.apply(&inner, indexing).await;
                self.log(operation.note(call, &result));
                Some(result)
            }
            Some(fault) => {
                self.log(call.clone());
                if fault.is_late() {
                    let store = self.clone();
                    point::spawn("late", async move {
                        point::reach(event.without_faults()).await;
                        let result = operation.apply(&inner, indexing).await;
                        let call = Call {
                            step: point::step(),
                            late: true,
                            fault: None,
                            ..call
                        };
                        store.log(operation.note(call, &result));
                    });
                }
                None
            }
        };
        outcome::after(fault, applied).await
    }

    /// Removes the record of a session that is listed, as a store may that is short of memory.
    pub(crate) async fn evict(&self, key: IndexKey) {
        point::reach(Event::new("evict", Footprint::ALL)).await;
        let (inner, index) = (self.inner(), self.inner_index());
        let Some(index) = index else { return };
        let entries = index.entries(&key, 0, usize::MAX).await;
        for entry in entries.unwrap_or_default() {
            let stored = inner.load(&entry.id).await;
            if let Ok(Some(loaded)) = stored {
                let any = Remove(entry.id, Destroy::any());
                let result = any.apply(&inner, None).await;
                let call = Call {
                    step: point::step(),
                    owner: point::owner(),
                    found: Some(loaded.record.version()),
                    ..Call::new(Op::Destroy, &entry.id)
                };
                self.log(Operation::<S>::note(&any, call, &result));
                return;
            }
        }
    }
}

impl<S: Store> Store for ScheduledStore<S> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.run(Call::new(Op::Load, id), Load(*id)).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let call = Call {
            version: Some(write.record.version()),
            ..Call::new(Op::Create, id)
        };
        let listings = write.listings.to_vec();
        let create = Create(*id, write.record.clone(), write.ttl, listings);
        self.run(call, create).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let call = Call {
            expected: Some(expected),
            version: Some(write.record.version()),
            ..Call::new(Op::Save, id)
        };
        let (record, listings) = (write.record.clone(), write.listings.to_vec());
        let save = Save(*id, expected, record, write.ttl, listings);
        self.run(call, save).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let call = Call {
            expected: Some(expected),
            ..Call::new(Op::Touch, id)
        };
        self.run(call, Touch(*id, expected, ttl)).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let call = Call {
            expected: options.expected,
            ..Call::new(Op::Destroy, id)
        };
        self.run(call, Remove(*id, options)).await
    }

    fn index(&self) -> Option<AnyIndex> {
        self.indexing?;
        let notes = (!self.silent).then(|| self.shared.index_calls.clone());
        let store = self.clone();
        let inner = move || store.inner_index();
        Some(AnyIndex::new(ScheduledIndex::new(inner, notes)))
    }
}
