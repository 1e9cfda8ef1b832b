//! Who is logged in, and how recently.

use std::time::Duration;

use session_core::{
    MemoryStore, Session, SessionError, SessionErrorKind, Sessions,
    testing::{ManualClock, TestStore},
};

use crate::visit::{Jar, anonymous, builder, get, visit};

const MINUTE: Duration = Duration::from_secs(60);

fn timed() -> (ManualClock, Sessions) {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build();
    (clock, sessions.expect("valid options"))
}

async fn load(sessions: &Sessions, jar: &Jar) -> Session {
    get(sessions, jar).await.session
}

fn kind(result: Result<String, SessionError>) -> Option<SessionErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_login_is_fresh_until_its_time_has_passed() {
    let (clock, sessions) = timed();
    let mut jar = anonymous(&sessions).await;
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    clock.advance(5 * MINUTE - Duration::from_millis(1));
    let session = load(&sessions, &jar).await;
    assert!(session.fresh_within(5 * MINUTE));
    assert_eq!(
        session.require_fresh(5 * MINUTE).ok().as_deref(),
        Some("ann")
    );
    clock.advance(Duration::from_millis(1));
    // the age counts when it is asked for, and not when the session was loaded
    assert!(!session.fresh_within(5 * MINUTE));
    assert!(session.fresh_within(6 * MINUTE));
    let error = kind(session.require_fresh(5 * MINUTE));
    assert_eq!(error, Some(SessionErrorKind::NotFresh));
    assert_eq!(session.require_login().ok().as_deref(), Some("ann"));
}

#[tokio::test]
async fn another_login_of_the_same_principal_is_fresh_at_once() {
    let (clock, sessions) = timed();
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    clock.advance(10 * MINUTE);
    let fresh = visit(&sessions, &mut jar, |session| {
        assert!(!session.fresh_within(MINUTE));
        session.log_in("ann")?;
        Ok(session.fresh_within(MINUTE))
    })
    .await;
    assert!(fresh);
    assert!(load(&sessions, &jar).await.fresh_within(MINUTE));
}

#[tokio::test]
async fn a_session_without_a_principal_is_never_fresh() {
    let (_, sessions) = timed();
    let mut jar = anonymous(&sessions).await;
    let session = load(&sessions, &jar).await;
    assert!(!session.fresh_within(Duration::MAX));
    for result in [session.require_login(), session.require_fresh(MINUTE)] {
        assert_eq!(kind(result), Some(SessionErrorKind::Unauthenticated));
    }

    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let session = load(&sessions, &jar).await;
    session.log_out().expect("open");
    assert!(!session.fresh_within(Duration::MAX));
    let error = kind(session.require_login());
    assert_eq!(error, Some(SessionErrorKind::Unauthenticated));
}

/// The clock of the instance that stored the login was ahead.
#[tokio::test]
async fn a_login_in_the_future_counts_as_just_now() {
    let (clock, sessions) = timed();
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let session = load(&sessions, &jar).await;
    let logged_in_at = session.authenticated_at().expect("logged in");
    clock.set_wall(logged_in_at - Duration::from_secs(5));
    assert!(session.fresh_within(Duration::from_millis(1)));
    assert!(!session.fresh_within(Duration::ZERO), "nothing is");
}

#[tokio::test]
async fn log_out_ends_the_session_and_removes_the_cookie() {
    let (_, sessions) = timed();
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let copy = jar.clone();
    visit(&sessions, &mut jar, Session::log_out).await;
    assert_eq!(jar.cookie(), None);
    assert!(load(&sessions, &copy).await.is_new());
}
