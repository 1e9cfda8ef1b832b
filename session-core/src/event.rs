//! What happens to sessions, for logs, metrics and audits.

use std::{fmt, sync::Arc};

use crate::{
    id::SessionId,
    outcome::{EndReason, Outcome},
};

pub(crate) type Observer = Arc<dyn Fn(&SessionEvent<'_>) + Send + Sync>;

/// Something that happened to a session, and that the store has confirmed.
/// [`Builder::on_event`](crate::Builder::on_event) takes a function that is told.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SessionEvent<'e> {
    /// The session.
    pub id: SessionId,
    /// What happened.
    pub kind: SessionEventKind,
    /// Who is, or was, logged in, as far as that is known.
    pub principal: Option<&'e str>,
}

/// The kind of a [`SessionEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// A new session was stored.
    Created,
    /// A stored session got a new token.
    Renewed,
    /// Somebody logged in.
    LoggedIn,
    /// The session was ended. That a session has expired is noticed only if a request comes with
    /// its cookie, and not always then.
    Ended(EndReason),
}

impl SessionEventKind {
    /// The name in snake case, as metrics label it. That of [`Ended`](Self::Ended) does not contain
    /// the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Renewed => "renewed",
            Self::LoggedIn => "logged_in",
            Self::Ended(_) => "ended",
        }
    }
}

impl fmt::Debug for SessionEvent<'_> {
    /// Does not print the principal, which may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionEvent")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Tells of a session that was ended.
pub(crate) fn ended(
    observer: Option<&Observer>,
    id: SessionId,
    reason: EndReason,
    principal: Option<&str>,
) {
    tracing::info!(session.id = %id, reason = reason.as_str(), "session ended");
    let kind = SessionEventKind::Ended(reason);
    tell(observer, id, kind, principal);
}

/// Tells of what a commit wrote.
pub(crate) fn written(
    observer: Option<&Observer>,
    id: SessionId,
    outcome: &Outcome,
    principal: Option<&str>,
) {
    if outcome.created || outcome.saved {
        let kind = outcome.kind().as_str();
        tracing::debug!(session.id = %id, kind, "session stored");
    } else if outcome.touched {
        tracing::trace!(session.id = %id, "session touched");
    }
    for (happened, kind) in [
        (outcome.created, SessionEventKind::Created),
        (outcome.renewed, SessionEventKind::Renewed),
        (outcome.logged_in, SessionEventKind::LoggedIn),
    ] {
        if happened {
            tell(observer, id, kind, principal);
        }
    }
}

fn tell(
    observer: Option<&Observer>,
    id: SessionId,
    kind: SessionEventKind,
    principal: Option<&str>,
) {
    if let Some(observer) = observer {
        observer(&SessionEvent {
            id,
            kind,
            principal,
        });
    }
}
