//! The answer to a destroy: of the session that the request ends, of one whose time is over, or of
//! one that must not stay.

use std::sync::Arc;

use super::{Applier, Change, chain, is_same_session, on_base, superseded_state};
use crate::{
    attempted::Attempted,
    decide::Trigger,
    draft::Draft,
    error::SessionError,
    log_limit,
    outcome::{EndReason, Ended, Loss},
    state::{Base, NewSession, Refusal, Regeneration, Retired, State},
    store_error::{StoreError, StoreErrorKind},
};

impl Applier<'_, '_> {
    /// The session that the request ends.
    pub(super) fn retired(
        &mut self,
        state: State,
        result: Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let (ending, retired) = match Ending::of(state) {
            Ok(ending) => ending,
            Err(state) => return self.set(state),
        };
        let require_unchanged = self.context.facts.require_unchanged;
        match result {
            Ok(Change::Applied(_)) => self.ended(ending, &retired.base),
            Ok(Change::Gone) => match (require_unchanged, retired.in_doubt) {
                (false, _) => self.ended(ending, &retired.base),
                (true, true) => self.not_ended(ending, retired, Refusal::InDoubt),
                (true, false) => self.not_ended(ending, retired, Refusal::Gone),
            },
            Ok(Change::Conflict(current)) => {
                let base = &retired.base;
                let own = |own: &Arc<Attempted>| own.is_in(current.version, &current.body);
                let own = retired.own.as_ref().is_some_and(own);
                let authorized =
                    own || base.principal() == current.body.contents.principal.as_deref();
                let changed = !own && *base.contents() != current.body.contents;
                if !is_same_session(base, &current) {
                    return match require_unchanged {
                        false => self.ended(ending, &retired.base),
                        true => self.not_ended(ending, retired, Refusal::Gone),
                    };
                }
                if require_unchanged && changed {
                    return self.not_ended(ending, retired, Refusal::Conflict);
                }
                if authorized {
                    let retired = Retired {
                        base: retired.base.on(*current),
                        ..retired
                    };
                    return self.set(ending.again(retired));
                }
                match ending {
                    // it is somebody else's now, and the login does not depend on it
                    Ending::Regenerate {
                        created: Some(base),
                        draft,
                        ..
                    } if draft.login().is_some() => self.issue_created(base, true),
                    ending => self.not_ended(ending, retired, Refusal::Superseded),
                }
            }
            Err(error) if error.kind() == StoreErrorKind::Timeout && !retired.in_doubt => {
                self.set(ending.again(Retired {
                    in_doubt: true,
                    ..retired
                }))
            }
            Err(_) if retired.in_doubt => self.not_ended(ending, retired, Refusal::InDoubt),
            Err(error) => match ending {
                ending @ Ending::Regenerate {
                    created: Some(_), ..
                } => {
                    let refusal = Refusal::Store(error.kind());
                    self.not_ended(ending, retired, refusal)
                }
                ending => {
                    self.progress.state = ending.again(retired);
                    Err(error.into())
                }
            },
        }
    }

    fn ended(&mut self, ending: Ending, base: &Base) -> Result<(), SessionError> {
        self.end(base, ending.reason());
        match ending {
            Ending::Destroy => self.set(State::Destroyed { retired: None }),
            Ending::BeforeNew { new, draft } => self.set(State::New {
                new,
                draft,
                retired: None,
            }),
            Ending::Regenerate {
                created: Some(base),
                draft,
                ..
            } => self.issue_created(base, draft.login().is_some()),
            Ending::Regenerate { created: None, .. } => {
                self.set(State::Destroyed { retired: None })
            }
        }
    }

    fn not_ended(
        &mut self,
        ending: Ending,
        retired: Retired,
        refusal: Refusal,
    ) -> Result<(), SessionError> {
        match ending {
            Ending::Regenerate {
                new,
                draft,
                created: Some(created),
            } => {
                let progress = Regeneration::Undo(created.token.id(), refusal);
                self.set(State::Regenerated {
                    new,
                    draft,
                    retired: Some(retired),
                    progress,
                })
            }
            _ if refusal == Refusal::Superseded => {
                let new = (self.context.new_session)();
                self.fail(superseded_state(retired.base.token.clone(), new), refusal)
            }
            ending => self.fail(ending.again(retired), refusal),
        }
    }

    pub(super) fn undone(
        &mut self,
        state: State,
        result: &Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let State::Regenerated {
            new,
            draft,
            retired,
            progress,
        } = state
        else {
            return self.set(state);
        };
        let (id, refusal) = match progress {
            Regeneration::Undo(id, refusal) => (id, refusal),
            // the deadline has passed
            Regeneration::Created(base) => match retired.as_ref().is_some_and(|old| old.in_doubt) {
                true => (base.token.id(), Refusal::InDoubt),
                false => (base.token.id(), Refusal::Contention),
            },
            Regeneration::Planned => {
                let progress = Regeneration::Planned;
                return self.set(State::Regenerated {
                    new,
                    draft,
                    retired,
                    progress,
                });
            }
        };
        match (refusal, retired) {
            (Refusal::Superseded, Some(retired)) => {
                let new = (self.context.new_session)();
                self.fail(superseded_state(retired.base.token.clone(), new), refusal)
            }
            (refusal, retired) => {
                let orphan = result.is_err().then_some(id);
                let new = NewSession {
                    orphan,
                    ..new.without_token()
                };
                let progress = Regeneration::Planned;
                self.fail(
                    State::Regenerated {
                        new,
                        draft,
                        retired,
                        progress,
                    },
                    refusal,
                )
            }
        }
    }

    /// A session whose time is over.
    pub(super) fn expired(
        &mut self,
        state: State,
        result: Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let (base, draft, renews) = match state {
            State::Unmodified { base, .. } => {
                let draft = Draft::of(base.contents().clone());
                (base, draft, false)
            }
            State::Modified { base, draft } => (base, draft, false),
            State::Renewed { base, draft } => (base, draft, true),
            state @ (State::Uninitialized { .. }
            | State::New { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Superseded { .. }
            | State::InDoubt(_)
            | State::Gone) => return self.set(state),
        };
        let timeouts = &self.context.policy.timeouts;
        let age = base.body.age(self.context.now.wall);
        // otherwise the handler itself has set a lifetime that is over
        let was_over = timeouts.ttl(&base.contents().lifetime, age).is_zero();
        match result {
            Ok(Change::Applied(_)) => {
                if was_over && (renews || !draft.is_empty()) {
                    self.lose(Loss::Gone);
                }
                self.end(&base, EndReason::Expired);
                self.set(State::Gone)
            }
            Ok(Change::Gone) => self.gone(base, draft, renews),
            Ok(Change::Conflict(current)) => self.rebase(base, draft, renews, *current),
            Err(error) if draft.is_empty() && self.context.facts.trigger == Trigger::Finish => {
                let message = "expired session could not be removed";
                log_limit::warn(&base.token.id(), &chain(&error), message);
                self.set(State::Unmodified {
                    base,
                    discarded: true,
                })
            }
            Err(error) => {
                self.progress.state = on_base(base, draft, renews);
                Err(SessionError::from_write(error))
            }
        }
    }

    fn end(&mut self, base: &Base, reason: EndReason) {
        let id = base.token.id();
        self.progress.outcome.ended = Some(Ended { id, reason });
        self.progress
            .credential
            .end(id, &base.body, self.context.facts.request.presented);
    }
}

/// What is to follow the end of a session.
enum Ending {
    Destroy,
    BeforeNew {
        new: NewSession,
        draft: Draft,
    },
    Regenerate {
        new: NewSession,
        draft: Draft,
        created: Option<Arc<Base>>,
    },
}

impl Ending {
    /// Splits a state that ends a session; another one is returned.
    #[expect(
        clippy::result_large_err,
        reason = "it is not an error, and goes back where it was"
    )]
    fn of(state: State) -> Result<(Self, Retired), State> {
        match state {
            State::Destroyed {
                retired: Some(retired),
            } => Ok((Self::Destroy, retired)),
            State::New {
                new,
                draft,
                retired: Some(retired),
            } => Ok((Self::BeforeNew { new, draft }, retired)),
            State::Regenerated {
                new,
                draft,
                retired: Some(retired),
                progress: Regeneration::Created(base),
            } => {
                let created = Some(base);
                Ok((
                    Self::Regenerate {
                        new,
                        draft,
                        created,
                    },
                    retired,
                ))
            }
            State::Regenerated {
                new,
                draft,
                retired: Some(retired),
                progress: Regeneration::Planned,
            } => Ok((
                Self::Regenerate {
                    new,
                    draft,
                    created: None,
                },
                retired,
            )),
            state => Err(state),
        }
    }

    fn reason(&self) -> EndReason {
        match self {
            Self::Destroy | Self::BeforeNew { .. } => EndReason::Destroyed,
            Self::Regenerate { .. } => EndReason::Regenerated,
        }
    }

    /// The state in which the session still has to be ended.
    fn again(self, retired: Retired) -> State {
        let retired = Some(retired);
        match self {
            Self::Destroy => State::Destroyed { retired },
            Self::BeforeNew { new, draft } => State::New {
                new,
                draft,
                retired,
            },
            Self::Regenerate {
                new,
                draft,
                created,
            } => {
                let progress = match created {
                    Some(base) => Regeneration::Created(base),
                    None => Regeneration::Planned,
                };
                State::Regenerated {
                    new,
                    draft,
                    retired,
                    progress,
                }
            }
        }
    }
}
