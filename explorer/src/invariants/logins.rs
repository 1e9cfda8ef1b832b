//! A login succeeds whatever becomes of the session that it is made in, and its response brings the
//! token of a session of that principal. Concurrent logins of one principal end in one session,
//! which holds what each of them wrote.

use session_core::SessionErrorKind;

use crate::{
    evidence::Evidence,
    history::{History, RequestLog},
    principal::Principal,
    script::Script,
    verb::Verb,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    if history.is_faulty() || history.time_passed(0, u32::MAX) {
        return;
    }
    for (owner, request) in history.requests.iter().enumerate() {
        succeeds(history, owner, request, report);
    }
    joined(history, report);
}

fn succeeds(
    history: &History<'_>,
    owner: usize,
    request: &RequestLog,
    report: &mut dyn FnMut(String),
) {
    let Some(principal) = committed_login(&request.script) else {
        return;
    };
    let Some((_, result)) = &request.finished else {
        // it waits for another request, which is reported
        return;
    };
    if history.case.limit.is_some() && *result == Err(SessionErrorKind::LimitReached) {
        return;
    }
    if !request.is_ok() {
        report(format!("request {owner} logged in, and failed"));
        return;
    }
    let token = request.cookies.iter().find_map(|cookie| cookie.token());
    let stored = token.is_some_and(|token| {
        let mut own = history.applied.iter();
        own.any(|applied| {
            let after = applied.after.as_ref();
            applied.call.owner == owner
                && applied.brings(&token)
                && after.is_some_and(|view| view.seen.principal == Some(principal))
        })
    });
    if !stored {
        report(format!(
            "request {owner} logged in, and its response brings no token of that session"
        ));
    }
}

/// The principal whose login is the last commit of a script. Nothing after it can fail, and the
/// request accepts concurrent changes.
fn committed_login(script: &Script) -> Option<Principal> {
    let (mut login, mut saved) = (None, false);
    for verb in &script.0 {
        match verb {
            Verb::LogIn(principal) => (login, saved) = (Some(*principal), false),
            Verb::Save => saved = true,
            Verb::Read | Verb::Fresh | Verb::Wait | Verb::Do(_) => {}
            Verb::Write
            | Verb::Update
            | Verb::Touch
            | Verb::Renew
            | Verb::Extend
            | Verb::SetTag
            | Verb::RemoveTag
            | Verb::SetCookie => login = login.filter(|_| !saved),
            Verb::Discard | Verb::Reload => login = None,
            Verb::Regenerate | Verb::Destroy | Verb::RequireUnchanged => return None,
        }
    }
    login
}

/// Concurrent logins end in one session, if nobody else replaces its token or ends it.
fn joined(history: &History<'_>, report: &mut dyn FnMut(String)) {
    let mut logins = Vec::new();
    for request in &history.requests {
        match Part::of(&request.script) {
            Part::LogsIn(principal) => logins.push((request, principal)),
            Part::Stays => {}
            Part::Other => return,
        }
    }
    let [(first, principal), _, ..] = logins[..] else {
        return;
    };
    let concurrent = logins.iter().all(|(request, other)| {
        *other == principal && request.presented == first.presented && request.is_ok()
    });
    let before = history.initial.iter().map(|(_, view)| view.seen.principal);
    let somebody_else = before.flatten().any(|before| before != principal);
    if first.presented.is_none() || !concurrent || somebody_else {
        return;
    }
    let records = history.records.iter();
    let mut records = records.filter(|(_, view)| view.seen.principal == Some(principal));
    let (Some((id, view)), None) = (records.next(), records.next()) else {
        report("concurrent logins of one principal did not end in one session".into());
        return;
    };
    for (request, _) in &logins {
        let own = request.session.as_ref().and_then(|(own, _)| *own);
        if own != Some(*id) {
            report("a request that joined the session of another login has one of its own".into());
        }
        for called in &request.calls {
            let writes = matches!(called.verb, Verb::Write | Verb::Update);
            if writes
                && called.result.is_ok()
                && !loses_writes(request)
                && view.seen.count(called.number) != 1
            {
                report(format!(
                    "call {} is not in the session of the logins that were joined",
                    called.number
                ));
            }
        }
    }
}

/// Whether a save before the end of the request has reported that its writes are lost.
fn loses_writes(request: &RequestLog) -> bool {
    let mut saves = request.calls.iter();
    saves.any(|called| match &called.result {
        Ok(Some(outcome)) => outcome.lost.is_some(),
        Ok(None) => false,
        Err(_) => called.verb == Verb::Save,
    })
}

/// What a request does to a session that others log in to.
enum Part {
    /// It logs one principal in.
    LogsIn(Principal),
    /// It leaves the token and the principal as they are.
    Stays,
    /// It may replace the token, end the session, or fail.
    Other,
}

impl Part {
    fn of(script: &Script) -> Self {
        let saves = script.0.contains(&Verb::Save);
        let mut login = None;
        for verb in &script.0 {
            match verb {
                Verb::LogIn(principal) if login.is_none_or(|before| before == *principal) => {
                    login = Some(*principal);
                }
                // part of the login
                Verb::Renew if script.logs_in() && !saves => {}
                Verb::Read
                | Verb::Fresh
                | Verb::Write
                | Verb::Update
                | Verb::Touch
                | Verb::Extend
                | Verb::SetTag
                | Verb::RemoveTag
                | Verb::SetCookie
                | Verb::Save
                | Verb::Wait => {}
                Verb::LogIn(_)
                | Verb::Renew
                | Verb::Discard
                | Verb::Reload
                | Verb::Do(_)
                | Verb::Regenerate
                | Verb::Destroy
                | Verb::RequireUnchanged => return Self::Other,
            }
        }
        login.map_or(Self::Stays, Self::LogsIn)
    }
}
