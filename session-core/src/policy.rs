//! The choices of an application that decisions depend on.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::{replicas::Replicas, timeouts::Timeouts};

/// What happens to a response if writes of its request were not stored, because the session ended
/// or its token was superseded concurrently.
///
/// It does not apply to losses that [`Session::save`](crate::Session::save) has reported to the
/// handler, nor to touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLost {
    /// The response of GET, HEAD, OPTIONS and TRACE is sent; any other is replaced by 409
    /// (Conflict).
    #[default]
    ByMethod,
    /// The response is sent.
    Discard,
    /// The response is replaced by an error of this status.
    Reject(StatusCode),
}

/// What happens if a stored record cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDecodeError {
    /// The request sees a new session. The record is left alone until it expires, and a warning is
    /// logged.
    #[default]
    StartNew,
    /// Loading fails with [`SessionErrorKind::Corrupt`](crate::SessionErrorKind::Corrupt).
    Fail,
}

/// What [`Session::unset`](crate::Session::unset) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// Forgets the changes of this request and keeps the session.
    #[default]
    Discard,
    /// Ends the session.
    Destroy,
}

/// What happens to a login if its principal has as many sessions as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The sessions that logged in first end.
    EvictOldest,
    /// The commit fails with [`LimitReached`](crate::SessionErrorKind::LimitReached).
    Reject,
}

/// How many sessions a principal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionLimit {
    pub(crate) max: u64,
    pub(crate) when_full: WhenFull,
}

/// How a load treats the session's life, and caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadMode {
    /// The request extends the session's life.
    #[default]
    Normal,
    /// The request does not extend the session's life unless it writes. For polling, as
    /// [`SessionHandle::peek`](crate::SessionHandle::peek).
    Peek,
    /// As [`Normal`](Self::Normal), but the store is asked even if a cache could answer.
    Fresh,
}

impl LoadMode {
    /// Whether a request that loads so extends the session's life.
    pub(crate) fn extends(self) -> bool {
        match self {
            Self::Normal | Self::Fresh => true,
            Self::Peek => false,
        }
    }
}

/// The options that express-session has under the same names. All are off by default, and
/// [`Builder`](crate::Builder) describes them.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use session_core::{ExpressOptions, MemoryStore, Sessions, SigningKeys};
///
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .express(ExpressOptions::new().rolling(true))
///     .build()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ExpressOptions {
    pub(crate) resave: bool,
    pub(crate) save_uninitialized: bool,
    pub(crate) rolling: bool,
    pub(crate) unset: Unset,
}

impl ExpressOptions {
    /// All options off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a loaded session at the end of each request, even if nothing changed.
    pub fn resave(self, resave: bool) -> Self {
        Self { resave, ..self }
    }

    /// Stores a new session that a handler loaded, even if nothing was written to it.
    pub fn save_uninitialized(self, save_uninitialized: bool) -> Self {
        Self {
            save_uninitialized,
            ..self
        }
    }

    /// Sets the cookie again in each request that extends the session's life by a due touch.
    pub fn rolling(self, rolling: bool) -> Self {
        Self { rolling, ..self }
    }

    /// What [`Session::unset`](crate::Session::unset) does.
    pub fn unset(self, unset: Unset) -> Self {
        Self { unset, ..self }
    }
}

#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) timeouts: Timeouts,
    pub(crate) express: ExpressOptions,
    pub(crate) on_lost: OnLost,
    pub(crate) on_decode_error: OnDecodeError,
    pub(crate) max_bytes: usize,
    pub(crate) commit_deadline: Duration,
    pub(crate) supersede_grace: Duration,
    pub(crate) commit_if: Option<CommitIf>,
    pub(crate) limit: Option<SessionLimit>,
    pub(crate) confirm: Option<Replicas>,
}

pub(crate) type CommitIf = Arc<dyn Fn(StatusCode) -> bool + Send + Sync>;
