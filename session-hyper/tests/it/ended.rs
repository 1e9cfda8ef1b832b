//! Waiting for the end of a session.

use std::{pin::pin, time::Duration};

use http::Request;
use session_hyper::{
    MemoryStore, Session, SessionExt, Sessions, SigningKeys, StoreErrorKind,
    testing::{Call, ManualClock, TestStore},
};
use tokio::time::{Instant, timeout};

struct Fixture {
    clock: ManualClock,
    store: TestStore,
    sessions: Sessions,
    session: Session,
}

async fn fixture() -> Fixture {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = Sessions::builder(store.clone())
        .signing_keys(SigningKeys::random().expect("entropy"))
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let session = sessions.begin(&Request::new(())).load().await;
    let session = session.expect("no fault");
    session.log_in("ann").expect("accepted");
    let _ = session.save().await.expect("no fault");
    store.take_calls();
    Fixture {
        clock,
        store,
        sessions,
        session,
    }
}

impl Fixture {
    /// Lets the time pass for the timers and for the store.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_session_was_ended_elsewhere() {
    let fixture = fixture().await;
    let ended = tokio::spawn(fixture.session.ended());
    fixture.pass(Duration::ZERO).await;
    fixture.pass(Duration::from_secs(60)).await;
    assert!(!ended.is_finished());
    assert_eq!(fixture.store.take_calls(), [Call::Load]);
    let id = fixture.session.id().expect("it lives");
    fixture.sessions.end(&id).await.expect("no fault");
    let started = Instant::now();
    ended.await.expect("no panic");
    assert_eq!(started.elapsed(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_session_has_expired() {
    let fixture = fixture().await;
    let ended = tokio::spawn(fixture.session.ended());
    for _ in 0..29 {
        fixture.pass(Duration::from_secs(60)).await;
    }
    assert!(!ended.is_finished());
    fixture.pass(Duration::from_secs(60)).await;
    timeout(Duration::from_secs(1), ended)
        .await
        .expect("it has expired")
        .expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn changes_that_do_not_end_it_cost_four_looks_per_second_at_most() {
    let fixture = fixture().await;
    let mut ended = pin!(fixture.session.ended());
    let writes = async {
        for count in 0..100 {
            fixture.session.insert("count", &count).expect("accepted");
            let _ = fixture.session.save().await.expect("no fault");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = &mut ended => panic!("it lives"),
        () = writes => {}
    }
    let calls = fixture.store.take_calls();
    let looks = calls.iter().filter(|call| **call == Call::Load).count();
    assert!((2..=9).contains(&looks), "{looks} looks in two seconds");
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_end_it() {
    let fixture = fixture().await;
    for _ in 0..5 {
        fixture.store.fail(Call::Load, StoreErrorKind::Unavailable);
    }
    let ended = pin!(fixture.session.ended());
    let waited = timeout(Duration::from_secs(60), ended).await;
    assert!(waited.is_err(), "it lives");
    assert_eq!(fixture.store.pending_faults(), 0);
    assert_eq!(fixture.store.take_calls().len(), 6);
}
