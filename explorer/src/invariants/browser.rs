//! When all responses have been delivered, the browser's cookie opens what its user expects, if at
//! most one of the concurrent requests issues or removes a token, or they are two logins of one
//! principal that were not saved early. Nobody is told that they are logged out while the session
//! lives. A cookie is sent only if its token is new.

use session_core::{SessionErrorKind, SessionId, SessionToken};

use crate::{
    case::Configuration, evidence::Evidence, history::RequestLog, principal::Principal,
    script::Party, verb::Verb, view::View,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    for (owner, request) in evidence.history.requests.iter().enumerate() {
        told(evidence, owner, request, report);
    }
    let history = evidence.history;
    let mut browsers = history.requests.iter();
    let all_delivered =
        browsers.all(|request| request.party == Party::Attacker || request.delivered);
    // a cookie that is set again can overwrite one that a concurrent request issued, as documented
    let overwrites = matches!(
        history.case.configuration,
        Configuration::Rolling | Configuration::OldKey
    ) && history.case.due;
    if !all_delivered || overwrites || arrives_too_late(evidence) || history.ends_by_index() {
        return;
    }
    let issuers: Vec<usize> = (0..history.requests.len())
        .filter(|owner| shares_the_session(&history.requests[*owner]))
        .filter(|owner| is_issuer(evidence, *owner))
        .collect();
    let last = issuers.iter().copied().find(|last| {
        let after = history.requests[*last].after;
        let mut others = issuers.iter().filter(|other| *other != last);
        others.all(|other| after & 1 << other != 0 || is_undone_by(evidence, *other, *last))
    });
    match (last, &issuers[..]) {
        (None, []) => nobody_issues(evidence, report),
        (Some(last), _) if history.requests[last].party == Party::Browser => {
            one_issues(evidence, last, report);
        }
        (None, [one, other]) => two_logins(evidence, [*one, *other], report),
        (Some(_) | None, _) => {}
    }
}

/// What a response tells the browser is true.
fn told(
    evidence: &Evidence<'_>,
    owner: usize,
    request: &RequestLog,
    report: &mut dyn FnMut(String),
) {
    let history = evidence.history;
    let Some((step, _)) = request.finished else {
        return;
    };
    let presented = request.presented.as_ref();
    if request.cookies.len() > 1 {
        report(format!("the response of request {owner} has two cookies"));
    }
    for cookie in &request.cookies {
        if cookie.removes {
            let lives =
                presented.is_some_and(|token| history.record_at(token.id(), step).is_some());
            if lives {
                report(format!(
                    "request {owner} removes the cookie of a session that lives"
                ));
            }
            let mut calls = request.calls.iter();
            let ends = calls.any(|called| {
                matches!(
                    called.verb,
                    Verb::Destroy | Verb::Regenerate | Verb::LogIn(_)
                )
            });
            if !ends && !history.time_passed(0, step) {
                report(format!(
                    "request {owner} removes the cookie of a session that it has not ended"
                ));
            }
        }
        let changed = request.script.0.iter();
        let changed = changed
            .clone()
            .any(|verb| matches!(verb, Verb::Extend | Verb::SetCookie));
        let reissues = matches!(
            history.case.configuration,
            Configuration::Rolling | Configuration::OldKey
        ) && (history.case.due || history.time_passed(0, step));
        let old = cookie
            .token()
            .is_some_and(|token| request.tokens.contains(&token));
        if old && !changed && !reissues {
            report(format!(
                "request {owner} sends a cookie whose token is not new"
            ));
        }
    }
}

/// Whether a request logs out of the session that another one had logged in to before: whenever the
/// response of the login arrives, the user is logged out. A login that made a session of its own is
/// not undone.
fn is_undone_by(evidence: &Evidence<'_>, login: usize, logout: usize) -> bool {
    let history = evidence.history;
    let (request, load) = (&history.requests[logout], history.load_of(logout));
    let Some(load) = load.filter(|load| load.token_opens) else {
        return false;
    };
    let principal = load.before.as_ref().and_then(|view| view.seen.principal);
    let mut writes = history.applied.iter();
    request.is_ok()
        && evidence.claims[logout].leaves_no_session
        && principal.is_some()
        && only_login(&history.requests[login]) == principal
        && writes.all(|applied| {
            applied.call.owner != login
                || (applied.call.step < load.call.step && applied.call.id == load.call.id)
        })
}

/// Whether a request arrived later than the grace after the renewal that superseded its token,
/// which the design excludes.
fn arrives_too_late(evidence: &Evidence<'_>) -> bool {
    let history = evidence.history;
    let requests = history.requests.iter().enumerate();
    let mut browsers = requests.filter(|(_, request)| request.party == Party::Browser);
    browsers.any(|(owner, _)| {
        let load = history.load_of(owner);
        load.is_some_and(|load| {
            load.before.is_some() && !load.token_opens && history.time_passed(0, load.call.step)
        })
    })
}

/// Whether a request is one of the browser, or of somebody who has its cookie.
fn shares_the_session(request: &RequestLog) -> bool {
    matches!(request.party, Party::Browser | Party::Attacker)
}

/// Whether a request issues or removes a token, by what it did to the store and by its response.
fn is_issuer(evidence: &Evidence<'_>, owner: usize) -> bool {
    let history = evidence.history;
    let mut writes = history.applied.iter();
    !history.requests[owner].cookies.is_empty()
        || writes.any(|applied| {
            let secret = |view: &Option<View>| view.as_ref().map(|view| view.secret);
            applied.call.owner == owner
                && applied.call.changed()
                && secret(&applied.before) != secret(&applied.after)
        })
}

/// The tokens that the browser holds, and what they open.
fn held(evidence: &Evidence<'_>) -> Vec<(SessionId, Option<Principal>)> {
    let tokens: Vec<SessionToken> = evidence.history.jars[0].tokens().collect();
    let opened = tokens.iter().filter_map(|token| evidence.opens(token));
    opened.map(|(id, view)| (id, view.seen.principal)).collect()
}

fn nobody_issues(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for token in history.initial_jars[0].tokens() {
        let lives = history.record(token.id()).is_some();
        if lives && evidence.opens(&token).is_none() {
            report("nobody issued a token, and the browser's does not open its session".into());
        }
    }
    let tokens = |jar: &crate::browser::Jar| jar.tokens().collect::<Vec<_>>();
    if tokens(&history.initial_jars[0]) != tokens(&history.jars[0]) {
        report("nobody issued a token, and the browser's has changed".into());
    }
}

fn one_issues(evidence: &Evidence<'_>, issuer: usize, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    let request = &history.requests[issuer];
    let held = held(evidence);
    let Some((_, result)) = &request.finished else {
        return;
    };
    if forgets_doubt(request) {
        return;
    }
    let mut jar = history.jars[0].tokens();
    if request.is_ok()
        && evidence.claims[issuer].leaves_no_session
        && request.presented.as_ref().is_some_and(|token| {
            let load = history.load_of(issuer);
            load.is_some_and(|load| load.token_opens) && jar.any(|held| held == *token)
        })
    {
        report(format!(
            "request {issuer} logged out, and the browser keeps the cookie"
        ));
    }
    if request.is_ok() {
        let Some((Some(id), _)) = request.session else {
            if evidence.claims[issuer].leaves_no_session && !held.is_empty() {
                report(format!(
                    "request {issuer} logged out, and the browser's cookie opens a session"
                ));
            }
            return;
        };
        let principal = match request.calls.last() {
            Some(called) => called.seen[1].principal,
            None => return,
        };
        if history.record(id).is_some() && !held.contains(&(id, principal)) {
            report(format!(
                "request {issuer} alone issued a token, and the browser's does not open its session"
            ));
        }
        return;
    }
    if *result == Err(SessionErrorKind::InDoubt) || history.is_unlisted(issuer) {
        return;
    }
    let (Some(token), Some(Ok(loaded))) = (&request.presented, &request.loaded) else {
        return;
    };
    let id = token.id();
    if let Some(view) = history.record(id)
        && view.seen.principal == loaded.principal
        && !loaded.is_empty()
        && !held.iter().any(|(held, _)| *held == id)
    {
        report(format!(
            "request {issuer} failed, and the browser's cookie does not open its session any more"
        ));
    }
}

/// Whether the handler was told that it is unknown what is stored, and did not want to know.
fn forgets_doubt(request: &RequestLog) -> bool {
    let mut calls = request.calls.iter();
    calls.any(|called| called.result == Err(SessionErrorKind::InDoubt))
        && calls.any(|called| matches!(called.verb, Verb::Discard | Verb::Reload))
}

fn two_logins(evidence: &Evidence<'_>, logins: [usize; 2], report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    let [one, other] = logins.map(|owner| only_login(&history.requests[owner]));
    let (Some(principal), true) = (one, one == other) else {
        return;
    };
    let start = history.initial.iter().map(|(_, view)| view.seen.principal);
    if start.flatten().any(|before| before != principal) {
        return;
    }
    let acknowledged = logins.iter().any(|owner| history.requests[*owner].is_ok());
    let in_doubt = logins.iter().any(|owner| {
        let finished = &history.requests[*owner].finished;
        matches!(finished, Some((_, Err(SessionErrorKind::InDoubt))))
    });
    let open = held(evidence);
    if acknowledged && !in_doubt && !open.iter().any(|(_, held)| *held == Some(principal)) {
        report(
            "two requests logged the user in, and the browser's cookie does not open the session"
                .into(),
        );
    }
}

/// The principal of a request whose only call that issues a token is a login that is not saved
/// early.
fn only_login(request: &RequestLog) -> Option<Principal> {
    let mut found = None;
    for verb in &request.script.0 {
        match verb {
            Verb::LogIn(principal) if found.is_none_or(|found| found == *principal) => {
                found = Some(*principal);
            }
            Verb::LogIn(_)
            | Verb::Renew
            | Verb::Regenerate
            | Verb::Destroy
            | Verb::Save
            | Verb::Discard
            | Verb::Do(_)
            | Verb::Reload => return None,
            Verb::Read
            | Verb::Fresh
            | Verb::Write
            | Verb::Update
            | Verb::Touch
            | Verb::RequireUnchanged
            | Verb::Extend
            | Verb::Wait
            | Verb::SetTag
            | Verb::RemoveTag
            | Verb::SetCookie => {}
        }
    }
    found.filter(|_| request.party == Party::Browser)
}
