//! What an instance with a near cache has to know of the changes of a record, and what it may still
//! take the record for.

use std::time::Duration;

use session_core::{SessionId, SessionToken};

use crate::{
    call::Op,
    claims::Claims,
    history::{Applied, History},
    oracle,
    setup::LEASE,
    view::View,
};

/// A state of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Era<'h> {
    /// The event that began it; `None` if it was there at the beginning.
    pub(crate) from: Option<u32>,
    /// The event that ended it.
    pub(crate) until: Option<u32>,
    /// The record; `None` if there was none.
    pub(crate) view: Option<&'h View>,
}

impl Era<'_> {
    /// Whether a token opened it.
    pub(crate) fn is_opened_by(&self, token: &SessionToken) -> bool {
        self.view.is_some_and(|view| is_opened_by(view, token))
    }
}

fn is_opened_by(view: &View, token: &SessionToken) -> bool {
    let secrets = std::iter::once(view.secret).chain(view.second);
    let mut tokens = secrets.filter_map(|secret| oracle::token(token.id(), &secret));
    tokens.any(|opening| opening == *token)
}

/// The states of a record up to an event, in order.
pub(crate) fn eras<'h>(history: &'h History<'_>, id: SessionId, step: u32) -> Vec<Era<'h>> {
    let initial = history.initial.iter().find(|(other, _)| *other == id);
    let mut eras = vec![Era {
        from: None,
        until: None,
        view: initial.map(|(_, view)| view),
    }];
    for change in changes(history, id, step) {
        if let Some(last) = eras.last_mut() {
            last.until = Some(change.call.step);
        }
        eras.push(Era {
            from: Some(change.call.step),
            until: None,
            view: change.after.as_ref(),
        });
    }
    eras
}

fn changes<'h>(
    history: &'h History<'_>,
    id: SessionId,
    step: u32,
) -> impl Iterator<Item = &'h Applied> {
    let applied = history.applied.iter();
    applied.filter(move |applied| {
        applied.call.id == id && applied.call.changed() && applied.call.step <= step
    })
}

/// What an instance may take a record for after an event: the state that it has to know, and those
/// that came later.
pub(crate) fn possible<'h>(
    history: &'h History<'_>,
    instance: usize,
    id: SessionId,
    step: u32,
) -> Vec<Era<'h>> {
    let known = changes(history, id, step).filter(|change| knows(history, instance, change, step));
    let newest = known.map(|change| change.call.step).max();
    let mut eras = eras(history, id, step);
    eras.retain(|era| era.from >= newest);
    eras
}

/// Whether an instance has to know of a change after an event: it was announced, or the feed has
/// ended since, or was silent for longer than the lease; or the instance has made the change itself
/// and was told so.
fn knows(history: &History<'_>, instance: usize, change: &Applied, step: u32) -> bool {
    let heard = &history.heard;
    let sent = heard.announcements.iter().rev();
    let announcement = sent
        .filter(|one| one.instance == instance && one.id == change.call.id)
        .find(|one| one.sent <= change.call.step);
    // nothing is announced that was not loaded since the last announcement
    let has_arrived = announcement.is_none_or(|one| one.ended.is_some_and(|ended| ended <= step));
    let at = history
        .events
        .get(usize::try_from(step).unwrap_or(usize::MAX))
        .map_or(history.now, |event| event.at);
    let age = Duration::from_millis(at.saturating_sub(change.at));
    let is_own = history.case.instance(change.call.owner) == instance;
    has_arrived || age > LEASE || is_own && is_told(history, instance, change, step)
}

/// Whether the instance that has made a change was told so, or has told its client.
fn is_told(history: &History<'_>, instance: usize, change: &Applied, step: u32) -> bool {
    let call = &change.call;
    let mut told = history.heard.told.iter();
    let is_answered = told.any(|told| {
        told.instance == instance
            && told.id == call.id
            && told.called == call.step
            && told.step <= step
    });
    is_answered || is_acknowledged(history, change, step)
}

/// Whether the request that has made a change was told of success afterwards.
fn is_acknowledged(history: &History<'_>, change: &Applied, step: u32) -> bool {
    let call = &change.call;
    let claims = Claims::of(&history.requests[call.owner]);
    let is_since = |acknowledged: u32| (call.step..=step).contains(&acknowledged);
    let after = change.after.as_ref();
    let mut stored = claims.stored.iter();
    let mut renewed = claims.renewed.iter();
    let mut ended = claims.ended.iter();
    stored.any(|stored| {
        is_since(stored.step) && after.is_some_and(|view| view.seen.count(stored.what) > 0)
    }) || renewed.any(|renewed| is_since(renewed.step) && renewed.what == call.id)
        || ended
            .any(|ended| is_since(ended.step) && ended.what.id == call.id && call.op == Op::Destroy)
        || history.requests[call.owner].calls.iter().any(|called| {
            let has_ended = called.done.is_some() && called.result.is_ok();
            has_ended && is_since(called.step) && call.op == Op::Destroy
        })
}
