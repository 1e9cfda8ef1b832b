//! The pauses between attempts.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Returns the pause after so many failed attempts: `first`, doubled with each further one.
pub(crate) fn exponential(first: Duration, attempts: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)))
}

/// Returns a random duration between half of `pause` and all of it, so that many processes do not
/// try at the same moment.
pub(crate) fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) as u32;
    let half = pause / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_never_overflow() {
        let first = Duration::from_millis(10);
        for (attempts, expected_ms) in [(0, 10), (1, 10), (2, 20), (3, 40), (6, 320)] {
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(exponential(first, attempts), expected, "{attempts}");
        }
        assert!(exponential(first, u32::MAX) > Duration::from_secs(u32::MAX.into()) / 128);
    }

    #[test]
    fn jitter_is_between_half_of_the_pause_and_all_of_it() {
        let pause = Duration::from_millis(250);
        let pauses: Vec<_> = (0..1000).map(|_| jitter(pause)).collect();
        assert!(pauses.iter().all(|p| (pause / 2..=pause).contains(p)));
        assert!(pauses.iter().any(|p| *p != pauses[0]));
    }
}
