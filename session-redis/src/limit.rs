//! How many operations may be in flight to a server, adapted to the measured round trips.
//!
//! The limit grows while replies come quickly, and shrinks when they take longer than the target. It
//! reads no clock.

use std::time::Duration;

use tokio::time::Instant;

/// Never fewer than this many operations may be in flight: a server that cannot serve these in time
/// is not overloaded but broken, or it is this process that has no time to read the replies.
const MIN_LIMIT: f64 = 32.0;

/// The first limit, before anything is measured.
const FIRST_LIMIT: f64 = 256.0;

/// By how much a limit that is in use grows with each operation that was answered at once, which
/// doubles it in one round trip. It grows the less the nearer the round trips are to the target.
const GROWTH: f64 = 1.0;

/// How many operations may be in flight, adapted to the round trips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    limit: f64,
    max: f64,
    response_timeout: Duration,
    /// The shortest round trip, which is about what the network takes.
    shortest: Option<Duration>,
    /// A moving average of round trips.
    average: Duration,
    /// The limit is not lowered again before what was in flight then has been answered.
    lowered_at: Option<Instant>,
}

impl Limit {
    pub(crate) fn new(max: usize, response_timeout: Duration) -> Self {
        let max = (max as f64).max(1.0);
        Self {
            limit: FIRST_LIMIT.min(max),
            max,
            response_timeout,
            shortest: None,
            average: Duration::ZERO,
            lowered_at: None,
        }
    }

    /// The number of operations that may be in flight.
    pub(crate) fn get(&self) -> usize {
        self.limit as usize
    }

    /// The round trip up to which the server counts as keeping up: twice the shortest, but no less
    /// than a tenth of the response timeout and no more than half of it.
    fn target(&self) -> Duration {
        let shortest = self.shortest.unwrap_or_default();
        (2 * shortest).clamp(self.response_timeout / 10, self.response_timeout / 2)
    }

    /// Takes a round trip into account, after which so many operations were answered at once. Of
    /// `in_flight` operations they were a part.
    pub(crate) fn on_round_trip(
        &mut self,
        took: Duration,
        operations: usize,
        in_flight: usize,
        now: Instant,
    ) {
        self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
        self.average = match self.average {
            Duration::ZERO => took,
            average => (7 * average + took) / 8,
        };
        let target = self.target();
        if took > target {
            self.lower(took, now);
        } else if in_flight as f64 >= self.limit / 2.0 {
            let shortest = self.shortest.unwrap_or_default();
            let room = (target - took).as_secs_f64()
                / (target - shortest).as_secs_f64().max(f64::MIN_POSITIVE);
            let growth = GROWTH * room * operations as f64;
            self.limit = (self.limit + growth).min(self.max);
        }
    }

    /// Takes a missed deadline into account.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.lower(self.response_timeout, now);
    }

    /// A new connection may lead elsewhere.
    pub(crate) fn on_connected(&mut self) {
        self.shortest = None;
        self.limit = self.limit.max(FIRST_LIMIT.min(self.max));
    }

    fn lower(&mut self, took: Duration, now: Instant) {
        let recent = |at| now.saturating_duration_since(at) < took;
        if self.lowered_at.is_some_and(recent) {
            return;
        }
        self.lowered_at = Some(now);
        let part = self.target().as_secs_f64() / took.as_secs_f64().max(f64::MIN_POSITIVE);
        let min = MIN_LIMIT.min(self.max);
        self.limit = (self.limit * part.clamp(0.5, 0.9)).max(min);
    }

    /// How long the last of so many waiting operations waits, about.
    pub(crate) fn expected_wait(&self, waiting: usize) -> Duration {
        self.average.mul_f64(waiting as f64 / self.limit.max(1.0))
    }

    /// How long a round trip takes, on average.
    pub(crate) fn average(&self) -> Duration {
        self.average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: Duration = Duration::from_millis(500);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A server that serves `capacity` operations per second behind a link with this round trip,
    /// asked for as much as the limit allows. Returns the limit and the last round trip.
    fn saturate(link: Duration, capacity: f64, seconds: u64) -> (usize, Duration) {
        let mut limit = Limit::new(100_000, RESPONSE);
        let (start, mut now) = (Instant::now(), Instant::now());
        let mut took = link;
        while now < start + Duration::from_secs(seconds) {
            let in_flight = limit.get();
            took = link.max(Duration::from_secs_f64(in_flight as f64 / capacity));
            now += took;
            if took >= RESPONSE {
                limit.on_timeout(now);
            } else {
                limit.on_round_trip(took, in_flight, in_flight, now);
            }
        }
        (limit.get(), took)
    }

    #[test]
    fn the_limit_follows_the_capacity_and_keeps_round_trips_short() {
        for link in [ms(0), ms(10), ms(100)] {
            for capacity in [500.0, 5_000.0, 50_000.0] {
                let (limit, took) = saturate(link, capacity, 60);
                // enough to use the server fully
                let needed = (capacity * link.as_secs_f64()).max(1.0);
                assert!(
                    limit as f64 >= needed * 0.95,
                    "{link:?} {capacity}: {limit}"
                );
                assert!(took <= RESPONSE / 2, "{link:?} {capacity}: {took:?}");
            }
        }
    }

    #[test]
    fn a_long_link_gets_the_operations_in_flight_that_it_needs() {
        let mut limit = Limit::new(1024, RESPONSE);
        let mut now = Instant::now();
        for _ in 0..5 {
            now += ms(100);
            let in_flight = limit.get();
            limit.on_round_trip(ms(100), in_flight, in_flight, now);
        }
        assert!(limit.get() > 400, "{limit:?}");
    }

    #[test]
    fn a_limit_that_is_not_in_use_does_not_grow() {
        let mut limit = Limit::new(1024, RESPONSE);
        for _ in 0..1000 {
            limit.on_round_trip(ms(1), 1, 2, Instant::now());
        }
        assert_eq!(
            limit,
            Limit {
                shortest: Some(ms(1)),
                average: limit.average,
                ..Limit::new(1024, RESPONSE)
            }
        );
    }

    #[test]
    fn what_was_in_flight_together_lowers_the_limit_once() {
        let mut limit = Limit::new(1024, RESPONSE);
        let now = Instant::now();
        for late in 0..10 {
            limit.on_timeout(now + ms(late));
        }
        assert_eq!(limit.get(), 128);
        limit.on_timeout(now + RESPONSE + ms(1));
        assert_eq!(limit.get(), 64);
        for late in 2..20 {
            limit.on_timeout(now + late * RESPONSE);
        }
        assert_eq!(limit.get(), 32);
    }
}
