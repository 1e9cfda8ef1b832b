//! The choices of an application that the state machine asks about.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::timeouts::Timeouts;

/// What happens at the end of a request whose session ended meanwhile (a logout elsewhere, an expiry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGone {
    /// The response goes out; what the request wrote to the session is dropped, and an event is traced.
    #[default]
    Discard,
    /// The response becomes an error of this status.
    Reject(StatusCode),
}

/// What happens when a stored record cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undecodable {
    /// The request starts without a session. The record stays as it is until it expires, and an event is traced.
    #[default]
    StartFresh,
    /// Loading fails with [`SessionErrorKind::Corrupt`](crate::SessionErrorKind::Corrupt).
    Fail,
}

/// What [`Session::unset`](crate::Session::unset) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// Forgets this request's changes and keeps the session.
    #[default]
    Discard,
    /// Ends the session.
    Destroy,
}

#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) timeouts: Timeouts,
    pub(crate) resave: bool,
    pub(crate) save_uninitialized: bool,
    pub(crate) rolling: bool,
    pub(crate) unset: Unset,
    pub(crate) on_gone: OnGone,
    pub(crate) undecodable: Undecodable,
    pub(crate) remove_rejected_cookie: bool,
    pub(crate) max_bytes: usize,
    pub(crate) commit_attempts: u32,
    pub(crate) commit_deadline: Duration,
    pub(crate) commit_if: Option<CommitIf>,
}

pub(crate) type CommitIf = Arc<dyn Fn(StatusCode) -> bool + Send + Sync>;
