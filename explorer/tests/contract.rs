//! The explorer notices stores that break their contract, and its own reductions hide nothing.

use std::{collections::BTreeSet, sync::Arc};

use explorer::{Case, Explorer, Flaw, FlawedStore, History, ManualClock, MapStore};
use session_core::MemoryStore;

#[test]
fn every_flaw_of_a_store_is_noticed() {
    for flaw in Flaw::ALL {
        let case = match flaw {
            Flaw::SaveCreates => "anonymous: write | destroy",
            Flaw::SaveIgnoresVersion | Flaw::SaveLies => "anonymous: update | update",
            Flaw::SaveForgetsItself => "anonymous: update",
            Flaw::SaveKeepsLife => "anonymous,due: write",
            Flaw::TouchIgnoresVersion => "anonymous,due: read | log_in(ann)",
            Flaw::TouchChangesVersion => "anonymous: touch save write",
            Flaw::PutKeepsNonce | Flaw::RemoveIgnoresNonce => {
                "logged_in,two_nodes,stale: set_tag | admin: list(sid)"
            }
            Flaw::PutRenumbers => "logged_in,two_nodes,evict=1: log_in(ann) | phone: log_in(ann)",
            Flaw::DestroyIgnoresVersion => "anonymous: log_in(ann) | attacker: destroy",
            Flaw::DestroyTakesAbsentForDone => {
                "anonymous: require_unchanged destroy | require_unchanged destroy"
            }
        };
        let case: Case = case.parse().expect("valid");
        assert!(
            Explorer::default()
                .explore(&case, u64::MAX)
                .failure
                .is_none(),
            "{case}"
        );
        let make = move |clock: &ManualClock| FlawedStore::new(MapStore::new(clock), *flaw);
        let mut explorer = Explorer::new(Arc::new(make) as explorer::MakeStore<_>);
        assert!(
            explorer.explore(&case, u64::MAX).failure.is_some(),
            "{flaw}"
        );
    }
}

/// What a history came to, without regard to the tokens that were drawn.
fn result(history: &History<'_>) -> String {
    let requests = history.requests.iter().map(|request| {
        let result = request.finished.as_ref().map(|(_, result)| *result);
        let removes: Vec<_> = request
            .cookies
            .iter()
            .map(|cookie| cookie.removes)
            .collect();
        (
            result.map(|result| result.map(|outcome| outcome.kind())),
            removes,
        )
    });
    let requests: Vec<_> = requests.collect();
    let mut records: Vec<_> = history.records.iter().map(|(_, view)| view.seen).collect();
    records.sort_by_key(|seen| (seen.tally, seen.names));
    let opened: Vec<_> = history
        .browser_opens()
        .iter()
        .map(|view| view.seen)
        .collect();
    format!("{requests:?} {records:?} {opened:?}")
}

#[test]
fn what_is_left_out_differs_only_in_the_order_of_unrelated_events() {
    for case in [
        "anonymous: log_in(ann) | update",
        "logged_in: destroy write | log_in(ann)",
        "anonymous: renew | log_in(bob)",
        "nobody: write | update",
        "anonymous,near: fresh | update",
        "anonymous,near,one_instance: renew | read",
        "logged_in,near: destroy | log_in(ann)",
    ] {
        let case: Case = case.parse().expect("valid");
        let mut explorer = Explorer::default();
        let (mut some, mut all) = (BTreeSet::new(), BTreeSet::new());
        let reduced = explorer.visit(&case, u64::MAX, &mut |history| {
            some.insert(result(history));
        });
        let every = explorer.explore_every_order(&case, u64::MAX, &mut |history| {
            all.insert(result(history));
        });
        assert!(
            reduced.failure.is_none() && every.failure.is_none(),
            "{case}"
        );
        assert!(reduced.histories < every.histories, "{case}");
        assert_eq!(some, all, "{case}");
    }
}

#[test]
fn any_store_can_be_explored() {
    let make = |clock: &ManualClock| MemoryStore::with_clock(clock.clone());
    let mut explorer = Explorer::new(Arc::new(make) as explorer::MakeStore<_>);
    let case: Case = "anonymous,faults=1: log_in(ann) | update"
        .parse()
        .expect("valid");
    let explored = explorer.explore(&case, u64::MAX);
    assert!(explored.failure.is_none());
    assert!(explored.histories > 10);
}

#[test]
fn a_history_can_be_replayed() {
    let case: Case = "anonymous: log_in(ann) | destroy".parse().expect("valid");
    let mut explorer = Explorer::default();
    let path = [0, 0, 0, 0, 0];
    assert_eq!(
        explorer.timeline(&case, &path),
        explorer.timeline(&case, &path)
    );
    assert!(explorer.timeline(&case, &path).contains("logged_in"));
}
