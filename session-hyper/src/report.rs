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
    metrics::counter!(COUNTER, "outcome" => "error", "kind" => label(kind)).increment(1);
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

/// The name of a kind in snake case, like those of outcomes.
#[cfg(feature = "metrics")]
fn label(kind: session_core::SessionErrorKind) -> &'static str {
    use session_core::SessionErrorKind;
    match kind {
        SessionErrorKind::Unavailable => "unavailable",
        SessionErrorKind::Overloaded => "overloaded",
        SessionErrorKind::InDoubt => "in_doubt",
        SessionErrorKind::Contention => "contention",
        SessionErrorKind::Conflict => "conflict",
        SessionErrorKind::Gone => "gone",
        SessionErrorKind::Superseded => "superseded",
        SessionErrorKind::LimitReached => "limit_reached",
        SessionErrorKind::Unauthenticated => "unauthenticated",
        SessionErrorKind::NotFresh => "not_fresh",
        SessionErrorKind::Rejected(_) => "rejected",
        SessionErrorKind::TooLarge => "too_large",
        SessionErrorKind::Corrupt => "corrupt",
        SessionErrorKind::Closed => "closed",
        SessionErrorKind::Reentrant => "reentrant",
        SessionErrorKind::Encode => "encode",
        SessionErrorKind::Decode => "decode",
        SessionErrorKind::Entropy => "entropy",
        SessionErrorKind::MissingLayer => "missing_layer",
        SessionErrorKind::OutsidePath => "outside_path",
        SessionErrorKind::CannotSetCookie => "cannot_set_cookie",
        SessionErrorKind::Config => "config",
        // a kind that a newer session-core added
        _ => "other",
    }
}
