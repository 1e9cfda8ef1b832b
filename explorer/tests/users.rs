//! The sessions of a user. Each test runs all histories of a few processes, and asserts that the
//! one that it is named after occurs among them.

use explorer::{
    Applied, Case, Deed, Explorer, Fault, History, IndexOp, Op, Principal, SessionErrorKind, Verb,
    Whose,
};

const ANN: Whose = Whose::Of(Principal::Ann);

/// Explores a case with both kinds of index: nothing is broken, and `occurs` holds for at least one
/// history of each.
#[track_caller]
fn explore(case: &str, occurs: impl Fn(&History<'_>) -> bool) {
    for indexing in ["two_nodes", "transactional"] {
        explore_with(&case.replacen("INDEX", indexing, 1), &occurs);
    }
}

#[track_caller]
fn explore_with(case: &str, occurs: impl Fn(&History<'_>) -> bool) {
    let case: Case = case.parse().expect("valid");
    let mut explorer = Explorer::default();
    let mut occurred = false;
    let explored = explorer.visit(&case, 20_000, &mut |history| occurred |= occurs(history));
    if let Some(failure) = explored.failure {
        panic!("{}", explorer.timeline(&case, &failure.path));
    }
    assert!(
        occurred,
        "the history that this is about is not among {} of {case}",
        explored.histories
    );
}

fn of_ann(history: &History<'_>) -> usize {
    let records = history.records.iter();
    records
        .filter(|(_, view)| view.seen.principal == Some(Principal::Ann))
        .count()
}

#[test]
fn two_logins_while_all_sessions_are_ended() {
    explore(
        "nobody,INDEX: phone: log_in(ann) | tablet: log_in(ann) | admin: end_all(ann)",
        |history| {
            let ends = |applied: &Applied| applied.call.op == Op::Destroy;
            history.applied.iter().any(ends) && of_ann(history) == 1
        },
    );
}

#[test]
fn a_login_that_crashes_before_it_is_listed_leaves_the_next_one_listed() {
    explore_with(
        "anonymous,two_nodes,faults=1: log_in(ann) | log_in(ann) | admin: list(ann)",
        |history| {
            let crashed = history
                .index_calls
                .iter()
                .any(|call| call.op == IndexOp::Put && call.fault == Some(Fault::AbortBefore));
            crashed && of_ann(history) == 1 && history.requests[1].is_ok()
        },
    );
}

#[test]
fn a_stale_entry_is_cleaned_up_while_its_session_gets_the_tag() {
    explore(
        "logged_in,INDEX,stale: set_tag | admin: list(sid)",
        |history| {
            let mut removes = history.index_calls.iter();
            let removed = removes.any(|call| {
                let tagged = history.initial.first().map(|(id, _)| *id);
                call.op == IndexOp::Remove && call.id == tagged
            });
            removed && history.records.iter().any(|(_, view)| view.seen.is_tagged)
        },
    );
}

#[test]
fn a_session_that_becomes_somebody_elses_is_not_ended() {
    explore(
        "anonymous,INDEX: log_in(bob) | admin: end_all(ann)",
        |history| {
            history
                .records
                .iter()
                .any(|(_, view)| view.seen.principal == Some(Principal::Bob))
        },
    );
}

#[test]
fn a_repeated_login_lists_the_tag_that_the_first_could_not_list() {
    explore_with(
        "anonymous,two_nodes,faults=1: log_in(ann) set_tag | log_in(ann) set_tag",
        |history| {
            let unlisted = history
                .index_calls
                .iter()
                .any(|call| call.owner == 0 && call.op == IndexOp::Put && call.fault.is_some());
            unlisted && history.requests[1].is_ok()
        },
    );
}

#[test]
fn two_logins_beyond_the_limit_do_not_end_each_other() {
    explore(
        "nobody,INDEX,evict=1: phone: log_in(ann) | tablet: log_in(ann)",
        |history| {
            let both = history.requests.iter().all(|request| request.is_ok());
            both && of_ann(history) == 1
        },
    );
}

#[test]
fn a_session_that_was_ended_for_a_newer_one_ends_nobody() {
    explore_with(
        "logged_in,two_nodes,evict=1: log_in(ann) | phone: log_in(ann)",
        |history| {
            let own = history.initial.first().map(|(id, _)| *id);
            let ended = history.applied.iter().find(|applied| {
                applied.call.op == Op::Destroy
                    && applied.call.changed()
                    && Some(applied.call.id) == own
            });
            let puts = history.index_calls.iter();
            let late: Vec<_> = puts
                .filter(|call| call.op == IndexOp::Put && call.id == own)
                .collect();
            let is_late = |step| late.iter().any(|call| call.step > step);
            ended.is_some_and(|ended| is_late(ended.call.step)) && of_ann(history) == 1
        },
    );
}

#[test]
fn of_two_logins_for_one_place_one_is_refused() {
    explore(
        "nobody,INDEX,reject=1: phone: log_in(ann) | tablet: log_in(ann)",
        |history| {
            let refused = history.requests.iter().filter(|request| {
                let finished = request.finished.as_ref().map(|(_, result)| *result);
                finished == Some(Err(SessionErrorKind::LimitReached))
            });
            refused.count() == 1 && of_ann(history) == 1
        },
    );
}

#[test]
fn a_record_that_the_store_forgot_is_neither_listed_nor_counted() {
    explore(
        "logged_in,INDEX,reject=1: phone: log_in(ann) | admin: evict(ann)",
        |history| history.requests[0].is_ok() && of_ann(history) == 1,
    );
}

#[test]
fn a_session_is_kept_while_the_others_are_ended() {
    explore(
        "logged_in,INDEX: end_others(ann) | phone: log_in(ann)",
        |history| {
            let ends =
                |applied: &Applied| applied.call.op == Op::Destroy && applied.call.owner == 0;
            history.applied.iter().any(ends) && of_ann(history) == 1
        },
    );
}

#[test]
fn verbs_on_the_sessions_of_a_user_survive_their_text() {
    for deed in [
        Deed::EndAll(ANN),
        Deed::EndOthers(Whose::Tagged),
        Deed::EndFirst(ANN),
        Deed::List(Whose::Of(Principal::Bob)),
        Deed::Evict(ANN),
    ] {
        let text = deed.to_string();
        assert_eq!(text.parse::<Verb>().expect("valid"), Verb::Do(deed));
    }
    assert!("end_all(carol)".parse::<Verb>().is_err());
    assert!("begin(ann)".parse::<Verb>().is_err());
}
