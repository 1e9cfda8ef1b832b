//! The states of a session within one request.
//!
//! Each state owns its facts. What the handler's calls make of a state is in `verbs`, what to do
//! about one in `decide`, and what the answer of a store means in `answer`.

use std::{sync::Arc, time::Duration};

use crate::{
    attempted::Attempted,
    body::{Body, Contents},
    clock::{Millis, Now},
    draft::Draft,
    error::{SessionError, SessionErrorKind},
    id::SessionId,
    record::Version,
    store_error::{StoreError, StoreErrorKind},
    token::SessionToken,
};

/// Where a session stands.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// No stored session, nothing written.
    Uninitialized { new: NewSession, discarded: bool },
    /// No stored session, written to; perhaps after another one was destroyed, which is then ended
    /// first.
    New {
        new: NewSession,
        draft: Draft,
        retired: Option<Retired>,
    },
    /// Stored, read at most.
    Unmodified { base: Arc<Base>, discarded: bool },
    /// Stored and written to.
    Modified { base: Arc<Base>, draft: Draft },
    /// Stored, and gets a new secret at the commit.
    Renewed { base: Arc<Base>, draft: Draft },
    /// An empty session with a new id replaces the one before.
    Regenerated {
        new: NewSession,
        draft: Draft,
        retired: Option<Retired>,
        progress: Regeneration,
    },
    /// Ended by this request.
    Destroyed { retired: Option<Retired> },
    /// The record exists, and the request's token carries no authority over it. The handler sees a
    /// new session.
    Superseded {
        token: SessionToken,
        since: Since,
        new: NewSession,
        draft: Draft,
        ended: bool,
    },
    /// A write of this request may have been applied.
    InDoubt(Doubt),
    /// The stored session ended concurrently.
    Gone,
}

/// A session that is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    /// Its token; `None` if one must be generated first.
    pub(crate) token: Option<SessionToken>,
    /// How many ids turned out to be taken.
    pub(crate) taken: u32,
    /// A record under an earlier token of this session that may exist, and that nobody can open.
    pub(crate) orphan: Option<SessionId>,
    pub(crate) created_at: Millis,
    /// What the configuration gives to every new session.
    pub(crate) initial: Arc<Contents>,
}

impl NewSession {
    /// The same session, to be stored under another token.
    pub(crate) fn without_token(self) -> Self {
        Self {
            token: None,
            ..self
        }
    }
}

/// A stored session, as this request last read or wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// The token that the request holds, which is not necessarily valid any more.
    pub(crate) token: SessionToken,
    pub(crate) version: Version,
    pub(crate) body: Body,
    /// The token's secret is not among those of the body.
    superseded: bool,
    /// The remaining life when it was read or written; `None` is without a limit.
    pub(crate) ttl: Option<Duration>,
    /// When that was, by the monotonic clock.
    pub(crate) seen_at: Duration,
    /// Whether the request extends the session's life.
    pub(crate) extends: bool,
    /// The handler asked for a touch.
    pub(crate) touch_requested: bool,
    /// This request has written it already.
    pub(crate) written: bool,
    /// It was kept in the process, and what is stored may be newer.
    kept: bool,
}

impl Base {
    pub(crate) fn contents(&self) -> &Arc<Contents> {
        &self.body.contents
    }

    pub(crate) fn principal(&self) -> Option<&str> {
        self.body.contents.principal.as_deref()
    }

    /// Whether the request's token does not open the session any more.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// The life that is left now; `None` is without a limit.
    pub(crate) fn remaining(&self, now: Now) -> Option<Duration> {
        let elapsed = now.monotonic.saturating_sub(self.seen_at);
        self.ttl.map(|ttl| ttl.saturating_sub(elapsed))
    }

    /// A record that was read with this token.
    pub(crate) fn read(token: SessionToken, current: Current, extends: bool) -> Self {
        let superseded = !current.body.secrets.contain(&token.secret().hash());
        Self::with(token, current, superseded, extends)
    }

    /// A record that was read with this token, which opens it.
    pub(crate) fn opened(token: SessionToken, current: Current, extends: bool) -> Arc<Self> {
        Arc::new(Self::with(token, current, false, extends))
    }

    /// The same, of a record that was kept in the process.
    pub(crate) fn kept(token: SessionToken, current: Current, extends: bool) -> Arc<Self> {
        Arc::new(Self {
            kept: true,
            ..Self::with(token, current, false, extends)
        })
    }

    /// Whether what is stored may be newer than what was read.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// A record that this request has written.
    pub(crate) fn wrote(attempted: &Attempted, now: Now) -> Arc<Self> {
        let current = Current {
            version: attempted.record.version(),
            body: attempted.body.clone(),
            ttl: Some(attempted.ttl),
            seen_at: now.monotonic,
        };
        Arc::new(Self {
            written: true,
            ..Self::with(attempted.token.clone(), current, !attempted.opens, true)
        })
    }

    fn with(token: SessionToken, current: Current, superseded: bool, extends: bool) -> Self {
        let Current {
            version,
            body,
            ttl,
            seen_at,
        } = current;
        Self {
            superseded,
            token,
            version,
            body,
            ttl,
            seen_at,
            extends,
            touch_requested: false,
            written: false,
            kept: false,
        }
    }

    /// The same request on the record that a concurrent one wrote.
    pub(crate) fn on(mut self: Arc<Self>, current: Current) -> Arc<Self> {
        let base = Arc::make_mut(&mut self);
        base.superseded = !current.body.secrets.contain(&base.token.secret().hash());
        base.version = current.version;
        base.body = current.body;
        base.ttl = current.ttl;
        base.seen_at = current.seen_at;
        base.kept = false;
        self
    }
}

/// A record as a store returned it, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) version: Version,
    pub(crate) body: Body,
    pub(crate) ttl: Option<Duration>,
    pub(crate) seen_at: Duration,
}

/// A stored session that this request ends.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) base: Arc<Base>,
    /// A write of this request that may have been applied to it.
    pub(crate) own: Option<Arc<Attempted>>,
    /// A destroy of this request may have been applied to it.
    pub(crate) in_doubt: bool,
}

/// How far the replacement of a session is.
#[derive(Clone, Debug)]
pub(crate) enum Regeneration {
    /// Nothing is stored yet.
    Planned,
    /// The new session is stored; the old one is to be ended.
    Created(Arc<Base>),
    /// The old session cannot be ended; the new one, of this id, is to be removed again.
    Undo(SessionId, Refusal),
}

/// Since when the request's token has carried no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Its secret was replaced before the request loaded the session, within the grace period.
    JustBeforeLoad,
    /// Its secret was replaced earlier.
    LongBeforeLoad,
    /// The session changed its principal while the request ran.
    Loaded,
}

/// A write whose outcome is unknown.
#[derive(Clone, Debug)]
pub(crate) enum Doubt {
    /// A save of changes to a stored session.
    Save {
        base: Arc<Base>,
        draft: Draft,
        attempted: Arc<Attempted>,
        /// The record was found as the write expected it, so the same write is sent again.
        repeat: bool,
    },
    /// The creation of a session.
    Create {
        new: NewSession,
        draft: Draft,
        /// The session that the new one replaces, if that is what it is for.
        replaces: Option<Option<Retired>>,
        attempted: Arc<Attempted>,
    },
}

/// Why a commit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session ended, and the request required it to be unchanged.
    Gone,
    /// The token carries no authority over the session that the request wants to end.
    Superseded,
    /// A concurrent request changed the session, and this one required it to be unchanged.
    Conflict,
    /// The deadline passed while concurrent requests kept changing the session.
    Contention,
    /// A write may have been applied.
    InDoubt,
    /// The store failed, and nothing was applied.
    Store(StoreErrorKind),
    /// The new token cannot be sent to the client.
    CannotSetCookie,
    /// The principal has as many sessions as allowed.
    LimitReached,
}

impl State {
    /// What the handler sees; nothing once the session has ended.
    pub(crate) fn contents(&self) -> Option<&Arc<Contents>> {
        match self {
            Self::Uninitialized { new, .. } => Some(&new.initial),
            Self::Unmodified { base, .. } => Some(base.contents()),
            Self::New { draft, .. }
            | Self::Modified { draft, .. }
            | Self::Renewed { draft, .. }
            | Self::Regenerated { draft, .. }
            | Self::Superseded { draft, .. }
            | Self::InDoubt(Doubt::Save { draft, .. } | Doubt::Create { draft, .. }) => {
                Some(draft.contents())
            }
            Self::Destroyed { .. } | Self::Gone => None,
        }
    }

    /// The stored session.
    pub(crate) fn base(&self) -> Option<&Base> {
        match self {
            Self::Unmodified { base, .. }
            | Self::Modified { base, .. }
            | Self::Renewed { base, .. }
            | Self::InDoubt(Doubt::Save { base, .. }) => Some(base),
            Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Superseded { .. }
            | Self::InDoubt(Doubt::Create { .. })
            | Self::Gone => None,
        }
    }

    /// The session that is not stored yet.
    pub(crate) fn new_session(&self) -> Option<&NewSession> {
        match self {
            Self::Uninitialized { new, .. }
            | Self::New { new, .. }
            | Self::Regenerated { new, .. }
            | Self::Superseded { new, .. }
            | Self::InDoubt(Doubt::Create { new, .. }) => Some(new),
            Self::Unmodified { .. }
            | Self::Modified { .. }
            | Self::Renewed { .. }
            | Self::Destroyed { .. }
            | Self::InDoubt(Doubt::Save { .. })
            | Self::Gone => None,
        }
    }

    /// The token under which the session is, or would be, stored.
    pub(crate) fn token(&self) -> Option<&SessionToken> {
        match self.base() {
            Some(base) => Some(&base.token),
            None => self.new_session()?.token.as_ref(),
        }
    }

    /// The id of the record that the session is, or may be, stored in.
    pub(crate) fn stored_id(&self) -> Option<SessionId> {
        match self {
            Self::InDoubt(Doubt::Create { attempted, .. }) => Some(attempted.token.id()),
            state => state.base().map(|base| base.token.id()),
        }
    }

    /// The id of the session, if it was opened by a record that was kept in the process and nothing
    /// has compared that with the store since.
    pub(crate) fn kept_id(&self) -> Option<SessionId> {
        let base = self.base().filter(|base| base.is_kept())?;
        Some(base.token.id())
    }

    /// The id of the record that this request has stored, or read.
    pub(crate) fn written_id(&self) -> Option<SessionId> {
        match self {
            Self::Regenerated {
                progress: Regeneration::Created(base),
                ..
            } => Some(base.token.id()),
            state => state.base().map(|base| base.token.id()),
        }
    }

    /// The id of the session that the one that was created replaces.
    pub(crate) fn replaced_id(&self) -> Option<SessionId> {
        match self {
            Self::Regenerated {
                retired: Some(retired),
                ..
            } => Some(retired.base.token.id()),
            _ => None,
        }
    }

    pub(crate) fn created_at(&self) -> Option<Millis> {
        match self.base() {
            Some(base) => Some(base.body.created_at),
            None => self.new_session().map(|new| new.created_at),
        }
    }

    /// What the request has written and not committed.
    pub(crate) fn draft(&self) -> Option<&Draft> {
        match self {
            Self::New { draft, .. }
            | Self::Modified { draft, .. }
            | Self::Renewed { draft, .. }
            | Self::Regenerated { draft, .. }
            | Self::Superseded { draft, .. }
            | Self::InDoubt(Doubt::Save { draft, .. } | Doubt::Create { draft, .. }) => Some(draft),
            Self::Uninitialized { .. }
            | Self::Unmodified { .. }
            | Self::Destroyed { .. }
            | Self::Gone => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn draft_mut(&mut self) -> Option<&mut Draft> {
        match self {
            Self::New { draft, .. }
            | Self::Modified { draft, .. }
            | Self::Renewed { draft, .. }
            | Self::Regenerated { draft, .. }
            | Self::Superseded { draft, .. }
            | Self::InDoubt(Doubt::Save { draft, .. } | Doubt::Create { draft, .. }) => Some(draft),
            Self::Uninitialized { .. }
            | Self::Unmodified { .. }
            | Self::Destroyed { .. }
            | Self::Gone => None,
        }
    }

    /// When somebody last logged in.
    pub(crate) fn authenticated_at(&self) -> Option<Millis> {
        match self.draft().and_then(Draft::login) {
            Some(login) => Some(login.at),
            None => self.base()?.body.authenticated_at,
        }
    }

    /// The moment from which the absolute timeout counts.
    pub(crate) fn began_at(&self) -> Option<Millis> {
        self.authenticated_at().or_else(|| self.created_at())
    }

    /// Whether what the handler sees differs from what is stored.
    pub(crate) fn is_modified(&self) -> bool {
        match self {
            Self::Uninitialized { .. }
            | Self::Unmodified { .. }
            | Self::Destroyed { .. }
            | Self::Gone => false,
            Self::New { new, draft, .. } | Self::Superseded { new, draft, .. } => {
                *draft.contents() != new.initial
            }
            Self::Modified { base, draft } | Self::Renewed { base, draft } => {
                draft.contents() != base.contents() || draft.login().is_some()
            }
            Self::Regenerated { .. } | Self::InDoubt(_) => true,
        }
    }
}

impl From<Refusal> for SessionError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Gone => Self::gone(),
            Refusal::Superseded => Self::superseded(),
            Refusal::Conflict => Self::conflict(),
            Refusal::Contention => Self::new(
                SessionErrorKind::Contention,
                "session was changed by concurrent requests until the commit deadline",
            ),
            Refusal::InDoubt => Self::in_doubt(),
            Refusal::Store(kind) => {
                StoreError::new(kind, "the session that is replaced cannot be ended").into()
            }
            Refusal::CannotSetCookie => Self::cannot_set_cookie(),
            Refusal::LimitReached => Self::new(
                SessionErrorKind::LimitReached,
                "principal has as many sessions as allowed",
            ),
        }
    }
}
