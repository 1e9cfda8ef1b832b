//! The sessions that this store has ended, which it does not find again.
//!
//! Replication is asynchronous, so a failover can undo a destroy that was acknowledged, and so can
//! a restart from an old snapshot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use session_core::{Loaded, SessionId};

use crate::{announcer::Announcer, config::RedisConfig, metrics, replay::Replayer, router::Router};

/// How many ids are remembered: about ten megabytes.
const MAX_IDS: usize = 100_000;

/// Remembers what was ended. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct EndedIds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replayer: Arc<Replayer>,
    /// It remembers something.
    is_on: bool,
    /// The number of the next entry; zero before anything was ended.
    next_entry: AtomicU64,
}

/// What was known when an operation began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    next_entry: u64,
    losses: u64,
}

impl EndedIds {
    /// Makes the router too, because its connections notice when a server may have lost writes.
    pub(crate) fn new(config: &Arc<RedisConfig>, announcer: &Arc<Announcer>) -> Self {
        Self(Arc::new(Inner {
            is_on: !config.ended_journal.is_zero(),
            replayer: Replayer::new(config.clone(), announcer, MAX_IDS),
            next_entry: AtomicU64::new(0),
        }))
    }

    pub(crate) fn router(&self) -> &Arc<Router> {
        self.0.replayer.router()
    }

    /// Call it before an operation is sent.
    pub(crate) fn begin(&self) -> Begun {
        self.0.replayer.keep_running();
        Begun {
            next_entry: self.0.next_entry.load(Ordering::SeqCst),
            losses: self.0.replayer.losses(),
        }
    }

    /// Whether the session was ended.
    pub(crate) fn contains(&self, id: &SessionId) -> bool {
        self.entry(id).is_some()
    }

    fn entry(&self, id: &SessionId) -> Option<u64> {
        if self.0.next_entry.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.0.replayer.journal().entry(id, Instant::now())
    }

    /// What a load finds that began then, and that Redis has answered so.
    pub(crate) fn loaded(
        &self,
        id: &SessionId,
        begun: Begun,
        loaded: Option<Loaded>,
    ) -> Option<Loaded> {
        let Some(entry) = self.entry(id) else {
            return loaded;
        };
        // if it was ended since then, the record was there when Redis replied
        if loaded.is_some() && entry < begun.next_entry {
            self.0.replayer.request();
        }
        None
    }

    /// There is a new session of this id.
    pub(crate) fn created(&self, id: &SessionId) {
        if self.contains(id) {
            self.0.replayer.journal().forget(id);
        }
    }

    /// Redis has acknowledged the end of sessions, to an operation that began then.
    pub(crate) fn ended(&self, ids: &[SessionId], begun: Begun) {
        if !self.0.is_on || ids.is_empty() {
            return;
        }
        let replayer = &self.0.replayer;
        let mut journal = replayer.journal();
        let now = Instant::now();
        let dropped = ids.iter().map(|id| journal.enter(*id, now)).sum();
        self.0.next_entry.store(journal.next(), Ordering::SeqCst);
        drop(journal);
        metrics::ended_ids_dropped(dropped);
        if replayer.losses() != begun.losses {
            // the server that has acknowledged it may be the one that was replaced
            replayer.request();
        }
    }
}
