//! The promises of the crate, each tested on a sequence of requests that breaks it in other implementations.

mod cookies;
mod cost;
mod endings;
mod lifecycle;
mod store_faults;
mod timeouts;
mod updates;

use std::time::Duration;

use integration_tests::Backend;
use session_core::{Key, Session, Sessions, testing::TestStore};
use test_support::Browser;

use crate::visit::visit;

type Tested = TestStore<Backend>;

/// What a handler does to a session.
type Act = fn(&Session);

const VIEWS: Key<u32> = Key::new("views");
const USER: Key<String> = Key::new("user");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &Session) -> u32 {
    session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)
        .expect("a number")
}

async fn counted(sessions: &Sessions, browser: &mut Browser) -> Option<u32> {
    visit(sessions, browser, |session| {
        session.get(VIEWS).expect("a number")
    })
    .await
}
