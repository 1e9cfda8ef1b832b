//! What the calls of a handler make of a session's state.
//!
//! A transition consumes the state and returns the next one. Nothing here waits, generates a token
//! or reads a clock.

mod renewal;

use std::sync::Arc;

use self::renewal::{belongs_to_another, destroy, log_in, regenerate, renew};
use crate::{
    body::Contents,
    draft::{Draft, Login},
    error::SessionError,
    op::Op,
    state::{Doubt, NewSession, Regeneration, Since, State},
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
