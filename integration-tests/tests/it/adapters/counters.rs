//! The counters of outcomes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key as MetricKey, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use session_core::{
    StoreErrorKind,
    testing::{Call, TestStore},
};
use test_support::Browser;

use super::{call, router};
use crate::visit::sessions;

/// A recorder of counters, each under its name and the values of its labels.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

/// One counter of a recorder.
struct Count {
    counts: Counts,
    name: String,
}

impl CounterFn for Count {
    fn increment(&self, by: u64) {
        let mut counts = self.counts.0.lock().expect("no panic under it");
        *counts.entry(self.name.clone()).or_default() += by;
    }

    fn absolute(&self, _: u64) {
        panic!("{} is only ever incremented", self.name);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| label.value());
        let words: Vec<_> = [key.name()].into_iter().chain(labels).collect();
        Counter::from_arc(Arc::new(Count {
            counts: self.clone(),
            name: words.join(" "),
        }))
    }

    fn register_gauge(&self, _: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn every_request_is_counted_by_its_outcome() {
    let recorder = Counts::default();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    // created, and saved twice
    for _ in 0..3 {
        call(&router, &mut browser, "/count").await;
    }
    call(&router, &mut browser, "/peek").await;
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    call(&router, &mut browser, "/peek").await;
    let expected = [
        ("created", 1),
        ("saved", 2),
        // a load that fails counts as an error, and its request ends without a change
        ("untouched", 2),
        ("error Unavailable", 1),
    ];
    let expected = expected.map(|(outcome, n)| (format!("session_commits_total {outcome}"), n));
    let counts = recorder.0.lock().expect("no panic under it").clone();
    assert_eq!(counts, expected.into());
}
