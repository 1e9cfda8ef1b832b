//! Of several concurrent requests with `require_unchanged` that write or claim, exactly one
//! succeeds.

use session_core::{SessionErrorKind, SessionId, SessionToken};

use crate::{evidence::Evidence, history::RequestLog, verb::Verb};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    let strict: Vec<Strict> = (0..history.requests.len())
        .filter_map(|owner| Strict::of(evidence, owner))
        .collect();
    for (index, one) in strict.iter().enumerate() {
        for other in &strict[..index] {
            let concurrent = one.id == other.id
                && one.loaded < other.changed.unwrap_or(u32::MAX)
                && other.loaded < one.changed.unwrap_or(u32::MAX);
            let same_kind = one.only_renews == other.only_renews;
            if concurrent && same_kind && one.succeeds && other.succeeds {
                report(format!(
                    "requests {} and {} both required an unchanged session and succeeded",
                    other.owner, one.owner
                ));
            }
        }
    }
    for one in &strict {
        let finished = &history.requests[one.owner].finished;
        let conflict = matches!(finished, Some((_, Err(SessionErrorKind::Conflict))));
        let mut others = history.requests.iter().enumerate();
        let nobody = others.all(|(owner, other)| owner == one.owner || changes_nothing(other));
        if conflict && nobody {
            report(format!(
                "request {} required an unchanged session, which nobody changed, and failed",
                one.owner
            ));
        }
    }
    let all = strict.len() == history.requests.len() && strict.len() > 1;
    let ended = history
        .requests
        .iter()
        .all(|request| request.finished.is_some());
    if all
        && ended
        && !history.is_faulty()
        && history.case.advances == 0
        && strict
            .iter()
            .all(|one| !one.succeeds && one.id == strict[0].id)
    {
        report("every request required an unchanged session, and none succeeded".into());
    }
}

/// A request that requires an unchanged session, and changes it.
struct Strict {
    owner: usize,
    id: SessionId,
    /// When it loaded the session.
    loaded: u32,
    /// When it first changed the session.
    changed: Option<u32>,
    succeeds: bool,
    /// It logs in who is logged in already, which changes no contents.
    only_renews: bool,
}

impl Strict {
    fn of(evidence: &Evidence<'_>, owner: usize) -> Option<Self> {
        let history = evidence.history;
        let request = &history.requests[owner];
        if !is_strict(request) {
            return None;
        }
        let id = request.presented.as_ref().map(SessionToken::id)?;
        let load = history.load_of(owner)?;
        let opened = load.token_opens;
        let calls = history.applied.iter();
        let mut own = calls.filter(|applied| applied.call.owner == owner);
        let changed = own.find(|applied| applied.call.id == id && applied.call.changed());
        opened.then(|| Self {
            owner,
            id,
            loaded: load.call.step,
            changed: changed.map(|applied| applied.call.step),
            succeeds: request.is_ok(),
            only_renews: load.before.as_ref().is_some_and(|before| {
                let mut verbs = request.script.0.iter();
                verbs.all(|verb| match verb {
                    Verb::LogIn(principal) => before.seen.principal == Some(*principal),
                    Verb::Write | Verb::Update | Verb::Regenerate | Verb::Destroy => false,
                    _ => true,
                })
            }),
        })
    }
}

/// Whether a script leaves the contents of its session as they are.
fn changes_nothing(request: &RequestLog) -> bool {
    let mut verbs = request.script.0.iter();
    verbs.all(|verb| {
        matches!(
            verb,
            Verb::Read
                | Verb::Fresh
                | Verb::Touch
                | Verb::Save
                | Verb::RequireUnchanged
                | Verb::Wait
        )
    })
}

/// Whether a script is one commit that requires an unchanged session and changes its contents, or
/// ends it.
fn is_strict(request: &RequestLog) -> bool {
    let mut verbs = request.script.0.iter();
    verbs.next() == Some(&Verb::RequireUnchanged)
        && verbs.clone().all(|verb| {
            !matches!(
                verb,
                Verb::Save | Verb::Discard | Verb::Reload | Verb::Fresh
            )
        })
        && verbs.any(|verb| {
            matches!(
                verb,
                Verb::Write | Verb::Update | Verb::LogIn(_) | Verb::Regenerate | Verb::Destroy
            )
        })
}
