//! Security: tokens, cookies, timeouts, logs and limits.

mod cookies;
mod isolation;
mod limits;
mod secrecy;
mod timeouts;
mod tokens;

use std::time::Duration;

use integration_tests::Backend;
use session_core::{Key, Session, testing::TestStore};

type Tested = TestStore<Backend>;

const USER: Key<String> = Key::new("user");
const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &Session) {
    session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)
        .expect("a number");
}
