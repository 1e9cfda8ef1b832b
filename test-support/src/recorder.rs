//! Keeps what code under test reports through the `metrics` facade.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A recorder for [`metrics::set_default_local_recorder`]. Clones share what is recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    described: BTreeSet<String>,
    /// By the name and the labels.
    values: BTreeMap<String, Arc<Value>>,
}

/// The value of a counter or a gauge, or how many values a histogram has.
#[derive(Debug, Default)]
struct Value(Mutex<f64>);

impl Recorded {
    /// The names of the metrics that were described.
    pub fn described(&self) -> BTreeSet<String> {
        self.state().described.clone()
    }

    /// The names of the metrics that have a value.
    pub fn emitted(&self) -> BTreeSet<String> {
        let name = |key: &String| key.split(' ').next().unwrap_or_default().to_owned();
        self.state().values.keys().map(name).collect()
    }

    /// Whether a metric of this name has this label, as `key=value`.
    pub fn has_label(&self, name: &str, label: &str) -> bool {
        self.state().values.keys().any(|key| {
            let mut words = key.split(' ');
            words.next() == Some(name) && words.any(|word| word == label)
        })
    }

    /// Adds up the values of all metrics of this name with these labels, each as `key=value`.
    /// Histograms count.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let state = self.state();
        let matching = state.values.iter().filter(|(key, _)| {
            let mut words = key.split(' ');
            let is_named = words.next() == Some(name);
            let found: Vec<_> = words.collect();
            is_named && labels.iter().all(|label| found.contains(label))
        });
        matching.map(|(_, value)| value.get()).sum()
    }

    /// Every value, for the message of an assertion.
    pub fn values(&self) -> Vec<(String, f64)> {
        let state = self.state();
        let values = state.values.iter();
        values
            .map(|(key, value)| (key.clone(), value.get()))
            .collect()
    }

    fn describe(&self, name: &KeyName) {
        self.state().described.insert(name.as_str().to_owned());
    }

    fn value(&self, key: &Key) -> Arc<Value> {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        let key = key.name().to_owned() + &labels.collect::<String>();
        self.state().values.entry(key).or_default().clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Value {
    fn get(&self) -> f64 {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        *self.lock() += by as f64;
    }

    fn absolute(&self, value: u64) {
        *self.lock() = value as f64;
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        *self.lock() += by;
    }

    fn decrement(&self, by: f64) {
        *self.lock() -= by;
    }

    fn set(&self, value: f64) {
        *self.lock() = value;
    }
}

impl HistogramFn for Value {
    fn record(&self, _value: f64) {
        *self.lock() += 1.0;
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}
