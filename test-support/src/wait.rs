//! Waiting for conditions. No test sleeps for a fixed delay; a condition that never holds fails the
//! test.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Fails a test whose condition does not hold by then. Generous, because it only bounds tests that
/// fail.
const LIMIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(20);

/// Blocks the thread until a condition holds.
///
/// # Panics
///
/// If it does not hold within 30 seconds; the message is `what`.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !condition() {
        assert!(started_at.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(INTERVAL);
    }
}

/// Waits until an asynchronous condition holds.
///
/// # Panics
///
/// If it does not hold within 30 seconds; the message is `what`.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started_at = Instant::now();
    while !condition().await {
        assert!(started_at.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}
