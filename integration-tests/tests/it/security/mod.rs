//! Security: tokens, cookies, timeouts, logs and limits.

mod cookies;
mod isolation;
mod limits;
mod secrecy;
mod timeouts;
mod tokens;

use std::time::Duration;

use session_core::{Key, Session, SessionError};

const USER: Key<String> = Key::new("user");
const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &Session) -> Result<(), SessionError> {
    session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(())
}
