//! How many replicas a write is to be on before it is acknowledged.

use std::time::Duration;

/// How long to wait by default: many times what a replica takes that is not behind.
const TIMEOUT: Duration = Duration::from_millis(100);

/// How many replicas of the store confirm a write before it is acknowledged, and how long to wait
/// for them: an option of [`Session::confirm`](crate::Session::confirm) and
/// [`Builder::confirm`](crate::Builder::confirm).
///
/// A write that a replica has survives the loss of the primary if that replica takes its place.
/// Without waiting, a failover loses what the primary has acknowledged and not sent yet, a logout
/// among it. Each write that waits takes a round trip from the primary to its replicas longer.
///
/// Fewer replicas in time is no error, because the write is stored and is not taken back.
/// [`Outcome::replicas`](crate::Outcome::replicas) says how many there were.
///
/// ```
/// use std::time::Duration;
/// use session_core::Replicas;
///
/// let one = Replicas::new(1);
/// let patient = Replicas::new(2).timeout(Duration::from_millis(500));
/// assert_eq!((one.count(), patient.count()), (1, 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    count: u32,
    timeout: Duration,
}

impl Replicas {
    /// Waits for so many replicas, for 100 ms at most. Zero waits for none, and tells how many have
    /// the write already.
    pub fn new(count: u32) -> Self {
        Self {
            count,
            timeout: TIMEOUT,
        }
    }

    /// Waits for so long at most. A store may wait less, so that it answers within its own limit.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Returns the number of replicas.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns how long to wait for them.
    pub fn max_wait(self) -> Duration {
        self.timeout
    }
}

/// The lower of two numbers of replicas, as far as they are known.
pub(crate) fn lowest(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_of_those_that_are_known() {
        assert_eq!(lowest(None, None), None);
        assert_eq!(lowest(Some(2), None), Some(2));
        assert_eq!(lowest(None, Some(2)), Some(2));
        assert_eq!(lowest(Some(2), Some(0)), Some(0));
    }
}
