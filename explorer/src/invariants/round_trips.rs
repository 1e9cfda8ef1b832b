//! An untouched request makes no store call; without a conflict, claim, limit or doubt no request
//! makes more round trips than the design lists.

use crate::{
    call::{IndexCall, IndexOp},
    case::Indexing,
    evidence::Evidence,
    history::{History, RequestLog},
    hits,
    verb::Verb,
    view::View,
    whose::Whose,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for (owner, request) in history.requests.iter().enumerate() {
        let calls = history.calls_of(owner).count();
        if request.script.0.is_empty() && calls > 0 {
            report(format!(
                "request {owner} did not touch its session and called the store"
            ));
        }
        if !is_alone(history, owner) || reads_others(history, request) {
            continue;
        }
        let listings = history.index_calls.iter();
        let listings = listings.filter(|call| call.owner == owner && is_awaited(call));
        let (listings, most) = (listings.count(), most_listings(history, owner, request));
        if listings > most {
            report(format!(
                "request {owner} waited for the index {listings} times; {most} are enough"
            ));
        }
        let most = most_calls(history, owner, request);
        if calls > most {
            report(format!(
                "request {owner} called the store {calls} times; {most} are enough"
            ));
        }
    }
}

/// Whether a request looks at sessions beside its own.
fn reads_others(history: &History<'_>, request: &RequestLog) -> bool {
    let limits = history.case.limit.is_some() && request.script.logs_in();
    let mut verbs = request.script.0.iter();
    limits || verbs.any(|verb| matches!(verb, Verb::Do(_)))
}

/// Whether its caller waits for the answer.
fn is_awaited(call: &IndexCall) -> bool {
    match call.op {
        IndexOp::Put | IndexOp::Entries | IndexOp::Remove => !call.late,
        IndexOp::Refresh | IndexOp::Forget => false,
    }
}

/// How often a request has to wait for an index on another node: once for each label that it adds
/// with a write, or has after a login, and for a tag that it sets again.
fn most_listings(history: &History<'_>, owner: usize, request: &RequestLog) -> usize {
    if history.case.indexing != Some(Indexing::TwoNodes) {
        return 0;
    }
    let labels = |view: &View| {
        Whose::ALL
            .iter()
            .filter(|whose| whose.has(&view.seen))
            .count()
    };
    let mut calls = request.calls.iter();
    let sets_tag = calls.any(|called| matches!(called.verb, Verb::SetTag));
    let writes = history.applied.iter();
    let writes = writes.filter(|applied| applied.call.owner == owner && applied.call.changed());
    let most = writes.map(|applied| match (&applied.before, &applied.after) {
        (_, None) => 0,
        (None, Some(after)) => labels(after),
        (Some(_), Some(after)) if request.script.logs_in() => labels(after),
        (Some(before), Some(after)) => {
            let added = labels(after).saturating_sub(labels(before));
            added.max(usize::from(sets_tag))
        }
    });
    most.sum()
}

/// Whether nothing came between the calls of a request, and nothing went wrong.
fn is_alone(history: &History<'_>, owner: usize) -> bool {
    let own = |applied: &&crate::history::Applied| applied.call.owner == owner;
    let mut calls = history.applied.iter().filter(own);
    let smooth = calls.all(|applied| applied.call.fault.is_none() && !applied.call.late);
    // what a near cache has shown may have changed before the first call
    let hit = history
        .load_of(owner)
        .filter(|_| hits::token(history, owner).is_some());
    let calls = hit.into_iter().chain(history.calls_of(owner));
    let steps: Vec<u32> = calls.map(|applied| applied.call.step).collect();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return smooth;
    };
    let mut others = history
        .applied
        .iter()
        .filter(|applied| applied.call.owner != owner);
    smooth
        && !history.is_faulty()
        && !history.time_passed(*first, *last)
        && !others.any(|other| (first..last).contains(&&other.call.step))
}

/// How many calls a request needs at most.
fn most_calls(history: &History<'_>, owner: usize, request: &RequestLog) -> usize {
    let load = history.load_of(owner);
    let opened = load.is_some_and(|applied| applied.token_opens);
    // a login looks at a session that its token was superseded in
    let superseded = load.is_some_and(|applied| applied.before.is_some() && !applied.token_opens);
    let kept = hits::token(history, owner).is_some();
    let mut calls = match request.script.0.is_empty() {
        true => 0,
        false if kept => 0,
        false => request.tokens.len(),
    };
    calls += usize::from(superseded && request.script.logs_in());
    let due = opened && history.case.due || history.time_passed(0, u32::MAX);
    let mut pending = Pending::default();
    let mut principal = None;
    if let Some(Ok(seen)) = request.loaded {
        principal = seen.principal;
    }
    for called in &request.calls {
        match called.verb {
            Verb::Write
            | Verb::Update
            | Verb::Renew
            | Verb::Extend
            | Verb::SetCookie
            | Verb::SetTag
            | Verb::RemoveTag
            | Verb::Touch => pending.writes = true,
            Verb::LogIn(other) => {
                pending.writes = true;
                pending.ends |= principal.is_some_and(|held| held != other);
                principal = Some(other);
            }
            Verb::Regenerate => {
                pending = Pending {
                    writes: true,
                    ends: true,
                }
            }
            Verb::Destroy => {
                pending = Pending {
                    writes: false,
                    ends: true,
                }
            }
            Verb::Reload => calls += 1,
            Verb::Save => {
                calls += usize::from(pending.ends) + 1;
                pending = Pending::default();
            }
            // the first call is the load
            Verb::Fresh => calls += usize::from(kept),
            Verb::Do(_) | Verb::Read | Verb::RequireUnchanged | Verb::Discard | Verb::Wait => {}
        }
    }
    let resaves = history.case.configuration == crate::case::Configuration::Resave;
    calls
        + usize::from(pending.ends)
        + usize::from(pending.writes || due || resaves && !request.script.0.is_empty())
}

#[derive(Default)]
struct Pending {
    writes: bool,
    ends: bool,
}
