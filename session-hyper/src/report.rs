//! What operators see: a counter for everything, and log lines for errors.
//!
//! In an outage every request fails with the same error, so only one line of each kind is written
//! in a second, with the number of those left out. At debug level every error has its line.

use std::{error::Error, time::Instant};

use session_core::{LogLimit, Outcome, SessionError, SessionErrorKind};

use crate::error_response::status_code;

#[cfg(feature = "metrics")]
const COUNTER: &str = "session_commits_total";

/// Counts what a request did to its session.
pub(crate) fn outcome(outcome: &Outcome) {
    #[cfg(feature = "metrics")]
    metrics::counter!(COUNTER, "outcome" => outcome.kind().as_str()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = outcome;
}

/// Logs and counts an error that is answered to a client.
pub(crate) fn error(error: &SessionError) {
    let kind = error.kind();
    let is_answer = matches!(
        kind,
        SessionErrorKind::Unauthenticated
            | SessionErrorKind::NotFresh
            | SessionErrorKind::LimitReached
    );
    if is_answer {
        // nothing went wrong: the user is asked to log in, or to end another session
        tracing::debug!(?kind, "request rejected");
    } else {
        log(error, kind);
    }
    #[cfg(feature = "metrics")]
    metrics::counter!(COUNTER, "outcome" => "error", "kind" => kind.as_str()).increment(1);
}

fn log(error: &SessionError, kind: SessionErrorKind) {
    static LIMIT: LogLimit = LogLimit::new();
    match LIMIT.admit(kind.as_str(), Instant::now()) {
        Some(suppressed) if status_code(kind).is_server_error() => {
            tracing::error!(?kind, error = chain(error), suppressed, "session error");
        }
        Some(suppressed) => {
            tracing::warn!(?kind, error = chain(error), suppressed, "session error");
        }
        None => tracing::debug!(?kind, error = chain(error), "session error"),
    }
}

/// The messages of an error and its sources, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}
