//! What a history is judged by.

use session_core::{SessionId, SessionToken};

use crate::{
    claims::Claims,
    history::{History, View},
    oracle::Oracle,
};

/// A history, and what its requests were promised.
pub(crate) struct Evidence<'h> {
    pub(crate) history: &'h History<'h>,
    pub(crate) claims: Vec<Claims>,
    oracle: &'h Oracle,
}

impl<'h> Evidence<'h> {
    pub(crate) fn of(history: &'h History<'h>, oracle: &'h Oracle) -> Self {
        Self {
            history,
            claims: history.requests.iter().map(Claims::of).collect(),
            oracle,
        }
    }

    /// The session that a token opens at the end.
    pub(crate) fn opens(&self, token: &SessionToken) -> Option<(SessionId, &View)> {
        self.oracle.open(token)?;
        Some((token.id(), self.history.record(token.id())?))
    }
}
