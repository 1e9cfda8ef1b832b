//! A session in use is not ended before its timeouts, and one that is not in use is not extended.

use std::time::Duration;

use crate::{
    call::{Effect, Op},
    evidence::Evidence,
    history::{Applied, RequestLog},
    setup::ADVANCE,
    verb::Verb,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for applied in &history.applied {
        let call = &applied.call;
        if !call.changed() {
            continue;
        }
        match call.op {
            Op::Destroy if !may_end(evidence, applied) => report(format!(
                "request {} ended a session without being asked to",
                call.owner
            )),
            Op::Create | Op::Save | Op::Touch => {
                life(evidence, applied, report);
            }
            Op::Destroy | Op::Load => {}
        }
        if call.op == Op::Touch && !applied.token_opens && !has_written(evidence, applied) {
            report(format!(
                "request {} extended a session that its token does not open",
                call.owner
            ));
        }
    }
    for (owner, request) in history.requests.iter().enumerate() {
        due_touch(evidence, owner, request, report);
    }
}

fn may_end(evidence: &Evidence<'_>, applied: &Applied) -> bool {
    let Some(before) = &applied.before else {
        return true;
    };
    let history = evidence.history;
    let call = &applied.call;
    let request = &history.requests[call.owner];
    let ends = request.calls.iter().any(|called| match called.verb {
        Verb::Destroy | Verb::Regenerate => called.result.is_ok(),
        Verb::LogIn(principal) => called.seen[0]
            .principal
            .is_some_and(|held| held != principal),
        _ => false,
    });
    let created = history.applied.iter().any(|other| {
        other.call.op == Op::Create && other.call.owner == call.owner && other.call.id == call.id
    });
    ends || created || before.over || history.is_ended_by_index(applied)
}

/// A write sets the life that the session's timeouts give it.
fn life(evidence: &Evidence<'_>, applied: &Applied, report: &mut dyn FnMut(String)) {
    let Some(after) = &applied.after else {
        return;
    };
    let tolerance = ADVANCE * u32::from(evidence.history.case.advances);
    if after.life.abs_diff(after.remaining) > tolerance {
        report(format!(
            "request {} set a life of {:?} instead of {:?}",
            applied.call.owner, after.remaining, after.life
        ));
    }
}

/// Whether the request has written the session, and so holds its token.
fn has_written(evidence: &Evidence<'_>, applied: &Applied) -> bool {
    let call = &applied.call;
    let mut writes = evidence.history.applied.iter();
    writes.any(|other| {
        other.call.owner == call.owner
            && other.call.id == call.id
            && other.call.step < call.step
            && matches!(other.call.op, Op::Create | Op::Save)
            && other.call.effect == Effect::Done
    })
}

/// A request that has opened a session leaves it with a life that is not too short.
fn due_touch(
    evidence: &Evidence<'_>,
    owner: usize,
    request: &RequestLog,
    report: &mut dyn FnMut(String),
) {
    let history = evidence.history;
    let (Some((step, Ok(_))), Some(token)) = (&request.finished, &request.presented) else {
        return;
    };
    let load = history.load_of(owner);
    let opened = load.is_some_and(|load| load.token_opens);
    let discards = request.script.0.contains(&Verb::Discard);
    if !opened || discards || history.is_faulty_for(owner) || history.time_passed(0, *step) {
        return;
    }
    let changes = history.applied.iter().rev();
    let mut changes = changes.filter(|applied| {
        applied.call.id == token.id() && applied.call.changed() && applied.call.step <= *step
    });
    let before = history.record_at(token.id(), *step);
    let (Some(view), None) = (before, changes.next()) else {
        return;
    };
    let spent = Duration::from_millis(history.now);
    if history.case.due && spent > view.idle / 10 {
        report(format!(
            "request {owner} used a session and did not extend its life"
        ));
    }
}
