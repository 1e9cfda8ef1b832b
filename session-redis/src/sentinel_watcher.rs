//! Notices that the primary of a service is another one, whether or not there are requests.
//!
//! One task subscribes to every sentinel, because only the one that leads a failover announces the
//! promotion. News of another primary, a new subscription, and the passing of [`CHECK_EVERY`] make
//! the task ask all sentinels. News of a promotion are followed at once.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    backoff::{exponential, jitter},
    failure::Failure,
    sentinel::Sentinels,
    sentinel_subscription::{News, Subscription},
};

/// How often all sentinels are asked, before jitter.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The shortest pause before they are asked because of a suspicion.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The pause before a sentinel is tried again after the first failure; it doubles up to
/// [`CHECK_EVERY`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// After so many intervals without a sign of life, the task is replaced: nothing drives its
/// runtime.
const STUCK_AFTER: u32 = 3;

/// The task that watches the sentinels of a store. It ends when this is dropped.
pub(crate) struct Watching {
    sentinels: Arc<Sentinels>,
    check_every: Duration,
    shared: Arc<Shared>,
    latest: Mutex<Latest>,
}

/// The task that was started last.
#[derive(Default)]
struct Latest {
    number: u64,
    task: Option<AbortHandle>,
}

/// What the task shares with the store. It does not keep the store alive.
#[derive(Debug)]
struct Shared {
    /// The number of the running task, or [`NONE`].
    running: AtomicU64,
    suspicion: Notify,
    seen_at: Mutex<Instant>,
    /// How many sentinels are subscribed to.
    subscribed: AtomicUsize,
}

const NONE: u64 = 0;

impl Watching {
    /// Nothing runs yet.
    pub(crate) fn new(sentinels: Arc<Sentinels>) -> Self {
        Self::with_interval(sentinels, CHECK_EVERY)
    }

    fn with_interval(sentinels: Arc<Sentinels>, check_every: Duration) -> Self {
        Self {
            sentinels,
            check_every,
            shared: Arc::new(Shared {
                running: AtomicU64::new(NONE),
                suspicion: Notify::new(),
                seen_at: Mutex::new(Instant::now()),
                subscribed: AtomicUsize::new(0),
            }),
            latest: Mutex::default(),
        }
    }

    /// Starts the task unless it runs: at the first use, and after its runtime has ended.
    pub(crate) fn keep_running(&self) {
        if self.shared.running.load(Ordering::Acquire) == NONE {
            self.start(NONE);
        }
    }

    /// As [`keep_running`](Self::keep_running), and replaces a task that nothing drives.
    pub(crate) fn keep_alive(&self) {
        let running = self.shared.running.load(Ordering::Acquire);
        let stuck = self.shared.seen_at().elapsed() > STUCK_AFTER * self.check_every;
        if running == NONE || stuck {
            self.start(running);
        }
    }

    /// Something is odd about the primary: asks the sentinels soon.
    pub(crate) fn suspect_primary(&self) {
        self.shared.suspicion.notify_one();
    }

    /// Replaces the task of this number.
    fn start(&self, previous: u64) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (running, number) = (&self.shared.running, latest.number + 1);
        let swapped =
            running.compare_exchange(previous, number, Ordering::AcqRel, Ordering::Acquire);
        if swapped.is_err() {
            // it was replaced concurrently
            return;
        }
        latest.number = number;
        *self.shared.seen_at() = Instant::now();
        let watcher = Watcher {
            number,
            sentinels: Arc::downgrade(&self.sentinels),
            check_every: self.check_every,
            shared: self.shared.clone(),
        };
        let task = runtime.spawn(watcher.run()).abort_handle();
        if let Some(stuck) = latest.task.replace(task) {
            stuck.abort();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let latest = self
            .latest
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = latest.task.take() {
            task.abort();
        }
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("sentinels", &self.sentinels)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn seen_at(&self) -> MutexGuard<'_, Instant> {
        self.seen_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task.
struct Watcher {
    number: u64,
    sentinels: Weak<Sentinels>,
    check_every: Duration,
    shared: Arc<Shared>,
}

/// What the task waits for, other than time.
enum Event {
    /// A sentinel has another primary, or may have had one before it was subscribed to.
    Changed,
    /// The subscription to the sentinel of this number is gone, or was refused.
    Lost(usize, Failure),
    Subscribed(usize),
    /// See [`Watching::suspect_primary`].
    Suspicion,
}

impl Watcher {
    async fn run(self) {
        let (events, mut received) = mpsc::unbounded_channel();
        let mut listeners = JoinSet::new();
        // for each sentinel, unless it was not tried yet
        let mut subscribed = Vec::new();
        if let Some(sentinels) = self.sentinels.upgrade() {
            subscribed = vec![None; sentinels.addresses().len()];
            for sentinel in 0..subscribed.len() {
                let listener = Listener {
                    sentinel,
                    sentinels: self.sentinels.clone(),
                    check_every: self.check_every,
                    events: events.clone(),
                };
                listeners.spawn(listener.run());
            }
        }
        let mut checked_at = Instant::now();
        let mut check_at = checked_at + jitter(self.check_every);
        loop {
            *self.shared.seen_at() = Instant::now();
            match timeout_at(check_at, event(&mut received, &self.shared.suspicion)).await {
                Ok(Event::Changed) => check_at = Instant::now(),
                Ok(Event::Suspicion) => check_at = check_at.min(checked_at + MIN_PAUSE),
                Ok(Event::Subscribed(sentinel)) => {
                    self.set(&mut subscribed, sentinel, true);
                    check_at = Instant::now();
                }
                Ok(Event::Lost(sentinel, failure)) => {
                    if self.set(&mut subscribed, sentinel, false)
                        && let Some(sentinels) = self.sentinels.upgrade()
                    {
                        tracing::warn!(
                            %failure,
                            service = sentinels.service(),
                            "cannot subscribe to any sentinel; a failover is noticed later"
                        );
                    }
                }
                Err(_) => {}
            }
            let Some(sentinels) = self.sentinels.upgrade() else {
                return;
            };
            if Instant::now() >= check_at {
                sentinels.check().await;
                checked_at = Instant::now();
                check_at = checked_at + jitter(self.check_every);
            }
        }
    }

    /// Sets whether a sentinel is subscribed to. Returns whether by this, none is any more.
    fn set(&self, subscribed: &mut [Option<bool>], sentinel: usize, is: bool) -> bool {
        let none = |all: &[Option<bool>]| all.iter().all(|one| *one == Some(false));
        let before = none(subscribed);
        subscribed[sentinel] = Some(is);
        let count = subscribed.iter().filter(|one| **one == Some(true)).count();
        self.shared.subscribed.store(count, Ordering::Release);
        !before && none(subscribed)
    }
}

impl Drop for Watcher {
    /// If the task was aborted with its runtime, the next operation starts another.
    fn drop(&mut self) {
        let running = &self.shared.running;
        // an error means that it was replaced
        let _ = running.compare_exchange(self.number, NONE, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Waits for the next event.
async fn event(received: &mut mpsc::UnboundedReceiver<Event>, suspicion: &Notify) -> Event {
    let mut suspicion = pin!(suspicion.notified());
    poll_fn(|cx| {
        if suspicion.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Suspicion);
        }
        match received.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            // every listener has ended, as the store has
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Keeps a subscription to one sentinel.
struct Listener {
    /// Its number in the list.
    sentinel: usize,
    sentinels: Weak<Sentinels>,
    check_every: Duration,
    events: mpsc::UnboundedSender<Event>,
}

impl Listener {
    async fn run(self) {
        let mut failures = 0;
        while let Some(subscribed) = self.subscribe().await {
            let lost = match subscribed {
                Ok(subscription) => {
                    self.tell(Event::Subscribed(self.sentinel));
                    failures = 0;
                    self.listen(subscription).await
                }
                Err(failure) => failure,
            };
            tracing::debug!(failure = %lost, "no subscription to a sentinel");
            self.tell(Event::Lost(self.sentinel, lost));
            failures += 1;
            sleep(jitter(
                exponential(FIRST_PAUSE, failures).min(self.check_every),
            ))
            .await;
        }
    }

    /// Subscribes; `None` if the store was dropped.
    async fn subscribe(&self) -> Option<Result<Subscription, Failure>> {
        let sentinels = self.sentinels.upgrade()?;
        let address = sentinels.addresses().get(self.sentinel)?;
        let config = sentinels.config().clone();
        Some(Subscription::start(address, sentinels.service(), &config).await)
    }

    /// Passes on what the sentinel publishes, until the subscription is lost.
    async fn listen(&self, mut subscription: Subscription) -> Failure {
        loop {
            let confirm_at = Instant::now() + jitter(self.check_every);
            let news = poll_fn(|cx| subscription.poll_news(cx));
            let news = timeout_at(confirm_at, news).await;
            let Some(sentinels) = self.sentinels.upgrade() else {
                return Failure::Closed;
            };
            match news {
                Ok(Some(News::Promoting { primary, replica })) => {
                    sentinels.hand_over(&primary, &replica).await;
                }
                Ok(Some(News::Switched)) => self.tell(Event::Changed),
                Ok(None) => return Failure::Closed,
                Err(_) => {
                    if let Err(failure) = subscription.confirm(sentinels.config()).await {
                        return failure;
                    }
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        // an error means that the task ends
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
#[path = "sentinel_watcher_tests.rs"]
mod tests;
