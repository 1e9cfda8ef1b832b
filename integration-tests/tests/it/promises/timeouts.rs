//! The idle and the absolute timeout.

use std::time::Duration;

use session_core::{
    MemoryStore,
    testing::{ManualClock, TestStore},
};
use test_support::Browser;

use super::{MIN, count, counted};
use crate::visit::{begin, builder, finish, set_cookies, visit};

#[tokio::test]
async fn a_persistent_session_keeps_its_lifetime_across_writes() {
    const DAY: Duration = Duration::from_secs(86400);
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.set_principal(Some("ann")).expect("writable");
        session.set_max_age(Some(30 * DAY)).expect("writable");
        session
            .set_absolute_timeout(Some(90 * DAY))
            .expect("writable");
    })
    .await;
    for _ in 0..10 {
        clock.advance(8 * DAY);
        let (handle, session) = begin(&sessions, &browser).await;
        assert_eq!(session.principal().as_deref(), Some("ann"));
        assert_eq!(session.original_max_age(), Some(30 * DAY));
        count(&session);
        let (_, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        let days = session.max_age().expect("persistent").as_secs() / 86400;
        assert!(
            set_cookies(&response)[0].contains(&format!("Max-Age={}", days * 86400)),
            "{response:?}"
        );
    }
    // 80 days old: the idle timeout would give 30 more, the absolute one gives 10
    assert_eq!(
        visit(&sessions, &mut browser, |session| session.max_age()).await,
        Some(10 * DAY)
    );
    clock.advance(10 * DAY);
    assert!(visit(&sessions, &mut browser, |session| session.is_new()).await);
}

#[tokio::test]
async fn the_idle_timeout_is_extended_up_to_the_absolute_timeout() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(30 * MIN)
        .absolute_timeout(100 * MIN)
        .build()
        .expect("valid options");
    let mut idle = Browser::new();
    visit(&sessions, &mut idle, count).await;
    let mut busy = idle.clone();
    clock.advance(29 * MIN);
    assert_eq!(counted(&sessions, &mut busy).await, Some(1));
    clock.advance(29 * MIN);
    assert_eq!(
        counted(&sessions, &mut busy).await,
        Some(1),
        "every request resets the idle timeout"
    );
    clock.advance(29 * MIN);
    assert_eq!(counted(&sessions, &mut busy).await, Some(1));
    clock.advance(13 * MIN);
    assert_eq!(
        counted(&sessions, &mut busy).await,
        None,
        "but not beyond the absolute timeout"
    );

    let mut idle = Browser::new();
    visit(&sessions, &mut idle, count).await;
    clock.advance(30 * MIN);
    assert_eq!(counted(&sessions, &mut idle).await, None);
}
