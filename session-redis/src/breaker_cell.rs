//! A breaker that the operations of several threads share.

use std::{
    mem::replace,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::breaker::{Action, Breaker, BreakerConfig, Event, Notice, Phase};

/// Applies one event after the other to a breaker.
#[derive(Debug)]
pub(crate) struct BreakerCell<C> {
    config: BreakerConfig,
    breaker: watch::Sender<Breaker<C>>,
    repair: Mutex<LatestRepair>,
    /// A copy of [`Breaker::is_suspect`], because every reply reads it.
    suspect: AtomicBool,
}

/// The repair that was started last. If nothing drives its runtime, another takes its place.
#[derive(Debug)]
struct LatestRepair {
    number: u64,
    /// When it was last seen to run.
    seen_at: Instant,
}

/// What the breaker said about an event.
#[derive(Debug, PartialEq)]
pub(crate) struct Applied {
    pub(crate) action: Action,
    /// The number of the repair that was started last.
    pub(crate) repair: u64,
    pub(crate) notice: Option<Notice>,
    /// The phases before and after the event.
    pub(crate) phases: (Phase, Phase),
}

impl<C: Clone> BreakerCell<C> {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            breaker: watch::Sender::new(Breaker::Idle),
            repair: Mutex::new(LatestRepair {
                number: 0,
                seen_at: Instant::now(),
            }),
            suspect: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> Breaker<C> {
        self.breaker.borrow().clone()
    }

    /// Whether this is the connection that is in use.
    pub(crate) fn is_active(&self, serial: u64) -> bool {
        self.breaker.borrow().is_active(serial)
    }

    /// Waits until the breaker is not [`Connecting`](Breaker::Connecting).
    pub(crate) async fn connecting_ended(&self) {
        let mut breaker = self.breaker.subscribe();
        let ended = |breaker: &Breaker<C>| !matches!(breaker, Breaker::Connecting(_));
        // an error means that the sender was dropped, and it is a field of this
        let _ = breaker.wait_for(ended).await;
    }

    /// Waits until the breaker is closed, or is no more.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<C>
    where
        C: Send + Sync + 'static,
    {
        let mut breaker = self.breaker.subscribe();
        async move {
            let closed = |breaker: &Breaker<C>| !matches!(breaker, Breaker::Down { .. });
            let _ = breaker.wait_for(closed).await;
        }
    }

    /// The server replied to an operation on the connection of this serial.
    pub(crate) fn on_reply(&self, serial: u64) {
        if self.suspect.load(Ordering::Relaxed) {
            self.apply(Event::Answered { serial });
        }
    }

    /// Applies an event that does not come from the repair.
    pub(crate) fn apply(&self, event: Event<C>) -> Applied {
        self.apply_if(event, None)
    }

    /// Applies an event of the repair of this number. One that was replaced ends.
    pub(crate) fn apply_of_repair(&self, repair: u64, event: Event<C>) -> Applied {
        self.apply_if(event, Some(repair))
    }

    /// The repair of this number is alive, though it waits.
    pub(crate) fn repair_waits(&self, repair: u64) {
        let mut latest = self.lock_repair();
        if latest.number == repair {
            latest.seen_at = Instant::now();
        }
    }

    /// The number of the repair, if one is needed that has not been seen to run for so long.
    pub(crate) fn stuck_repair(&self, limit: Duration) -> Option<u64> {
        let needed = self.breaker.borrow().has_repair();
        let latest = self.lock_repair();
        (needed && latest.seen_at.elapsed() > limit).then_some(latest.number)
    }

    fn apply_if(&self, event: Event<C>, repair: Option<u64>) -> Applied {
        let mut applied = Applied {
            action: Action::EndRepair,
            repair: 0,
            notice: None,
            phases: (Phase::Idle, Phase::Idle),
        };
        self.breaker.send_if_modified(|breaker| {
            let before = breaker.phase();
            applied.phases = (before, before);
            let mut latest = self.lock_repair();
            if let Some(number) = repair {
                if latest.number != number {
                    return false;
                }
                latest.seen_at = Instant::now();
            }
            let transition =
                replace(breaker, Breaker::Idle).on(event, &self.config, Instant::now());
            *breaker = transition.state;
            self.suspect.store(breaker.is_suspect(), Ordering::Relaxed);
            if transition.action == Action::StartRepair {
                latest.number += 1;
                latest.seen_at = Instant::now();
            }
            applied = Applied {
                action: transition.action,
                repair: latest.number,
                notice: transition.notice,
                phases: (before, breaker.phase()),
            };
            breaker.phase() != before
        });
        applied
    }

    fn lock_repair(&self) -> MutexGuard<'_, LatestRepair> {
        self.repair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::{breaker::Active, failure::Failure};

    fn cell() -> BreakerCell<()> {
        BreakerCell::new(BreakerConfig {
            failures: 2,
            connect_timeout: Duration::from_secs(60),
            probe_every: Duration::from_secs(1),
        })
    }

    fn connected(serial: u64) -> Event<()> {
        Event::Connected(Active {
            connection: (),
            serial,
            socket: serial,
            generation: 0,
            connected_at: Instant::now(),
        })
    }

    #[test]
    fn a_reply_between_two_timeouts_keeps_the_breaker_closed() {
        let cell = cell();
        let timed_out = || cell.apply(Event::TimedOut { serial: 1 });
        cell.apply(Event::Requested);
        cell.apply(connected(1));
        assert_eq!(timed_out().notice, None);
        cell.on_reply(2);
        assert!(cell.state().is_suspect(), "another connection");
        cell.on_reply(1);
        assert!(!cell.state().is_suspect());
        assert_eq!(timed_out().notice, None);
        assert!(cell.is_active(1));
        assert_eq!(timed_out().notice, Some(Notice::Opened(Failure::TimedOut)));
        assert!(!cell.is_active(1));
    }

    #[test]
    fn a_repair_that_is_not_seen_any_more_is_replaced_and_ends_when_it_runs_again() {
        let cell = cell();
        assert_eq!(cell.stuck_repair(Duration::ZERO), None, "none runs");
        let first = cell.apply(Event::Requested).repair;
        assert_eq!(cell.stuck_repair(Duration::from_secs(60)), None);
        assert_eq!(cell.stuck_repair(Duration::ZERO), Some(first));
        cell.apply_of_repair(first, Event::RepairAborted);
        let second = cell.apply(Event::Requested).repair;
        assert_ne!(first, second);
        for event in [
            Event::AttemptStarted,
            connected(1),
            Event::AttemptFailed(Failure::Closed),
            Event::RepairAborted,
        ] {
            let applied = cell.apply_of_repair(first, event);
            assert_eq!(applied.action, Action::EndRepair);
            assert_eq!(cell.state().phase(), Phase::Connecting);
        }
        cell.apply_of_repair(second, connected(2));
        assert!(cell.is_active(2));
        assert_eq!(cell.stuck_repair(Duration::ZERO), None, "it has ended");
    }

    #[tokio::test]
    async fn waiting_ends_with_the_first_attempts() {
        for end in [
            vec![connected(1)],
            vec![
                Event::AttemptFailed(Failure::Closed),
                Event::AttemptFailed(Failure::Closed),
            ],
            vec![Event::RepairAborted],
        ] {
            let cell = cell();
            cell.connecting_ended().await;
            cell.apply(Event::Requested);
            let mut ended = pin!(cell.connecting_ended());
            assert!(poll_once(ended.as_mut()).await.is_pending());
            for event in end {
                cell.apply(event);
            }
            ended.await;
        }
    }

    /// Polls a future once.
    async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
    }
}
