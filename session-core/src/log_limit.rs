//! Keeps an outage from writing a log line for each request.
//!
//! It reads the clock of the process, not that of the sessions: it decides about log lines only.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::id::SessionId;

/// The time between two lines of a kind.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one log line of each kind through in a second, and counts the others.
///
/// An adapter that logs the errors of requests keeps one in a `static`:
///
/// ```
/// use std::time::Instant;
///
/// use session_core::{LogLimit, SessionError};
///
/// static LIMIT: LogLimit = LogLimit::new();
///
/// fn log(error: &SessionError) {
///     if let Some(suppressed) = LIMIT.admit(error.kind().as_str(), Instant::now()) {
///         eprintln!("{error} ({suppressed} more since the last line)");
///     }
/// }
/// ```
#[derive(Debug, Default)]
pub struct LogLimit {
    // as many as there are kinds, so searching takes no time
    latest: Mutex<Vec<Latest>>,
}

/// The latest line of a kind, and how many were suppressed since.
#[derive(Debug)]
struct Latest {
    kind: &'static str,
    logged_at: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// Makes a limit that has let nothing through.
    pub const fn new() -> Self {
        Self {
            latest: Mutex::new(Vec::new()),
        }
    }

    /// Returns how many lines of this kind were suppressed since the last one, or `None` if this
    /// one is to be suppressed too.
    pub fn admit(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(latest) = latest.iter_mut().find(|latest| latest.kind == kind) else {
            latest.push(Latest {
                kind,
                logged_at: now,
                suppressed: 0,
            });
            return Some(0);
        };
        if now.saturating_duration_since(latest.logged_at) < INTERVAL {
            latest.suppressed += 1;
            return None;
        }
        latest.logged_at = now;
        Some(std::mem::take(&mut latest.suppressed))
    }
}

/// Warns of something that failed for one session and is not an error of its request. Lines beyond
/// the limit are at debug level.
pub(crate) fn warn(id: &SessionId, error: &dyn Display, message: &'static str) {
    static LIMIT: LogLimit = LogLimit::new();
    match LIMIT.admit(message, Instant::now()) {
        Some(suppressed) => tracing::warn!(session.id = %id, %error, suppressed, "{message}"),
        None => tracing::debug!(session.id = %id, %error, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_a_kind_passes_in_a_second_and_says_how_many_did_not() {
        let limit = LogLimit::new();
        let start = Instant::now();
        let admit = |kind, ms| limit.admit(kind, start + Duration::from_millis(ms));
        assert_eq!(admit("a", 0), Some(0));
        assert_eq!(admit("a", 0), None);
        assert_eq!(admit("b", 1), Some(0), "another kind");
        assert_eq!(admit("a", 999), None);
        assert_eq!(admit("a", 1000), Some(2));
        assert_eq!(admit("a", 1999), None);
        assert_eq!(admit("a", 5000), Some(1));
        assert_eq!(admit("a", 6000), Some(0));
        assert_eq!(admit("b", 6000), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_open_the_limit() {
        let limit = LogLimit::new();
        let now = Instant::now();
        assert_eq!(limit.admit("a", now + INTERVAL), Some(0));
        assert_eq!(limit.admit("a", now), None);
    }
}
