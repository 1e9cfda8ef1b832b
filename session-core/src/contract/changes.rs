//! Checks of what a store announces.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::fixtures::{
    LONG, SHORT, assert_destroyed, assert_holds, assert_saved, assert_touched, create, id, lasting,
    load, random, record,
};
use crate::{
    changes::{AnyChanges, Changes, Listener, Watched},
    id::SessionId,
    record::{Loaded, Version},
    store::{Destroy, Saved, Store},
};

/// How long to wait for an announcement, and for a feed to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps what was loaded until its change is announced.
#[derive(Default)]
struct Keeper(Mutex<HashMap<SessionId, Kept>>);

#[derive(Default)]
struct Kept {
    changes: u64,
    loaded: Option<Loaded>,
}

impl Keeper {
    /// A keeper that hears of the changes.
    fn of(store: &impl Store) -> (AnyChanges, Arc<Self>) {
        let changes = store.changes().expect("the store announces no changes");
        let keeper = Arc::new(Self::default());
        let listener: Arc<dyn Listener> = keeper.clone();
        changes.listen(Arc::downgrade(&listener));
        (changes, keeper)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<SessionId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often changes of a session were announced.
    fn changes(&self, id: &SessionId) -> u64 {
        self.kept().get(id).map_or(0, |kept| kept.changes)
    }

    /// Loads a session, and keeps it unless it changes meanwhile.
    async fn load(&self, changes: &AnyChanges, id: &SessionId) {
        let before = self.changes(id);
        let watched = load_watched(changes, id).await;
        let mut kept = self.kept();
        let kept = kept.entry(*id).or_default();
        if kept.changes == before {
            kept.loaded = watched.loaded;
        }
    }

    fn version(&self, id: &SessionId) -> Option<Version> {
        let kept = self.kept();
        let loaded = kept.get(id)?.loaded.as_ref()?;
        Some(loaded.record.version())
    }

    /// Waits for another announcement than those before.
    async fn wait_for_change(&self, id: &SessionId, before: u64, of: &str) {
        let what = format!("a {of} is not announced");
        wait_until(&what, || async { self.changes(id) > before }).await;
    }
}

impl Listener for Keeper {
    fn changed(&self, id: &SessionId) {
        let mut kept = self.kept();
        let kept = kept.entry(*id).or_default();
        kept.changes += 1;
        kept.loaded = None;
    }
}

/// Waits until it holds.
async fn wait_until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// Loads a record with a feed. A store may need a while to begin one.
async fn load_watched(changes: &AnyChanges, id: &SessionId) -> Watched {
    let started = Instant::now();
    loop {
        let watched = changes.load(id).await.expect("load failed");
        if watched
            .feed
            .as_ref()
            .and_then(|feed| feed.silence())
            .is_some()
        {
            return watched;
        }
        assert!(started.elapsed() < PATIENCE, "there is no feed");
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// A load that is watched returns what a load returns.
pub async fn a_watched_load_returns_the_record(store: impl Store) {
    let (changes, _keeper) = Keeper::of(&store);
    let (id, record) = (id(), record(b"watched"));
    assert_eq!(load_watched(&changes, &id).await.loaded, None);
    create(&store, &id, &record).await;
    let watched = load_watched(&changes, &id).await;
    let (watched, loaded) = (watched.loaded, load(&store, &id).await);
    let (watched, loaded) = watched.zip(loaded).expect("the record is absent");
    assert_eq!(watched.record, loaded.record);
    let ttl = watched.ttl.expect("the record has no ttl");
    assert!(ttl <= LONG && ttl > LONG / 2, "the ttl is {ttl:?}");
}

/// Every operation that changes a record that was loaded is announced.
pub async fn every_change_of_a_loaded_record_is_announced(store: impl Store) {
    let (changes, keeper) = Keeper::of(&store);
    let (id, first, second) = (id(), record(b"1"), record(b"2"));
    create(&store, &id, &first).await;

    load_watched(&changes, &id).await;
    let before = keeper.changes(&id);
    let saved = store.save(&id, first.version(), lasting(&second)).await;
    assert_saved(saved.expect("save failed"));
    keeper.wait_for_change(&id, before, "save").await;

    load_watched(&changes, &id).await;
    let before = keeper.changes(&id);
    let touched = store.touch(&id, second.version(), LONG * 2).await;
    assert_touched(touched.expect("touch failed"));
    keeper.wait_for_change(&id, before, "touch").await;

    load_watched(&changes, &id).await;
    let before = keeper.changes(&id);
    let options = Destroy::expecting(second.version());
    let destroyed = store.destroy(&id, options).await;
    assert_destroyed(destroyed.expect("destroy failed"));
    keeper
        .wait_for_change(&id, before, "conditional destroy")
        .await;

    create(&store, &id, &first).await;
    load_watched(&changes, &id).await;
    let before = keeper.changes(&id);
    let destroyed = store.destroy(&id, Destroy::any()).await;
    assert_destroyed(destroyed.expect("destroy failed"));
    keeper.wait_for_change(&id, before, "destroy").await;
}

/// Each listener hears of a change.
pub async fn every_listener_hears_of_a_change(store: impl Store) {
    let (changes, first) = Keeper::of(&store);
    let (_, second) = Keeper::of(&store);
    let (id, record) = (id(), record(b"1"));
    create(&store, &id, &record).await;
    load_watched(&changes, &id).await;
    let before = [first.changes(&id), second.changes(&id)];
    let destroyed = store.destroy(&id, Destroy::any()).await;
    assert_destroyed(destroyed.expect("destroy failed"));
    for (keeper, before) in [first, second].iter().zip(before) {
        keeper.wait_for_change(&id, before, "destroy").await;
    }
}

/// Whoever discards what changed while it was loaded never keeps anything else than what is stored,
/// once the announcements have arrived.
pub async fn what_is_kept_is_what_is_stored(store: impl Store) {
    const SESSIONS: usize = 8;
    const WRITES: u32 = 50;
    let (changes, keeper) = Keeper::of(&store);
    let ids: Vec<_> = std::iter::repeat_with(id).take(SESSIONS).collect();
    let write = async |id: &SessionId| {
        let mut current = record(b"0");
        create(&store, id, &current).await;
        for _ in 0..WRITES {
            let next = record(&random::<8>());
            let saved = store.save(id, current.version(), lasting(&next)).await;
            match saved.expect("save failed") {
                Saved::Saved(_) => current = next,
                other => panic!("{other:?} instead of Saved"),
            }
        }
        current
    };
    let read = async |id: &SessionId| {
        loop {
            keeper.load(&changes, id).await;
            tokio::task::yield_now().await;
        }
    };
    let both = ids.iter().map(async |id| {
        tokio::select! {
            last = write(id) => last,
            () = read(id) => unreachable!("it reads until the last write is done"),
        }
    });
    let last = join_all(both).await;
    for (id, last) in ids.iter().zip(&last) {
        assert_holds(&store, id, last).await;
        let is_current = || async {
            keeper
                .version(id)
                .is_none_or(|version| version == last.version())
        };
        wait_until("what is kept is not what is stored", is_current).await;
        keeper.load(&changes, id).await;
        assert!(is_current().await, "what was loaded is not what is stored");
    }
}

/// A feed that is left alone gives signs of life.
pub async fn a_feed_gives_signs_of_life(store: impl Store) {
    let (changes, _keeper) = Keeper::of(&store);
    let (id, record) = (id(), record(b"1"));
    create(&store, &id, &record).await;
    let feed = load_watched(&changes, &id).await.feed;
    let feed = feed.expect("there is a feed");
    // as long as the shortest lease that is of use
    let quiet = Duration::from_secs(2);
    tokio::time::sleep(quiet).await;
    let silence = feed.silence().expect("the feed has ended");
    assert!(silence < quiet, "the feed is silent for {silence:?}");
}
