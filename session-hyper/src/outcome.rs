//! Telling operators what becomes of sessions: one log line for an error, one counter for everything.

use session_core::{Outcome, SessionError};

use crate::reject;

#[cfg(feature = "metrics")]
const COUNTER: &str = "session_commits_total";

/// Counts what became of a session at the end of its request.
pub(crate) fn committed(outcome: Outcome) {
    #[cfg(feature = "metrics")]
    metrics::counter!(COUNTER, "outcome" => match outcome {
        Outcome::Untouched => "untouched",
        Outcome::Created => "created",
        Outcome::Saved => "saved",
        Outcome::Touched => "touched",
        Outcome::Destroyed => "destroyed",
        Outcome::Gone => "gone",
    })
    .increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = outcome;
}

/// Logs an error with its causes, and counts it.
pub(crate) fn failed(error: &SessionError) {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    match reject::status(error.kind()).is_server_error() {
        true => tracing::error!(kind = ?error.kind(), error = text, "session error"),
        false => tracing::warn!(kind = ?error.kind(), error = text, "session error"),
    }
    #[cfg(feature = "metrics")]
    metrics::counter!(COUNTER, "outcome" => "error", "kind" => format!("{:?}", error.kind()))
        .increment(1);
}
