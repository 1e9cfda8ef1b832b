//! Watching whether a session ends.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use http::Method;
use session_core::{
    EndReason, MemoryStore, Session, SessionError, SessionErrorKind, Sessions, StoreErrorKind,
    Watch,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, Visit, builder, visit};

const MINUTE: Duration = Duration::from_secs(60);

/// A session of ann that is watched, and another instance.
struct Watched {
    clock: ManualClock,
    store: TestStore,
    elsewhere: Sessions,
    jar: Jar,
    watch: Watch,
}

async fn watched() -> Watched {
    watched_after(|session| session.log_in("ann")).await
}

async fn watched_after(begin: impl FnOnce(&Session) -> Result<(), SessionError>) -> Watched {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let instance = || {
        let builder = builder(&store).clock(clock.clone());
        builder
            .idle_timeout(30 * MINUTE)
            .build()
            .expect("valid options")
    };
    let (here, elsewhere) = (instance(), instance());
    let mut jar = Jar::default();
    let visit = Visit::begin(&here, &jar, Method::POST).await;
    begin(&visit.session).expect("accepted");
    // before it is stored, as in the handler of the request that begins it
    let watch = visit.session.watch();
    let _ = visit.finish(&mut jar).await.expect("no fault");
    store.take_calls();
    let mut watched = Watched {
        clock,
        store,
        elsewhere,
        jar,
        watch,
    };
    assert!(watched.lives().await);
    assert!(!watched.is_signalled(), "nothing has happened");
    watched.store.take_calls();
    watched
}

impl Watched {
    async fn lives(&mut self) -> bool {
        self.watch.look().await.expect("no fault").is_some()
    }

    /// Whether a change was announced since the last look.
    fn is_signalled(&mut self) -> bool {
        let changed = pin!(self.watch.changed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(changed.poll(&mut context), Poll::Ready(_))
    }

    async fn elsewhere(&mut self, act: impl FnOnce(&Session) -> Result<(), SessionError>) {
        visit(&self.elsewhere, &mut self.jar, act).await;
        assert!(self.is_signalled(), "a change is announced");
    }
}

#[tokio::test]
async fn a_logout_elsewhere_ends_it() {
    let mut watched = watched().await;
    watched.elsewhere(|session| session.destroy()).await;
    watched.store.take_calls();
    assert!(!watched.lives().await);
    assert_eq!(watched.store.take_calls(), [Call::Load]);
}

#[tokio::test]
async fn the_end_of_all_sessions_of_its_user_ends_it() {
    let mut watched = watched().await;
    let ended = watched.elsewhere.of("ann").end_all().await;
    assert_eq!(ended.expect("no fault"), 1);
    assert!(watched.is_signalled());
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn an_operator_ends_it() {
    let mut watched = watched().await;
    let id = watched.store.inner().dump()[0].0;
    watched.elsewhere.end(&id).await.expect("no fault");
    assert!(watched.is_signalled());
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn a_login_of_somebody_else_ends_it() {
    let mut watched = watched().await;
    watched.elsewhere(|session| session.log_in("bob")).await;
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn a_login_ends_an_anonymous_one() {
    let mut watched = watched_after(|session| session.insert("cart", &1)).await;
    watched.elsewhere(|session| session.log_in("ann")).await;
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn writes_renewals_and_repeated_logins_do_not_end_it() {
    let mut watched = watched().await;
    watched.elsewhere(|session| session.insert("a", &1)).await;
    assert!(watched.lives().await);
    watched.elsewhere(|session| session.renew()).await;
    assert!(watched.lives().await);
    watched.elsewhere(|session| session.log_in("ann")).await;
    assert!(watched.lives().await);
}

#[tokio::test]
async fn looking_tells_when_it_expires_and_does_not_extend_it() {
    let mut watched = watched().await;
    watched.clock.advance(10 * MINUTE);
    let wait = watched.watch.look().await.expect("no fault");
    assert_eq!(wait, Some(20 * MINUTE));
    watched.clock.advance(20 * MINUTE);
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn the_absolute_timeout_ends_it() {
    let mut watched = watched().await;
    for _ in 0..35 {
        watched.clock.advance(20 * MINUTE);
        watched.elsewhere(|_| Ok(())).await;
        assert!(watched.lives().await);
    }
    watched.clock.advance(15 * MINUTE);
    assert_eq!(
        watched.watch.look().await.expect("no fault"),
        Some(5 * MINUTE)
    );
    watched.clock.advance(5 * MINUTE);
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn a_session_that_was_never_stored_has_ended() {
    let store = TestStore::default();
    let sessions = builder(&store).build().expect("valid options");
    let visit = Visit::begin(&sessions, &Jar::default(), Method::GET).await;
    let mut watch = visit.session.watch();
    assert_eq!(watch.look().await.expect("no fault"), None);
}

#[tokio::test]
async fn a_session_that_its_own_request_ended_has_ended() {
    let store = TestStore::default();
    let sessions = builder(&store).build().expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let visit = Visit::begin(&sessions, &jar, Method::POST).await;
    let mut before = visit.session.watch();
    visit.session.destroy().expect("accepted");
    let mut after = visit.session.watch();
    let outcome = visit.finish(&mut jar).await.expect("no fault");
    assert_eq!(
        outcome.ended.expect("it ended").reason,
        EndReason::Destroyed
    );
    assert_eq!(before.look().await.expect("no fault"), None);
    assert_eq!(after.look().await.expect("no fault"), None);
}

#[tokio::test]
async fn an_outage_is_no_end() {
    let mut watched = watched().await;
    watched.store.fail(Call::Load, StoreErrorKind::Unavailable);
    let error = watched.watch.look().await.expect_err("the outage");
    assert_eq!(error.kind(), SessionErrorKind::Unavailable);
    assert!(watched.lives().await);
}

#[tokio::test]
async fn an_interruption_asks_for_another_look() {
    let mut watched = watched().await;
    watched.store.hold_announcements();
    visit(&watched.elsewhere.clone(), &mut watched.jar, |session| {
        session.destroy()
    })
    .await;
    assert!(!watched.is_signalled(), "it is held back");
    watched.store.interrupt_feed();
    assert!(watched.is_signalled());
    assert!(!watched.lives().await);
}

#[tokio::test]
async fn a_change_during_a_look_is_not_missed() {
    let mut watched = watched().await;
    let gate = watched.store.hold(Call::Load);
    let id = watched.store.inner().dump()[0].0;
    let ended = async {
        gate.arrived().await;
        watched.elsewhere.end(&id).await.expect("no fault");
        gate.open();
    };
    let (looked, ()) = tokio::join!(watched.watch.look(), ended);
    looked.expect("no fault");
    assert!(watched.is_signalled());
}
