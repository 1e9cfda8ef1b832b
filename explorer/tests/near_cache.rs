//! Two instances with a near cache each. Each test runs all histories of a few requests, and
//! asserts that the one that it is named after occurs among them.

use explorer::{Announcement, Applied, Case, Effect, Explorer, Fault, History, Op};

/// Explores a case: nothing is broken, and `occurs` holds for at least one history.
#[track_caller]
fn explore(case: &str, occurs: impl Fn(&History<'_>) -> bool) {
    explore_with(case, false, occurs);
}

/// The same in every order of events: until a change is announced, a request that is sent after it
/// is answered as one that is sent before it, and one of the two is left out.
#[track_caller]
fn explore_every_order(case: &str, occurs: impl Fn(&History<'_>) -> bool) {
    explore_with(case, true, occurs);
}

#[track_caller]
fn explore_with(case: &str, every_order: bool, occurs: impl Fn(&History<'_>) -> bool) {
    let case: Case = case.parse().expect("valid");
    let mut explorer = Explorer::default();
    let mut occurred = false;
    let mut visit = |history: &History<'_>| occurred |= occurs(history);
    let explored = match every_order {
        true => explorer.explore_every_order(&case, 20_000, &mut visit),
        false => explorer.visit(&case, 20_000, &mut visit),
    };
    if let Some(failure) = explored.failure {
        panic!("{}", explorer.timeline(&case, &failure.path));
    }
    assert!(
        occurred,
        "the history that this is about is not among {} of {case}",
        explored.histories
    );
}

fn call<'h>(history: &'h History<'_>, owner: usize, op: Op) -> Option<&'h Applied> {
    let mut calls = history.calls_of(owner);
    calls.find(|applied| applied.call.op == op)
}

/// The first change of a request.
fn change<'h>(history: &'h History<'_>, owner: usize) -> Option<&'h Applied> {
    let mut changes = history.applied.iter();
    changes.find(|applied| applied.call.owner == owner && applied.call.changed())
}

/// What an instance was announced first.
fn announced(history: &History<'_>, instance: usize) -> Option<Announcement> {
    let mut announcements = history.heard.announcements.iter();
    announcements
        .find(|announcement| announcement.instance == instance)
        .copied()
}

fn sent(history: &History<'_>, owner: usize) -> u32 {
    history.requests[owner].sent.expect("every request is sent")
}

fn finished(history: &History<'_>, owner: usize) -> Option<u32> {
    let finished = history.requests[owner].finished.as_ref();
    finished.map(|(step, _)| *step)
}

#[test]
fn a_session_is_shown_until_its_end_is_announced() {
    explore_every_order("logged_in,near: read | attacker: destroy", |history| {
        let ended = finished(history, 1).expect("it ends");
        let announced = announced(history, 0).and_then(|announced| announced.ended);
        let sent = sent(history, 0);
        let asks = call(history, 0, Op::Load).is_some();
        assert_eq!(asks, Some(sent) > announced);
        sent > ended && !asks
    });
}

#[test]
fn what_changes_during_a_load_is_not_kept() {
    explore("anonymous,near: fresh | write | read", |history| {
        let loaded = call(history, 0, Op::Load).expect("it asks").call.step;
        let changed = &change(history, 1).expect("it writes").call;
        let announced = announced(history, 0).and_then(|announced| announced.ended);
        let answered = finished(history, 0).expect("it ends");
        let overlaps =
            loaded < changed.step && announced < Some(answered) && answered < sent(history, 2);
        if overlaps {
            let load = call(history, 2, Op::Load).expect("nothing is kept");
            assert_eq!(load.call.found, changed.version);
        }
        overlaps
    });
}

#[test]
fn an_answer_does_not_overtake_what_was_announced_before() {
    explore("anonymous,near: fresh | write | read", |history| {
        let load = call(history, 0, Op::Load).expect("it asks").call.step;
        let announced = announced(history, 0).expect("it keeps the session");
        let answered = finished(history, 0).expect("it ends");
        let arrived = announced.ended.expect("it arrives");
        assert!(load < announced.sent || arrived < answered);
        announced.sent < load && load < arrived
    });
}

#[test]
fn a_token_that_was_renewed_elsewhere_is_looked_up_in_the_store() {
    explore("anonymous,near: read | renew", |history| {
        let knows = history.requests[0].after & 1 << 1 != 0;
        let is_early =
            announced(history, 0).is_some_and(|announced| announced.ended > Some(sent(history, 0)));
        if knows {
            let load = call(history, 0, Op::Load).expect("what is kept has another secret");
            assert!(load.token_opens);
        }
        knows && is_early
    });
}

#[test]
fn nothing_is_served_whose_feed_was_interrupted() {
    explore(
        "logged_in,near,faults=1: read | attacker: destroy",
        |history| {
            let Some(announced) = announced(history, 0) else {
                return false;
            };
            let mut faults = history.events.iter();
            let is_interrupted = faults.any(|event| event.fault == Some(Fault::Interrupted));
            let is_later = announced.ended < Some(sent(history, 0));
            if announced.lost && is_later {
                let load = call(history, 0, Op::Load).expect("nothing is served");
                assert_eq!(load.call.effect, Effect::Absent);
            }
            is_interrupted && announced.lost && is_later
        },
    );
}

#[test]
fn nothing_is_served_whose_feed_has_been_silent_for_too_long() {
    explore(
        "logged_in,near,advances=1: read | attacker: destroy",
        |history| {
            let Some(announced) = announced(history, 0) else {
                return false;
            };
            let is_pending = announced.ended > Some(sent(history, 0));
            let is_silent = history.time_passed(announced.sent, sent(history, 0)) && is_pending;
            if is_silent {
                let load = call(history, 0, Op::Load).expect("nothing is served");
                assert_eq!(load.call.effect, Effect::Absent);
            }
            is_silent
        },
    );
}

#[test]
fn a_write_that_arrives_late_is_seen_once_it_is_acknowledged() {
    explore(
        "anonymous,near,one_instance,faults=1: write | read",
        |history| {
            let Some(change) = change(history, 0) else {
                return false;
            };
            let before =
                call(history, 1, Op::Load).is_some_and(|load| load.call.step < change.call.step);
            change.call.late && before && history.requests[0].is_ok()
        },
    );
}

#[test]
fn an_end_that_arrives_late_is_seen_once_it_is_acknowledged() {
    let case = "logged_in,two_nodes,near,one_instance,faults=1: read | admin: end_all(ann)";
    explore(case, |history| {
        let mut ended = history.requests[1].calls.iter();
        let is_late = history.applied.iter().any(|applied| applied.call.late);
        is_late && ended.any(|called| called.result.is_ok())
    });
}

#[test]
fn a_fresh_load_shows_what_a_hit_did_not() {
    explore("anonymous,near: read fresh | write", |history| {
        let [_, fresh] = &history.requests[0].calls[..] else {
            panic!("two calls");
        };
        let [before, after] = fresh.seen;
        before != after
    });
}

#[test]
fn a_conflict_with_what_is_kept_is_merged() {
    explore_every_order("anonymous,near: update | update", |history| {
        let conflict = |owner| {
            let mut calls = history.calls_of(owner);
            let conflicts = calls.any(|applied| applied.call.effect == Effect::Conflict);
            conflicts && call(history, owner, Op::Load).is_none()
        };
        let concurrent = finished(history, 1) < Some(sent(history, 0));
        concurrent && conflict(0)
    });
}
