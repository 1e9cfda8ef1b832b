//! What a history is judged by.

use session_core::{SessionId, SessionToken};

use crate::{
    acknowledged::{self, Session},
    claims::Claims,
    history::History,
    view::View,
};

/// A history, and what its requests were promised.
pub(crate) struct Evidence<'h> {
    pub(crate) history: &'h History<'h>,
    pub(crate) claims: Vec<Claims>,
    /// The sessions that somebody was told of.
    pub(crate) acknowledged: Vec<Session>,
}

impl<'h> Evidence<'h> {
    pub(crate) fn of(history: &'h History<'h>) -> Self {
        Self {
            history,
            claims: history.requests.iter().map(Claims::of).collect(),
            acknowledged: match history.case.indexing {
                Some(_) => acknowledged::sessions(history),
                None => Vec::new(),
            },
        }
    }

    /// The session that a token opens at the end.
    pub(crate) fn opens(&self, token: &SessionToken) -> Option<(SessionId, &View)> {
        self.history.opens(token)
    }
}
