//! An index around an index: every call is a scheduling point, and what happens later is a process
//! of its own.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use session_core::{
    AnyIndex, Index, IndexEntry, IndexKey, Listed, Listing, Nonce, SessionId, StoreError,
};

use crate::{
    call::{IndexCall, IndexOp},
    fault::Fault,
    footprint::{self, Footprint},
    outcome,
    point::{self, Event},
};

/// Where calls are written down.
pub(crate) type Notes = Arc<Mutex<Vec<IndexCall>>>;

/// The index of a store that is explored.
pub(crate) struct ScheduledIndex<F> {
    /// Returns the index of the store that is explored at the moment.
    inner: F,
    /// `None` if calls are not written down.
    notes: Option<Notes>,
}

impl<I: Fn() -> Option<AnyIndex> + Send + Sync + 'static> ScheduledIndex<I> {
    pub(crate) fn new(inner: I, notes: Option<Notes>) -> Self {
        Self { inner, notes }
    }

    fn index(&self) -> Result<AnyIndex, StoreError> {
        (self.inner)().ok_or_else(outcome::not_reached)
    }

    /// Carries out an operation, or what a fault makes of it.
    async fn run<A: Send, F>(
        &self,
        (op, id): (IndexOp, Option<SessionId>),
        event: Event,
        apply: impl FnOnce(AnyIndex) -> F + Send + 'static,
    ) -> Result<A, StoreError>
    where
        F: Future<Output = Result<A, StoreError>> + Send + 'static,
    {
        let index = self.index()?;
        let fault = point::reach(event).await;
        let call = IndexCall {
            step: point::step(),
            owner: point::owner(),
            op,
            id,
            fault,
            applied: false,
            late: false,
        };
        let applied = match fault {
            None | Some(Fault::ReplyLost | Fault::AbortAfter) => {
                note(
                    &self.notes,
                    IndexCall {
                        applied: true,
                        ..call
                    },
                );
                Some(apply(index).await)
            }
            Some(fault) => {
                note(&self.notes, call);
                if fault.is_late() {
                    let notes = self.notes.clone();
                    point::spawn("late", async move {
                        point::reach(event.without_faults()).await;
                        let call = IndexCall {
                            step: point::step(),
                            applied: true,
                            late: true,
                            fault: None,
                            ..call
                        };
                        note(&notes, call);
                        let _ = apply(index).await;
                    });
                }
                None
            }
        };
        outcome::after(fault, applied, Footprint::LOCAL).await
    }

    /// Carries out an operation later, or never.
    fn run_later(
        &self,
        (op, id): (IndexOp, SessionId),
        event: Event,
        apply: impl FnOnce(AnyIndex) + 'static,
    ) {
        let Ok(index) = self.index() else { return };
        let notes = self.notes.clone();
        point::spawn("later", async move {
            let fault = point::reach(event.with_faults(Fault::OF_BACKGROUND)).await;
            let call = IndexCall {
                step: point::step(),
                owner: point::owner(),
                op,
                id: Some(id),
                fault,
                applied: fault.is_none(),
                late: false,
            };
            note(&notes, call);
            if fault.is_none() {
                apply(index);
            }
        });
    }
}

fn writing(key: &IndexKey) -> Footprint {
    Footprint::writing(footprint::entries(key))
}

/// What removes entries, whose order to acknowledgements matters.
fn removing(key: &IndexKey) -> Footprint {
    writing(key).and(Footprint::reading(footprint::LEDGER))
}

fn note(notes: &Option<Notes>, call: IndexCall) {
    if let Some(notes) = notes {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(call);
    }
}

impl<I: Fn() -> Option<AnyIndex> + Send + Sync + 'static> Index for ScheduledIndex<I> {
    async fn put(&self, listing: &Listing) -> Result<Listed, StoreError> {
        let event = Event::new("put", writing(&listing.key)).with_faults(Fault::OF_WRITES);
        let listing = listing.clone();
        let what = (IndexOp::Put, Some(listing.id));
        self.run(what, event, move |index| async move {
            index.put(&listing).await
        })
        .await
    }

    async fn entries(
        &self,
        key: &IndexKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, StoreError> {
        let reading = Footprint::reading(footprint::entries(key));
        let event = Event::new("entries", reading).with_faults(Fault::OF_READS);
        let key = *key;
        let apply = move |index: AnyIndex| async move { index.entries(&key, after, limit).await };
        self.run((IndexOp::Entries, None), event, apply).await
    }

    async fn remove(&self, key: &IndexKey, id: &SessionId, nonce: Nonce) -> Result<(), StoreError> {
        let event = Event::new("remove", removing(key)).with_faults(Fault::OF_WRITES);
        let (key, id) = (*key, *id);
        let apply = move |index: AnyIndex| async move { index.remove(&key, &id, nonce).await };
        self.run((IndexOp::Remove, Some(id)), event, apply).await
    }

    fn refresh(&self, listing: Listing) {
        let event = Event::new("refresh", writing(&listing.key));
        let what = (IndexOp::Refresh, listing.id);
        self.run_later(what, event, move |index| index.refresh(listing));
    }

    fn forget(&self, key: IndexKey, id: SessionId) {
        let event = Event::new("forget", removing(&key));
        self.run_later((IndexOp::Forget, id), event, move |index| {
            index.forget(key, id);
        });
    }
}
