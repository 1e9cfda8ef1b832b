//! Login, renewal and end: the calls that replace the token of a session, or the session.

use std::sync::Arc;

use crate::{
    body::Contents,
    draft::{Draft, Login},
    error::SessionError,
    state::{Base, Doubt, NewSession, Regeneration, Retired, Since, State},
};

/// Whether a login ends this session, because it belongs to somebody else.
pub(super) fn belongs_to_another(state: &State, login: &Login) -> bool {
    let principal = state
        .contents()
        .and_then(|contents| contents.principal.as_deref());
    principal.is_some_and(|principal| *principal != *login.principal)
}

pub(super) fn log_in(
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

pub(super) fn renew(state: State) -> (State, Result<(), SessionError>) {
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

pub(super) fn regenerate(state: State, mut new: NewSession) -> State {
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

pub(super) fn destroy(state: State) -> State {
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
