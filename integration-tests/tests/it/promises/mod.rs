//! The promises of the crate, each tested on a sequence of requests that breaks it in other
//! implementations, on the store in memory and on a Redis server.

mod cookies;
mod cost;
mod endings;
mod lifecycle;
mod logins;
mod store_faults;
mod updates;

use std::time::Duration;

use session_core::{Key, Session, SessionError, Sessions};
use test_support::Browser;

use crate::visit::visit;

const VIEWS: Key<u32> = Key::new("views");
const USER: Key<String> = Key::new("user");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &Session) -> Result<u32, SessionError> {
    session.update(VIEWS, |views| views.unwrap_or(0) + 1)
}

async fn counted(sessions: &Sessions, browser: &mut Browser) -> Option<u32> {
    visit(sessions, browser, |session| session.get(VIEWS)).await
}

async fn principal(sessions: &Sessions, browser: &Browser) -> Option<String> {
    visit(sessions, &mut browser.clone(), |session| {
        Ok(session.principal())
    })
    .await
}
