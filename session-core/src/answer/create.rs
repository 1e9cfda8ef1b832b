//! The answer to a create.

use std::sync::Arc;

use super::{Applier, Creation, unstored};
use crate::{
    attempted::Attempted,
    draft::Draft,
    error::SessionError,
    state::{Base, Current, Doubt, NewSession, Regeneration, Retired, State},
    store::Applied,
    store_error::{StoreError, StoreErrorKind},
};

impl Applier<'_, '_> {
    pub(super) fn created(
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
            Ok(Creation::Applied(applied)) => {
                self.begun(new, draft, replaces, attempted, applied, None)
            }
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
    pub(super) fn begun(
        &mut self,
        new: NewSession,
        draft: Draft,
        replaces: Option<Option<Retired>>,
        attempted: Arc<Attempted>,
        applied: Applied,
        current: Option<Current>,
    ) -> Result<(), SessionError> {
        let base = self.written(&attempted, current);
        self.owe(&attempted, applied);
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

    pub(super) fn issue_created(
        &mut self,
        base: Arc<Base>,
        logged_in: bool,
    ) -> Result<(), SessionError> {
        self.progress.outcome.created = true;
        self.progress.outcome.logged_in |= logged_in;
        self.issue(&base);
        self.set(State::Unmodified {
            base,
            discarded: false,
        })
    }
}
