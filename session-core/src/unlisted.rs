//! What a write still owes to the index before it is acknowledged.

use std::sync::Arc;

use crate::{
    attempted::Attempted, headers::Issued, id::SessionId, listing::Listed, outcome::Outcome,
    store::Applied,
};

/// A stored session that must be listed, and counted, before anybody learns of the write. Until
/// then nobody has its token, so that no session is in use that the index does not list.
#[derive(Clone, Debug)]
pub(crate) struct Unlisted {
    pub(crate) attempted: Arc<Attempted>,
    pub(crate) due: Due,
    /// The token to send afterwards.
    pub(crate) issued: Option<Issued>,
    /// What a commit did that ended before the session was listed.
    pub(crate) outcome: Outcome,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// List the session.
    Put,
    /// Look whether the principal has more sessions than allowed.
    Limit(Listed),
}

impl Unlisted {
    /// What a write owes that was applied; `None` if nothing.
    pub(crate) fn of(
        attempted: &Arc<Attempted>,
        applied: Applied,
        limit: Option<u64>,
    ) -> Option<Self> {
        if attempted.listings.is_empty() {
            return None;
        }
        let due = match applied.listed {
            None => Due::Put,
            Some(listed) => Due::after(listed, attempted, limit)?,
        };
        Some(Self {
            attempted: attempted.clone(),
            due,
            issued: None,
            outcome: Outcome::UNTOUCHED,
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.attempted.token.id()
    }
}

impl Due {
    /// What is due once the session is listed. Only a login adds a session to its principal.
    pub(crate) fn after(listed: Listed, attempted: &Attempted, limit: Option<u64>) -> Option<Self> {
        let exceeds = limit.is_some_and(|limit| listed.entries > limit);
        (attempted.logs_in && exceeds).then_some(Self::Limit(listed))
    }
}
