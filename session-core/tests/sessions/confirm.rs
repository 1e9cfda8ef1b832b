//! Writes that replicas confirm.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use session_core::{
    AnyIndex, Created, Destroy, Destroyed, Loaded, MemoryStore, Replicas, Saved, SessionId, Store,
    StoreError, Touched, Version, Write,
    testing::{Call, TestStore},
};

use crate::visit::{Jar, anonymous, builder, post, sessions, visit};

/// A store with replicas: remembers who was asked for them, and how many answer.
#[derive(Debug, Default)]
struct Replicated {
    store: MemoryStore,
    asked: Mutex<Vec<Option<Replicas>>>,
    /// How many replicas have the next writes; afterwards all that are asked for.
    counts: Mutex<VecDeque<u32>>,
}

impl Replicated {
    fn counts(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.counts.lock().expect("no panic")
    }

    fn take_asked(&self) -> Vec<Option<Replicas>> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    fn count(&self, replicas: Option<Replicas>) -> Option<u32> {
        self.asked.lock().expect("no panic").push(replicas);
        let replicas = replicas?;
        Some(self.counts().pop_front().unwrap_or(replicas.count()))
    }
}

impl Store for Replicated {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.store.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let count = self.count(write.replicas);
        Ok(match self.store.create(id, write).await? {
            Created::Created(applied) => Created::Created(applied.on_replicas(count)),
            Created::Taken => Created::Taken,
        })
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let count = self.count(write.replicas);
        Ok(match self.store.save(id, expected, write).await? {
            Saved::Saved(applied) => Saved::Saved(applied.on_replicas(count)),
            other @ (Saved::Conflict(_) | Saved::Gone) => other,
        })
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        self.store.touch(id, expected, ttl).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let count = self.count(options.replicas);
        Ok(match self.store.destroy(id, options).await? {
            Destroyed::Destroyed(applied) => Destroyed::Destroyed(applied.on_replicas(count)),
            other @ (Destroyed::Conflict(_) | Destroyed::Gone) => other,
        })
    }

    fn index(&self) -> Option<AnyIndex> {
        self.store.index()
    }
}

fn store() -> TestStore<Replicated> {
    TestStore::new(Replicated::default())
}

#[tokio::test]
async fn a_request_asks_for_its_own_writes_and_learns_the_lowest_count() {
    let store = store();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    assert_eq!(store.inner().take_asked(), [None], "nobody has asked");

    let replicas = Replicas::new(2).timeout(Duration::from_millis(7));
    let request = post(&sessions, &jar).await;
    request.session.confirm(replicas);
    request.session.insert("cart", "milk").expect("accepted");
    let saved = request.session.save().await.expect("no fault");
    assert_eq!(saved.replicas, Some(2));
    // a new session, and the end of the old one
    request.session.regenerate().expect("accepted");
    store.inner().counts().extend([1, 2]);
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert!(outcome.created && outcome.ended.is_some(), "{outcome:?}");
    assert_eq!(outcome.replicas, Some(1));
    assert_eq!(store.inner().take_asked(), [Some(replicas); 3]);

    let request = post(&sessions, &jar).await;
    request.session.insert("cart", "tea").expect("accepted");
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.replicas, None, "the next request has not asked");
}

#[tokio::test]
async fn a_default_holds_for_every_write_and_end_and_for_no_touch() {
    let store = store();
    let replicas = Replicas::new(1);
    let sessions = builder(&store)
        .touch_after(Duration::ZERO)
        .confirm(replicas);
    let sessions = sessions.build().expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let mut other = Jar::default();
    visit(&sessions, &mut other, |session| session.log_in("ann")).await;
    let request = post(&sessions, &jar).await;
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert!(outcome.touched);
    assert_eq!(outcome.replicas, None);

    let request = post(&sessions, &other).await;
    let id = request.session.id().expect("stored");
    // the request has the last word
    let own = Replicas::new(3);
    request.session.confirm(own);
    request.session.log_out().expect("accepted");
    let outcome = request.finish(&mut other).await.expect("no fault");
    assert_eq!(outcome.replicas, Some(3));
    assert_eq!(sessions.of("ann").end_all().await.expect("no fault"), 1);
    sessions.end(&id).await.expect("no fault");
    let default = Some(replicas);
    let asked = store.inner().take_asked();
    assert_eq!(asked, [default, default, Some(own), default, default]);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_to_be_on_no_replica() {
    for (call, lost) in [
        (Call::Save, true),
        (Call::Destroy, true),
        (Call::Save, false),
    ] {
        let store = store();
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        let request = post(&sessions, &jar).await;
        request.session.confirm(Replicas::new(1));
        match call {
            Call::Save => request.session.insert("cart", "milk").expect("accepted"),
            _ => request.session.log_out().expect("accepted"),
        }
        if lost {
            store.lose_answer(call);
        }
        let outcome = request.finish(&mut jar).await.expect("settled");
        assert!(
            outcome.saved || outcome.ended.is_some(),
            "{call:?}: {outcome:?}"
        );
        let expected = if lost { 0 } else { 1 };
        assert_eq!(outcome.replicas, Some(expected), "{call:?}");
    }
}

#[tokio::test]
async fn a_store_without_replicas_says_nothing_about_them() {
    let store = TestStore::default();
    let sessions = builder(&store).confirm(Replicas::new(1)).build();
    let sessions = sessions.expect("valid options");
    let mut jar = Jar::default();
    let request = post(&sessions, &jar).await;
    request.session.insert("cart", "milk").expect("accepted");
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert!(outcome.created);
    assert_eq!(outcome.replicas, None);
}
