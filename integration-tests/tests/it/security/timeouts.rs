//! Timeouts: nothing extends them beyond their limits.

use std::time::Duration;

use session_core::{
    MemoryStore, Session, Store,
    testing::{Call, ManualClock, TestStore},
};
use test_support::Browser;

use super::{MIN, count};
use crate::visit::{
    Act, Tested, begin, builder, calls_of, on_every_store, sessions, set_ttl, visit,
};

on_every_store! {
    an_idle_timeout_that_is_too_long_in_the_store_is_shortened
}

/// A record whose time to live is too long gets the configured one.
async fn an_idle_timeout_that_is_too_long_in_the_store_is_shortened(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let id = begin(&sessions, &browser).await.1.id().expect("stored");
    set_ttl(&store, id, 1000 * MIN).await;
    assert_eq!(
        calls_of(&sessions, &store, &mut browser, |_| Ok(())).await,
        [Call::Load, Call::Touch]
    );
    let loaded = store.inner().load(&id).await.expect("no fault");
    let ttl = loaded.expect("stored").ttl.expect("it expires");
    assert!((29 * MIN..=30 * MIN).contains(&ttl), "{ttl:?}");
}

/// But by a login, which begins it again.
#[tokio::test]
async fn the_absolute_timeout_is_never_extended() {
    let acts: [Act; 6] = [
        Session::touch,
        count,
        Session::renew,
        |session| session.set_max_age(Some(10_000 * MIN)),
        |session| session.set_idle_timeout(Some(10_000 * MIN)),
        |session| session.set_cookie(|cookie| cookie.http_only(false)),
    ];
    for act in acts {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let sessions = builder(&store)
            .clock(clock.clone())
            .idle_timeout(20 * MIN)
            .absolute_timeout(100 * MIN)
            .build()
            .expect("valid options");
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

#[tokio::test]
async fn a_remembered_login_keeps_its_lifetime_across_writes() {
    const DAY: Duration = Duration::from_secs(86400);
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.log_in("ann")?;
        session.set_max_age(Some(30 * DAY))?;
        session.set_absolute_timeout(Some(90 * DAY))
    })
    .await;
    for _ in 0..10 {
        clock.advance(8 * DAY);
        visit(&sessions, &mut browser, |session| {
            assert_eq!(session.principal().as_deref(), Some("ann"));
            assert_eq!(session.original_max_age(), Some(30 * DAY));
            count(session)
        })
        .await;
    }
    // 80 days old: the idle timeout would give 30 more, the absolute one gives 10
    let left = visit(&sessions, &mut browser, |session| Ok(session.max_age())).await;
    assert_eq!(left, Some(10 * DAY));
    clock.advance(10 * DAY);
    assert!(begin(&sessions, &browser).await.1.is_new());
}
