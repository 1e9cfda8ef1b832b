//! Time that a test moves by hand.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::clock::Clock;

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    wall: SystemTime,
    monotonic: Duration,
}

impl Default for ManualClock {
    /// A day in September 2026.
    fn default() -> Self {
        Self::at(UNIX_EPOCH + Duration::from_secs(1_790_000_000))
    }
}

impl ManualClock {
    /// Returns a clock that shows this time.
    pub fn at(wall: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(Times {
            wall,
            monotonic: Duration::ZERO,
        })))
    }

    /// Moves the clock forward, its wall time and its monotonic time alike.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times();
        times.wall += by;
        times.monotonic += by;
    }

    /// Sets the wall time alone, as an administrator or NTP does. It may go backwards.
    pub fn set_wall(&self, wall: SystemTime) {
        self.times().wall = wall;
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.times().wall
    }

    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_moves_both_times_and_set_wall_moves_the_wall_time_alone() {
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(105));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
        clock.set_wall(UNIX_EPOCH);
        assert_eq!(clock.now(), UNIX_EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn clones_are_the_same_clock() {
        let clock = ManualClock::default();
        let clone = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(clone.now(), clock.now());
    }
}
