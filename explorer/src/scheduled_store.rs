//! A store around a store: every call is a scheduling point before it is applied and before its answer arrives.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use session_core::{
    Created, Destroy, Destroyed, Loaded, Record, Saved, SessionId, Store, StoreError,
    StoreErrorKind, Touched, Version, Write,
};

use crate::{
    fault::Fault,
    footprint::{Footprint, STORE},
    point::{self, Event},
};

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`Store::load`]
    Load,
    /// [`Store::create`]
    Create,
    /// [`Store::save`]
    Save,
    /// [`Store::touch`]
    Touch,
    /// [`Store::destroy`]
    Destroy,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The record was found and returned, or changed as asked for.
    Done,
    /// Another version was stored; nothing changed.
    Conflict,
    /// There was no record; nothing changed.
    Absent,
    /// The id was taken; nothing changed.
    Taken,
    /// The store was not reached.
    NotApplied,
}

/// A call, as it was applied.
#[derive(Clone, Debug)]
pub struct Call {
    /// The event that it belongs to.
    pub step: u32,
    /// The request that made it.
    pub owner: usize,
    /// What was asked for.
    pub op: Op,
    /// Of which session.
    pub id: SessionId,
    /// The version that it required.
    pub expected: Option<Version>,
    /// The version that it was to write.
    pub version: Option<Version>,
    /// The version that it found.
    pub found: Option<Version>,
    /// What became of it.
    pub effect: Effect,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// It arrived after its caller had been told nothing, or was gone.
    pub late: bool,
}

impl Call {
    /// Whether it changed the record.
    pub fn changed(&self) -> bool {
        self.op != Op::Load && self.effect == Effect::Done
    }

    /// Whether the record exists after it, if it changed anything.
    pub fn leaves_record(&self) -> bool {
        self.op != Op::Destroy
    }
}

/// The store that requests use.
pub(crate) struct ScheduledStore<S> {
    shared: Arc<Shared<S>>,
    /// Calls are not written down.
    silent: bool,
}

struct Shared<S> {
    inner: Mutex<Arc<S>>,
    calls: Mutex<Vec<Call>>,
}

impl<S> Clone for ScheduledStore<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
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
    pub(crate) fn new(inner: S) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(Arc::new(inner)),
                calls: Mutex::default(),
            }),
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
    }

    /// Moves the calls since the last time to the end of a list.
    pub(crate) fn take_calls(&self, into: &mut Vec<Call>) {
        into.append(&mut lock(&self.shared.calls));
    }

    fn inner(&self) -> Arc<S> {
        lock(&self.shared.inner).clone()
    }

    fn log(&self, call: Call) {
        if !self.silent {
            lock(&self.shared.calls).push(call);
        }
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
        let inner = self.inner();
        let fault = point::reach(operation.event()).await;
        let call = Call {
            step: point::step(),
            owner: point::owner(),
            fault,
            ..call
        };
        let applied = match fault {
            None | Some(Fault::ReplyLost | Fault::AbortAfter) => {
                let result = operation.apply(&inner).await;
                self.log(operation.note(call, &result));
                Some(result)
            }
            Some(fault) => {
                self.log(call.clone());
                if fault.is_late() {
                    let store = self.clone();
                    point::spawn("late", async move {
                        point::reach(Event::new(operation.name(), Footprint::writing(STORE))).await;
                        let result = operation.apply(&inner).await;
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
        match fault {
            Some(fault) if fault.drops_caller() => std::future::pending().await,
            Some(Fault::Unavailable) => Err(error(StoreErrorKind::Unavailable)),
            Some(_) => Err(error(StoreErrorKind::Timeout)),
            None => {
                point::reach(Event::new("answer", Footprint::LOCAL)).await;
                match applied {
                    Some(result) => result,
                    None => Err(error(StoreErrorKind::Timeout)),
                }
            }
        }
    }
}

fn error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "chosen by the explorer")
}

/// An operation that owns its arguments, so that it can be applied after its caller is gone.
trait Operation<S>: Send + Sync + 'static {
    type Answer;

    fn name(&self) -> &'static str;
    fn event(&self) -> Event {
        Event::new(self.name(), Footprint::writing(STORE)).with_faults(Fault::OF_WRITES)
    }
    fn apply(&self, store: &S) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;
    /// Adds to a call what became of it.
    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call;
}

fn noted(call: Call, effect: Effect, found: Option<&Loaded>) -> Call {
    match found {
        Some(loaded) => Call {
            effect,
            found: Some(loaded.record.version()),
            ..call
        },
        None => Call { effect, ..call },
    }
}

struct Load(SessionId);

impl<S: Store> Operation<S> for Load {
    type Answer = Option<Loaded>;

    fn name(&self) -> &'static str {
        "load"
    }

    fn event(&self) -> Event {
        Event::new("load", Footprint::reading(STORE)).with_faults(Fault::OF_READS)
    }

    async fn apply(&self, store: &S) -> Result<Self::Answer, StoreError> {
        store.load(&self.0).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Some(loaded)) => noted(call, Effect::Done, Some(loaded)),
            Ok(None) => noted(call, Effect::Absent, None),
            Err(_) => call,
        }
    }
}

struct Create(SessionId, Record, Duration);

impl<S: Store> Operation<S> for Create {
    type Answer = Created;

    fn name(&self) -> &'static str {
        "create"
    }

    async fn apply(&self, store: &S) -> Result<Self::Answer, StoreError> {
        store.create(&self.0, Write::new(&self.1, self.2)).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Created::Created(_)) => noted(call, Effect::Done, None),
            Ok(Created::Taken) => noted(call, Effect::Taken, None),
            Err(_) => call,
        }
    }
}

struct Save(SessionId, Version, Record, Duration);

impl<S: Store> Operation<S> for Save {
    type Answer = Saved;

    fn name(&self) -> &'static str {
        "save"
    }

    async fn apply(&self, store: &S) -> Result<Self::Answer, StoreError> {
        let write = Write::new(&self.2, self.3);
        store.save(&self.0, self.1, write).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Saved::Saved(_)) => noted(call, Effect::Done, None),
            Ok(Saved::Conflict(loaded)) => noted(call, Effect::Conflict, Some(loaded)),
            Ok(Saved::Gone) => noted(call, Effect::Absent, None),
            Err(_) => call,
        }
    }
}

struct Touch(SessionId, Version, Duration);

impl<S: Store> Operation<S> for Touch {
    type Answer = Touched;

    fn name(&self) -> &'static str {
        "touch"
    }

    async fn apply(&self, store: &S) -> Result<Self::Answer, StoreError> {
        store.touch(&self.0, self.1, self.2).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Touched::Touched(_)) => noted(call, Effect::Done, None),
            Ok(Touched::Conflict(loaded)) => noted(call, Effect::Conflict, Some(loaded)),
            Ok(Touched::Gone) => noted(call, Effect::Absent, None),
            Err(_) => call,
        }
    }
}

struct Remove(SessionId, Destroy);

impl<S: Store> Operation<S> for Remove {
    type Answer = Destroyed;

    fn name(&self) -> &'static str {
        "destroy"
    }

    async fn apply(&self, store: &S) -> Result<Self::Answer, StoreError> {
        store.destroy(&self.0, self.1).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Destroyed::Destroyed(_)) => noted(call, Effect::Done, None),
            Ok(Destroyed::Conflict(loaded)) => noted(call, Effect::Conflict, Some(loaded)),
            Ok(Destroyed::Gone) => noted(call, Effect::Absent, None),
            Err(_) => call,
        }
    }
}

fn call(op: Op, id: &SessionId) -> Call {
    Call {
        step: 0,
        owner: 0,
        op,
        id: *id,
        expected: None,
        version: None,
        found: None,
        effect: Effect::NotApplied,
        fault: None,
        late: false,
    }
}

impl<S: Store> Store for ScheduledStore<S> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.run(call(Op::Load, id), Load(*id)).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let call = Call {
            version: Some(write.record.version()),
            ..call(Op::Create, id)
        };
        self.run(call, Create(*id, write.record.clone(), write.ttl))
            .await
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
            ..call(Op::Save, id)
        };
        self.run(call, Save(*id, expected, write.record.clone(), write.ttl))
            .await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let call = Call {
            expected: Some(expected),
            ..call(Op::Touch, id)
        };
        self.run(call, Touch(*id, expected, ttl)).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let call = Call {
            expected: options.expected,
            ..call(Op::Destroy, id)
        };
        self.run(call, Remove(*id, options)).await
    }
}
