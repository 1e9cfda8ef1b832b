//! What the answer of a store means for a session.

mod change;
mod create;
mod destroy;
mod listed;
mod load;

use std::{mem, sync::Arc, time::Duration};

use crate::{
    attempted::Attempted,
    clock::Now,
    decide::{Facts, Purpose},
    draft::Draft,
    error::SessionError,
    headers::{Credential, Issued},
    listing::Listed,
    outcome::{Loss, Outcome},
    policy::Policy,
    state::{Base, Current, NewSession, Refusal, Regeneration, Retired, Since, State},
    store::Applied,
    store_error::StoreError,
    token::SessionToken,
    unlisted::{Due, Unlisted},
};

/// A session during a commit: its state, and what the commit has done so far.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) outcome: Outcome,
    /// What the client has to be told.
    pub(crate) credential: Credential,
    /// The last write, as long as the index has to be told about it first.
    pub(crate) unlisted: Option<Unlisted>,
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
    /// The record that `SessionHandle::load_fresh` read, after one that was kept.
    Refreshed(Option<Box<Current>>),
    /// The principal may have one more session.
    Room,
    /// The principal has as many sessions as allowed; the login is not stored.
    NoRoom,
    /// The session that was stored is listed.
    Listed(Listed),
    /// The limit has been looked at.
    Limited(Verdict),
}

/// Whether a login that is listed exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// It does, and its session has been ended.
    Exceeded,
}

/// The answer to a create.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Creation {
    Applied(Applied),
    /// The id is taken.
    Taken,
}

/// The answer to a conditional operation.
#[derive(Debug)]
pub(crate) enum Change {
    Applied(Applied),
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
    /// What the index has to be told next.
    pub(crate) fn due(&self) -> Option<Due> {
        let unlisted = self.unlisted.as_ref()?;
        // what was ended meanwhile need not be listed
        (self.state.written_id() == Some(unlisted.id())).then_some(unlisted.due)
    }

    /// Prepares the session for another commit, if this one was dropped before it was done: a
    /// regeneration begins again.
    pub(crate) fn interrupt(&mut self) {
        let State::Regenerated { new, progress, .. } = &mut self.state else {
            return;
        };
        new.orphan = match progress {
            Regeneration::Planned => return,
            Regeneration::Created(base) => Some(base.token.id()),
            Regeneration::Undo(id, _) => Some(*id),
        };
        new.token = None;
        *progress = Regeneration::Planned;
    }

    /// Takes an answer into account. On an error the commit is over; the state is one that the next
    /// commit can continue from.
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
            Answer::Refreshed(current) => applier.refreshed(state, current.map(|current| *current)),
            Answer::Room => applier.set(state),
            Answer::NoRoom => applier.refused(state),
            Answer::Listed(listed) => applier.listed(state, listed),
            Answer::Limited(verdict) => applier.limited(state, verdict),
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
}

/// The stored session with this request's changes.
fn on_base(base: Arc<Base>, draft: Draft, renews: bool) -> State {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_error::StoreErrorKind;

    #[test]
    fn a_log_line_has_all_causes_of_an_error() {
        let refused = StoreError::new(StoreErrorKind::Refused, "read-only");
        let error = StoreError::new(StoreErrorKind::Unavailable, refused);
        assert_eq!(
            chain(&error),
            "session store is unavailable: session store refused the operation: read-only"
        );
    }
}
