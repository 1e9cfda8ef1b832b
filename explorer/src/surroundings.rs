//! Time and randomness that a history can begin with again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use session_core::{Clock, Entropy, EntropyError};

/// A day in September 2026.
const EPOCH: Duration = Duration::from_secs(1_790_000_000);

/// A clock that only the explorer moves. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Milliseconds since the history began.
    pub fn millis(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.millis())
    }
}

/// Counts instead of drawing, and remembers every secret that it gave out. Clones are the same
/// source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Drawn>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Drawn {
    count: u64,
    /// The last 16 bytes of each draw of at least 16.
    secrets: Vec<[u8; 16]>,
}

impl Counter {
    pub(crate) fn drawn(&self) -> Drawn {
        self.lock().clone()
    }

    pub(crate) fn reset(&self, to: &Drawn) {
        let mut drawn = self.lock();
        drawn.count = to.count;
        drawn.secrets.clone_from(&to.secrets);
    }

    /// The secrets, the latest first, until `find` returns something.
    pub(crate) fn find_secret<T>(&self, find: impl FnMut(&[u8; 16]) -> Option<T>) -> Option<T> {
        let secrets = self.lock().secrets.clone();
        secrets.iter().rev().find_map(find)
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut drawn = self.lock();
        for chunk in bytes.chunks_mut(8) {
            drawn.count += 1;
            // so that the first characters of ids and secrets differ
            let mixed = drawn
                .count
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes();
            chunk.copy_from_slice(&mixed[..chunk.len()]);
        }
        if let Some(secret) = bytes.last_chunk() {
            drawn.secrets.push(*secret);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_draws_follow_a_reset_and_secrets_are_remembered() {
        let counter = Counter::default();
        let draw = || {
            let mut token = [0; 32];
            counter.fill(&mut token).expect("a counter does not fail");
            token
        };
        let start = counter.drawn();
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        let found = counter.find_secret(|secret| (secret[..] == first[16..]).then_some(*secret));
        assert!(found.is_some());
        counter.reset(&start);
        assert_eq!(draw(), first);
    }

    #[test]
    fn both_clocks_move_together() {
        let clock = ManualClock::default();
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        clock.clone().advance(Duration::from_secs(7));
        assert_eq!(clock.now(), wall + Duration::from_secs(7));
        assert_eq!(clock.monotonic(), monotonic + Duration::from_secs(7));
    }
}
