//! A breaker that the operations of several threads share.

use std::{
    mem::replace,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use tokio::sync::watch;

use crate::breaker::{Action, Breaker, BreakerConfig, Event, Notice, Phase};

/// Applies one event after the other to a breaker.
#[derive(Debug)]
pub(crate) struct BreakerCell<C> {
    config: BreakerConfig,
    breaker: watch::Sender<Breaker<C>>,
    /// A copy of [`Breaker::is_suspect`], because every reply reads it.
    suspect: AtomicBool,
}

/// What the breaker said about an event.
#[derive(Debug, PartialEq)]
pub(crate) struct Applied {
    pub(crate) action: Action,
    pub(crate) notice: Option<Notice>,
    /// The phases before and after the event.
    pub(crate) phases: (Phase, Phase),
}

impl<C: Clone> BreakerCell<C> {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            breaker: watch::Sender::new(Breaker::Idle),
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

    /// The server replied to an operation.
    pub(crate) fn on_reply(&self) {
        if self.suspect.load(Ordering::Relaxed) {
            self.apply(Event::Answered);
        }
    }

    pub(crate) fn apply(&self, event: Event<C>) -> Applied {
        let mut applied = Applied {
            action: Action::None,
            notice: None,
            phases: (Phase::Idle, Phase::Idle),
        };
        self.breaker.send_if_modified(|breaker| {
            let before = breaker.phase();
            let transition =
                replace(breaker, Breaker::Idle).on(event, &self.config, Instant::now());
            *breaker = transition.state;
            self.suspect.store(breaker.is_suspect(), Ordering::Relaxed);
            applied = Applied {
                action: transition.action,
                notice: transition.notice,
                phases: (before, breaker.phase()),
            };
            breaker.phase() != before
        });
        applied
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

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
        cell.on_reply();
        assert!(!cell.state().is_suspect());
        assert_eq!(timed_out().notice, None);
        assert!(cell.is_active(1));
        assert_eq!(timed_out().notice, Some(Notice::Opened(Failure::TimedOut)));
        assert!(!cell.is_active(1));
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
