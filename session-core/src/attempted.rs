//! A write that was sent to the store.

use std::time::Duration;

use crate::{
    body::Body,
    listing::Listing,
    record::{Record, Version},
    token::SessionToken,
};

/// A write exactly as it was sent, so that it can be recognized in the store and sent again.
#[derive(Clone, Debug)]
pub(crate) struct Attempted {
    /// The token that opens the session if the write is applied.
    pub(crate) token: SessionToken,
    /// The version that it replaces; `None` for a create.
    pub(crate) expected: Option<Version>,
    pub(crate) record: Record,
    /// What the record encodes.
    pub(crate) body: Body,
    pub(crate) ttl: Duration,
    /// Whether that token opens the session then: one that a concurrent request replaced does not.
    pub(crate) opens: bool,
    /// It brings a new secret.
    pub(crate) renews: bool,
    pub(crate) logs_in: bool,
    /// It writes the session only to extend its life.
    pub(crate) only_extends: bool,
    /// If it is applied, the cookie is sent although the token is not new.
    pub(crate) reissue: bool,
    /// What the index must list before the write is acknowledged: the principal first.
    pub(crate) listings: Vec<Listing>,
    /// The index is told that the session lives, as far as that is not in the listings.
    pub(crate) refreshes: bool,
}

impl Attempted {
    /// Whether a record that is in the store shows that this write was applied: it is this write,
    /// or one that was based on it.
    pub(crate) fn is_in(&self, version: Version, body: &Body) -> bool {
        version == self.record.version()
            || self.renews && body.secrets.contain(&self.token.secret().hash())
    }
}
