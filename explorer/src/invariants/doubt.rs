//! A request is told that it is unknown what became of a write only if the store did not show it.

use session_core::SessionErrorKind;

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    for (owner, request) in history.requests.iter().enumerate() {
        let called = request.calls.iter().map(|called| match &called.result {
            Ok(_) => (called.step, None),
            Err(kind) => (called.step, Some(*kind)),
        });
        let finished = request.finished.iter();
        let finished = finished.map(|(step, result)| (*step, result.as_ref().err().copied()));
        for (step, error) in called.chain(finished) {
            if error != Some(SessionErrorKind::InDoubt) {
                continue;
            }
            let calls = history.calls_of(owner);
            let last = calls.take_while(|applied| applied.call.step <= step).last();
            if last.is_some_and(|last| last.shows_own_write) {
                report(format!(
                    "request {owner} was told that its write is in doubt, and the record shows it"
                ));
            }
        }
    }
}
