//! The answers to a save and to a touch, and what a concurrent change means for them.

use std::{sync::Arc, time::Duration};

use super::{Applier, Change, chain, is_same_session, on_base, superseded_state};
use crate::{
    attempted::Attempted,
    decide::Trigger,
    draft::Draft,
    error::SessionError,
    log_limit,
    outcome::Loss,
    state::{Base, Current, Doubt, Refusal, State},
    store::Applied,
    store_error::{StoreError, StoreErrorKind},
};

impl Applier<'_, '_> {
    pub(super) fn saved(
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
            Ok(Change::Applied(applied)) => self.changed(attempted, applied, None),
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
    pub(super) fn changed(
        &mut self,
        attempted: Arc<Attempted>,
        applied: Applied,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let base = self.written(&attempted, current);
        self.owe(&attempted, applied);
        let outcome = &mut self.progress.outcome;
        outcome.saved = true;
        outcome.renewed |= attempted.renews;
        outcome.logged_in |= attempted.logs_in;
        if attempted.renews || attempted.reissue && !base.is_superseded() {
            self.issue(&base);
        }
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }

    /// The session as it is stored after a write of this request.
    pub(super) fn written(&self, attempted: &Attempted, current: Option<Current>) -> Arc<Base> {
        let Some(current) = current else {
            return Base::wrote(attempted, self.context.now);
        };
        let mut base = Base::read(attempted.token.clone(), current, true);
        base.written = true;
        Arc::new(base)
    }

    /// A concurrent request changed the session first: applies this one's changes to what it wrote,
    /// if that is still allowed.
    pub(super) fn rebase(
        &mut self,
        base: Arc<Base>,
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
                return self.set(superseded_state(
                    base.token.clone(),
                    (self.context.new_session)(),
                ));
            }
            // somebody else has done it
            None => renews && !superseded,
        };
        match draft.rebase(&current.body.contents, self.context.policy.max_bytes) {
            Ok(draft) => {
                let written = base.written || !claims;
                let mut base = base.on(current);
                Arc::make_mut(&mut base).written = written;
                self.set(on_base(base, draft, renews))
            }
            Err(error) => {
                self.progress.state = on_base(base, draft, renews);
                Err(error)
            }
        }
    }

    /// There is no record any more.
    pub(super) fn gone(
        &mut self,
        base: Arc<Base>,
        draft: Draft,
        renews: bool,
    ) -> Result<(), SessionError> {
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

    /// A login that cannot continue the session it was made in begins a new one, with the writes of
    /// this request alone.
    pub(super) fn log_in_anew(&mut self, draft: Draft) -> Result<(), SessionError> {
        let new = (self.context.new_session)();
        let draft = draft.rebase(&new.initial, self.context.policy.max_bytes)?;
        self.set(State::New {
            new,
            draft,
            retired: None,
        })
    }

    pub(super) fn touched(
        &mut self,
        state: State,
        ttl: Duration,
        reissue: bool,
        result: Result<Change, StoreError>,
    ) -> Result<(), SessionError> {
        let mut base = match state {
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
            Ok(Change::Applied(_)) => {
                let touched = Arc::make_mut(&mut base);
                touched.ttl = Some(ttl);
                touched.seen_at = self.context.now.monotonic;
                touched.touch_requested = false;
                touched.written = true;
                self.progress.outcome.touched = true;
                if reissue {
                    self.issue(&base);
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

    /// The request was served with what the store returned; only the extension of the session's
    /// life is missing.
    pub(super) fn ignore_touch_failure(
        &mut self,
        mut base: Arc<Base>,
        error: &StoreError,
    ) -> Result<(), SessionError> {
        let message = "session could not be touched";
        log_limit::warn(&base.token.id(), &chain(error), message);
        let served = Arc::make_mut(&mut base);
        served.extends = false;
        served.touch_requested = false;
        served.written = true;
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }
}
