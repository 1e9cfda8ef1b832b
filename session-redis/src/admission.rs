//! How many operations may be in flight to one node, and how long others wait for their turn.
//!
//! A server that is asked for more than it can do answers ever later, until every answer is too
//! late. So the number of operations in flight is limited, and the limit follows the measured round
//! trips: it grows while replies come quickly, and shrinks when they take longer than the target.
//! What is beyond the limit waits, for a short time at most; the rest is refused at once, as
//! overload, while there is still time to tell the client.
//!
//! Operations that continue a request go first. A request that could load its session and then not
//! save it would have cost the server a load for nothing.
//!
//! [`Limit`] decides, and reads no clock; [`Admission`] keeps the waiting operations in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{failure::Failure, metrics::NodeMetrics};

/// Never fewer than this many operations may be in flight: a server that cannot serve these in time
/// is not overloaded but broken, or it is this process that has no time to read the replies.
const MIN_LIMIT: f64 = 32.0;

/// The first limit, before anything is measured.
const FIRST_LIMIT: f64 = 256.0;

/// By how much a limit that is in use grows with each operation that was answered at once, which
/// doubles it in one round trip. It grows the less the nearer the round trips are to the target.
const GROWTH: f64 = 1.0;

/// An operation whose turn would come later than this part of `total_timeout` is refused.
const MAX_WAIT_PART: u32 = 10;

/// What an operation is for, the less urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// It begins the work of a request.
    Begin,
    /// It continues what a request has begun.
    Continue,
}

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
    fn expected_wait(&self, waiting: usize) -> Duration {
        self.average.mul_f64(waiting as f64 / self.limit.max(1.0))
    }
}

/// Lets operations through to one node.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
    max_wait: Duration,
    metrics: NodeMetrics,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    in_flight: usize,
    continuing: VecDeque<oneshot::Sender<Permit>>,
    beginning: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to have one operation in flight. Dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<Admission>>);

/// How full a node is.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    in_flight: usize,
    waiting: usize,
    limit: usize,
}

impl Admission {
    pub(crate) fn new(
        max: usize,
        response_timeout: Duration,
        total_timeout: Duration,
        metrics: NodeMetrics,
    ) -> Arc<Self> {
        let limit = Limit::new(max, response_timeout);
        metrics.limit(0, limit.get());
        Arc::new(Self {
            state: Mutex::new(State {
                limit,
                in_flight: 0,
                continuing: VecDeque::new(),
                beginning: VecDeque::new(),
            }),
            max_wait: total_timeout / MAX_WAIT_PART,
            metrics,
        })
    }

    /// Takes a permit if one is free and nobody waits for it.
    pub(crate) fn try_admit(self: &Arc<Self>, priority: Priority) -> Option<Permit> {
        let mut state = self.lock();
        let waits = match priority {
            Priority::Begin => state.waiting() > 0,
            Priority::Continue => !state.continuing.is_empty(),
        };
        if waits || state.in_flight >= state.limit.get() {
            return None;
        }
        state.in_flight += 1;
        Some(self.permit())
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// Overload: the wait would be too long, or was.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, its place and its permit go to the next.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        priority: Priority,
        deadline: Instant,
    ) -> Result<Permit, Failure> {
        let now = Instant::now();
        let turn = {
            let mut state = self.lock();
            let ahead = match priority {
                Priority::Begin => state.waiting(),
                Priority::Continue => state.continuing.len(),
            };
            if state.in_flight < state.limit.get() && ahead == 0 {
                state.in_flight += 1;
                return Ok(self.permit());
            }
            let wait = state.limit.expected_wait(ahead + 1);
            // what is sent later than this is answered too late
            let until = deadline - state.limit.average.min(deadline - now);
            if wait > self.max_wait || now + wait > until {
                return Err(Failure::overloaded());
            }
            let (give, turn) = oneshot::channel();
            match priority {
                Priority::Begin => state.beginning.push_back(give),
                Priority::Continue => state.continuing.push_back(give),
            }
            turn
        };
        let _waiting = self.metrics.wait();
        let until = deadline.min(now + self.max_wait);
        match timeout_at(until, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Failure::overloaded()),
        }
    }

    /// Operations were answered together.
    pub(crate) fn on_round_trip(self: &Arc<Self>, took: Duration, operations: usize) {
        let mut state = self.lock();
        let (in_flight, now) = (state.in_flight, Instant::now());
        self.adjust(&mut state, |limit| {
            limit.on_round_trip(took, operations, in_flight, now);
        });
        self.hand_out(state);
    }

    /// Operations were not answered in time.
    pub(crate) fn on_timeout(&self) {
        self.adjust(&mut self.lock(), |limit| limit.on_timeout(Instant::now()));
    }

    /// A new connection may lead elsewhere.
    pub(crate) fn on_connected(self: &Arc<Self>) {
        let mut state = self.lock();
        self.adjust(&mut state, Limit::on_connected);
        self.hand_out(state);
    }

    #[cfg(test)]
    fn load(&self) -> Load {
        let state = self.lock();
        Load {
            in_flight: state.in_flight,
            waiting: state.waiting(),
            limit: state.limit.get(),
        }
    }

    fn adjust(&self, state: &mut State, adjust: impl FnOnce(&mut Limit)) {
        let before = state.limit.get();
        adjust(&mut state.limit);
        self.metrics.limit(before, state.limit.get());
    }

    fn permit(self: &Arc<Self>) -> Permit {
        self.metrics.admitted();
        Permit(Some(self.clone()))
    }

    /// Gives free permits to those that wait. Some of them may have given up.
    fn hand_out(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        while state.in_flight < state.limit.get() {
            let next = state.continuing.pop_front();
            let Some(next) = next.or_else(|| state.beginning.pop_front()) else {
                return;
            };
            // not sent under a permit of its own, whose drop would lock again
            if next.is_closed() {
                continue;
            }
            state.in_flight += 1;
            if let Err(mut refused) = next.send(self.permit()) {
                refused.0 = None;
                self.metrics.released();
                state.in_flight -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.continuing.len() + self.beginning.len()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let limit = self.lock().limit.get();
        self.metrics.limit(limit, 0);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(admission) = self.0.take() else {
            return;
        };
        let mut state = admission.lock();
        state.in_flight -= 1;
        admission.metrics.released();
        admission.hand_out(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: Duration = Duration::from_millis(500);
    const TOTAL: Duration = Duration::from_secs(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Lets one operation through at a time.
    fn admission() -> Arc<Admission> {
        Admission::new(1, RESPONSE, TOTAL, NodeMetrics::new("node"))
    }

    fn deadline() -> Instant {
        Instant::now() + TOTAL
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

    #[tokio::test]
    async fn operations_wait_in_order_and_those_that_continue_go_first() {
        let admission = admission();
        let first = admission.try_admit(Priority::Begin).expect("a free permit");
        assert!(admission.try_admit(Priority::Continue).is_none());
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (number, priority) in [
            (0, Priority::Begin),
            (1, Priority::Begin),
            (2, Priority::Continue),
        ] {
            let (waiting, served) = (admission.clone(), served.clone());
            tokio::spawn(async move {
                let permit = waiting.admit(priority, deadline()).await;
                let _ = served.send(number);
                drop(permit.expect("a turn"));
            });
            tokio::task::yield_now().await;
        }
        let load = Load {
            in_flight: 1,
            waiting: 3,
            limit: 1,
        };
        assert_eq!(admission.load(), load);
        drop(first);
        let order = [order.recv().await, order.recv().await, order.recv().await];
        assert_eq!(order, [Some(2), Some(0), Some(1)]);
        assert_eq!(
            admission.load(),
            Load {
                in_flight: 0,
                waiting: 0,
                limit: 1
            }
        );
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_costs_no_permit() {
        let admission = admission();
        let first = admission.try_admit(Priority::Begin).expect("a free permit");
        let waiting = admission.clone();
        let given_up =
            tokio::spawn(async move { waiting.admit(Priority::Begin, deadline()).await });
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.is_err());
        drop(first);
        drop(admission.try_admit(Priority::Begin).expect("a free permit"));
        assert_eq!(admission.load().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_lets_those_through_that_wait() {
        let admission = Admission::new(1000, RESPONSE, TOTAL, NodeMetrics::new("node"));
        for _ in 0..20 {
            admission.on_timeout();
            tokio::time::advance(RESPONSE).await;
        }
        let limit = admission.load().limit;
        let permits: Vec<_> = (0..limit)
            .map(|_| admission.try_admit(Priority::Begin).expect("a free permit"))
            .collect();
        let waiting = admission.clone();
        let waits = tokio::spawn(async move { waiting.admit(Priority::Begin, deadline()).await });
        tokio::task::yield_now().await;
        assert_eq!(admission.load().waiting, 1);
        admission.on_connected();
        assert!(waits.await.expect("not aborted").is_ok());
        drop(permits);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_in_time_to_tell_the_client() {
        let admission = admission();
        let permit = admission.try_admit(Priority::Begin).expect("a free permit");
        let start = Instant::now();
        let refused = admission.admit(Priority::Begin, deadline()).await;
        assert_eq!(refused.map(drop), Err(Failure::overloaded()));
        assert_eq!(start.elapsed(), TOTAL / MAX_WAIT_PART);
        drop(permit);
        drop(admission.try_admit(Priority::Begin).expect("a free permit"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_would_wait_too_long_is_refused_at_once() {
        let admission = admission();
        let permit = admission.try_admit(Priority::Begin).expect("a free permit");
        admission.on_round_trip(ms(150), 1);
        let waiting = admission.clone();
        let first = tokio::spawn(async move { waiting.admit(Priority::Begin, deadline()).await });
        tokio::task::yield_now().await;
        let start = Instant::now();
        let refused = admission.admit(Priority::Begin, deadline()).await;
        assert_eq!(refused.map(drop), Err(Failure::overloaded()));
        let soon = start + ms(100);
        let refused = admission.admit(Priority::Continue, soon).await;
        assert_eq!(refused.map(drop), Err(Failure::overloaded()));
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(permit);
        assert!(first.await.expect("not aborted").is_ok());
    }
}
