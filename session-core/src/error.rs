//! The error of a request's session.

use std::fmt;

use http::StatusCode;

use crate::{
    config_error::ConfigError,
    entropy::EntropyError,
    outcome::Loss,
    store_error::{StoreError, StoreErrorKind},
};

/// A session could not be read, changed or written.
///
/// Branch on [`kind`](Self::kind). Messages never contain a token or a value.
pub struct SessionError(Box<Inner>);

struct Inner {
    kind: SessionErrorKind,
    detail: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kind of a [`SessionError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionErrorKind {
    /// The store cannot be reached, did not answer a load in time, or refused. Nothing was written;
    /// the cookie is still good.
    Unavailable,
    /// The store sheds load. Nothing was written; the client may retry.
    Overloaded,
    /// The answer to a write was lost, and what became of the write could not be found out.
    ///
    /// The session accepts no further write until [`reload`](crate::Session::reload) or
    /// [`discard`](crate::Session::discard).
    InDoubt,
    /// Concurrent requests changed the session faster than this one could merge its writes. Nothing
    /// was written; the client may retry.
    Contention,
    /// A concurrent request changed the session, and
    /// [`require_unchanged`](crate::Session::require_unchanged) was called.
    Conflict,
    /// The session ended concurrently.
    Gone,
    /// The request's token was replaced by a renewal and carries no authority over the session.
    Superseded,
    /// The principal has as many sessions as allowed. Nothing of the login is stored.
    LimitReached,
    /// The store does not list sessions, or
    /// [`list_sessions`](crate::Builder::list_sessions) is off.
    NoIndex,
    /// Nobody is logged in.
    Unauthenticated,
    /// The last login is too long ago for this operation.
    NotFresh,
    /// Writes were lost, and [`OnLost::Reject`](crate::OnLost::Reject) replaces the response by
    /// this status.
    Rejected(StatusCode),
    /// The record would exceed the size limit. The session is unchanged.
    TooLarge,
    /// The stored record cannot be decoded, and [`OnDecodeError::Fail`](crate::OnDecodeError::Fail)
    /// is set.
    Corrupt,
    /// The response of this request is committed, so its session accepts no change.
    Closed,
    /// A session was written to from within the function of [`update`](crate::Session::update).
    Reentrant,
    /// A value could not be encoded.
    Encode,
    /// A stored value is not of the requested type.
    Decode,
    /// The random number generator failed, or an id source returned ids that are taken.
    Entropy,
    /// No session layer has processed the request.
    MissingLayer,
    /// The request is outside the cookie's path, so it has no session.
    OutsidePath,
    /// A new token is needed and cannot be sent: the cookie must be `Secure` and the request came
    /// over plain http, or the session was opened outside of a request.
    CannotSetCookie,
    /// The cookie options computed for this request or session are invalid.
    Config,
}

impl SessionErrorKind {
    /// The name in snake case, as metrics label it. That of [`Rejected`](Self::Rejected) does not
    /// contain the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::InDoubt => "in_doubt",
            Self::Contention => "contention",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Superseded => "superseded",
            Self::LimitReached => "limit_reached",
            Self::NoIndex => "no_index",
            Self::Unauthenticated => "unauthenticated",
            Self::NotFresh => "not_fresh",
            Self::Rejected(_) => "rejected",
            Self::TooLarge => "too_large",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
            Self::Reentrant => "reentrant",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Entropy => "entropy",
            Self::MissingLayer => "missing_layer",
            Self::OutsidePath => "outside_path",
            Self::CannotSetCookie => "cannot_set_cookie",
            Self::Config => "config",
        }
    }
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

    /// The kind, to branch on.
    pub fn kind(&self) -> SessionErrorKind {
        self.0.kind
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            SessionErrorKind::Closed,
            "session is closed: its response is committed",
        )
    }

    pub(crate) fn gone() -> Self {
        Self::new(SessionErrorKind::Gone, "session ended concurrently")
    }

    pub(crate) fn superseded() -> Self {
        Self::new(
            SessionErrorKind::Superseded,
            "session token was replaced by a renewal",
        )
    }

    pub(crate) fn conflict() -> Self {
        Self::new(
            SessionErrorKind::Conflict,
            "session was changed by a concurrent request",
        )
    }

    pub(crate) fn in_doubt() -> Self {
        Self::new(
            SessionErrorKind::InDoubt,
            "session store did not confirm a write, and it is unknown whether it was applied",
        )
    }

    pub(crate) fn in_doubt_because(error: StoreError) -> Self {
        Self::with_source(
            SessionErrorKind::InDoubt,
            "session store did not confirm a write, and it is unknown whether it was applied",
            error,
        )
    }

    pub(crate) fn no_index() -> Self {
        Self::new(SessionErrorKind::NoIndex, "sessions are not listed")
    }

    pub(crate) fn cannot_set_cookie() -> Self {
        Self::new(
            SessionErrorKind::CannotSetCookie,
            "session token cannot be sent: the cookie must be Secure and the request came over plain http, \
             or there is no request",
        )
    }

    /// The store did not confirm a write: in doubt if it did not answer, otherwise nothing was
    /// applied.
    pub(crate) fn from_write(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Timeout => Self::in_doubt_because(error),
            StoreErrorKind::Unavailable
            | StoreErrorKind::Overloaded
            | StoreErrorKind::Refused
            | StoreErrorKind::Corrupt => error.into(),
        }
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

impl From<Loss> for SessionError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Gone => Self::gone(),
            Loss::Superseded => Self::superseded(),
        }
    }
}

impl From<StoreError> for SessionError {
    /// Nothing was applied: the operation was a load, or the store says so.
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Refused => {
                SessionErrorKind::Unavailable
            }
            StoreErrorKind::Overloaded => SessionErrorKind::Overloaded,
            StoreErrorKind::Corrupt => SessionErrorKind::Corrupt,
        };
        let detail = match kind {
            SessionErrorKind::Corrupt => "stored session cannot be read",
            _ => "session cannot be loaded or stored",
        };
        Self::with_source(kind, detail, error)
    }
}

impl From<EntropyError> for SessionError {
    fn from(error: EntropyError) -> Self {
        Self::with_source(
            SessionErrorKind::Entropy,
            "session token cannot be generated",
            error,
        )
    }
}

impl From<ConfigError> for SessionError {
    fn from(error: ConfigError) -> Self {
        Self::with_source(
            SessionErrorKind::Config,
            "cookie options of this request or session are invalid",
            error,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The kinds, each found by the one before it, so that a new one does not compile until it is
    /// in the list.
    fn next(kind: SessionErrorKind) -> Option<SessionErrorKind> {
        use SessionErrorKind as Kind;
        Some(match kind {
            Kind::Unavailable => Kind::Overloaded,
            Kind::Overloaded => Kind::InDoubt,
            Kind::InDoubt => Kind::Contention,
            Kind::Contention => Kind::Conflict,
            Kind::Conflict => Kind::Gone,
            Kind::Gone => Kind::Superseded,
            Kind::Superseded => Kind::LimitReached,
            Kind::LimitReached => Kind::NoIndex,
            Kind::NoIndex => Kind::Unauthenticated,
            Kind::Unauthenticated => Kind::NotFresh,
            Kind::NotFresh => Kind::Rejected(StatusCode::CONFLICT),
            Kind::Rejected(_) => Kind::TooLarge,
            Kind::TooLarge => Kind::Corrupt,
            Kind::Corrupt => Kind::Closed,
            Kind::Closed => Kind::Reentrant,
            Kind::Reentrant => Kind::Encode,
            Kind::Encode => Kind::Decode,
            Kind::Decode => Kind::Entropy,
            Kind::Entropy => Kind::MissingLayer,
            Kind::MissingLayer => Kind::OutsidePath,
            Kind::OutsidePath => Kind::CannotSetCookie,
            Kind::CannotSetCookie => Kind::Config,
            Kind::Config => return None,
        })
    }

    #[test]
    fn the_names_of_kinds_differ_and_are_in_snake_case() {
        let kinds: Vec<_> =
            std::iter::successors(Some(SessionErrorKind::Unavailable), |kind| next(*kind))
                .collect();
        assert_eq!(kinds.len(), 23);
        let names: BTreeSet<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), kinds.len(), "{names:?}");
        for name in names {
            let is_snake = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(!name.is_empty() && name.chars().all(is_snake), "{name}");
        }
    }
}
