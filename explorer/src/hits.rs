//! The lookups that a near cache answered. They count as loads of what was stored just before it
//! changed.

use session_core::{SessionId, SessionToken};

use crate::{
    call::{Call, Effect, Op},
    history::{Applied, History},
    knowledge::{self, Era},
};

/// For each request what it was answered from a near cache, if it was.
pub(crate) fn of(history: &History<'_>) -> Vec<Option<Applied>> {
    (0..history.requests.len())
        .map(|owner| load(history, owner))
        .collect()
}

/// The token that a request was answered for without a call of the store.
pub(crate) fn token<'h>(history: &'h History<'_>, owner: usize) -> Option<&'h SessionToken> {
    let request = &history.requests[owner];
    let looked_up = request.looked_up?;
    let found: SessionId = looked_up.id?;
    let token = request.tokens.iter().find(|token| token.id() == found)?;
    let mut loads = history.calls_of(owner);
    let asks = loads.any(|applied| {
        let call = &applied.call;
        call.op == Op::Load && call.id == found && call.step <= looked_up.ended
    });
    (!asks).then_some(token)
}

fn load(history: &History<'_>, owner: usize) -> Option<Applied> {
    let token = token(history, owner)?;
    let (looked_up, seen) = (
        history.requests[owner].looked_up?,
        history.requests[owner].loaded?.ok()?,
    );
    let eras = knowledge::eras(history, token.id(), looked_up.ended);
    let is_seen =
        |era: &&Era<'_>| era.is_opened_by(token) && era.view.is_some_and(|view| view.seen == seen);
    let era = eras.iter().rev().find(is_seen)?;
    let step = match era.until {
        Some(until) => until.saturating_sub(1),
        None => looked_up.ended,
    };
    let began = era.from.and_then(|from| {
        let mut changes = history.applied.iter();
        changes.find(|applied| applied.call.step == from && applied.call.id == token.id())
    });
    Some(Applied {
        call: Call {
            step,
            owner,
            effect: Effect::Done,
            found: began.and_then(|applied| applied.call.version),
            ..Call::new(Op::Load, &token.id())
        },
        at: began.map_or(0, |applied| applied.at),
        before: era.view.cloned(),
        after: era.view.cloned(),
        token_opens: true,
        earlier_opens: false,
        shows_own_write: false,
    })
}
