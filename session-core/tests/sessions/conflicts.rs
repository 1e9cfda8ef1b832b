//! Concurrent requests of one session: merging, deadlines, turns.

use std::time::Duration;

use session_core::{
    ExpressOptions, OutcomeKind, SessionErrorKind, Sessions, Store,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, builder, get, post, sessions, visit};

#[tokio::test]
async fn concurrent_writes_are_merged() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("kept", &0)).await;
    let (one, two) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
    one.session.insert("one", &1).expect("a write");
    two.session.insert("two", &2).expect("a write");
    two.session.remove::<u32>("kept").expect("a number");
    let _ = one.finish(&mut jar).await.expect("no fault");
    let _ = two.finish(&mut jar).await.expect("merged");
    assert_eq!(get(&sessions, &jar).await.session.names(), ["one", "two"]);
}

#[tokio::test]
async fn a_logout_during_a_slow_write_is_final() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let slow = post(&sessions, &jar).await;
    slow.session.insert("note", &1).expect("a write");
    visit(&sessions, &mut jar, |session| session.destroy()).await;
    assert_eq!(jar.cookie(), None);
    let error = slow.session.save().await.expect_err("ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    let error = slow.session.insert("note", &2).expect_err("ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    let outcome = slow.finish(&mut jar).await.expect("reported already");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
    assert_eq!(jar.cookie(), None);
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_logout_after_the_write_of_another_request_ends_the_session() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let logout = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.insert("note", &1)).await;
    logout.session.destroy().expect("noted");
    store.take_calls();
    let outcome = logout.finish(&mut jar).await.expect("authorized");
    assert_eq!(outcome.kind(), OutcomeKind::Destroyed);
    assert_eq!(store.take_calls(), [Call::Destroy, Call::Destroy]);
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_resave_that_meets_the_write_of_another_request_is_not_repeated() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .express(ExpressOptions::new().resave(true))
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("note", &1)).await;
    let reading = get(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.insert("note", &2)).await;
    store.take_calls();
    let outcome = reading.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
    assert_eq!(store.take_calls(), [Call::Save]);
}

/// A store in which somebody else always writes first.
#[derive(Clone)]
struct AlwaysBusy {
    inner: std::sync::Arc<session_core::MemoryStore>,
    clock: ManualClock,
}

impl Store for AlwaysBusy {
    async fn load(
        &self,
        id: &session_core::SessionId,
    ) -> Result<Option<session_core::Loaded>, session_core::StoreError> {
        self.inner.load(id).await
    }

    async fn create(
        &self,
        id: &session_core::SessionId,
        write: session_core::Write<'_>,
    ) -> Result<session_core::Created, session_core::StoreError> {
        self.inner.create(id, write).await
    }

    async fn save(
        &self,
        id: &session_core::SessionId,
        _: session_core::Version,
        _: session_core::Write<'_>,
    ) -> Result<session_core::Saved, session_core::StoreError> {
        self.clock.advance(Duration::from_millis(100));
        let current = self.inner.load(id).await?;
        Ok(current.map_or(session_core::Saved::Gone, session_core::Saved::Conflict))
    }

    async fn touch(
        &self,
        id: &session_core::SessionId,
        expected: session_core::Version,
        ttl: Duration,
    ) -> Result<session_core::Touched, session_core::StoreError> {
        self.inner.touch(id, expected, ttl).await
    }

    async fn destroy(
        &self,
        id: &session_core::SessionId,
        options: session_core::Destroy,
    ) -> Result<session_core::Destroyed, session_core::StoreError> {
        if options.expected.is_none() {
            return self.inner.destroy(id, options).await;
        }
        self.clock.advance(Duration::from_millis(100));
        let current = self.inner.load(id).await?;
        Ok(current.map_or(
            session_core::Destroyed::Gone,
            session_core::Destroyed::Conflict,
        ))
    }
}

fn always_busy() -> (ManualClock, TestStore<AlwaysBusy>, Sessions) {
    let clock = ManualClock::default();
    let store = TestStore::new(AlwaysBusy {
        inner: std::sync::Arc::default(),
        clock: clock.clone(),
    });
    let sessions = builder(&store)
        .clock(clock.clone())
        .commit_deadline(Duration::from_secs(1))
        .build()
        .expect("valid options");
    (clock, store, sessions)
}

#[tokio::test]
async fn merging_ends_at_the_deadline_of_the_monotonic_clock() {
    let (clock, store, sessions) = always_busy();
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("note", &1)).await;
    for jump in [Duration::ZERO, Duration::from_secs(600)] {
        let request = post(&sessions, &jar).await;
        // the wall clock may be set forward at any time
        clock.set_wall(session_core::Clock::now(&clock) + jump);
        request.session.insert("note", &2).expect("a write");
        store.take_calls();
        let error = request.finish(&mut jar).await.expect_err("always busy");
        assert_eq!(error.kind(), SessionErrorKind::Contention);
        let saves = store
            .take_calls()
            .iter()
            .filter(|call| **call == Call::Save)
            .count();
        assert_eq!(saves, 10, "a tenth of a second each");
    }
}

#[tokio::test]
async fn a_regeneration_that_is_not_done_at_the_deadline_leaves_nothing_behind() {
    let (_, store, sessions) = always_busy();
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("note", &1)).await;
    let before = jar.clone();
    let request = post(&sessions, &jar).await;
    request.session.regenerate().expect("open");
    store.take_calls();
    let error = request.finish(&mut jar).await.expect_err("always busy");
    assert_eq!(error.kind(), SessionErrorKind::Contention);
    let calls = store.take_calls();
    assert_eq!(calls.first(), Some(&Call::Create), "{calls:?}");
    assert_eq!(store.inner().inner.len(), 1);
    assert_eq!(jar, before);
    assert_eq!(get(&sessions, &jar).await.session.names(), ["note"]);
}

#[tokio::test]
async fn contention_on_one_session_does_not_delay_another() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let (mut busy, mut quiet) = (Jar::default(), Jar::default());
    visit(&sessions, &mut busy, |session| session.insert("n", &0)).await;
    visit(&sessions, &mut quiet, |session| session.insert("n", &0)).await;
    // a commit that met a conflict holds its session's turn while its second save waits
    let slow = post(&sessions, &busy).await;
    visit(&sessions, &mut busy, |session| session.insert("n", &1)).await;
    slow.session.insert("slow", &1).expect("a write");
    let first = store.hold(Call::Save);
    let second = store.hold(Call::Save);
    let slow = tokio::spawn(async move { slow.finish(&mut Jar::default()).await });
    first.arrived().await;
    first.open();
    second.arrived().await;
    for jar in [&mut quiet, &mut Jar::default()] {
        let (one, two) = (post(&sessions, jar).await, post(&sessions, jar).await);
        one.session.insert("one", &1).expect("a write");
        two.session.insert("two", &1).expect("a write");
        let _ = one.finish(&mut jar.clone()).await.expect("no fault");
        let _ = two.finish(jar).await.expect("not delayed");
    }
    second.open();
    let _ = slow.await.expect("no panic").expect("merged");
}

#[tokio::test]
async fn an_id_that_an_id_source_repeats_is_not_the_same_session() {
    let clock = ManualClock::default();
    let store = TestStore::default();
    let id = session_core::SessionId::from_bytes([7; 16]);
    let sessions = builder(&store)
        .clock(clock.clone())
        .id_source(move |_| Ok(id))
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("old", &1)).await;
    let slow = post(&sessions, &jar).await;
    slow.session.insert("slow", &1).expect("a write");
    visit(&sessions, &mut jar, |session| session.destroy()).await;
    clock.advance(Duration::from_secs(1));
    visit(&sessions, &mut jar, |session| session.insert("new", &1)).await;
    let error = slow
        .finish(&mut Jar::default())
        .await
        .expect_err("its session has ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    assert_eq!(get(&sessions, &jar).await.session.names(), ["new"]);
}
