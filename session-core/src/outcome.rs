//! What a commit did.

use crate::{id::SessionId, replicas::lowest};

/// What a commit did to a session, as facts; [`kind`](Self::kind) sums them up.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # async fn log_out(
/// #     sessions: &session_core::Sessions,
/// #     handle: &session_core::SessionHandle,
/// #     response: &mut http::Response<()>,
/// # ) -> Result<(), session_core::SessionError> {
/// use session_core::OutcomeKind;
///
/// handle.load().await?.destroy()?;
/// let outcome = sessions.finish(handle, response).await?;
/// if outcome.kind() == OutcomeKind::Destroyed {
///     println!("logged out");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Outcome {
    /// A new session was stored.
    pub created: bool,
    /// A stored session was changed.
    pub saved: bool,
    /// A stored session got a new secret.
    pub renewed: bool,
    /// Somebody logged in.
    pub logged_in: bool,
    /// The expiry of an unchanged session was extended.
    pub touched: bool,
    /// The session that was ended.
    pub ended: Option<Ended>,
    /// Why writes of the application were not stored.
    pub lost: Option<Loss>,
    /// How many replicas are known to have what the commit wrote and ended, if
    /// [`Session::confirm`](crate::Session::confirm) or
    /// [`Builder::confirm`](crate::Builder::confirm) asked for them: the lowest number of its
    /// writes. `None` if nobody asked, nothing was written, or the store has no replicas.
    pub replicas: Option<u32>,
}

/// A session that a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Its id.
    pub id: SessionId,
    /// What ended it.
    pub reason: EndReason,
}

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// [`Session::destroy`](crate::Session::destroy).
    Destroyed,
    /// [`Session::regenerate`](crate::Session::regenerate), or a login as another principal.
    Regenerated,
    /// One of its timeouts.
    Expired,
    /// [`Sessions::end`](crate::Sessions::end), or one of the methods of
    /// [`SessionsOf`](crate::SessionsOf).
    Revoked,
    /// A newer login of its principal, beyond
    /// [`max_sessions_per_principal`](crate::Builder::max_sessions_per_principal).
    Evicted,
}

impl EndReason {
    /// The name in snake case, as metrics label it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::Regenerated => "regenerated",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Evicted => "evicted",
        }
    }
}

/// Why writes of a request were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The session ended concurrently.
    Gone,
    /// The request's token was replaced by a renewal and carries no authority over the session.
    Superseded,
}

/// An [`Outcome`] in one word: the most significant of its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// Nothing changed.
    Untouched,
    /// A new session was stored.
    Created,
    /// A stored session was changed.
    Saved,
    /// Somebody logged in.
    LoggedIn,
    /// A stored session got a new secret.
    Renewed,
    /// The expiry of an unchanged session was extended.
    Touched,
    /// A new session replaced the one before.
    Regenerated,
    /// The session was ended, even if a new one was begun after it, such as for a flash message.
    Destroyed,
    /// Writes were lost because the session ended concurrently.
    Gone,
    /// Writes were lost because the token was superseded.
    Superseded,
}

impl Outcome {
    pub(crate) const UNTOUCHED: Self = Self {
        created: false,
        saved: false,
        renewed: false,
        logged_in: false,
        touched: false,
        ended: None,
        lost: None,
        replicas: None,
    };

    /// Adds what an earlier commit wrote and could not report.
    pub(crate) fn include(&mut self, earlier: Self) {
        self.created |= earlier.created;
        self.saved |= earlier.saved;
        self.renewed |= earlier.renewed;
        self.logged_in |= earlier.logged_in;
        self.confirmed(earlier.replicas);
    }

    /// So many replicas have one of the writes.
    pub(crate) fn confirmed(&mut self, replicas: Option<u32>) {
        self.replicas = lowest(self.replicas, replicas);
    }

    /// The most significant fact: a loss, then an end, then a login, a renewal, a creation, a save,
    /// a touch.
    pub fn kind(&self) -> OutcomeKind {
        match (self.lost, self.ended.map(|ended| ended.reason)) {
            (Some(Loss::Gone), _) => OutcomeKind::Gone,
            (Some(Loss::Superseded), _) => OutcomeKind::Superseded,
            (
                None,
                Some(
                    EndReason::Destroyed
                    | EndReason::Expired
                    | EndReason::Revoked
                    | EndReason::Evicted,
                ),
            ) => OutcomeKind::Destroyed,
            (None, _) if self.logged_in => OutcomeKind::LoggedIn,
            (None, Some(EndReason::Regenerated)) => OutcomeKind::Regenerated,
            (None, None) if self.renewed => OutcomeKind::Renewed,
            (None, None) if self.created => OutcomeKind::Created,
            (None, None) if self.saved => OutcomeKind::Saved,
            (None, None) if self.touched => OutcomeKind::Touched,
            (None, None) => OutcomeKind::Untouched,
        }
    }
}

impl OutcomeKind {
    /// The name in snake case, as metrics label it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Created => "created",
            Self::Saved => "saved",
            Self::LoggedIn => "logged_in",
            Self::Renewed => "renewed",
            Self::Touched => "touched",
            Self::Regenerated => "regenerated",
            Self::Destroyed => "destroyed",
            Self::Gone => "gone",
            Self::Superseded => "superseded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: Outcome, expected: OutcomeKind) {
        assert_eq!(outcome.kind(), expected, "{outcome:?}");
    }

    fn ended(reason: EndReason) -> Option<Ended> {
        Some(Ended {
            id: SessionId::from_bytes([1; 16]),
            reason,
        })
    }

    #[test]
    fn the_kind_is_the_most_significant_fact() {
        let none = Outcome::UNTOUCHED;
        check(none, OutcomeKind::Untouched);
        check(
            Outcome {
                touched: true,
                ..none
            },
            OutcomeKind::Touched,
        );
        check(
            Outcome {
                saved: true,
                ..none
            },
            OutcomeKind::Saved,
        );
        let renewed = Outcome {
            saved: true,
            renewed: true,
            ..none
        };
        check(renewed, OutcomeKind::Renewed);
        check(
            Outcome {
                logged_in: true,
                ..renewed
            },
            OutcomeKind::LoggedIn,
        );
        let created = Outcome {
            created: true,
            ..none
        };
        check(created, OutcomeKind::Created);
        check(
            Outcome {
                ended: ended(EndReason::Regenerated),
                ..created
            },
            OutcomeKind::Regenerated,
        );
        check(
            Outcome {
                ended: ended(EndReason::Regenerated),
                logged_in: true,
                ..created
            },
            OutcomeKind::LoggedIn,
        );
        let flash = Outcome {
            ended: ended(EndReason::Destroyed),
            ..created
        };
        check(flash, OutcomeKind::Destroyed);
        check(
            Outcome {
                ended: ended(EndReason::Expired),
                ..none
            },
            OutcomeKind::Destroyed,
        );
        check(
            Outcome {
                lost: Some(Loss::Gone),
                ..flash
            },
            OutcomeKind::Gone,
        );
        check(
            Outcome {
                lost: Some(Loss::Superseded),
                ..none
            },
            OutcomeKind::Superseded,
        );
    }
}
