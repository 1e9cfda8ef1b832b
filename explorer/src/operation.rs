//! The operations of a store, as values: what they share with others, and what they do.

use std::{future::Future, time::Duration};

use session_core::{
    Created, Destroy, Destroyed, Listing, Loaded, Record, Saved, SessionId, Store, StoreError,
    Touched, Version, Watched, Write,
};

use crate::{
    call::{Call, Effect},
    case::Indexing,
    fault::Fault,
    feeds::{Feeds, Place},
    footprint::{self, Footprint, LEDGER, STORE},
    point::Event,
};

/// An operation that owns its arguments, so that it can be applied after its caller is gone.
pub(crate) trait Operation<S>: Send + Sync + 'static {
    type Answer;

    fn event(&self, indexing: Option<Indexing>) -> Event;
    fn apply(
        &self,
        store: &S,
        indexing: Option<Indexing>,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;
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

/// What a store lists together with the record.
fn in_one_step(listings: &[Listing], indexing: Option<Indexing>) -> &[Listing] {
    match indexing {
        Some(Indexing::Transactional) => listings,
        Some(Indexing::TwoNodes) | None => &[],
    }
}

pub(crate) struct Load(pub(crate) SessionId);

impl<S: Store> Operation<S> for Load {
    type Answer = Option<Loaded>;

    fn event(&self, indexing: Option<Indexing>) -> Event {
        Event::new("load", Footprint::reading(record(&self.0, indexing)))
            .with_faults(Fault::OF_READS)
    }

    async fn apply(&self, store: &S, _: Option<Indexing>) -> Result<Self::Answer, StoreError> {
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

/// A load whose answer announces the next change.
pub(crate) struct LoadTracked {
    pub(crate) id: SessionId,
    pub(crate) instance: usize,
    pub(crate) feeds: Feeds,
}

impl<S: Store> Operation<S> for LoadTracked {
    type Answer = (Watched, Place);

    fn event(&self, indexing: Option<Indexing>) -> Event {
        // which feed it is depends on the order to its end, which conflicts with everything
        Operation::<S>::event(&Load(self.id), indexing)
    }

    async fn apply(&self, store: &S, _: Option<Indexing>) -> Result<Self::Answer, StoreError> {
        let loaded = store.load(&self.id).await?;
        let (feed, place) = self.feeds.track(self.instance, self.id);
        Ok((Watched::new(loaded, Some(feed)), place))
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok((watched, _)) => match &watched.loaded {
                Some(loaded) => noted(call, Effect::Done, Some(loaded)),
                None => noted(call, Effect::Absent, None),
            },
            Err(_) => call,
        }
    }
}

pub(crate) struct Create(
    pub(crate) SessionId,
    pub(crate) Record,
    pub(crate) Duration,
    pub(crate) Vec<Listing>,
);

impl<S: Store> Operation<S> for Create {
    type Answer = Created;

    fn event(&self, indexing: Option<Indexing>) -> Event {
        Event::new("create", written(&self.0, &self.3, indexing)).with_faults(Fault::OF_WRITES)
    }

    async fn apply(
        &self,
        store: &S,
        indexing: Option<Indexing>,
    ) -> Result<Self::Answer, StoreError> {
        let write = Write::new(&self.1, self.2).listed(in_one_step(&self.3, indexing));
        store.create(&self.0, write).await
    }

    fn note(&self, call: Call, result: &Result<Self::Answer, StoreError>) -> Call {
        match result {
            Ok(Created::Created(_)) => noted(call, Effect::Done, None),
            Ok(Created::Taken) => noted(call, Effect::Taken, None),
            Err(_) => call,
        }
    }
}

pub(crate) struct Save(
    pub(crate) SessionId,
    pub(crate) Version,
    pub(crate) Record,
    pub(crate) Duration,
    pub(crate) Vec<Listing>,
);

impl<S: Store> Operation<S> for Save {
    type Answer = Saved;

    fn event(&self, indexing: Option<Indexing>) -> Event {
        Event::new("save", written(&self.0, &self.4, indexing)).with_faults(Fault::OF_WRITES)
    }

    async fn apply(
        &self,
        store: &S,
        indexing: Option<Indexing>,
    ) -> Result<Self::Answer, StoreError> {
        let write = Write::new(&self.2, self.3).listed(in_one_step(&self.4, indexing));
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

pub(crate) struct Touch(
    pub(crate) SessionId,
    pub(crate) Version,
    pub(crate) Duration,
);

impl<S: Store> Operation<S> for Touch {
    type Answer = Touched;

    fn event(&self, indexing: Option<Indexing>) -> Event {
        Event::new("touch", Footprint::writing(record(&self.0, indexing)))
            .with_faults(Fault::OF_WRITES)
    }

    async fn apply(&self, store: &S, _: Option<Indexing>) -> Result<Self::Answer, StoreError> {
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

pub(crate) struct Remove(pub(crate) SessionId, pub(crate) Destroy);

impl<S: Store> Operation<S> for Remove {
    type Answer = Destroyed;

    fn event(&self, indexing: Option<Indexing>) -> Event {
        Event::new("destroy", ended(&self.0, indexing)).with_faults(Fault::OF_WRITES)
    }

    async fn apply(&self, store: &S, _: Option<Indexing>) -> Result<Self::Answer, StoreError> {
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

/// The record of a session, as something that is shared. Without an index, histories have one
/// session that matters.
fn record(id: &SessionId, indexing: Option<Indexing>) -> u32 {
    match indexing {
        Some(_) => footprint::record(id),
        None => STORE,
    }
}

/// What a write of a record reads and writes.
fn written(id: &SessionId, listings: &[Listing], indexing: Option<Indexing>) -> Footprint {
    let listings = in_one_step(listings, indexing).iter();
    let keys = listings.map(|listing| Footprint::writing(footprint::entries(&listing.key)));
    keys.fold(Footprint::writing(record(id, indexing)), Footprint::and)
}

/// What the end of a record reads and writes. Its order to acknowledgements matters.
fn ended(id: &SessionId, indexing: Option<Indexing>) -> Footprint {
    let record = Footprint::writing(record(id, indexing));
    match indexing {
        Some(_) => record.and(Footprint::reading(LEDGER)),
        None => record,
    }
}
