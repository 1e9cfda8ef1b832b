//! Where the time of day comes from. The state machine takes `now` as an argument; this is the one place that asks for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time of day.
///
/// A session's age is measured against it. Its remaining idle time is not: that is the store's clock.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system.
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

/// Milliseconds since the Unix epoch; moments before it count as the epoch.
pub(crate) fn to_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment that many milliseconds after the Unix epoch, as far as the platform can tell it.
pub(crate) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_the_round_trip() {
        for millis in [0, 1, 1_700_000_000_123] {
            assert_eq!(to_millis(from_millis(millis)), millis);
        }
    }
}
