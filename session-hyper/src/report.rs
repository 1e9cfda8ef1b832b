//! What operators see: one log line for each error, one counter for everything.

use std::error::Error;

use session_core::{Outcome, SessionError};

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
    let causes = chain(error);
    if status_code(kind).is_server_error() {
        tracing::error!(?kind, error = causes, "session error");
    } else {
        tracing::warn!(?kind, error = causes, "session error");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!(COUNTER, "outcome" => "error", "kind" => kind.as_str()).increment(1);
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
