//! Who ends all sessions of a user misses none that was acknowledged before, and ends none of
//! somebody else.

use crate::{deed::Deed, evidence::Evidence, history::Called, script::Party, verb::Verb};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for (owner, request) in history.requests.iter().enumerate() {
        for called in &request.calls {
            let Verb::Do(deed) = called.verb else {
                continue;
            };
            if called.result.is_ok() {
                nobody_survives(evidence, owner, deed, called, report);
            }
        }
    }
    nobody_else_ends(evidence, report);
}

fn nobody_survives(
    evidence: &Evidence<'_>,
    owner: usize,
    deed: Deed,
    called: &Called,
    report: &mut dyn FnMut(String),
) {
    let done = called.done.clone().unwrap_or_default();
    for session in &evidence.acknowledged {
        let is_meant = match deed {
            Deed::EndAll(whose) => whose == session.whose,
            Deed::EndOthers(whose) => whose == session.whose && Some(session.id) != done.kept,
            Deed::EndFirst(whose) => whose == session.whose && Some(session.id) == done.target,
            Deed::List(_) | Deed::Evict(_) => false,
        };
        if !is_meant || session.step >= called.began && session.step > 0 {
            continue;
        }
        let history = evidence.history;
        let ends = session.ends_at(history);
        if ends.is_none_or(|ends| ends > called.step) {
            report(format!(
                "request {owner} ended all sessions, and one that was acknowledged before lives"
            ));
        }
    }
}

fn nobody_else_ends(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for applied in &history.applied {
        let owner = applied.call.owner;
        let request = &history.requests[owner];
        let ends = request.calls.iter().any(|called| {
            called.done.is_some() && (called.began..=called.step).contains(&applied.call.step)
        });
        let is_interrupted = request.party == Party::Administrator;
        if !(ends || is_interrupted) || !history.is_ended_by_index(applied) {
            continue;
        }
        let before = applied.before.as_ref();
        let mut deeds = request.script.0.iter().filter_map(|verb| match verb {
            Verb::Do(deed) => Some(*deed),
            _ => None,
        });
        let is_meant = before.is_none_or(|before| {
            deeds.any(|deed| match deed {
                Deed::List(_) => false,
                other => other.whose().has(&before.seen),
            })
        });
        if !is_meant {
            report(format!(
                "request {owner} ended the sessions of a user, and one of somebody else"
            ));
        }
    }
    for (owner, request) in history.requests.iter().enumerate() {
        for called in &request.calls {
            let kept = called.done.as_ref().and_then(|done| done.kept);
            let mut applied = history.applied.iter();
            let ended = applied.any(|applied| {
                let call = &applied.call;
                call.owner == owner
                    && (called.began..=called.step).contains(&call.step)
                    && history.is_ended_by_index(applied)
                    && Some(call.id) == kept
            });
            if ended {
                report(format!("request {owner} ended its own session, too"));
            }
        }
    }
}
