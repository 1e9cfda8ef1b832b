//! Isolation: no user ever gets the session of another.

use http::Response;
use session_core::{SessionErrorKind, StoreErrorKind, testing::Call};
use test_support::Browser;

use super::{VIEWS, count};
use crate::visit::{Tested, finish, on_every_store, request, sessions};

on_every_store! {
    a_failing_store_never_shows_the_session_of_another_user
}

/// Concurrent users, requests that are dropped at any await point, and a store that fails. No user
/// sees the data of another, and an error is never mistaken for an empty session.
async fn a_failing_store_never_shows_the_session_of_another_user(store: Tested) {
    const USERS: u32 = 50;
    const REQUESTS: u32 = 400;
    let store = store.inner().emptied().yielding();
    let sessions = sessions(&store);
    let users = (0..USERS).map(|user| {
        let (store, sessions) = (store.clone(), sessions.clone());
        tokio::spawn(async move {
            let mut browser = Browser::new();
            loop {
                let handle = sessions.begin(&request(&browser));
                let Ok(session) = handle.load().await else {
                    continue;
                };
                session.insert("owner", &user).expect("writable");
                if finish(&sessions, &handle, &mut browser).await.is_ok() {
                    break;
                }
            }
            let (mut served, mut failed, mut dropped) = (0, 0, 0);
            for n in 0..REQUESTS {
                let faults = [Call::Load, Call::Save, Call::Touch];
                if n % 3 == 0 {
                    store.fail(faults[(n / 3 % 3) as usize], StoreErrorKind::Timeout);
                }
                let handle = sessions.begin(&request(&browser));
                match handle.load().await {
                    Ok(session) => {
                        assert_eq!(session.get::<u32>("owner").expect("a number"), Some(user));
                        count(&session).expect("writable");
                        let mut response = Response::new(());
                        let finish = std::pin::pin!(sessions.finish(&handle, &mut response));
                        // every fifth client closes its connection before the response
                        let patience = if n % 5 == 0 {
                            n as usize % 7
                        } else {
                            usize::MAX
                        };
                        match polled(patience, finish).await {
                            Some(Ok(_)) => served += 1,
                            Some(Err(error)) => {
                                assert_eq!(error.kind(), SessionErrorKind::InDoubt);
                                failed += 1;
                            }
                            None => dropped += 1,
                        }
                    }
                    Err(error) => {
                        // a machine that is busy with other tests may be overloaded
                        assert!(
                            matches!(
                                error.kind(),
                                SessionErrorKind::Unavailable | SessionErrorKind::Overloaded
                            ),
                            "{error}"
                        );
                        failed += 1;
                    }
                }
            }
            store.clear_faults();
            let views = loop {
                if let Ok(session) = sessions.begin(&request(&browser)).load().await {
                    break session.get(VIEWS).expect("a number").unwrap_or(0);
                }
            };
            assert!(
                views >= served && views <= REQUESTS,
                "{served} acknowledged, {views} stored"
            );
            [served, failed, dropped]
        })
    });
    let mut sums = [0; 3];
    for user in users.collect::<Vec<_>>() {
        let counts = user.await.expect("no panic");
        sums = std::array::from_fn(|n| sums[n] + counts[n]);
    }
    assert!(
        sums.iter().all(|&sum| sum > 0),
        "requests served, failed and dropped: {sums:?}"
    );
}

async fn polled<F: Future + Unpin>(mut polls: usize, mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        if polls == 0 {
            return std::task::Poll::Ready(None);
        }
        polls -= 1;
        std::pin::Pin::new(&mut future).poll(cx).map(Some)
    })
    .await
}
