//! What the answer of a store means for a session.

use std::{mem, sync::Arc, time::Duration};

use crate::{
    attempted::Attempted,
    clock::Now,
    decide::{Facts, Purpose, Trigger},
    draft::Draft,
    error::SessionError,
    headers::{Credential, Issued},
    outcome::{EndReason, Ended, Loss, Outcome},
    policy::Policy,
    state::{Base, Current, Doubt, NewSession, Refusal, Regeneration, Retired, Since, State},
    store_error::{StoreError, StoreErrorKind},
    token::SessionToken,
};

/// A session during a commit: its state, and what the commit has done so far.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) outcome: Outcome,
    /// What the client has to be told.
    pub(crate) credential: Credential,
}

/// The answer to a step, with the write that it answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Token(SessionToken),
    Created(Arc<Attempted>, Result<Creation, StoreError>),
    Saved(Arc<Attempted>, Result<Change, StoreError>),
    Touched {
        ttl: Duration,
        reissue: bool,
        change: Result<Change, StoreError>,
    },
    Destroyed(Purpose, Result<Change, StoreError>),
    Loaded(Option<Box<Current>>),
    /// The handler asked for the record.
    Reloaded(Option<Box<Current>>),
}

/// The answer to a create.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Creation {
    Applied,
    /// The id is taken.
    Taken,
}

/// The answer to a conditional operation.
#[derive(Debug)]
pub(crate) enum Change {
    Applied,
    /// A concurrent request wrote this.
    Conflict(Box<Current>),
    /// There is no record.
    Gone,
}

/// What an answer is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Context<'c> {
    pub(crate) facts: Facts<'c>,
    pub(crate) policy: &'c Policy,
    pub(crate) now: Now,
    /// Makes a session that is not stored yet, without a token.
    pub(crate) new_session: &'c dyn Fn() -> NewSession,
}

impl Progress {
    /// The session after a commit that was dropped before it was done. A regeneration begins again.
    pub(crate) fn interrupted(self) -> Self {
        let state = match self.state {
            State::Regenerated {
                new,
                draft,
                retired,
                progress: Regeneration::Created(Base { token, .. }),
            } => {
                let new = NewSession {
                    orphan: Some(token.id()),
                    ..new.without_token()
                };
                State::Regenerated {
                    new,
                    draft,
                    retired,
                    progress: Regeneration::Planned,
                }
            }
            State::Regenerated {
                new,
                draft,
                retired,
                progress: Regeneration::Undo(id, _),
            } => {
                let new = NewSession {
                    orphan: Some(id),
                    ..new.without_token()
                };
                State::Regenerated {
                    new,
                    draft,
                    retired,
                    progress: Regeneration::Planned,
                }
            }
            state => state,
        };
        Self { state, ..self }
    }

    /// Takes an answer into account. On an error the commit is over; the state is one that the next commit can continue from.
    ///
    /// An answer that the state does not wait for changes nothing.
    pub(crate) fn apply_answer(
        &mut self,
        answer: Answer,
        context: Context<'_>,
    ) -> Result<(), SessionError> {
        let state = mem::replace(&mut self.state, State::Gone);
        let mut applier = Applier {
            progress: self,
            context,
        };
        match answer {
            Answer::Token(token) => {
                applier.progress.state = with_token(state, token);
                Ok(())
            }
            Answer::Created(attempted, result) => applier.created(state, attempted, result),
            Answer::Saved(attempted, result) => applier.saved(state, attempted, result),
            Answer::Touched {
                ttl,
                reissue,
                change,
            } => applier.touched(state, ttl, reissue, change),
            Answer::Destroyed(Purpose::Retire, result) => applier.retired(state, result),
            Answer::Destroyed(Purpose::Expire, result) => applier.expired(state, result),
            Answer::Destroyed(Purpose::Orphan, _) => {
                applier.progress.state = without_orphan(state);
                Ok(())
            }
            Answer::Destroyed(Purpose::Undo, result) => applier.undone(state, &result),
            Answer::Loaded(current) => applier.loaded(state, current.map(|current| *current)),
            Answer::Reloaded(current) => applier.reloaded(state, current.map(|current| *current)),
        }
    }
}

/// Applies one answer.
struct Applier<'p, 'c> {
    progress: &'p mut Progress,
    context: Context<'c>,
}

impl Applier<'_, '_> {
    fn set(&mut self, state: State) -> Result<(), SessionError> {
        self.progress.state = state;
        Ok(())
    }

    fn fail(&mut self, state: State, refusal: Refusal) -> Result<(), SessionError> {
        self.progress.state = state;
        Err(refusal.into())
    }

    fn lose(&mut self, loss: Loss) {
        self.progress.outcome.lost = Some(loss);
    }

    // ---- create ----

    fn created(
        &mut self,
        state: State,
        attempted: Arc<Attempted>,
        result: Result<Creation, StoreError>,
    ) -> Result<(), SessionError> {
        let (new, draft, replaces) = match state {
            State::Uninitialized { new, .. } => {
                let draft = Draft::of(new.initial.clone());
                (new, draft, None)
            }
            State::New { new, draft, .. } | State::Superseded { new, draft, .. } => {
                (new, draft, None)
            }
            State::Regenerated {
                new,
                draft,
                retired,
                ..
            } => (new, draft, Some(retired)),
            state @ (State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Destroyed { .. }
            | State::InDoubt(_)
            | State::Gone) => return self.set(state),
        };
        match result {
            Ok(Creation::Applied) => self.begun(new, draft, replaces, attempted, None),
            Ok(Creation::Taken) => {
                let taken = new.taken + 1;
                let new = NewSession {
                    taken,
                    ..new.without_token()
                };
                self.set(unstored(new, draft, replaces))
            }
            Err(error) if error.kind() == StoreErrorKind::Timeout => {
                self.set(State::InDoubt(Doubt::Create {
                    new,
                    draft,
                    replaces,
                    attempted,
                }))
            }
            Err(error) => {
                self.progress.state = unstored(new, draft, replaces);
                Err(error.into())
            }
        }
    }

    /// A new session is stored.
    fn begun(
        &mut self,
        new: NewSession,
        draft: Draft,
        replaces: Option<Option<Retired>>,
        attempted: Arc<Attempted>,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let base = self.written(&attempted, current);
        match replaces {
            Some(Some(retired)) => self.set(State::Regenerated {
                new,
                draft,
                retired: Some(retired),
                progress: Regeneration::Created(base),
            }),
            Some(None) | None => self.issue_created(base, draft.login().is_some()),
        }
    }

    fn issue_created(&mut self, base: Base, logged_in: bool) -> Result<(), SessionError> {
        self.progress.outcome.created = true;
        self.progress.outcome.logged_in |= logged_in;
        self.progress.credential.issue(issued(&base));
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }

    // ---- save ----

    fn saved(
        &mut self,
        state: State,
        attempted: Arc<Attempted>,
        result: Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let (base, draft, repeated) = match state {
            State::Unmodified { base, .. } => {
                let draft = Draft::of(base.contents().clone());
                (base, draft, false)
            }
            State::Modified { base, draft } | State::Renewed { base, draft } => {
                (base, draft, false)
            }
            State::InDoubt(Doubt::Save { base, draft, .. }) => (base, draft, true),
            state @ (State::Uninitialized { .. }
            | State::New { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Superseded { .. }
            | State::InDoubt(Doubt::Create { .. })
            | State::Gone) => return self.set(state),
        };
        match result {
            Ok(Change::Applied) => self.changed(attempted, None),
            Ok(Change::Conflict(current)) if repeated => {
                self.settle(base, draft, attempted, *current, true)
            }
            Ok(Change::Conflict(current)) => self.rebase(base, draft, attempted.renews, *current),
            Ok(Change::Gone) => self.gone(base, draft, attempted.renews),
            Err(error)
                if attempted.only_extends && self.context.facts.trigger == Trigger::Finish =>
            {
                self.ignore_touch_failure(base, &error)
            }
            Err(error) if repeated || error.kind() == StoreErrorKind::Timeout => {
                self.progress.state = State::InDoubt(Doubt::Save {
                    base,
                    draft,
                    attempted,
                    repeat: false,
                });
                match repeated {
                    true => Err(SessionError::in_doubt_because(error)),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.progress.state = on_base(base, draft, attempted.renews);
                Err(error.into())
            }
        }
    }

    /// A save was applied, and perhaps others on top of it.
    fn changed(
        &mut self,
        attempted: Arc<Attempted>,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let base = self.written(&attempted, current);
        let outcome = &mut self.progress.outcome;
        outcome.saved = true;
        outcome.renewed |= attempted.renews;
        outcome.logged_in |= attempted.logs_in;
        if attempted.renews || attempted.reissue && !base.is_superseded() {
            self.progress.credential.issue(issued(&base));
        }
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }

    /// The session as it is stored after a write of this request.
    fn written(&self, attempted: &Attempted, current: Option<Current>) -> Base {
        let (version, body, ttl) = match current {
            Some(current) => (current.version, current.body, current.ttl),
            None => (
                attempted.record.version(),
                attempted.body.clone(),
                Some(attempted.ttl),
            ),
        };
        Base {
            token: attempted.token.clone(),
            version,
            body,
            ttl,
            seen_at: self.context.now.monotonic,
            extends: true,
            touch_requested: false,
            written: true,
        }
    }

    /// A concurrent request changed the session first: applies this one's changes to what it wrote, if that is still allowed.
    fn rebase(
        &mut self,
        base: Base,
        draft: Draft,
        renews: bool,
        current: Current,
    ) -> Result<(), SessionError> {
        if !is_same_session(&base, &current) {
            return self.gone(base, draft, renews);
        }
        let superseded = !current.body.secrets.contain(&base.token.secret().hash());
        let same_principal = base.principal() == current.body.contents.principal.as_deref();
        let claims = renews || !draft.is_empty();
        if self.context.facts.require_unchanged
            && claims
            && (*base.contents() != current.body.contents || draft.login().is_some() && superseded)
        {
            return self.fail(on_base(base, draft, renews), Refusal::Conflict);
        }
        let renews = match draft.login() {
            Some(login) if superseded || !same_principal => {
                let joins = current.body.contents.principal.as_deref() == Some(&*login.principal);
                if !joins {
                    return self.log_in_anew(draft);
                }
                true
            }
            Some(_) => true,
            None if !same_principal => {
                if claims {
                    self.lose(Loss::Superseded);
                }
                return self.set(superseded_state(base.token, (self.context.new_session)()));
            }
            // somebody else has done it
            None => renews && !superseded,
        };
        match draft.rebase(&current.body.contents, self.context.policy.max_bytes) {
            Ok(draft) => {
                let written = base.written || !claims;
                let base = Base {
                    written,
                    ..base.on(current)
                };
                self.set(on_base(base, draft, renews))
            }
            Err(error) => {
                self.progress.state = on_base(base, draft, renews);
                Err(error)
            }
        }
    }

    /// There is no record any more.
    fn gone(&mut self, base: Base, draft: Draft, renews: bool) -> Result<(), SessionError> {
        if draft.login().is_none() {
            if renews || !draft.is_empty() {
                self.lose(Loss::Gone);
            }
            tracing::info!(session.id = %base.token.id(), "session ended concurrently");
            return self.set(State::Gone);
        }
        if self.context.facts.require_unchanged {
            return self.fail(State::Renewed { base, draft }, Refusal::Gone);
        }
        self.log_in_anew(draft)
    }

    /// A login that cannot continue the session it was made in begins a new one, with the writes of this request alone.
    fn log_in_anew(&mut self, draft: Draft) -> Result<(), SessionError> {
        let new = (self.context.new_session)();
        let draft = draft.rebase(&new.initial, self.context.policy.max_bytes)?;
        self.set(State::New {
            new,
            draft,
            retired: None,
        })
    }

    // ---- touch ----

    fn touched(
        &mut self,
        state: State,
        ttl: Duration,
        reissue: bool,
        result: Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let base = match state {
            State::Unmodified { base, .. } | State::Modified { base, .. } => base,
            state @ (State::Uninitialized { .. }
            | State::New { .. }
            | State::Renewed { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Superseded { .. }
            | State::InDoubt(_)
            | State::Gone) => return self.set(state),
        };
        match result {
            Ok(Change::Applied) => {
                let base = Base {
                    ttl: Some(ttl),
                    seen_at: self.context.now.monotonic,
                    touch_requested: false,
                    written: true,
                    ..base
                };
                self.progress.outcome.touched = true;
                if reissue {
                    self.progress.credential.issue(issued(&base));
                }
                self.set(State::Unmodified {
                    base,
                    discarded: false,
                })
            }
            Ok(Change::Conflict(current)) => {
                let draft = Draft::of(base.contents().clone());
                self.rebase(base, draft, false, *current)
            }
            Ok(Change::Gone) => {
                let draft = Draft::of(base.contents().clone());
                self.gone(base, draft, false)
            }
            Err(error) if self.context.facts.trigger == Trigger::Finish => {
                self.ignore_touch_failure(base, &error)
            }
            Err(error) => {
                self.progress.state = State::Unmodified {
                    base,
                    discarded: false,
                };
                Err(error.into())
            }
        }
    }

    /// The request was served with what the store returned; only the extension of the session's life is missing.
    fn ignore_touch_failure(&mut self, base: Base, error: &StoreError) -> Result<(), SessionError> {
        tracing::warn!(session.id = %base.token.id(), error = %chain(error), "session could not be touched");
        let base = Base {
            extends: false,
            touch_requested: false,
            written: true,
            ..base
        };
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }

    // ---- load ----

    fn loaded(&mut self, state: State, current: Option<Current>) -> Result<(), SessionError> {
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
                Some(current) if current.version == attempted.record.version() => {
                    self.begun(new, draft, replaces, attempted, Some(current))
                }
                Some(_) | None => {
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
            state @ (State::Uninitialized { .. }
            | State::New { .. }
            | State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Gone) => self.set(state),
        }
    }

    /// Finds out from the record whether a save was applied.
    fn settle(
        &mut self,
        base: Base,
        draft: Draft,
        attempted: Arc<Attempted>,
        current: Current,
        repeated: bool,
    ) -> Result<(), SessionError> {
        if !is_same_session(&base, &current) {
            return self.gone(base, draft, attempted.renews);
        }
        if attempted.is_in(current.version, &current.body) {
            return self.changed(attempted, Some(current));
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
    fn join(
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
                let base = Base {
                    token,
                    version: current.version,
                    body: current.body,
                    ttl: current.ttl,
                    seen_at: current.seen_at,
                    extends: true,
                    touch_requested: false,
                    written: false,
                };
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

    /// The handler gives up what it wrote, and takes what is stored. If that is not possible, nothing changes.
    fn reloaded(&mut self, state: State, current: Option<Current>) -> Result<(), SessionError> {
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
                return self.begun(new, draft, replaces, attempted, Some(current));
            }
            (State::InDoubt(Doubt::Save { attempted, .. }), Some(current))
                if attempted.is_in(current.version, &current.body) =>
            {
                return self.changed(attempted, Some(current));
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

    // ---- destroy ----

    /// The session that the request ends.
    fn retired(
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
            Ok(Change::Applied) => self.ended(ending, &retired.base),
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
                self.fail(superseded_state(retired.base.token, new), refusal)
            }
            ending => self.fail(ending.again(retired), refusal),
        }
    }

    fn undone(
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
                self.fail(superseded_state(retired.base.token, new), refusal)
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
    fn expired(
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
            Ok(Change::Applied) => {
                if was_over && (renews || !draft.is_empty()) {
                    self.lose(Loss::Gone);
                }
                self.end(&base, EndReason::Expired);
                self.set(State::Gone)
            }
            Ok(Change::Gone) => self.gone(base, draft, renews),
            Ok(Change::Conflict(current)) => self.rebase(base, draft, renews, *current),
            Err(error) if draft.is_empty() && self.context.facts.trigger == Trigger::Finish => {
                tracing::warn!(session.id = %base.token.id(), error = %chain(&error), "expired session could not be removed");
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
        created: Option<Base>,
    },
}

impl Ending {
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

/// The stored session with this request's changes.
fn on_base(base: Base, draft: Draft, renews: bool) -> State {
    match (renews, draft.is_empty()) {
        (true, _) => State::Renewed { base, draft },
        (false, true) => State::Unmodified {
            base,
            discarded: false,
        },
        (false, false) => State::Modified { base, draft },
    }
}

/// A session that is not stored yet, to be stored.
fn unstored(new: NewSession, draft: Draft, replaces: Option<Option<Retired>>) -> State {
    match replaces {
        Some(retired) => State::Regenerated {
            new,
            draft,
            retired,
            progress: Regeneration::Planned,
        },
        None => State::New {
            new,
            draft,
            retired: None,
        },
    }
}

fn superseded_state(token: SessionToken, new: NewSession) -> State {
    let draft = Draft::of(new.initial.clone());
    State::Superseded {
        token,
        since: Since::Loaded,
        new,
        draft,
        ended: false,
    }
}

/// An id source may return an id again, so the same id is not proof of the same session.
fn is_same_session(base: &Base, current: &Current) -> bool {
    base.body.created_at == current.body.created_at
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

fn with_token(state: State, token: SessionToken) -> State {
    map_new(state, |new| NewSession {
        token: Some(token),
        ..new
    })
}

fn without_orphan(state: State) -> State {
    map_new(state, |new| NewSession {
        orphan: None,
        ..new
    })
}

fn map_new(state: State, map: impl FnOnce(NewSession) -> NewSession) -> State {
    match state {
        State::Uninitialized { new, discarded } => State::Uninitialized {
            new: map(new),
            discarded,
        },
        State::New {
            new,
            draft,
            retired,
        } => State::New {
            new: map(new),
            draft,
            retired,
        },
        State::Regenerated {
            new,
            draft,
            retired,
            progress,
        } => State::Regenerated {
            new: map(new),
            draft,
            retired,
            progress,
        },
        State::Superseded {
            token,
            since,
            new,
            draft,
            ended,
        } => State::Superseded {
            token,
            since,
            new: map(new),
            draft,
            ended,
        },
        state @ (State::Unmodified { .. }
        | State::Modified { .. }
        | State::Renewed { .. }
        | State::Destroyed { .. }
        | State::InDoubt(_)
        | State::Gone) => state,
    }
}

fn issued(base: &Base) -> Issued {
    Issued {
        token: base.token.clone(),
        contents: base.contents().clone(),
        began_at: base.body.authenticated_at.unwrap_or(base.body.created_at),
        transport: base.body.transport,
    }
}

/// An error with its sources, for one log line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
