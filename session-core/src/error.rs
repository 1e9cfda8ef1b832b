//! The error of a request's session.

use std::fmt;

use http::StatusCode;

use crate::{
    config_error::ConfigError,
    entropy::EntropyError,
    store_error::{StoreError, StoreErrorKind},
};

/// A request's session could not be read, changed or written.
///
/// Opaque; branch on [`kind`](Self::kind). Messages never contain a token or a value.
pub struct SessionError(Box<Inner>);

struct Inner {
    kind: SessionErrorKind,
    detail: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong with a session, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionErrorKind {
    /// The store could not be reached or refused. The client may retry; its cookie is still good.
    Unavailable,
    /// The store did not answer in time. Whether a write was applied is unknown.
    Timeout,
    /// The stored record cannot be decoded, and the policy says to fail ([`Undecodable::Fail`](crate::Undecodable::Fail)).
    Corrupt,
    /// Another request wrote first, and [`require_unchanged`](crate::Session::require_unchanged) was asked for.
    Conflict,
    /// Others wrote first too many times in a row. Nothing was written; the client may retry.
    Contention,
    /// The session ended meanwhile, and it was written to all the same.
    Gone,
    /// The session ended meanwhile, and the policy turns the response into this status
    /// ([`OnGone::Reject`](crate::OnGone::Reject)).
    Rejected(StatusCode),
    /// The response of this request has been committed; nothing can be written any more.
    Closed,
    /// The record would exceed the size limit. Nothing was written.
    TooLarge,
    /// A value could not be encoded.
    Encode,
    /// A stored value is not of the type that was asked for.
    Decode,
    /// The generator of random bytes failed, or an id source kept naming taken ids.
    Entropy,
    /// No layer has seen the request, so there is no session to load.
    MissingLayer,
    /// The request lies outside the cookie's path, so it has no session.
    OutsidePath,
    /// Options computed for one request or one session cannot be used.
    Config,
}

impl SessionError {
    pub(crate) fn new(kind: SessionErrorKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            source: None,
        }))
    }

    pub(crate) fn with_source(
        kind: SessionErrorKind,
        detail: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            source: Some(source.into()),
        }))
    }

    /// What went wrong.
    pub fn kind(&self) -> SessionErrorKind {
        self.0.kind
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl fmt::Debug for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            detail,
            source,
        } = &*self.0;
        f.debug_struct("SessionError")
            .field("kind", kind)
            .field("detail", detail)
            .field("source", source)
            .finish()
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Unavailable => Self::with_source(
                SessionErrorKind::Unavailable,
                "session store is unavailable",
                error,
            ),
            StoreErrorKind::Refused => Self::with_source(
                SessionErrorKind::Unavailable,
                "session store refused the operation",
                error,
            ),
            StoreErrorKind::Timeout => Self::with_source(
                SessionErrorKind::Timeout,
                "session store did not answer in time",
                error,
            ),
            StoreErrorKind::Corrupt => Self::with_source(
                SessionErrorKind::Corrupt,
                "stored session cannot be read",
                error,
            ),
        }
    }
}

impl From<EntropyError> for SessionError {
    fn from(error: EntropyError) -> Self {
        Self::with_source(
            SessionErrorKind::Entropy,
            "no session token could be drawn",
            error,
        )
    }
}

impl From<ConfigError> for SessionError {
    fn from(error: ConfigError) -> Self {
        Self::with_source(
            SessionErrorKind::Config,
            "cookie options of this request or session cannot be used",
            error,
        )
    }
}
