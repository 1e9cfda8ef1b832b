//! What a request costs in store calls, over a socket, and what the sessions of a user cost.

use http::StatusCode;
use integration_tests::{App, text};
use session_core::{WhenFull, testing::Call};
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::{VIEWS, count};
use crate::visit::{Tested, builder, calls_of, on_every_store, sessions, visit};

on_every_store! {
    the_sessions_of_a_user_cost_what_the_guide_says
    each_kind_of_request_makes_a_fixed_number_of_store_calls
}

/// No call for a request that does not use the session, one call for a read, one more for a write.
async fn each_kind_of_request_makes_a_fixed_number_of_store_calls(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let handle = request.session();
        match request.uri().path() {
            "/untouched" => return text(""),
            "/read" => return text(handle.load().await?.get(VIEWS)?.unwrap_or(0).to_string()),
            "/write" => drop(count(&handle.load().await?)?),
            "/renew" => handle.load().await?.renew()?,
            "/login" => handle.load().await?.log_in("ann")?,
            "/switch" => handle.load().await?.log_in("bob")?,
            "/regenerate" => handle.load().await?.regenerate()?,
            _ => handle.load().await?.destroy()?,
        }
        text("")
    })
    .await;
    let mut browser = Browser::new();
    for (path, expected) in [
        ("/untouched", &[][..]),
        ("/read", &[]),
        ("/logout", &[]),
        ("/write", &[Call::Create]),
        ("/untouched", &[]),
        ("/read", &[Call::Load]),
        ("/write", &[Call::Load, Call::Save]),
        ("/renew", &[Call::Load, Call::Save]),
        ("/login", &[Call::Load, Call::Save]),
        ("/login", &[Call::Load, Call::Save]),
        ("/switch", &[Call::Load, Call::Create, Call::Destroy]),
        ("/regenerate", &[Call::Load, Call::Create, Call::Destroy]),
        ("/logout", &[Call::Load, Call::Destroy]),
        ("/read", &[]),
    ] {
        let response = browser.get(app.addr(), path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(store.take_calls(), expected, "{path}");
        let silent = path == "/untouched";
        assert_eq!(response.headers().contains_key("vary"), !silent, "{path}");
        assert_eq!(
            response.headers().contains_key("cache-control"),
            !silent,
            "{path}"
        );
    }
}

/// How often each call was made. Those for several sessions are made concurrently.
fn counts(calls: &[Call]) -> [usize; 6] {
    let counted = [
        Call::Create,
        Call::Put,
        Call::Entries,
        Call::Load,
        Call::Destroy,
        Call::Remove,
    ];
    let count = |counted| calls.iter().filter(|call| **call == counted).count();
    let counts = counted.map(count);
    assert_eq!(counts.iter().sum::<usize>(), calls.len(), "{calls:?}");
    counts
}

/// The table of `session-core/docs/users.md`. If the index is on another server, as it can be in a
/// cluster, a login makes one call more.
async fn the_sessions_of_a_user_cost_what_the_guide_says(store: Tested) {
    const LIMIT: usize = 3;
    for is_split in [false, true] {
        let store = match is_split {
            false => store.inner().emptied(),
            true => store.inner().emptied().with_split_index(),
        };
        let put = usize::from(is_split);
        let evicting = builder(&store).max_sessions_per_principal(LIMIT, WhenFull::EvictOldest);
        let rejecting = builder(&store).max_sessions_per_principal(LIMIT, WhenFull::Reject);
        let [evicting, rejecting] =
            [evicting, rejecting].map(|builder| builder.build().expect("valid options"));
        let log_in = async |sessions, browser: &mut Browser| {
            counts(&calls_of(sessions, &store, browser, |session| session.log_in("ann")).await)
        };
        let mut browser = Browser::new();
        assert_eq!(log_in(&evicting, &mut browser).await, [1, put, 0, 0, 0, 0]);
        let another = &mut Browser::new();
        assert_eq!(log_in(&rejecting, another).await, [1, put, 1, 0, 0, 0]);
        let of_ann = evicting.of("ann");
        assert_eq!(of_ann.list().await.expect("no fault").len(), 2);
        assert_eq!(counts(&store.take_calls()), [0, 0, 1, 2, 0, 0]);
        assert_eq!(of_ann.end_all().await.expect("no fault"), 2);
        assert_eq!(counts(&store.take_calls()), [0, 0, 2, 2, 2, 2]);

        for _ in 0..LIMIT {
            visit(&evicting, &mut Browser::new(), |session| {
                session.log_in("bob")
            })
            .await;
        }
        let mut browser = Browser::new();
        // the records of all, and the oldest once more
        let bob = calls_of(&evicting, &store, &mut browser, |session| {
            session.log_in("bob")
        });
        assert_eq!(counts(&bob.await), [1, put, 1, LIMIT + 2, 1, 0]);
        let logout = calls_of(&evicting, &store, &mut browser, |session| session.log_out());
        assert_eq!(logout.await, [Call::Load, Call::Destroy]);
    }
}
