//! The states of a session within one request, and what each verb makes of them.
//!
//! A transition takes a state and gives the next. Nothing here waits, draws randomness or reads a clock: a fresh token and the
//! time come in as arguments. What to do about a state at the end is [`decide`](crate::plan::decide)'s business.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use crate::{
    SessionId, SessionToken,
    error::{SessionError, SessionErrorKind},
    op::{Draft, Log, Op},
    record::{Contents, Record},
};

/// Where a session stands.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Nothing stored, nothing written.
    Uninitialized { fresh: Fresh, discarded: bool },
    /// Nothing stored under this id, something written; perhaps after another session was destroyed.
    New {
        fresh: Fresh,
        draft: Draft,
        destroyed: Option<Retired>,
    },
    /// Stored, and read at most.
    Unmodified { stored: Stored, discarded: bool },
    /// Stored, then written.
    Modified { stored: Stored, draft: Draft },
    /// Stored; the same session gets a new secret.
    Renewed { stored: Stored, draft: Draft },
    /// An empty session with a new id takes the place of the one that was here.
    Regenerated {
        fresh: Fresh,
        draft: Draft,
        retired: Retired,
    },
    /// Ended by this request.
    Destroyed { retired: Retired },
    /// Ended by somebody else meanwhile.
    Gone,
}

/// The name and the birth of a session that is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) token: SessionToken,
    pub(crate) created_at: u64,
    /// What the configuration gives to every new session.
    pub(crate) initial: Contents,
}

/// A session as the store holds it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) token: SessionToken,
    pub(crate) record: Arc<Record>,
    /// The life it had left when it was read or written; `None` is for ever.
    pub(crate) ttl: Option<Duration>,
    pub(crate) seen_at: SystemTime,
    /// The handler asked for a touch.
    pub(crate) touch: bool,
    /// This request has written it already.
    pub(crate) written: bool,
}

impl Stored {
    /// Whether the record asks for another secret than the token has.
    pub(crate) fn superseded(&self) -> bool {
        self.record.secret_hash != self.token.secret().hash()
    }
}

/// The stored session that ends with this request; nothing inside where none was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired(pub(crate) Option<SessionId>);

/// The operations that a write has carried out: so many of that log.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) log: Option<Log>,
    pub(crate) ops: usize,
}

impl Done {
    /// What is still to be done of a draft, on what is stored now.
    fn rest_of(&self, mut draft: Draft, stored: &Stored) -> Draft {
        if self.log.as_ref() == Some(&draft.log) {
            draft.ops.drain(..self.ops.min(draft.ops.len()));
        } else if let Ok(contents) = Draft::replay(&draft.ops, &stored.record.contents, usize::MAX)
        {
            // discarded while it was written: what was written since is said again on what was stored
            draft.contents = contents;
        }
        draft
    }
}

static EMPTY: LazyLock<Contents> = LazyLock::new(Contents::default);

impl State {
    /// What the handler sees.
    pub(crate) fn contents(&self) -> &Contents {
        match self {
            Self::Uninitialized { fresh, .. } => &fresh.initial,
            Self::Unmodified { stored, .. } => &stored.record.contents,
            Self::New { draft, .. }
            | Self::Modified { draft, .. }
            | Self::Renewed { draft, .. }
            | Self::Regenerated { draft, .. } => &draft.contents,
            Self::Destroyed { .. } | Self::Gone => &EMPTY,
        }
    }

    /// The token under which the session is, or would be, stored.
    pub(crate) fn token(&self) -> Option<&SessionToken> {
        match self {
            Self::Uninitialized { fresh, .. }
            | Self::New { fresh, .. }
            | Self::Regenerated { fresh, .. } => Some(&fresh.token),
            Self::Unmodified { stored, .. }
            | Self::Modified { stored, .. }
            | Self::Renewed { stored, .. } => Some(&stored.token),
            Self::Destroyed { .. } | Self::Gone => None,
        }
    }

    /// When the session began.
    pub(crate) fn created_at(&self) -> Option<u64> {
        match self {
            Self::Uninitialized { fresh, .. }
            | Self::New { fresh, .. }
            | Self::Regenerated { fresh, .. } => Some(fresh.created_at),
            Self::Unmodified { stored, .. }
            | Self::Modified { stored, .. }
            | Self::Renewed { stored, .. } => Some(stored.record.created_at),
            Self::Destroyed { .. } | Self::Gone => None,
        }
    }

    /// When the store lets go of it, if it is stored and the store does.
    pub(crate) fn ends_at(&self) -> Option<SystemTime> {
        match self {
            Self::Unmodified { stored, .. }
            | Self::Modified { stored, .. }
            | Self::Renewed { stored, .. } => stored.seen_at.checked_add(stored.ttl?),
            Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone => None,
        }
    }

    /// Whether what the handler sees differs from what is stored.
    pub(crate) fn is_modified(&self) -> bool {
        match self {
            Self::Uninitialized { .. }
            | Self::Unmodified { .. }
            | Self::Destroyed { .. }
            | Self::Gone => false,
            Self::New { fresh, draft, .. } => draft.contents != fresh.initial,
            Self::Modified { stored, draft } | Self::Renewed { stored, draft } => {
                draft.contents != stored.record.contents
            }
            Self::Regenerated { .. } => true,
        }
    }

    /// Whether somebody else has renewed the session while this request held it: its token opens nothing any more.
    pub(crate) fn superseded(&self) -> bool {
        match self {
            Self::Unmodified { stored, .. }
            | Self::Modified { stored, .. }
            | Self::Renewed { stored, .. } => stored.superseded(),
            Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone => false,
        }
    }

    /// Whether the store holds it, under the token it has.
    pub(crate) fn is_stored(&self) -> bool {
        match self {
            Self::Unmodified { .. } | Self::Modified { .. } | Self::Renewed { .. } => true,
            Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone => false,
        }
    }

    /// Whether a write needs a fresh name to go under.
    pub(crate) fn write_needs_fresh(&self) -> bool {
        matches!(self, Self::Destroyed { .. })
    }

    /// Writes one operation. On an error the state is the one before.
    pub(crate) fn write(
        self,
        op: Op,
        limit_bytes: usize,
        fresh: Option<Fresh>,
    ) -> (Self, Result<(), SessionError>) {
        let gone = || SessionError::new(SessionErrorKind::Gone, "the session has ended meanwhile");
        match self {
            Self::Uninitialized { fresh, discarded } => {
                let mut draft = Draft::of(fresh.initial.clone());
                match draft.push(op, limit_bytes) {
                    Ok(()) => (
                        Self::New {
                            fresh,
                            draft,
                            destroyed: None,
                        },
                        Ok(()),
                    ),
                    Err(error) => (Self::Uninitialized { fresh, discarded }, Err(error)),
                }
            }
            Self::Unmodified { stored, discarded } => {
                let mut draft = Draft::of(stored.record.contents.clone());
                match draft.push(op, limit_bytes) {
                    Ok(()) => (Self::Modified { stored, draft }, Ok(())),
                    Err(error) => (Self::Unmodified { stored, discarded }, Err(error)),
                }
            }
            Self::Destroyed { retired } => {
                let Some(fresh) = fresh else {
                    return (Self::Destroyed { retired }, Err(gone()));
                };
                let mut draft = Draft::of(fresh.initial.clone());
                match draft.push(op, limit_bytes) {
                    Ok(()) => (
                        Self::New {
                            fresh,
                            draft,
                            destroyed: Some(retired),
                        },
                        Ok(()),
                    ),
                    Err(error) => (Self::Destroyed { retired }, Err(error)),
                }
            }
            Self::New {
                fresh,
                mut draft,
                destroyed,
            } => {
                let written = draft.push(op, limit_bytes);
                (
                    Self::New {
                        fresh,
                        draft,
                        destroyed,
                    },
                    written,
                )
            }
            Self::Modified { stored, mut draft } => {
                let written = draft.push(op, limit_bytes);
                (Self::Modified { stored, draft }, written)
            }
            Self::Renewed { stored, mut draft } => {
                let written = draft.push(op, limit_bytes);
                (Self::Renewed { stored, draft }, written)
            }
            Self::Regenerated {
                fresh,
                mut draft,
                retired,
            } => {
                let written = draft.push(op, limit_bytes);
                (
                    Self::Regenerated {
                        fresh,
                        draft,
                        retired,
                    },
                    written,
                )
            }
            Self::Gone => (Self::Gone, Err(gone())),
        }
    }

    /// Gives the session a new secret when it is committed. One that is not stored yet has a fresh one anyway.
    pub(crate) fn renew(self) -> Self {
        match self {
            Self::Unmodified { stored, .. } => Self::Renewed {
                draft: Draft::of(stored.record.contents.clone()),
                stored,
            },
            Self::Modified { stored, draft } | Self::Renewed { stored, draft } => {
                Self::Renewed { stored, draft }
            }
            same @ (Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone) => same,
        }
    }

    /// Ends the session and begins an empty one.
    pub(crate) fn regenerate(self, fresh: Fresh) -> Self {
        let draft = Draft::of(fresh.initial.clone());
        Self::Regenerated {
            fresh,
            draft,
            retired: self.retire(),
        }
    }

    /// Ends the session. No later verb brings it back.
    pub(crate) fn destroy(self) -> Self {
        Self::Destroyed {
            retired: self.retire(),
        }
    }

    fn retire(self) -> Retired {
        match self {
            Self::Uninitialized { .. } | Self::Gone => Retired(None),
            Self::New { destroyed, .. } => destroyed.unwrap_or(Retired(None)),
            Self::Unmodified { stored, .. }
            | Self::Modified { stored, .. }
            | Self::Renewed { stored, .. } => Retired(Some(stored.token.id())),
            Self::Regenerated { retired, .. } | Self::Destroyed { retired } => retired,
        }
    }

    /// Forgets what was written. What was ended or renewed stays so.
    pub(crate) fn discard(self) -> Self {
        match self {
            Self::Uninitialized { fresh, .. }
            | Self::New {
                fresh,
                destroyed: None,
                ..
            } => Self::Uninitialized {
                fresh,
                discarded: true,
            },
            Self::New {
                destroyed: Some(retired),
                ..
            }
            | Self::Destroyed { retired } => Self::Destroyed { retired },
            Self::Unmodified { mut stored, .. } | Self::Modified { mut stored, .. } => {
                stored.touch = false;
                Self::Unmodified {
                    stored,
                    discarded: true,
                }
            }
            Self::Renewed { stored, .. } => Self::Renewed {
                draft: Draft::of(stored.record.contents.clone()),
                stored,
            },
            Self::Regenerated { fresh, retired, .. } => Self::Regenerated {
                draft: Draft::of(fresh.initial.clone()),
                fresh,
                retired,
            },
            Self::Gone => Self::Gone,
        }
    }

    /// Asks for a full life from now, whether or not one is due.
    pub(crate) fn touch(self) -> Self {
        match self {
            Self::Unmodified { stored, .. } => Self::Unmodified {
                stored: Stored {
                    touch: true,
                    ..stored
                },
                discarded: false,
            },
            Self::Modified { stored, draft } => Self::Modified {
                stored: Stored {
                    touch: true,
                    ..stored
                },
                draft,
            },
            // what is written anyway gets a full life with it; what is not stored has nothing to touch
            same @ (Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Renewed { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone) => same,
        }
    }

    /// Takes the stored session anew; what was written is lost.
    pub(crate) fn reload(self, stored: Stored) -> Self {
        match self {
            Self::Unmodified { .. } | Self::Modified { .. } => Self::Unmodified {
                stored,
                discarded: false,
            },
            Self::Renewed { .. } => Self::Renewed {
                draft: Draft::of(stored.record.contents.clone()),
                stored,
            },
            same @ (Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone) => same,
        }
    }

    /// Takes a new name, because the first was taken.
    pub(crate) fn rename(self, taken: SessionId, name: SessionToken) -> Self {
        let renamed = |fresh: Fresh| match fresh.token.id() == taken {
            true => Fresh {
                token: name,
                ..fresh
            },
            false => fresh,
        };
        match self {
            Self::Uninitialized { fresh, discarded } => Self::Uninitialized {
                fresh: renamed(fresh),
                discarded,
            },
            Self::New {
                fresh,
                draft,
                destroyed,
            } => Self::New {
                fresh: renamed(fresh),
                draft,
                destroyed,
            },
            Self::Regenerated {
                fresh,
                draft,
                retired,
            } => Self::Regenerated {
                fresh: renamed(fresh),
                draft,
                retired,
            },
            same @ (Self::Unmodified { .. }
            | Self::Modified { .. }
            | Self::Renewed { .. }
            | Self::Destroyed { .. }
            | Self::Gone) => same,
        }
    }

    /// Takes note that the store now holds the session with its first `done` operations. Whatever was asked for
    /// while that was written is still to do.
    pub(crate) fn settle(self, stored: Stored, done: &Done, renewed: bool) -> Self {
        let id = stored.token.id();
        let rest = |draft: Draft, stored: Stored| {
            let draft = done.rest_of(draft, &stored);
            match draft.ops.is_empty() {
                true => Self::Unmodified {
                    stored,
                    discarded: false,
                },
                false => Self::Modified { stored, draft },
            }
        };
        match self {
            Self::Uninitialized { discarded, .. } | Self::Unmodified { discarded, .. } => {
                Self::Unmodified { stored, discarded }
            }
            Self::New { draft, fresh, .. } if fresh.token.id() == id => rest(draft, stored),
            Self::Regenerated { draft, fresh, .. } if fresh.token.id() == id => rest(draft, stored),
            Self::Modified { draft, .. } => rest(draft, stored),
            Self::Renewed { draft, .. } if renewed => rest(draft, stored),
            Self::Renewed { draft, .. } => Self::Renewed {
                draft: done.rest_of(draft, &stored),
                stored,
            },
            // ended while it was being written: now there is something to retire
            Self::New { fresh, draft, .. } => Self::New {
                fresh,
                draft,
                destroyed: Some(Retired(Some(id))),
            },
            Self::Regenerated { fresh, draft, .. } => Self::Regenerated {
                fresh,
                draft,
                retired: Retired(Some(id)),
            },
            Self::Destroyed { .. } => Self::Destroyed {
                retired: Retired(Some(id)),
            },
            Self::Gone => Self::Gone,
        }
    }

    /// Puts what was written upon what somebody else stored meanwhile.
    pub(crate) fn rebase(self, stored: Stored, contents: Contents) -> Self {
        match self {
            Self::Modified { draft, .. } => Self::Modified {
                stored,
                draft: Draft { contents, ..draft },
            },
            Self::Renewed { draft, .. } => Self::Renewed {
                stored,
                draft: Draft { contents, ..draft },
            },
            Self::Unmodified { discarded, .. } => Self::Unmodified { stored, discarded },
            same @ (Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }
            | Self::Gone) => same,
        }
    }

    /// Takes note that the retired session is no longer in the store.
    pub(crate) fn retired(self, id: SessionId) -> Self {
        let left = |retired: Retired| match retired {
            Retired(Some(old)) if old == id => Retired(None),
            other => other,
        };
        match self {
            Self::Destroyed { retired } => Self::Destroyed {
                retired: left(retired),
            },
            Self::New {
                fresh,
                draft,
                destroyed,
            } => Self::New {
                fresh,
                draft,
                destroyed: destroyed.map(left),
            },
            Self::Regenerated {
                fresh,
                draft,
                retired,
            } => Self::Regenerated {
                fresh,
                draft,
                retired: left(retired),
            },
            same @ (Self::Uninitialized { .. }
            | Self::Unmodified { .. }
            | Self::Modified { .. }
            | Self::Renewed { .. }
            | Self::Gone) => same,
        }
    }

    /// Takes note that the store no longer holds the session.
    pub(crate) fn gone(self) -> Self {
        match self {
            Self::Unmodified { .. } | Self::Modified { .. } | Self::Renewed { .. } | Self::Gone => {
                Self::Gone
            }
            same @ (Self::Uninitialized { .. }
            | Self::New { .. }
            | Self::Regenerated { .. }
            | Self::Destroyed { .. }) => same,
        }
    }
}
