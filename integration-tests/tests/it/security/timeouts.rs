//! Timeouts: nothing extends them beyond their limits.

use std::time::Duration;

use session_core::{
    Loaded, MemoryStore, Outcome, Session, Store, StoreErrorKind,
    testing::{Call, ManualClock, TestStore},
};
use test_support::Browser;

use super::{MIN, count};
use crate::visit::{begin, builder, calls_of, finish, set_cookies, visit};

/// The store's clock ends an idle session. A record whose time to live is too long gets the configured one.
#[tokio::test]
async fn an_idle_timeout_that_is_too_long_in_the_store_is_shortened() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(30 * MIN)
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    let id = visit(&sessions, &mut browser, |session| {
        count(session);
        session.id().expect("live")
    })
    .await;
    store
        .inner()
        .touch(&id, 1000 * MIN)
        .await
        .map(drop)
        .expect("memory");
    assert_eq!(
        calls_of(&sessions, &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Touch]
    );
    let Some(Loaded { ttl, .. }) = store.inner().load(&id).await.expect("memory") else {
        panic!("live")
    };
    assert_eq!(ttl, Some(30 * MIN));
    clock.advance(30 * MIN);
    assert!(begin(&sessions, &browser).await.1.is_new());
}

#[tokio::test]
async fn the_absolute_timeout_is_never_extended() {
    let act: [fn(&Session); 5] = [
        |session| session.touch(),
        count,
        |session| session.renew(),
        |session| session.set_max_age(Some(10_000 * MIN)).expect("writable"),
        |session| {
            session
                .set_idle_timeout(Some(10_000 * MIN))
                .expect("writable")
        },
    ];
    for act in act {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let builder = builder(&store)
            .clock(clock.clone())
            .idle_timeout(20 * MIN)
            .absolute_timeout(100 * MIN);
        let sessions = builder.build().expect("valid options");
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        for _ in 0..9 {
            clock.advance(10 * MIN);
            visit(&sessions, &mut browser, act).await;
        }
        clock.advance(10 * MIN - Duration::from_secs(1));
        assert!(
            !begin(&sessions, &browser).await.1.is_new(),
            "a second before"
        );
        visit(&sessions, &mut browser, act).await;
        clock.advance(Duration::from_secs(1));
        assert!(begin(&sessions, &browser).await.1.is_new());
    }
}

/// The session keeps the time to live that it has, and the next request tries again.
#[tokio::test]
async fn a_failed_touch_does_not_fail_the_request() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    clock.advance(20 * MIN);
    store.fail(Call::Touch, StoreErrorKind::Unavailable);
    let (handle, _) = begin(&sessions, &browser).await;
    let (outcome, response) = finish(&sessions, &handle, &mut browser)
        .await
        .expect("served");
    assert_eq!(
        (outcome, set_cookies(&response)),
        (Outcome::Untouched, vec![])
    );
    assert_eq!(
        calls_of(&sessions, &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Touch],
        "the next request tries again"
    );
}
