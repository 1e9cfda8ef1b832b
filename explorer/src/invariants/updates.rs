//! Every acknowledged update is applied exactly once, every unacknowledged one at most once.

use session_core::SessionId;

use crate::{call::Op, evidence::Evidence};

/// The bits that are set if an update was applied twice or more.
const TWICE: u64 = 0xeeee_eeee_eeee_eeee;

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    let views = history
        .applied
        .iter()
        .filter_map(|applied| applied.after.as_ref());
    if let Some(view) = views.into_iter().find(|view| view.seen.tally & TWICE != 0) {
        let number = (view.seen.tally & TWICE).trailing_zeros() / 4;
        report(format!("call {number} was applied twice"));
    }
    for (owner, claims) in evidence.claims.iter().enumerate() {
        for stored in &claims.stored {
            let number = stored.what;
            let Some(id) = stored_in(evidence, owner, number, stored.step) else {
                report(format!("call {number} was acknowledged and never stored"));
                continue;
            };
            if let Some(view) = history.record(id)
                && view.seen.count(number) != 1
            {
                report(format!("call {number} was acknowledged and is lost"));
            }
        }
    }
}

/// The session that a request stored a call in.
fn stored_in(evidence: &Evidence<'_>, owner: usize, number: u32, step: u32) -> Option<SessionId> {
    let writes = evidence.history.applied.iter().rev();
    let mut writes = writes.filter(|applied| {
        applied.call.owner == owner
            && applied.call.step <= step
            && applied.call.changed()
            && matches!(applied.call.op, Op::Create | Op::Save)
    });
    let found = writes.find(|applied| {
        let after = applied.after.as_ref();
        after.is_some_and(|view| view.seen.count(number) > 0)
    });
    found.map(|applied| applied.call.id)
}
