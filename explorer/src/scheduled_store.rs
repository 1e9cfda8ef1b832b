//! A store around a store: every call is a scheduling point before it is applied and before its
//! answer arrives.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use session_core::{
    AnyChanges, AnyIndex, Changes, Created, Destroy, Destroyed, Index, IndexKey, Listener, Loaded,
    Saved, SessionId, Store, StoreError, Touched, Version, Watched, Write,
};

use crate::{
    call::{Call, IndexCall, Op},
    case::Indexing,
    fault::Fault,
    feeds::{self, Feeds, Told},
    footprint::Footprint,
    operation::{Create, Load, LoadTracked, Operation, Remove, Save, Touch},
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
    /// The instance with a near cache that calls.
    instance: Option<usize>,
}

struct Shared<S> {
    inner: Mutex<Arc<S>>,
    calls: Mutex<Vec<Call>>,
    index_calls: Notes,
    feeds: Feeds,
}

impl<S> Clone for ScheduledStore<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            indexing: self.indexing,
            silent: self.silent,
            instance: self.instance,
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
    pub(crate) fn new(inner: S, indexing: Option<Indexing>, feeds: Feeds) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(Arc::new(inner)),
                calls: Mutex::default(),
                index_calls: Notes::default(),
                feeds,
            }),
            indexing,
            silent: false,
            instance: None,
        }
    }

    /// The same store, for those who only watch.
    pub(crate) fn silent(&self) -> Self {
        Self {
            silent: true,
            ..self.clone()
        }
    }

    /// The same store, as one instance with a near cache uses it.
    pub(crate) fn of_instance(&self, instance: usize) -> Self {
        Self {
            instance: Some(instance),
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

    /// What an instance reads and writes when it is told what became of a call.
    fn told(&self) -> Footprint {
        Footprint::writing_if(self.instance.map(feeds::kept))
    }

    /// Writes down that the caller was told what became of a call.
    fn tell(&self, id: &SessionId, called: u32, tracks: bool) {
        if let Some(instance) = self.instance {
            self.shared.feeds.tell(Told {
                instance,
                id: *id,
                called,
                step: point::step(),
                tracks,
            });
        }
    }

    /// Carries out an operation, or what a fault makes of it, and tells the caller.
    async fn run<A>(
        &self,
        call: Call,
        operation: impl Operation<S, Answer = A>,
    ) -> Result<A, StoreError>
    where
        A: Send,
    {
        let id = call.id;
        let (fault, applied) = self.apply(call, operation).await;
        let called = point::step();
        let result = outcome::after(fault, applied, self.told()).await;
        self.tell(&id, called, false);
        result
    }

    /// Writes an operation down that was applied, and announces what it has changed.
    fn applied(&self, call: Call) {
        if call.changed() {
            self.shared.feeds.changed(call.id, call.step);
        }
        self.log(call);
    }

    /// Carries out an operation, or what a fault makes of it.
    async fn apply<A>(
        &self,
        call: Call,
        operation: impl Operation<S, Answer = A>,
    ) -> (Option<Fault>, Option<Result<A, StoreError>>)
    where
        A: Send,
    {
        let (inner, indexing) = (self.inner(), self.indexing);
        let event = operation.event(indexing).and_after_fault(self.told());
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
                self.applied(operation.note(call, &result));
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
                        store.applied(operation.note(call, &result));
                    });
                }
                None
            }
        };
        (fault, applied)
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
                self.applied(Operation::<S>::note(&any, call, &result));
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

    fn changes(&self) -> Option<AnyChanges> {
        self.instance?;
        Some(AnyChanges::new(self.clone()))
    }

    fn index(&self) -> Option<AnyIndex> {
        self.indexing?;
        let notes = (!self.silent).then(|| self.shared.index_calls.clone());
        let store = self.clone();
        let inner = move || store.inner_index();
        Some(AnyIndex::new(ScheduledIndex::new(inner, notes)))
    }
}

/// The changes, as one instance hears of them.
impl<S: Store> Changes for ScheduledStore<S> {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let feeds = &self.shared.feeds;
        let (Some(instance), false) = (self.instance, feeds.is_watched()) else {
            return Err(outcome::not_reached());
        };
        let load = LoadTracked {
            id: *id,
            instance,
            feeds: feeds.clone(),
        };
        let (fault, applied) = self.apply(Call::new(Op::Load, id), load).await;
        let called = point::step();
        if let (None, Some(Ok((_, place)))) = (fault, &applied) {
            // the connection delivers both in their order
            feeds.arrived(instance, *place).await;
        }
        let result = outcome::after(fault, applied, self.told()).await;
        self.tell(id, called, result.is_ok());
        result.map(|(watched, _)| watched)
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        if let Some(instance) = self.instance {
            self.shared.feeds.listen(instance, listener);
        }
    }
}
