//! Which sessions a user holds, by the cookies that were sent and the records that they open.

use session_core::SessionId;

use crate::{
    history::{History, RequestLog},
    verb::Verb,
    whose::Whose,
};

/// A session that somebody was told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// It is listed under this.
    pub(crate) whose: Whose,
    /// The event at which the response was sent.
    pub(crate) step: u32,
}

/// The sessions that were acknowledged, those included that there were at the beginning.
pub(crate) fn sessions(history: &History<'_>) -> Vec<Session> {
    let initial = history.initial.iter().flat_map(|(id, view)| {
        let whose = Whose::ALL.into_iter();
        let whose = whose.filter(|whose| whose.has(&view.seen));
        whose.map(|whose| Session {
            id: *id,
            whose,
            step: 0,
        })
    });
    let mut sessions: Vec<_> = initial.collect();
    for (owner, request) in history.requests.iter().enumerate() {
        let Some(step) = request.acknowledged else {
            continue;
        };
        sessions.extend(login(history, owner, request).map(|(id, whose)| Session {
            id,
            whose,
            step,
        }));
        sessions.extend(tag(history, owner, request).map(|id| Session {
            id,
            whose: Whose::Tagged,
            step,
        }));
    }
    sessions
}

/// The session whose new token the response brings, and its principal.
fn login(history: &History<'_>, owner: usize, request: &RequestLog) -> Option<(SessionId, Whose)> {
    let token = request.cookies.iter().find_map(|cookie| cookie.token())?;
    let mut own = history.applied.iter();
    let written = own.find(|applied| applied.call.owner == owner && applied.brings(&token))?;
    let principal = written.after.as_ref()?.seen.principal?;
    Some((token.id(), Whose::Of(principal)))
}

/// The session that a request has tagged.
fn tag(history: &History<'_>, owner: usize, request: &RequestLog) -> Option<SessionId> {
    let (step, _) = request.finished.as_ref().filter(|_| request.is_ok())?;
    let mut last = request.calls.iter().rev();
    let tags = last.find_map(|called| match called.verb {
        Verb::SetTag => Some(called.result.is_ok()),
        Verb::RemoveTag | Verb::Discard | Verb::Reload | Verb::Destroy | Verb::Regenerate => {
            Some(false)
        }
        Verb::LogIn(principal) => {
            let before = called.seen[0].principal;
            before
                .is_some_and(|before| before != principal)
                .then_some(false)
        }
        _ => None,
    })?;
    let id = request.session.as_ref().and_then(|(id, _)| *id)?;
    let view = history.record_at(id, *step)?;
    let mut writes = history.applied.iter();
    let has_written = writes.any(|applied| {
        let is_tagged = applied
            .after
            .as_ref()
            .is_some_and(|view| view.seen.is_tagged);
        let is_own = applied.call.owner == owner && applied.call.id == id;
        is_own && applied.call.changed() && is_tagged
    });
    (tags && has_written && view.seen.is_tagged).then_some(id)
}

impl Session {
    /// The first event from the acknowledgement on after which the session has ended, or does not
    /// belong there any more.
    pub(crate) fn ends_at(&self, history: &History<'_>) -> Option<u32> {
        let changes = history.applied.iter().map(|applied| applied.call.step);
        let later = changes.filter(|step| *step > self.step);
        std::iter::once(self.step)
            .chain(later)
            .find(|step| !self.lives_at(history, *step))
    }

    pub(crate) fn lives_at(&self, history: &History<'_>, step: u32) -> bool {
        is_at(history, self.id, self.whose, step)
    }
}

/// Whether a session is there after an event, and belongs to them.
pub(crate) fn is_at(history: &History<'_>, id: SessionId, whose: Whose, step: u32) -> bool {
    let view = history.record_at(id, step);
    view.is_some_and(|view| whose.has(&view.seen))
}
