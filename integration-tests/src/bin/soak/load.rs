//! Open-loop load: requests leave on time, whether or not earlier ones were answered.
//!
//! Clients that wait for their answer before they ask again slow down with the server, and hide how
//! long the others would have waited.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use session_core::StoreErrorKind;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// One request, and how it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Which of the groups the request belongs to.
    pub(crate) group: usize,
    /// When it was to leave, since the start of the run.
    pub(crate) at: Duration,
    /// How long it took from then on.
    pub(crate) took: Duration,
    /// Why it was not served.
    pub(crate) error: Option<StoreErrorKind>,
}

/// The requests of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Sample>);

/// Sends `rate` requests per second for this long, and waits for their answers. `request` gets the
/// number of each, and returns its group and a future that says why it was not served.
pub(crate) async fn open_loop<F>(
    rate: u32,
    duration: Duration,
    mut request: impl FnMut(u64) -> (usize, F),
) -> Samples
where
    F: Future<Output = Option<StoreErrorKind>> + Send + 'static,
{
    let samples = Arc::new(Mutex::new(Vec::new()));
    let (start, mut number) = (Instant::now(), 0);
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = tokio::task::JoinSet::new();
    while start.elapsed() < duration {
        ticks.tick().await;
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while number < due {
            let at = Duration::from_secs_f64(number as f64 / f64::from(rate));
            let (group, answer) = request(number);
            let samples = samples.clone();
            tasks.spawn(async move {
                let error = answer.await;
                let took = start.elapsed().saturating_sub(at);
                let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                samples.push(Sample {
                    group,
                    at,
                    took,
                    error,
                });
            });
            number += 1;
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    let samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
    Samples(samples.clone())
}

impl Samples {
    /// Those that satisfy a condition.
    pub(crate) fn only(&self, keep: impl Fn(&Sample) -> bool) -> Self {
        Self(self.0.iter().copied().filter(keep).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn served(&self) -> usize {
        self.0
            .iter()
            .filter(|sample| sample.error.is_none())
            .count()
    }

    /// The number of requests that were not served, by kind of error.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for kind in self.0.iter().filter_map(|sample| sample.error) {
            *errors.entry(format!("{kind:?}")).or_default() += 1;
        }
        errors
    }

    /// The share that was served, in per cent.
    pub(crate) fn success(&self) -> f64 {
        100.0 * self.served() as f64 / self.len().max(1) as f64
    }

    /// The duration that so many per cent of the served requests did not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let mut took: Vec<_> = self
            .0
            .iter()
            .filter(|sample| sample.error.is_none())
            .collect();
        took.sort_by_key(|sample| sample.took);
        let index = (took.len() as f64 * percent / 100.0).ceil() as usize;
        took.get(index.saturating_sub(1))
            .map_or(Duration::ZERO, |sample| sample.took)
    }

    /// The longest that a request took which was not served.
    pub(crate) fn slowest_failure(&self) -> Duration {
        let failed = self.0.iter().filter(|sample| sample.error.is_some());
        failed.map(|sample| sample.took).max().unwrap_or_default()
    }

    /// The last request that was not served.
    pub(crate) fn last_failure(&self) -> Option<Duration> {
        let failed = self.0.iter().filter(|sample| sample.error.is_some());
        failed.map(|sample| sample.at).max()
    }
}
