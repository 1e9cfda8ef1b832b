//! The state of a session, shared by the clones of its handle and by its commits.
//!
//! A commit works on a copy. What clones call while it is in flight is applied to the state that
//! they see, and again to the state that the commit leaves behind. No function of the application
//! runs under the lock.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    answer::Progress,
    error::SessionError,
    headers::Credential,
    outcome::Outcome,
    replicas::Replicas,
    state::{NewSession, State},
    unlisted::Unlisted,
    verbs::Verb,
};

#[derive(Debug)]
pub(crate) struct Cell {
    inner: Mutex<Inner>,
    commit_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    credential: Credential,
    // boxed, because there is one in few requests and all of them move this
    unlisted: Option<Box<Unlisted>>,
    require_unchanged: bool,
    confirm: Option<Replicas>,
    closed: bool,
    /// The calls since the commit that is in flight began, in order.
    later: Option<Vec<Queued>>,
}

#[derive(Clone, Debug)]
struct Queued {
    verb: Verb,
    new: Option<NewSession>,
}

impl Cell {
    pub(crate) fn new(state: State) -> Self {
        let inner = Inner {
            state,
            credential: Credential::default(),
            unlisted: None,
            require_unchanged: false,
            confirm: None,
            closed: false,
            later: None,
        };
        Self {
            inner: Mutex::new(inner),
            commit_lock: tokio::sync::Mutex::new(()),
        }
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Looks at what the commits have confirmed about the client's credential.
    pub(crate) fn read_credential<T>(&self, look: impl FnOnce(&Credential) -> T) -> T {
        look(&self.lock().credential)
    }

    /// Applies a call of the handler, if `still` holds; otherwise returns `Ok(false)`.
    ///
    /// `new` makes a session that is not stored yet, if the call needs one.
    pub(crate) fn call_if(
        &self,
        verb: Verb,
        limit_bytes: usize,
        still: impl Fn(&State) -> bool,
        new: impl Fn() -> Result<NewSession, SessionError>,
    ) -> Result<bool, SessionError> {
        let mut made = None;
        loop {
            let mut inner = self.lock();
            if inner.closed {
                return Err(SessionError::closed());
            }
            if !still(&inner.state) {
                return Ok(false);
            }
            if made.is_none() && verb.needs_new_session(&inner.state) {
                drop(inner);
                made = Some(new()?);
                continue;
            }
            let state = mem::replace(&mut inner.state, State::Gone);
            let queued = inner.later.is_some().then(|| verb.clone());
            let new = made.clone();
            let (state, result) = verb.apply(state, limit_bytes, made);
            inner.state = state;
            if let (Ok(()), Some(verb), Some(later)) = (&result, queued, &mut inner.later) {
                later.push(Queued { verb, new });
            }
            return result.map(|()| true);
        }
    }

    pub(crate) fn require_unchanged(&self) {
        self.lock().require_unchanged = true;
    }

    pub(crate) fn confirm(&self, replicas: Replicas) {
        self.lock().confirm = Some(replicas);
    }

    /// How many replicas are to confirm the writes, if that was asked for.
    pub(crate) fn replicas(&self) -> Option<Replicas> {
        self.lock().confirm
    }

    /// The request extends the session's life.
    pub(crate) fn extend_life(&self) {
        let mut inner = self.lock();
        match &mut inner.state {
            State::Unmodified { base, .. }
            | State::Modified { base, .. }
            | State::Renewed { base, .. }
                if !base.extends =>
            {
                Arc::make_mut(base).extends = true
            }
            State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Uninitialized { .. }
            | State::New { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Superseded { .. }
            | State::InDoubt(_)
            | State::Gone => {}
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// One commit or reload at a time.
    pub(crate) async fn commit_lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.commit_lock.lock().await
    }

    /// Looks at the state and at [`require_unchanged`](Self::require_unchanged), if no commit is in
    /// flight or has left something to do.
    pub(crate) fn read_settled<T>(&self, look: impl FnOnce(&State, bool) -> T) -> Option<T> {
        let _lock = self.commit_lock.try_lock().ok()?;
        let inner = self.lock();
        if inner.unlisted.is_some() {
            return None;
        }
        Some(look(&inner.state, inner.require_unchanged))
    }

    /// Begins a commit: from now on, calls are queued.
    pub(crate) fn begin_commit(&self) -> (Progress, bool) {
        let mut inner = self.lock();
        inner.later = Some(Vec::new());
        let progress = Progress {
            state: inner.state.clone(),
            outcome: Outcome::UNTOUCHED,
            credential: inner.credential.clone(),
            unlisted: inner.unlisted.as_deref().cloned(),
        };
        (progress, inner.require_unchanged)
    }

    /// Ends a commit with the state that it leaves behind, and repeats the calls that were made
    /// while it was in flight.
    pub(crate) fn end_commit(
        &self,
        progress: &mut Progress,
        limit_bytes: usize,
        new: impl Fn() -> NewSession,
    ) {
        let mut state = mem::replace(&mut progress.state, State::Gone);
        let credential = mem::take(&mut progress.credential);
        let mut unlisted = progress.unlisted.take();
        if let Some(unlisted) = &mut unlisted {
            unlisted.outcome.include(progress.outcome);
        }
        loop {
            let calls = {
                let mut inner = self.lock();
                let calls = inner.later.take().unwrap_or_default();
                if calls.is_empty() {
                    inner.state = state;
                    inner.credential = credential;
                    inner.unlisted = unlisted.map(Box::new);
                    return;
                }
                inner.later = Some(Vec::new());
                calls
            };
            // outside of the lock: an update may have to call its function again
            for Queued { verb, new: made } in calls {
                let made = verb
                    .needs_new_session(&state)
                    .then(|| made.unwrap_or_else(&new));
                let (next, result) = verb.apply(state, limit_bytes, made);
                state = next;
                if let Err(error) = result {
                    tracing::warn!(%error, "a change that was made during a save of the session is lost");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // no function of the application runs under the lock, so the state is whole
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
