//! The counters of outcomes.

use std::sync::{Arc, Mutex};

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

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<String>>>);

impl CounterFn for Counts {
    fn increment(&self, _: u64) {}
    fn absolute(&self, _: u64) {}
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        self.0
            .lock()
            .expect("whole")
            .push(format!("{} {}", key.name(), labels.join(" ")));
        Counter::from_arc(Arc::new(self.clone()))
    }
    fn register_gauge(&self, _: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn outcomes_are_counted() {
    let counts = Counts::default();
    let _recorder = metrics::set_default_local_recorder(&counts);
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    call(&router, &mut browser, "/count").await;
    call(&router, &mut browser, "/count").await;
    call(&router, &mut browser, "/peek").await;
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    call(&router, &mut browser, "/peek").await;
    let counts = counts.0.lock().expect("whole").clone();
    let expected = ["created", "saved", "untouched", "error Unavailable"];
    for outcome in expected {
        assert!(
            counts.contains(&format!("session_commits_total {outcome}")),
            "{outcome} in {counts:?}"
        );
    }
}
