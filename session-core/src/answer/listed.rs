//! What the index says about a login, and what a write owes to it.

use std::{mem, sync::Arc};

use super::{Applier, Verdict, issued, on_base};
use crate::{
    attempted::Attempted,
    error::SessionError,
    listing::Listed,
    outcome::Outcome,
    state::{Base, Refusal, Regeneration, State},
    store::Applied,
    unlisted::{Due, Unlisted},
};

impl Applier<'_, '_> {
    /// A write was applied. If the index has to be told, its token is sent afterwards.
    pub(super) fn owe(&mut self, attempted: &Arc<Attempted>, applied: Applied) {
        self.progress.unlisted = Unlisted::of(attempted, applied, self.limit());
    }

    /// The client gets the token, once the session is listed.
    pub(super) fn issue(&mut self, base: &Base) {
        match &mut self.progress.unlisted {
            Some(unlisted) if unlisted.id() == base.token.id() => {
                unlisted.issued = Some(issued(base));
            }
            Some(_) | None => self.progress.credential.issue(issued(base)),
        }
    }

    /// The session is listed.
    pub(super) fn listed(&mut self, state: State, listed: Listed) -> Result<(), SessionError> {
        let limit = self.limit();
        let Some(unlisted) = &mut self.progress.unlisted else {
            return self.set(state);
        };
        match Due::after(listed, &unlisted.attempted, limit) {
            Some(due) => unlisted.due = due,
            None => self.acknowledge(),
        }
        self.set(state)
    }

    /// The limit has been looked at.
    pub(super) fn limited(&mut self, state: State, verdict: Verdict) -> Result<(), SessionError> {
        match verdict {
            Verdict::Within => {
                self.acknowledge();
                self.set(state)
            }
            Verdict::Exceeded => {
                self.progress.unlisted = None;
                self.progress.outcome = Outcome::UNTOUCHED;
                self.fail(State::Gone, Refusal::LimitReached)
            }
        }
    }

    /// The principal has as many sessions as allowed. The login is forgotten; what else the request
    /// wrote stays.
    pub(super) fn refused(&mut self, state: State) -> Result<(), SessionError> {
        let mut state = match state {
            // what the login was to replace stays
            State::Regenerated {
                retired: Some(retired),
                progress: Regeneration::Planned,
                ..
            } if retired.own.is_none() && !retired.in_doubt => State::Unmodified {
                base: retired.base,
                discarded: false,
            },
            State::Renewed { base, mut draft } => {
                draft.forget_login(base.principal());
                on_base(base, draft, false)
            }
            state => state,
        };
        // a session that is not stored yet belongs to nobody
        if let Some(draft) = state.draft_mut() {
            draft.forget_login(None);
        }
        self.fail(state, Refusal::LimitReached)
    }

    /// Nothing is owed any more: the client is told what the write did.
    fn acknowledge(&mut self) {
        let Some(unlisted) = mem::take(&mut self.progress.unlisted) else {
            return;
        };
        self.progress.outcome.include(unlisted.outcome);
        if let Some(issued) = unlisted.issued {
            self.progress.credential.issue(issued);
        }
    }

    fn limit(&self) -> Option<u64> {
        self.context.policy.limit.map(|limit| limit.max)
    }
}
