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
//! [`Limit`] decides; [`Admission`] keeps the waiting operations in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{failure::Failure, limit::Limit, metrics::NodeMetrics};

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
            let until = deadline - state.limit.average().min(deadline - now);
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
