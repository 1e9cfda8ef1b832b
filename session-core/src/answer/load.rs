//! The answer to a load: it settles a write in doubt, finds the session that a login joins, or is
//! what the handler asked for.

use std::sync::Arc;

use super::{Applier, is_same_session, on_base, unstored};
use crate::{
    attempted::Attempted,
    draft::Draft,
    error::SessionError,
    state::{Base, Current, Doubt, NewSession, Refusal, Since, State},
    store::Applied,
    token::SessionToken,
};

impl Applier<'_, '_> {
    pub(super) fn loaded(
        &mut self,
        state: State,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        match state {
            State::InDoubt(Doubt::Save {
                base,
                draft,
                attempted,
                ..
            }) => match current {
                Some(current) => self.settle(base, draft, attempted, current, false),
                None => self.gone(base, draft, attempted.renews),
            },
            State::InDoubt(Doubt::Create {
                new,
                draft,
                replaces,
                attempted,
            }) => match current {
                Some(current) if current.version == attempted.record.version() => self.begun(
                    new,
                    draft,
                    replaces,
                    attempted,
                    Applied::new(),
                    Some(current),
                ),
                // another session has the id
                Some(_) => self.set(unstored(new.without_token(), draft, replaces)),
                None => {
                    // it may still arrive, so its token is not used again
                    let orphan = Some(attempted.token.id());
                    let new = NewSession {
                        orphan,
                        ..new.without_token()
                    };
                    self.set(unstored(new, draft, replaces))
                }
            },
            State::Superseded {
                token,
                since,
                new,
                draft,
                ended,
            } => self.join(current, token, since, new, draft, ended),
            State::Renewed { base, draft } => match current {
                Some(current) => self.rebase(base, draft, true, current),
                None => self.gone(base, draft, true),
            },
            state @ (State::Uninitialized { .. }
            | State::New { .. }
            | State::Unmodified { .. }
            | State::Modified { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Gone) => self.set(state),
        }
    }

    /// Finds out from the record whether a save was applied.
    pub(super) fn settle(
        &mut self,
        base: Arc<Base>,
        draft: Draft,
        attempted: Arc<Attempted>,
        current: Current,
        repeated: bool,
    ) -> Result<(), SessionError> {
        if !is_same_session(&base, &current) {
            return self.gone(base, draft, attempted.renews);
        }
        if attempted.is_in(current.version, &current.body) {
            return self.changed(attempted, Applied::new(), Some(current));
        }
        let repeat = !repeated && attempted.expected == Some(current.version);
        self.progress.state = State::InDoubt(Doubt::Save {
            base,
            draft,
            attempted,
            repeat,
        });
        if repeat {
            Ok(())
        } else {
            Err(SessionError::in_doubt())
        }
    }

    /// A login with a superseded token continues the session if it belongs to the same principal.
    pub(super) fn join(
        &mut self,
        current: Option<Current>,
        token: SessionToken,
        since: Since,
        new: NewSession,
        draft: Draft,
        ended: bool,
    ) -> Result<(), SessionError> {
        let joined = draft.login().zip(current).filter(|(login, current)| {
            current.body.contents.principal.as_deref() == Some(&*login.principal)
        });
        if self.context.facts.require_unchanged {
            let state = State::Superseded {
                token,
                since,
                new,
                draft,
                ended,
            };
            return self.fail(state, Refusal::Conflict);
        }
        let Some((_, current)) = joined else {
            return self.set(State::New {
                new,
                draft,
                retired: None,
            });
        };
        match draft.rebase(&current.body.contents, self.context.policy.max_bytes) {
            Ok(draft) => {
                let base = Arc::new(Base::read(token, current, true));
                self.set(State::Renewed { base, draft })
            }
            Err(error) => {
                self.progress.state = State::Superseded {
                    token,
                    since,
                    new,
                    draft,
                    ended,
                };
                Err(error)
            }
        }
    }

    /// The handler gives up what it wrote, and takes what is stored. If that is not possible,
    /// nothing changes.
    pub(super) fn reloaded(
        &mut self,
        state: State,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let (base, renews, current) = match (state, current) {
            (
                State::InDoubt(Doubt::Create {
                    new,
                    draft,
                    replaces,
                    attempted,
                }),
                Some(current),
            ) if current.version == attempted.record.version() => {
                return self.begun(
                    new,
                    draft,
                    replaces,
                    attempted,
                    Applied::new(),
                    Some(current),
                );
            }
            (State::InDoubt(Doubt::Save { attempted, .. }), Some(current))
                if attempted.is_in(current.version, &current.body) =>
            {
                return self.changed(attempted, Applied::new(), Some(current));
            }
            (State::Renewed { base, draft }, Some(current)) => {
                if let Err(error) = readable(&base, &current) {
                    self.progress.state = State::Renewed { base, draft };
                    return Err(error);
                }
                (base, true, current)
            }
            (State::Unmodified { base, discarded }, Some(current)) => {
                if let Err(error) = readable(&base, &current) {
                    self.progress.state = State::Unmodified { base, discarded };
                    return Err(error);
                }
                (base, false, current)
            }
            (State::Modified { base, draft }, Some(current)) => {
                if let Err(error) = readable(&base, &current) {
                    self.progress.state = State::Modified { base, draft };
                    return Err(error);
                }
                (base, false, current)
            }
            (
                State::InDoubt(Doubt::Save {
                    base,
                    draft,
                    attempted,
                    repeat,
                }),
                Some(current),
            ) => {
                if let Err(error) = readable(&base, &current) {
                    self.progress.state = State::InDoubt(Doubt::Save {
                        base,
                        draft,
                        attempted,
                        repeat,
                    });
                    return Err(error);
                }
                (base, false, current)
            }
            (
                state @ (State::Uninitialized { .. }
                | State::New { .. }
                | State::Regenerated { .. }
                | State::Destroyed { .. }
                | State::Superseded { .. }
                | State::InDoubt(Doubt::Create { .. })
                | State::Gone),
                Some(_),
            )
            | (state, None) => return self.fail(state, Refusal::Gone),
        };
        let renews = renews && current.body.secrets.contain(&base.token.secret().hash());
        let base = base.on(current);
        let draft = Draft::of(base.contents().clone());
        self.set(on_base(base, draft, renews))
    }
}

impl Applier<'_, '_> {
    /// What was kept in the process is compared with what is stored. The token must open that; what
    /// the handler wrote is applied to it. If the session has ended, nothing changes.
    pub(super) fn refreshed(
        &mut self,
        state: State,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let opened = match (&state, &current) {
            (
                State::Unmodified { base, .. }
                | State::Modified { base, .. }
                | State::Renewed { base, .. },
                Some(current),
            ) => opens(base, current),
            (State::Unmodified { .. } | State::Modified { .. } | State::Renewed { .. }, None) => {
                Err(SessionError::gone())
            }
            (
                State::Uninitialized { .. }
                | State::New { .. }
                | State::Regenerated { .. }
                | State::Destroyed { .. }
                | State::Superseded { .. }
                | State::Gone,
                _,
            ) => Ok(()),
            // what is stored may be what this request wrote, or not
            (State::InDoubt(_), _) => Err(SessionError::in_doubt()),
        };
        if let Err(error) = opened {
            self.progress.state = state;
            return Err(error);
        }
        match (state, current) {
            (State::Unmodified { base, discarded }, Some(current)) => {
                let base = base.on(current);
                self.set(State::Unmodified { base, discarded })
            }
            (State::Modified { base, draft }, Some(current)) => {
                self.rebase(base, draft, false, current)
            }
            (State::Renewed { base, draft }, Some(current)) => {
                self.rebase(base, draft, true, current)
            }
            (state, _) => self.set(state),
        }
    }
}

/// Whether the token of a request opens what is stored now.
fn opens(base: &Base, current: &Current) -> Result<(), SessionError> {
    readable(base, current)?;
    match current.body.secrets.contain(&base.token.secret().hash()) {
        true => Ok(()),
        false => Err(SessionError::superseded()),
    }
}

/// Whether a request may see what is stored now.
fn readable(base: &Base, current: &Current) -> Result<(), SessionError> {
    if !is_same_session(base, current) {
        return Err(SessionError::gone());
    }
    match base.principal() == current.body.contents.principal.as_deref() {
        true => Ok(()),
        false => Err(SessionError::superseded()),
    }
}
