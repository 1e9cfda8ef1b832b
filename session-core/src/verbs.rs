//! What the calls of a handler make of a session's state.
//!
//! A transition consumes the state and returns the next one. Nothing here waits, generates a token
//! or reads a clock.

use std::sync::Arc;

use crate::{
    body::Contents,
    draft::{Draft, Login},
    error::SessionError,
    op::Op,
    state::{Base, Doubt, NewSession, Regeneration, Retired, Since, State},
};

/// A call of a handler, as data, so that it can be repeated on the state that a commit leaves
/// behind.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Write(Op),
    LogIn(Login),
    Renew,
    Regenerate,
    Destroy,
    Discard,
    Touch,
}

impl Verb {
    /// Whether the call makes a session that is not stored yet out of this state.
    pub(crate) fn needs_new_session(&self, state: &State) -> bool {
        match (self, state) {
            (Self::Regenerate, _) => true,
            (Self::Write(_), State::Destroyed { .. }) => true,
            (Self::LogIn(_), State::Destroyed { .. } | State::Gone | State::InDoubt(_)) => true,
            (
                Self::LogIn(login),
                State::Unmodified { .. } | State::Modified { .. } | State::Renewed { .. },
            ) => belongs_to_another(state, login),
            (
                Self::Write(_)
                | Self::LogIn(_)
                | Self::Renew
                | Self::Destroy
                | Self::Discard
                | Self::Touch,
                State::Uninitialized { .. }
                | State::New { .. }
                | State::Unmodified { .. }
                | State::Modified { .. }
                | State::Renewed { .. }
                | State::Regenerated { .. }
                | State::Superseded { .. }
                | State::Destroyed { .. }
                | State::InDoubt(_)
                | State::Gone,
            ) => false,
        }
    }

    /// Applies the call. On an error the state is the one before.
    ///
    /// `new` is there if [`needs_new_session`](Self::needs_new_session); without it such a call is
    /// an error. A [`Verb::Write`] calls a function of the application only if the value that it
    /// updates is not the one that the call has seen.
    pub(crate) fn apply(
        self,
        state: State,
        limit_bytes: usize,
        new: Option<NewSession>,
    ) -> (State, Result<(), SessionError>) {
        match (self, new) {
            (Self::Write(op), new) => write(state, op, limit_bytes, new),
            (Self::LogIn(login), new) => log_in(state, login, new),
            (Self::Regenerate, Some(new)) => (regenerate(state, new), Ok(())),
            (Self::Regenerate, None) => (state, Err(SessionError::gone())),
            (Self::Renew, _) => renew(state),
            (Self::Destroy, _) => (destroy(state), Ok(())),
            (Self::Discard, _) => (discard(state), Ok(())),
            (Self::Touch, _) => (touch(state), Ok(())),
        }
    }
}

fn write(
    state: State,
    op: Op,
    limit_bytes: usize,
    new: Option<NewSession>,
) -> (State, Result<(), SessionError>) {
    /// Writes to a draft that the state did not have; on an error the state stays without it.
    fn first(contents: &Arc<Contents>, op: Op, limit_bytes: usize) -> Result<Draft, SessionError> {
        let mut draft = Draft::of(contents.clone());
        draft.push(op, limit_bytes)?;
        Ok(draft)
    }
    match state {
        State::Uninitialized { new, discarded } => match first(&new.initial, op, limit_bytes) {
            Ok(draft) => (
                State::New {
                    new,
                    draft,
                    retired: None,
                },
                Ok(()),
            ),
            Err(error) => (State::Uninitialized { new, discarded }, Err(error)),
        },
        State::Unmodified { base, discarded } => match first(base.contents(), op, limit_bytes) {
            Ok(draft) => (State::Modified { base, draft }, Ok(())),
            Err(error) => (State::Unmodified { base, discarded }, Err(error)),
        },
        State::Destroyed { retired } => {
            let Some(new) = new else {
                return (State::Destroyed { retired }, Err(SessionError::gone()));
            };
            match first(&new.initial, op, limit_bytes) {
                Ok(draft) => (
                    State::New {
                        new,
                        draft,
                        retired,
                    },
                    Ok(()),
                ),
                Err(error) => (State::Destroyed { retired }, Err(error)),
            }
        }
        State::New {
            new,
            mut draft,
            retired,
        } => {
            let written = draft.push(op, limit_bytes);
            (
                State::New {
                    new,
                    draft,
                    retired,
                },
                written,
            )
        }
        State::Modified { base, mut draft } => {
            let written = draft.push(op, limit_bytes);
            (State::Modified { base, draft }, written)
        }
        State::Renewed { base, mut draft } => {
            let written = draft.push(op, limit_bytes);
            (State::Renewed { base, draft }, written)
        }
        State::Regenerated {
            new,
            mut draft,
            retired,
            progress,
        } => {
            let written = draft.push(op, limit_bytes);
            (
                State::Regenerated {
                    new,
                    draft,
                    retired,
                    progress,
                },
                written,
            )
        }
        state @ State::Superseded {
            since: Since::Loaded,
            ..
        } => (state, Err(SessionError::superseded())),
        State::Superseded {
            token,
            since: since @ (Since::JustBeforeLoad | Since::LongBeforeLoad),
            new,
            mut draft,
            ended,
        } => {
            let written = draft.push(op, limit_bytes);
            (
                State::Superseded {
                    token,
                    since,
                    new,
                    draft,
                    ended,
                },
                written,
            )
        }
        state @ State::InDoubt(_) => (state, Err(SessionError::in_doubt())),
        State::Gone => (State::Gone, Err(SessionError::gone())),
    }
}

/// Whether a login ends this session, because it belongs to somebody else.
fn belongs_to_another(state: &State, login: &Login) -> bool {
    let principal = state
        .contents()
        .and_then(|contents| contents.principal.as_deref());
    principal.is_some_and(|principal| *principal != *login.principal)
}

fn log_in(
    state: State,
    login: Login,
    new: Option<NewSession>,
) -> (State, Result<(), SessionError>) {
    let another = belongs_to_another(&state, &login);
    let begin = |initial: &Arc<Contents>| {
        let mut draft = Draft::of(initial.clone());
        draft.log_in(login.clone());
        draft
    };
    // what was written for somebody else is not carried over
    let proceed = |mut draft: Draft, initial: &Arc<Contents>| {
        if another {
            return begin(initial);
        }
        draft.log_in(login.clone());
        draft
    };
    let state = match (state, new) {
        (State::Uninitialized { new, .. }, _) => State::New {
            draft: begin(&new.initial),
            new,
            retired: None,
        },
        (
            State::New {
                new,
                draft,
                retired,
            },
            _,
        ) => State::New {
            draft: proceed(draft, &new.initial),
            new,
            retired,
        },
        (
            State::Regenerated {
                new,
                draft,
                retired,
                progress,
            },
            _,
        ) => {
            let draft = proceed(draft, &new.initial);
            State::Regenerated {
                new,
                draft,
                retired,
                progress,
            }
        }
        (
            State::Superseded {
                token,
                since,
                new,
                draft,
                ended,
            },
            _,
        ) => {
            let draft = proceed(draft, &new.initial);
            State::Superseded {
                token,
                since,
                new,
                draft,
                ended,
            }
        }
        (State::Unmodified { base, .. }, _) if !another => State::Renewed {
            draft: begin(base.contents()),
            base,
        },
        (State::Modified { base, mut draft } | State::Renewed { base, mut draft }, _)
            if !another =>
        {
            draft.log_in(login);
            State::Renewed { base, draft }
        }
        (
            State::Unmodified { base, .. }
            | State::Modified { base, .. }
            | State::Renewed { base, .. },
            Some(new),
        ) => {
            let draft = begin(&new.initial);
            let retired = Some(Retired::of(base));
            State::Regenerated {
                new,
                draft,
                retired,
                progress: Regeneration::Planned,
            }
        }
        // what may or may not be stored is not carried over, and a session of somebody else is
        // ended
        (
            State::InDoubt(Doubt::Save {
                base, attempted, ..
            }),
            Some(new),
        ) if another => {
            let draft = begin(&new.initial);
            let retired = Some(Retired {
                own: Some(attempted),
                ..Retired::of(base)
            });
            State::Regenerated {
                new,
                draft,
                retired,
                progress: Regeneration::Planned,
            }
        }
        (
            State::InDoubt(Doubt::Create {
                replaces,
                attempted,
                ..
            }),
            Some(new),
        ) => {
            let draft = begin(&new.initial);
            let new = NewSession {
                orphan: Some(attempted.token.id()),
                ..new
            };
            State::New {
                new,
                draft,
                retired: replaces.flatten(),
            }
        }
        (State::InDoubt(Doubt::Save { .. }) | State::Gone, Some(new)) => State::New {
            draft: begin(&new.initial),
            new,
            retired: None,
        },
        (State::Destroyed { retired }, Some(new)) => State::New {
            draft: begin(&new.initial),
            new,
            retired,
        },
        (
            state @ (State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::InDoubt(_)
            | State::Destroyed { .. }
            | State::Gone),
            None,
        ) => return (state, Err(SessionError::gone())),
    };
    (state, Ok(()))
}

fn renew(state: State) -> (State, Result<(), SessionError>) {
    match state {
        State::Unmodified { base, .. } => {
            let draft = Draft::of(base.contents().clone());
            (State::Renewed { base, draft }, Ok(()))
        }
        State::Modified { base, draft } | State::Renewed { base, draft } => {
            (State::Renewed { base, draft }, Ok(()))
        }
        // these get a new token anyway, or have none
        same @ (State::Uninitialized { .. }
        | State::New { .. }
        | State::Regenerated { .. }
        | State::Destroyed { .. }
        | State::Superseded {
            since: Since::JustBeforeLoad | Since::LongBeforeLoad,
            ..
        }) => (same, Ok(())),
        same @ State::Superseded {
            since: Since::Loaded,
            ..
        } => (same, Err(SessionError::superseded())),
        same @ State::InDoubt(_) => (same, Err(SessionError::in_doubt())),
        State::Gone => (State::Gone, Err(SessionError::gone())),
    }
}

fn regenerate(state: State, mut new: NewSession) -> State {
    let draft = Draft::of(new.initial.clone());
    if let State::InDoubt(Doubt::Create { attempted, .. }) = &state {
        new.orphan = Some(attempted.token.id());
    }
    match state {
        State::Superseded { token, since, .. } => State::Superseded {
            token,
            since,
            new,
            draft,
            ended: true,
        },
        state => State::Regenerated {
            new,
            draft,
            retired: retire(state),
            progress: Regeneration::Planned,
        },
    }
}

fn destroy(state: State) -> State {
    match state {
        State::Superseded {
            token, since, new, ..
        } => {
            let draft = Draft::of(new.initial.clone());
            State::Superseded {
                token,
                since,
                new,
                draft,
                ended: true,
            }
        }
        state => State::Destroyed {
            retired: retire(state),
        },
    }
}

/// The stored session that ends with this state.
fn retire(state: State) -> Option<Retired> {
    match state {
        State::Unmodified { base, .. }
        | State::Modified { base, .. }
        | State::Renewed { base, .. } => Some(Retired::of(base)),
        State::InDoubt(Doubt::Save {
            base, attempted, ..
        }) => Some(Retired {
            own: Some(attempted),
            ..Retired::of(base)
        }),
        State::New { retired, .. }
        | State::Regenerated { retired, .. }
        | State::Destroyed { retired } => retired,
        State::InDoubt(Doubt::Create { replaces, .. }) => replaces.flatten(),
        State::Uninitialized { .. } | State::Superseded { .. } | State::Gone => None,
    }
}

impl Retired {
    /// A session to end.
    pub(crate) fn of(base: Arc<Base>) -> Self {
        Self {
            base,
            own: None,
            in_doubt: false,
        }
    }
}

/// Forgets what was written. What was ended or renewed stays so.
fn discard(state: State) -> State {
    match state {
        State::Uninitialized { new, .. }
        | State::New {
            new, retired: None, ..
        } => State::Uninitialized {
            new,
            discarded: true,
        },
        State::New {
            retired: Some(retired),
            ..
        } => State::Destroyed {
            retired: Some(retired),
        },
        State::Destroyed { retired } => State::Destroyed { retired },
        State::Unmodified { mut base, .. }
        | State::Modified { mut base, .. }
        | State::InDoubt(Doubt::Save { mut base, .. }) => {
            Arc::make_mut(&mut base).touch_requested = false;
            State::Unmodified {
                base,
                discarded: true,
            }
        }
        State::Renewed { base, .. } => {
            let draft = Draft::of(base.contents().clone());
            State::Renewed { base, draft }
        }
        State::Regenerated {
            new,
            retired,
            progress,
            ..
        } => {
            let draft = Draft::of(new.initial.clone());
            State::Regenerated {
                new,
                draft,
                retired,
                progress,
            }
        }
        State::Superseded {
            token,
            since,
            new,
            ended,
            ..
        } => {
            let draft = Draft::of(new.initial.clone());
            State::Superseded {
                token,
                since,
                new,
                draft,
                ended,
            }
        }
        State::InDoubt(Doubt::Create {
            new,
            replaces,
            attempted,
            ..
        }) => {
            let orphan = Some(attempted.token.id());
            let new = NewSession {
                orphan,
                ..new.without_token()
            };
            match replaces {
                Some(retired) => {
                    let draft = Draft::of(new.initial.clone());
                    let progress = Regeneration::Planned;
                    State::Regenerated {
                        new,
                        draft,
                        retired,
                        progress,
                    }
                }
                None => State::Uninitialized {
                    new,
                    discarded: true,
                },
            }
        }
        State::Gone => State::Gone,
    }
}

/// Asks for a full life from now on, even if none is due. A session that is written gets one
/// anyway.
fn touch(state: State) -> State {
    match state {
        State::Unmodified { mut base, .. } => {
            Arc::make_mut(&mut base).touch_requested = true;
            State::Unmodified {
                base,
                discarded: false,
            }
        }
        State::Modified { mut base, draft } => {
            Arc::make_mut(&mut base).touch_requested = true;
            State::Modified { base, draft }
        }
        same @ (State::Uninitialized { .. }
        | State::New { .. }
        | State::Renewed { .. }
        | State::Regenerated { .. }
        | State::Destroyed { .. }
        | State::Superseded { .. }
        | State::InDoubt(_)
        | State::Gone) => same,
    }
}
