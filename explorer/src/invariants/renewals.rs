//! After an acknowledged `renew` or `log_in`, no earlier token opens the session, except the other
//! secret of a concurrent `log_in` of the same principal. No request with an earlier token reads or
//! changes what belongs to another principal.

use std::collections::HashSet;

use session_core::SessionToken;

use crate::{
    call::Op,
    case::Situation,
    evidence::Evidence,
    history::RequestLog,
    principal::Principal,
    script::Party,
    verb::Verb,
    view::{MAIL, ORIGIN, Seen},
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    earlier_tokens(evidence, report);
    reads(evidence, report);
    writes(evidence, report);
    mixtures(evidence, report);
    attacker(evidence, report);
}

fn earlier_tokens(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for token in &history.retired {
        if evidence.opens(token).is_some() {
            report("a token from before the history opens the session again".into());
        }
    }
    for applied in &history.applied {
        let login = history.requests[applied.call.owner].logins();
        let principal = applied.before.as_ref().and_then(|view| view.seen.principal);
        let joins = principal.is_some_and(|principal| login.contains(&principal));
        if applied.earlier_opens && !joins {
            report(format!(
                "request {} replaced the token, and the one before opens the session",
                applied.call.owner
            ));
        }
    }
    for (owner, claims) in evidence.claims.iter().enumerate() {
        let request = &history.requests[owner];
        for renewed in &claims.renewed {
            let ours = request
                .session
                .as_ref()
                .and_then(|(_, token)| token.clone());
            let earlier = history.requests.iter().enumerate();
            let earlier = earlier
                .filter(|(index, _)| request.after & 1 << index != 0)
                .flat_map(|(_, other)| other.cookies.iter().filter_map(|cookie| cookie.token()))
                .chain(request.presented.clone());
            for token in earlier {
                let same = token.id() == renewed.what && Some(&token) != ours.as_ref();
                if same && evidence.opens(&token).is_some() {
                    report(format!(
                        "request {owner} renewed the session, and an earlier token opens it"
                    ));
                }
            }
        }
    }
}

/// What a request sees belongs to the principal that its token stands for, or that it logs in.
fn reads(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for (owner, request) in history.requests.iter().enumerate() {
        let Some(Ok(loaded)) = request.loaded else {
            continue;
        };
        let opened = history.load_of(owner).filter(|load| load.token_opens);
        match opened.and_then(|applied| applied.after.as_ref()) {
            Some(view) if view.seen != loaded => {
                report(format!("request {owner} was shown what is not stored"));
            }
            None if !loaded.is_empty() => {
                report(format!(
                    "request {owner} has read a session without a valid token"
                ));
            }
            Some(_) | None => {}
        }
        let mut authority = vec![loaded.principal];
        for called in &request.calls {
            if let (Verb::LogIn(principal), Ok(_)) = (called.verb, &called.result) {
                authority.push(Some(principal));
            }
            let [_, seen] = called.seen;
            if seen.principal.is_some() && !authority.contains(&seen.principal) {
                report(format!(
                    "request {owner} has read the session of somebody else"
                ));
            }
            if sees_what_belongs_to_another(evidence, owner, seen) {
                report(format!("request {owner} has read values of somebody else"));
            }
        }
    }
}

/// Whether there is a value that another request wrote as somebody whom this request never was.
fn sees_what_belongs_to_another(evidence: &Evidence<'_>, owner: usize, seen: Seen) -> bool {
    let was = |request: &RequestLog, principal| {
        let loaded = matches!(request.loaded, Some(Ok(seen)) if seen.principal == Some(principal));
        loaded || request.script.0.contains(&Verb::LogIn(principal))
    };
    let history = evidence.history;
    let mail = seen.names >> MAIL.1 & 1 == 1;
    if mail && !was(&history.requests[owner], Principal::Ann) {
        return true;
    }
    history.requests.iter().enumerate().any(|(index, other)| {
        index != owner
            && other
                .calls
                .iter()
                .any(|called| match called.seen[1].principal {
                    Some(principal) => {
                        matches!(called.verb, Verb::Write | Verb::Update)
                            && called.result.is_ok()
                            && seen.count(called.number) > 0
                            && !was(&history.requests[owner], principal)
                    }
                    None => false,
                })
    })
}

/// Who changes or ends a session that belongs to a principal has loaded it as that principal, or
/// logs them in.
fn writes(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for applied in &history.applied {
        let call = &applied.call;
        let Some(before) = applied.before.as_ref().filter(|_| call.changed()) else {
            continue;
        };
        let request = &history.requests[call.owner];
        let Some(principal) = before.seen.principal else {
            continue;
        };
        let mut verbs = request.script.0.iter();
        if verbs.any(|verb| matches!(verb, Verb::Do(_))) {
            // whom it may end is a promise of its own
            continue;
        }
        let loaded = matches!(request.loaded, Some(Ok(seen)) if seen.principal == Some(principal));
        if !loaded && !request.logins().contains(&principal) {
            report(format!(
                "request {} has changed the session of somebody else",
                call.owner
            ));
        }
    }
}

/// A record holds nothing that was written as another principal, and a new one nothing but what its
/// request has written.
fn mixtures(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for applied in &history.applied {
        let call = &applied.call;
        let Some(after) = applied.after.as_ref().filter(|_| call.changed()) else {
            continue;
        };
        let seen = after.seen;
        let mail = seen.names >> MAIL.1 & 1 == 1 && seen.principal != Some(Principal::Ann);
        let mut writes = history.requests.iter().flat_map(|request| &request.calls);
        let foreign = writes.any(|called| {
            let writer = called.seen[1].principal;
            matches!(called.verb, Verb::Write | Verb::Update)
                && called.result.is_ok()
                && seen.count(called.number) > 0
                && writer.is_some()
                && writer != seen.principal
        });
        if mail || foreign {
            report(format!(
                "request {} has mixed what belongs to two principals",
                call.owner
            ));
        }
        let own = history.case.first_number(call.owner);
        let own_bits =
            |number: u32| number >= own && number < history.case.first_number(call.owner + 1);
        let carried = (0..16).any(|number| seen.count(number) > 0 && !own_bits(number))
            || seen.names >> ORIGIN.1 != 0;
        if call.op == Op::Create && carried {
            report(format!(
                "request {} has carried data over into a new session",
                call.owner
            ));
        }
    }
}

/// The attacker holds no token of a session in which the user is logged in, unless they held one
/// from the beginning.
fn attacker(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    if history.case.situation == Situation::LoggedIn {
        return;
    }
    let attackers = history.requests.iter();
    let attackers = attackers.filter(|request| request.party == Party::Attacker);
    let held: Vec<SessionToken> = attackers
        .flat_map(|request| {
            let cookies = request.cookies.iter().filter_map(|cookie| cookie.token());
            cookies.chain(request.presented.clone())
        })
        .collect();
    let mut seen = HashSet::new();
    for token in held {
        let Some((id, view)) = evidence.opens(&token) else {
            continue;
        };
        let theirs = [None, Some(Principal::Mallory)].contains(&view.seen.principal);
        if !theirs && seen.insert(id) {
            report("the attacker holds a token of the user's session".into());
        }
    }
}
