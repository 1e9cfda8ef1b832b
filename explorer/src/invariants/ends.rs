//! After an acknowledged `destroy`, no token of that session opens it.

use session_core::SessionId;

use crate::{call::Op, evidence::Evidence, history::History};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for (owner, claims) in evidence.claims.iter().enumerate() {
        for ended in &claims.ended {
            let id = ended.what.id;
            if !was_stored(history, id, ended.what.called) {
                continue;
            }
            if let Some(view) = history.record_at(id, ended.step) {
                // a login succeeds although the old session has become somebody else's, or is out
                // of reach
                let loaded = &history.requests[owner].loaded;
                let mine = matches!(loaded, Some(Ok(seen)) if !seen.is_empty()
                    && seen.principal == view.seen.principal);
                if mine || !ended.what.logs_in {
                    report(format!("request {owner} ended a session, and it lives"));
                }
                continue;
            }
            let writes = history.applied.iter();
            let mut later = writes.filter(|applied| applied.call.step > ended.step);
            if later.any(|applied| applied.call.id == id && applied.after.is_some()) {
                report(format!("request {owner} ended a session, and it came back"));
            }
        }
    }
}

/// Whether the session was known to be stored when it was to be ended. The token of one whose
/// creation was never confirmed is given to nobody.
fn was_stored(history: &History<'_>, id: SessionId, step: u32) -> bool {
    let mut creations = history.applied.iter();
    let created = creations.any(|applied| {
        let call = &applied.call;
        call.op == Op::Create
            && call.id == id
            && call.step <= step
            && call.changed()
            && call.fault.is_none()
            && !call.late
    });
    created || history.initial.iter().any(|(initial, _)| *initial == id)
}
