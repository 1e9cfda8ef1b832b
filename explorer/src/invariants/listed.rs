//! An acknowledged session is listed as long as it lives. A list has those that lived all the time,
//! and none that was over before. When everything has stopped, a list leaves no entry without a
//! session.

use crate::{
    acknowledged::{self, Session},
    deed::Deed,
    evidence::Evidence,
    history::Called,
    verb::Verb,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    for session in &evidence.acknowledged {
        stays_listed(evidence, session, report);
    }
    let history = evidence.history;
    for (owner, request) in history.requests.iter().enumerate() {
        for called in &request.calls {
            if let (Verb::Do(Deed::List(_)), Ok(_)) = (called.verb, &called.result) {
                list(evidence, owner, called, report);
            }
        }
    }
    for look in &history.last_looks {
        let belongs = |id| {
            let view = history.record(id);
            view.is_some_and(|view| look.whose.has(&view.seen) && !view.over)
        };
        if look.entries.iter().any(|id| !belongs(*id)) {
            report(format!(
                "a list left an entry of {} without a session",
                look.whose
            ));
        }
        let listed = look.listed.as_deref().unwrap_or_default();
        for session in &evidence.acknowledged {
            let is_missing = session.whose == look.whose && !listed.contains(&session.id);
            if is_missing && belongs(session.id) && session.ends_at(history).is_none() {
                report(format!("the last list of {} misses a session", look.whose));
            }
        }
    }
}

fn stays_listed(evidence: &Evidence<'_>, session: &Session, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    let ends = session.ends_at(history).unwrap_or(u32::MAX);
    let changes = history.directories.iter().map(|(step, _)| *step);
    let mut steps = std::iter::once(session.step).chain(changes);
    let lost = steps.find(|step| {
        (session.step..ends).contains(step)
            && history
                .directory_at(*step)
                .is_some_and(|listed| listed.sequence(session.whose, session.id).is_none())
    });
    if lost.is_some() {
        report(format!(
            "an acknowledged session of {} is not listed",
            session.whose
        ));
    }
}

fn list(evidence: &Evidence<'_>, owner: usize, called: &Called, report: &mut dyn FnMut(String)) {
    let (Verb::Do(deed), Some(done)) = (called.verb, &called.done) else {
        return;
    };
    let (history, whose) = (evidence.history, deed.whose());
    for session in &evidence.acknowledged {
        let ends = session.ends_at(history).unwrap_or(u32::MAX);
        let all_the_time = session.step <= called.began && ends > called.step;
        if session.whose == whose && all_the_time && !done.listed.contains(&session.id) {
            report(format!(
                "request {owner} listed the sessions, and one is missing"
            ));
        }
    }
    let was = |step| move |id| acknowledged::is_at(history, id, whose, step);
    let over = done.listed.iter().any(|id| {
        let mut steps = called.began..=called.step;
        !steps.any(|step| was(step)(*id))
    });
    if over {
        report(format!("request {owner} listed a session that was over"));
    }
}
