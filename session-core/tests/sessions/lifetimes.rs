//! Timeouts, touches and clocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use session_core::{
    Clock, EndReason, ExpressOptions, Loss, MemoryStore, OutcomeKind, Session, SessionError,
    SessionErrorKind, Sessions, StoreErrorKind, Timeouts,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, builder, get, post, visit};

const MINUTE: Duration = Duration::from_secs(60);

fn timed(configure: impl FnOnce(session_core::Builder) -> session_core::Builder) -> Timed {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let builder = builder(&store).clock(clock.clone());
    let sessions = configure(builder).build().expect("valid options");
    Timed {
        clock,
        store,
        sessions,
        jar: Jar::default(),
    }
}

struct Timed {
    clock: ManualClock,
    store: TestStore,
    sessions: Sessions,
    jar: Jar,
}

impl Timed {
    async fn lives(&self) -> bool {
        !get(&self.sessions, &self.jar).await.session.is_new()
    }

    async fn read(&mut self) -> OutcomeKind {
        let request = get(&self.sessions, &self.jar).await;
        request
            .finish(&mut self.jar)
            .await
            .expect("no fault")
            .kind()
    }
}

#[tokio::test]
async fn idle_and_absolute_timeout_apply_together() {
    let mut timed = timed(|builder| builder.absolute_timeout(100 * MINUTE));
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    for _ in 0..3 {
        timed.clock.advance(29 * MINUTE);
        assert_eq!(timed.read().await, OutcomeKind::Touched);
    }
    timed.clock.advance(13 * MINUTE);
    assert!(!timed.lives().await, "100 minutes old");
}

#[tokio::test]
async fn requests_that_do_not_overlap_touch_at_most_ten_times_per_idle_timeout() {
    let mut timed = timed(|builder| builder);
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    timed.store.take_calls();
    for _ in 0..30 * 6 {
        timed.clock.advance(MINUTE / 6);
        timed.read().await;
    }
    let touches = timed
        .store
        .take_calls()
        .iter()
        .filter(|call| **call == Call::Touch)
        .count();
    assert!((5..=10).contains(&touches), "{touches}");
}

/// A clock that shows another millisecond each time it is read, as any clock does if the machine is
/// slow enough.
#[derive(Clone, Default)]
struct TickingClock(Arc<AtomicU64>);

impl TickingClock {
    fn tick(&self) -> Duration {
        let readings = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(readings < 1000, "a commit goes on and on");
        Duration::from_millis(readings)
    }
}

impl Clock for TickingClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000) + self.tick()
    }

    fn monotonic(&self) -> Duration {
        self.tick()
    }
}

/// A session that was stored under a ticking clock, with `touch_after` of zero.
async fn where_each_moment_counts(options: ExpressOptions) -> (TestStore, Sessions, Jar) {
    let clock = TickingClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock)
        .touch_after(Duration::ZERO)
        .express(options)
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    store.take_calls();
    (store, sessions, jar)
}

#[tokio::test]
async fn a_request_touches_exactly_once_although_time_goes_on() {
    let plain = ExpressOptions::new();
    for options in [plain, plain.rolling(true)] {
        for act in [|_: &Session| Ok(()), Session::touch] {
            let (store, sessions, mut jar) = where_each_moment_counts(options).await;
            let request = get(&sessions, &jar).await;
            act(&request.session).expect("open");
            let outcome = request.finish(&mut jar).await.expect("no fault");
            assert_eq!(outcome.kind(), OutcomeKind::Touched, "{options:?}");
            assert_eq!(store.take_calls(), [Call::Load, Call::Touch], "{options:?}");
        }
    }
}

#[tokio::test]
async fn an_early_save_touches_exactly_once_although_time_goes_on() {
    let (store, sessions, jar) = where_each_moment_counts(ExpressOptions::new()).await;
    let request = get(&sessions, &jar).await;
    let outcome = request.session.save().await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Touched);
    assert_eq!(store.take_calls(), [Call::Load, Call::Touch]);
}

#[tokio::test]
async fn a_request_that_writes_does_not_touch_although_time_goes_on() {
    let plain = ExpressOptions::new();
    let write: fn(&Session) -> Result<(), SessionError> = |session| session.insert("a", &2);
    for (options, act) in [
        (plain, write),
        (plain.rolling(true), write),
        (plain.resave(true), |_| Ok(())),
    ] {
        let (store, sessions, mut jar) = where_each_moment_counts(options).await;
        visit(&sessions, &mut jar, act).await;
        assert_eq!(store.take_calls(), [Call::Load, Call::Save], "{options:?}");
    }
}

#[tokio::test]
async fn a_session_with_a_short_idle_timeout_of_its_own_lives_as_long_as_it_is_used() {
    let mut timed = timed(|builder| builder.touch_after(20 * MINUTE));
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.set_idle_timeout(Some(10 * MINUTE))?;
        session.insert("a", &1)
    })
    .await;
    for _ in 0..10 {
        timed.clock.advance(8 * MINUTE);
        assert_eq!(timed.read().await, OutcomeKind::Touched);
    }
}

#[tokio::test]
async fn a_stale_view_does_not_end_a_session_that_was_just_extended() {
    let mut timed = timed(|builder| {
        builder
            .absolute_timeout(60 * MINUTE)
            .idle_timeout(50 * MINUTE)
    });
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    timed.clock.advance(40 * MINUTE);
    timed.read().await;
    timed.clock.advance(19 * MINUTE);
    let stale = get(&timed.sessions, &timed.jar).await;
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.set_absolute_timeout(Some(600 * MINUTE))
    })
    .await;
    timed.clock.advance(2 * MINUTE);
    let outcome = stale.finish(&mut timed.jar).await.expect("no fault");
    assert_eq!(outcome.ended, None);
    assert!(timed.lives().await);
}

#[tokio::test]
async fn a_session_that_expires_during_a_request_ends_with_it() {
    let mut timed = timed(|builder| {
        builder
            .absolute_timeout(60 * MINUTE)
            .idle_timeout(59 * MINUTE)
    });
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    timed.clock.advance(40 * MINUTE);
    timed.read().await;
    let (reading, writing) = (
        get(&timed.sessions, &timed.jar).await,
        post(&timed.sessions, &timed.jar).await,
    );
    writing.session.insert("b", &1).expect("a write");
    timed.clock.advance(20 * MINUTE);
    let error = writing
        .finish(&mut Jar::default())
        .await
        .expect_err("too late");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    let outcome = reading.finish(&mut timed.jar).await.expect("a read");
    assert_eq!(outcome.lost, None);
    assert!(!timed.lives().await);
}

#[tokio::test]
async fn what_a_request_does_after_the_end_is_lost_if_the_store_has_not_ended_the_session() {
    type Act = fn(&Session) -> Result<(), SessionError>;
    let acts: [(&str, Act, Option<Loss>); 3] = [
        ("write", |session| session.insert("b", &1), Some(Loss::Gone)),
        ("renew", Session::renew, Some(Loss::Gone)),
        ("read", |_| Ok(()), None),
    ];
    for (name, act, lost) in acts {
        let clock = ManualClock::default();
        // the clock of the store stands still
        let store = TestStore::default();
        let sessions = builder(&store)
            .clock(clock.clone())
            .absolute_timeout(60 * MINUTE)
            .build()
            .expect("valid options");
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        let request = get(&sessions, &jar).await;
        act(&request.session).expect("open");
        clock.advance(60 * MINUTE);
        let outcome = request.finish(&mut jar).await.expect("a GET");
        assert_eq!(outcome.lost, lost, "{name}");
        let reason = outcome.ended.map(|ended| ended.reason);
        assert_eq!(reason, Some(EndReason::Expired), "{name}");
        assert!(store.inner().is_empty());
        assert_eq!(jar.cookie(), None);
    }
}

#[tokio::test]
async fn a_session_whose_end_cannot_be_stored_fails_only_those_who_ask_for_it() {
    for (writes, saves, is_error) in [
        (false, false, false),
        (false, true, true),
        (true, false, true),
    ] {
        let mut timed = timed(|builder| {
            builder
                .absolute_timeout(60 * MINUTE)
                .idle_timeout(59 * MINUTE)
        });
        visit(&timed.sessions, &mut timed.jar, |session| {
            session.insert("a", &1)
        })
        .await;
        timed.clock.advance(40 * MINUTE);
        timed.read().await;
        let request = post(&timed.sessions, &timed.jar).await;
        if writes {
            request.session.insert("b", &1).expect("a write");
        }
        timed.clock.advance(20 * MINUTE);
        timed.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
        let error = match saves {
            true => request.session.save().await.err(),
            false => request.finish(&mut timed.jar).await.err(),
        };
        assert_eq!(
            error.map(|error| error.kind()),
            is_error.then_some(SessionErrorKind::Unavailable),
            "writes: {writes}, saves: {saves}"
        );
        assert_eq!(timed.store.pending_faults(), 0);
    }
}

#[tokio::test]
async fn a_touch_that_fails_is_an_error_only_for_a_handler_that_saves() {
    let resave = ExpressOptions::new().resave(true);
    for (express, call) in [(ExpressOptions::new(), Call::Touch), (resave, Call::Save)] {
        let mut timed = timed(|builder| builder.express(express));
        visit(&timed.sessions, &mut timed.jar, |session| {
            session.insert("a", &1)
        })
        .await;
        timed.clock.advance(10 * MINUTE);
        let request = get(&timed.sessions, &timed.jar).await;
        timed.store.fail(Call::Touch, StoreErrorKind::Unavailable);
        let error = request.session.save().await.expect_err("the fault");
        assert_eq!(error.kind(), SessionErrorKind::Unavailable);

        timed.store.fail(call, StoreErrorKind::Unavailable);
        let session = request.session.clone();
        timed.store.take_calls();
        let outcome = request.finish(&mut timed.jar).await.expect("ignored");
        assert_eq!(outcome.kind(), OutcomeKind::Untouched);
        assert_eq!(timed.store.take_calls(), [call]);
        assert_eq!(session.names(), ["a"]);
    }
}

#[tokio::test]
async fn a_lifetime_of_zero_ends_the_session() {
    let mut timed = timed(|builder| builder);
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    let request = post(&timed.sessions, &timed.jar).await;
    request
        .session
        .set_max_age(Some(Duration::ZERO))
        .expect("open");
    let outcome = request.finish(&mut timed.jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Destroyed);
    assert_eq!(timed.jar.cookie(), None);
    assert!(timed.store.inner().is_empty());
}

#[tokio::test]
async fn a_touch_does_not_change_the_life_that_a_concurrent_write_has_set() {
    let mut timed = timed(|builder| builder.absolute_timeout(None));
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    timed.clock.advance(10 * MINUTE);
    let slow = get(&timed.sessions, &timed.jar).await;
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.set_idle_timeout(Some(30 * 24 * 60 * MINUTE))
    })
    .await;
    let _ = slow.finish(&mut timed.jar.clone()).await.expect("no fault");
    timed.clock.advance(24 * 60 * MINUTE);
    assert!(timed.lives().await);
}

#[tokio::test]
async fn the_wall_clock_may_jump_while_a_request_runs() {
    let mut timed = timed(|builder| builder);
    visit(&timed.sessions, &mut timed.jar, |session| {
        session.insert("a", &1)
    })
    .await;
    let request = get(&timed.sessions, &timed.jar).await;
    let now = session_core::Clock::now(&timed.clock);
    timed.clock.set_wall(now + 20 * MINUTE);
    let outcome = request.finish(&mut timed.jar).await.expect("no fault");
    assert_eq!(
        outcome.kind(),
        OutcomeKind::Untouched,
        "the idle time is not measured by it"
    );
}

/// NIST SP 800-63B-4, sections 2.1.3, 2.2.3 and 2.3.3.
#[tokio::test]
async fn the_timeouts_of_an_assurance_level_end_a_session_that_is_idle_or_old() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (timeouts, idle, absolute) in [
        (Timeouts::aal1(), 720 * HOUR, 720 * HOUR),
        (Timeouts::aal2(), HOUR, 24 * HOUR),
        (Timeouts::aal3(), 15 * MINUTE, 12 * HOUR),
    ] {
        let login = async || {
            let mut timed = timed(|builder| builder.timeouts(timeouts));
            visit(&timed.sessions, &mut timed.jar, |session| {
                assert_eq!(session.idle_timeout(), idle);
                assert_eq!(session.absolute_timeout(), Some(absolute));
                session.log_in("ann")
            })
            .await;
            timed
        };
        let unused = login().await;
        unused.clock.advance(idle - MINUTE);
        assert!(unused.lives().await, "{timeouts:?}");
        unused.clock.advance(MINUTE);
        assert!(!unused.lives().await, "{timeouts:?}");

        let mut used = login().await;
        let step = idle / 2;
        let steps = absolute.as_secs() / step.as_secs();
        for _ in 1..steps {
            used.clock.advance(step);
            assert!(used.lives().await, "{timeouts:?}");
            used.read().await;
        }
        used.clock.advance(step);
        assert!(!used.lives().await, "{timeouts:?}");
    }
}
