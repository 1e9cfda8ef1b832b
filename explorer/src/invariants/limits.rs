//! A principal never has more acknowledged sessions than allowed. The oldest end first, and only if
//! there are enough newer ones. A login is refused only if there are as many sessions as allowed.

use std::collections::HashSet;

use session_core::{SessionErrorKind, SessionId};

use crate::{
    acknowledged::{self, Session},
    call::Op,
    case::Limit,
    evidence::Evidence,
    history::{Applied, History},
    principal::Principal,
    script::Party,
    verb::Verb,
    whose::Whose,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let Some(limit) = evidence.history.case.limit else {
        return;
    };
    let max = usize::from(limit.max);
    for principal in Principal::ALL {
        never_more(evidence, max, principal, report);
        if !limit.rejects {
            newest_stay(evidence, max, principal, report);
        }
    }
    for applied in &evidence.history.applied {
        if !limit.rejects {
            evicts_the_oldest(evidence.history, max, applied, report);
        }
    }
    for owner in 0..evidence.history.requests.len() {
        refused(evidence.history, limit, owner, report);
    }
}

/// The acknowledged sessions of a principal, each once.
fn of<'e>(evidence: &'e Evidence<'_>, principal: Principal) -> impl Iterator<Item = &'e Session> {
    let mut known = HashSet::new();
    let sessions = evidence.acknowledged.iter();
    sessions
        .filter(move |session| session.whose == Whose::Of(principal) && known.insert(session.id))
}

fn never_more(
    evidence: &Evidence<'_>,
    max: usize,
    principal: Principal,
    report: &mut dyn FnMut(String),
) {
    let history = evidence.history;
    for last in of(evidence, principal) {
        let living = of(evidence, principal)
            .filter(|session| session.step <= last.step && session.lives_at(history, last.step));
        let living = living.count();
        if living > max {
            report(format!(
                "{} has {living} sessions of {max}",
                principal.as_str()
            ));
        }
    }
}

/// If nothing else ends sessions, as many live as may.
fn newest_stay(
    evidence: &Evidence<'_>,
    max: usize,
    principal: Principal,
    report: &mut dyn FnMut(String),
) {
    let history = evidence.history;
    let only_logs_in = history.requests.iter().all(|request| {
        let mut verbs = request.script.0.iter();
        request.party != Party::Administrator
            && verbs.all(|verb| {
                let writes = matches!(verb, Verb::Write | Verb::Update | Verb::Touch);
                writes || matches!(verb, Verb::LogIn(_) | Verb::Read | Verb::Wait)
            })
    });
    let principals = history.requests.iter().flat_map(|request| request.logins());
    let mut others = principals.chain(
        history
            .initial
            .iter()
            .filter_map(|(_, view)| view.seen.principal),
    );
    if history.is_faulty() || !only_logs_in || others.any(|other| other != principal) {
        return;
    }
    let acknowledged = of(evidence, principal).count();
    let living = of(evidence, principal).filter(|session| session.ends_at(history).is_none());
    let living = living.count();
    if living < acknowledged.min(max) {
        report(format!(
            "{} has {living} sessions of {acknowledged}, and may have {max}",
            principal.as_str()
        ));
    }
}

/// The number of the entry of a session when it was last listed before an event.
fn sequence(history: &History<'_>, whose: Whose, id: SessionId, step: u32) -> Option<u64> {
    let mut earlier = history.directories.iter().rev();
    earlier.find_map(|(at, directory)| directory.sequence(whose, id).filter(|_| *at <= step))
}

/// A login ends only sessions that are older than its own, and beyond the newest.
fn evicts_the_oldest(
    history: &History<'_>,
    max: usize,
    applied: &Applied,
    report: &mut dyn FnMut(String),
) {
    let call = &applied.call;
    let request = &history.requests[call.owner];
    let acts = request
        .script
        .0
        .iter()
        .any(|verb| matches!(verb, Verb::Do(_) | Verb::Destroy | Verb::Regenerate));
    let Some(principal) = applied.before.as_ref().and_then(|view| view.seen.principal) else {
        return;
    };
    let is_own = request.tokens.iter().any(|token| token.id() == call.id);
    let logs_in = request.logins().contains(&principal);
    // a record whose creation was in doubt
    let is_own = is_own
        || history.applied.iter().any(|other| {
            let made = other.call.op == Op::Create && other.call.owner == call.owner;
            made && other.call.id == call.id
        });
    if call.op != Op::Destroy || !call.changed() || acts || is_own || !logs_in {
        return;
    }
    let whose = Whose::Of(principal);
    let writes = history.applied.iter().rev();
    let mut own = writes.filter(|other| {
        let is_earlier = other.call.step < call.step && !other.call.late;
        other.call.owner == call.owner && other.call.changed() && is_earlier
    });
    let own = own.find(|other| matches!(other.call.op, Op::Create | Op::Save));
    let Some(own) = own.map(|own| own.call.id) else {
        return;
    };
    let number = |id| sequence(history, whose, id, call.step);
    if number(call.id) >= number(own) {
        report(format!(
            "request {} ended a session that is newer than its own",
            call.owner
        ));
    }
    let began = own_listing(history, whose, own);
    let ids = history.applied.iter().map(|applied| applied.call.id);
    let ids: HashSet<_> = ids
        .chain(history.initial.iter().map(|(id, _)| *id))
        .collect();
    let newer = ids.iter().filter(|id| {
        number(**id) > number(call.id)
            && (began..=call.step).any(|step| acknowledged::is_at(history, **id, whose, step))
    });
    if newer.count() < max {
        report(format!(
            "request {} ended a session that was not one too many",
            call.owner
        ));
    }
}

/// The event at which a session was first listed.
fn own_listing(history: &History<'_>, whose: Whose, id: SessionId) -> u32 {
    let mut directories = history.directories.iter();
    let first = directories.find(|(_, directory)| directory.sequence(whose, id).is_some());
    first.map_or(0, |(step, _)| *step)
}

/// A request that is refused has met as many sessions as allowed, at one moment.
fn refused(history: &History<'_>, limit: Limit, owner: usize, report: &mut dyn FnMut(String)) {
    let request = &history.requests[owner];
    let Some((finished, Err(SessionErrorKind::LimitReached))) = &request.finished else {
        return;
    };
    let whose = request.logins().last().copied().map(Whose::Of);
    let (Some(whose), Some(sent)) = (whose, request.sent) else {
        return;
    };
    let creations = history.calls_of(owner);
    let own = creations
        .filter(|applied| applied.call.op == Op::Create && applied.call.changed())
        .last()
        .map(|applied| applied.call.id);
    let ids = history.applied.iter().map(|applied| applied.call.id);
    let ids: HashSet<_> = ids
        .chain(history.initial.iter().map(|(id, _)| *id))
        .collect();
    let is_full = |step| {
        let others = ids.iter().filter(|id| own != Some(**id));
        let living = others.filter(|id| acknowledged::is_at(history, **id, whose, step));
        living.count() >= usize::from(limit.max)
    };
    if !limit.rejects || !(sent..=*finished).any(is_full) {
        report(format!("request {owner} was refused, and there was room"));
    }
}
