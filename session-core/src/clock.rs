//! The clocks that sessions read. All decisions take the time as an argument.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Reads the time.
///
/// The age of a session is measured by the wall clock, because instances share it. Its remaining
/// idle time is measured by the clock of the store, and deadlines within one request by the
/// monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> SystemTime;

    /// The time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<F: Fn() -> SystemTime + Send + Sync + 'static> Clock for F {
    fn now(&self) -> SystemTime {
        self()
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) wall: Millis,
    pub(crate) monotonic: Duration,
}

impl Now {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self {
            wall: Millis::of(clock.now()),
            monotonic: clock.monotonic(),
        }
    }
}

/// A moment of the wall clock, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Moments before the epoch count as the epoch.
    pub(crate) fn of(at: SystemTime) -> Self {
        Self(millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    /// Moments that the platform cannot represent count as the epoch.
    pub(crate) fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.0))
            .unwrap_or(UNIX_EPOCH)
    }

    /// The time since `earlier`; zero if that is in the future.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// The whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_the_round_trip() {
        for at in [0, 1, 1_700_000_000_123].map(Millis) {
            assert_eq!(Millis::of(at.to_system_time()), at);
        }
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= first);
    }
}
