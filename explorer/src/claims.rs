//! What a request was promised: derived from what its handler called and from which commits
//! succeeded.
//!
//! A new verb that changes what a commit promises gets an arm in [`Claims::called`].

use session_core::{Outcome, SessionErrorKind, SessionId, SessionToken};

use crate::{
    history::{Called, RequestLog},
    principal::Principal,
    verb::Verb,
};

/// The promises of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// The numbers of updates and writes that are stored.
    pub(crate) stored: Vec<Acknowledged<u32>>,
    /// Sessions that are ended.
    pub(crate) ended: Vec<Acknowledged<Ended>>,
    /// Sessions whose token was replaced.
    pub(crate) renewed: Vec<Acknowledged<SessionId>>,
    /// The request left the user without a session.
    pub(crate) leaves_no_session: bool,
}

/// A promise, and the event at which it was given.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged<T> {
    pub(crate) step: u32,
    pub(crate) what: T,
}

/// A session that a handler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: SessionId,
    /// The event at which the handler called for it.
    pub(crate) called: u32,
    /// The same commit logged somebody in, which succeeds whatever becomes of the old session.
    pub(crate) logs_in: bool,
}

/// What is called and not committed.
#[derive(Default)]
struct Pending {
    stored: Vec<u32>,
    ended: Vec<(SessionId, u32)>,
    renews: bool,
    login: Option<Principal>,
    in_doubt: bool,
    /// A commit has gone over to another session than the one that was presented.
    switched: bool,
}

impl Claims {
    pub(crate) fn of(request: &RequestLog) -> Self {
        let mut claims = Self::default();
        let mut pending = Pending::default();
        let presented = request.presented.as_ref().map(SessionToken::id);
        for called in &request.calls {
            claims.called(&mut pending, called, presented);
        }
        if let (Some((step, result)), Some((id, _))) = (&request.finished, &request.session) {
            let result = result.as_ref().map_err(|kind| *kind);
            claims.committed(&mut pending, *step, result, *id, presented);
        }
        claims
    }

    fn called(&mut self, pending: &mut Pending, called: &Called, presented: Option<SessionId>) {
        if let (Verb::Save, result) = (called.verb, &called.result) {
            let result = match result {
                Ok(Some(outcome)) => Ok(outcome),
                Ok(None) => return,
                Err(kind) => Err(*kind),
            };
            self.committed(pending, called.step, result, called.ids[1], presented);
            return;
        }
        if called.result.is_err() {
            return;
        }
        match called.verb {
            Verb::Write | Verb::Update => {
                pending.stored.push(called.number);
                self.leaves_no_session = false;
            }
            Verb::Discard | Verb::Reload => {
                pending.stored.clear();
                pending.login = None;
                self.leaves_no_session = !pending.ended.is_empty() && called.ids[1].is_none();
            }
            Verb::Destroy | Verb::Regenerate => {
                let presented = presented.filter(|_| !pending.switched);
                let ends = called.ids[0].into_iter().chain(presented);
                pending.ended.extend(ends.map(|id| (id, called.step)));
                pending.stored.clear();
                pending.login = None;
                pending.renews = false;
                self.leaves_no_session = called.verb == Verb::Destroy;
            }
            Verb::LogIn(principal) => {
                let another = called.seen[0]
                    .principal
                    .is_some_and(|before| before != principal);
                if another || pending.in_doubt {
                    pending.stored.clear();
                    pending.renews = false;
                }
                pending.login = Some(principal);
                self.leaves_no_session = false;
            }
            Verb::Renew => pending.renews = true,
            Verb::Extend | Verb::SetCookie | Verb::SetTag | Verb::RemoveTag => {
                self.leaves_no_session = false;
            }
            Verb::Do(_)
            | Verb::Fresh
            | Verb::Read
            | Verb::Save
            | Verb::Touch
            | Verb::RequireUnchanged
            | Verb::Wait => {}
        }
    }

    fn committed(
        &mut self,
        pending: &mut Pending,
        step: u32,
        result: Result<&Outcome, SessionErrorKind>,
        id: Option<SessionId>,
        presented: Option<SessionId>,
    ) {
        let lost = match result {
            Ok(outcome) => outcome.lost.is_some(),
            Err(SessionErrorKind::InDoubt) => {
                pending.in_doubt = true;
                return;
            }
            Err(
                SessionErrorKind::Gone
                | SessionErrorKind::Superseded
                | SessionErrorKind::Rejected(_),
            ) => true,
            // it is still to be done
            Err(_) => return,
        };
        let done = std::mem::take(pending);
        pending.switched = done.switched;
        if lost {
            return;
        }
        pending.switched |= id.is_some() && id != presented;
        let stored = done.stored.into_iter();
        self.stored
            .extend(stored.map(|what| Acknowledged { step, what }));
        let logs_in = done.login.is_some();
        let ended = done.ended.into_iter().map(|(id, called)| Ended {
            id,
            called,
            logs_in,
        });
        self.ended
            .extend(ended.map(|what| Acknowledged { step, what }));
        if let (Some(id), true) = (id, done.renews || logs_in) {
            self.renewed.push(Acknowledged { step, what: id });
        }
    }
}
