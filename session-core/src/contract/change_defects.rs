//! Stores that announce changes wrongly, and the checks that must catch them.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use crate::{
    changes::{AnyChanges, AnyFeed, Changes, Feed, Listener, Listeners, Watched},
    id::SessionId,
    memory::MemoryStore,
    record::{Loaded, Version},
    store::{Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::StoreError,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    SavesAreNotAnnounced,
    TouchesAreNotAnnounced,
    ConditionalDestroysAreNotAnnounced,
    DestroysAreNotAnnounced,
    OneListenerHears,
    /// The change comes after its announcement.
    AnnouncedTooEarly,
    LoadsFindNothing,
    NoSignsOfLife,
}

/// A store that announces its own changes, with at most one defect.
#[derive(Clone)]
struct Defective {
    store: MemoryStore,
    listeners: Listeners,
    defect: Option<Defect>,
}

impl Defective {
    fn new(defect: Option<Defect>) -> Self {
        Self {
            store: MemoryStore::new(),
            listeners: Listeners::default(),
            defect,
        }
    }

    /// Announces a change, unless this defect prevents it.
    async fn announcing<T>(
        &self,
        id: &SessionId,
        missed: Defect,
        change: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.defect == Some(Defect::AnnouncedTooEarly) {
            self.listeners.changed(id);
            tokio::time::sleep(Duration::from_millis(1)).await;
            return change.await;
        }
        let answer = change.await;
        if self.defect != Some(missed) {
            self.listeners.changed(id);
        }
        answer
    }
}

impl Store for Defective {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.store.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.store.create(id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let save = self.store.save(id, expected, write);
        self.announcing(id, Defect::SavesAreNotAnnounced, save)
            .await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let touch = self.store.touch(id, expected, ttl);
        self.announcing(id, Defect::TouchesAreNotAnnounced, touch)
            .await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let missed = match options.expected {
            Some(_) => Defect::ConditionalDestroysAreNotAnnounced,
            None => Defect::DestroysAreNotAnnounced,
        };
        let destroy = self.store.destroy(id, options);
        self.announcing(id, missed, destroy).await
    }

    fn changes(&self) -> Option<AnyChanges> {
        Some(AnyChanges::new(self.clone()))
    }
}

impl Changes for Defective {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let found = match self.defect {
            Some(Defect::LoadsFindNothing) => None,
            _ => self.store.load(id).await?,
        };
        let silence = match self.defect {
            Some(Defect::NoSignsOfLife) => Duration::from_secs(3600),
            _ => Duration::ZERO,
        };
        Ok(Watched::new(found, Some(AnyFeed::new(Silent(silence)))))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        if self.defect != Some(Defect::OneListenerHears) || !self.listeners.any() {
            self.listeners.add(listener);
        }
    }
}

struct Silent(Duration);

impl Feed for Silent {
    fn silence(&self) -> Option<Duration> {
        Some(self.0)
    }
}

mod without_a_defect {
    crate::changes_contract!(|| async { super::Defective::new(None) });
}

#[test]
fn every_defect_is_caught() {
    type Check = fn(Arc<Defective>) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;
    let caught: [(Defect, Check); 8] = [
        (Defect::SavesAreNotAnnounced, |store| {
            Box::pin(super::every_change_of_a_loaded_record_is_announced(store))
        }),
        (Defect::TouchesAreNotAnnounced, |store| {
            Box::pin(super::every_change_of_a_loaded_record_is_announced(store))
        }),
        (Defect::ConditionalDestroysAreNotAnnounced, |store| {
            Box::pin(super::every_change_of_a_loaded_record_is_announced(store))
        }),
        (Defect::DestroysAreNotAnnounced, |store| {
            Box::pin(super::every_change_of_a_loaded_record_is_announced(store))
        }),
        (Defect::OneListenerHears, |store| {
            Box::pin(super::every_listener_hears_of_a_change(store))
        }),
        (Defect::AnnouncedTooEarly, |store| {
            Box::pin(super::what_is_kept_is_what_is_stored(store))
        }),
        (Defect::LoadsFindNothing, |store| {
            Box::pin(super::a_watched_load_returns_the_record(store))
        }),
        (Defect::NoSignsOfLife, |store| {
            Box::pin(super::a_feed_gives_signs_of_life(store))
        }),
    ];
    let checks = caught.map(|(defect, check)| {
        let store = Arc::new(Defective::new(Some(defect)));
        (defect, thread::spawn(move || super::run(check(store))))
    });
    for (defect, checked) in checks {
        let panic = checked
            .join()
            .expect_err(&format!("{defect:?} is not caught"));
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        assert!(
            !message.unwrap_or_default().contains("did not end within"),
            "{defect:?}: a check that was merely slow has caught nothing"
        );
    }
}
