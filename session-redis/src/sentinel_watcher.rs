//! Notices that the primary of a service is another one, whether or not there are requests.
//!
//! One task subscribes to [`SWITCH_CHANNEL`] on one sentinel after the other, until one accepts.
//! A message on it, a new subscription, and the passing of [`CHECK_EVERY`] make the task ask all
//! sentinels. The message itself is not believed, because it has no epoch.
//!
//! The subscription is a connection of its own, and speaks RESP2, which every server does.

use std::{
    fmt,
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_core::Stream;
use redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    address::Address,
    backoff::{exponential, jitter},
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
    sentinel::Sentinels,
};

/// The command that subscribes. The redis crate sends it.
pub(crate) const SUBSCRIBE: &str = "SUBSCRIBE";

/// Where sentinels publish that a service has another primary.
pub(crate) const SWITCH_CHANNEL: &str = "+switch-master";

/// How often all sentinels are asked, before jitter.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The shortest pause before they are asked because of a suspicion.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The pause before the next sentinel is tried after the first that failed; it doubles up to
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
    /// A sentinel says that a primary has changed.
    Switched(Msg),
    /// The subscription is gone.
    Closed,
    /// See [`Watching::suspect_primary`].
    Suspicion,
}

impl Watcher {
    async fn run(self) {
        let mut next = RandomState::new().hash_one(0u8) as usize;
        let mut failures = 0;
        let mut subscription = None;
        let mut subscribe_at = Instant::now();
        let mut checked_at = Instant::now();
        let mut check_at = checked_at + jitter(self.check_every);
        loop {
            *self.shared.seen_at() = Instant::now();
            let due = match &subscription {
                Some(_) => check_at,
                None => check_at.min(subscribe_at),
            };
            match timeout_at(due, event(&mut subscription, &self.shared.suspicion)).await {
                Ok(Event::Switched(message)) if self.concerns(&message) => {
                    check_at = Instant::now();
                }
                Ok(Event::Switched(_)) | Err(_) => {}
                Ok(Event::Closed) => {
                    subscription = None;
                    subscribe_at = Instant::now() + self.pause(&mut failures);
                }
                Ok(Event::Suspicion) => check_at = check_at.min(checked_at + MIN_PAUSE),
            }
            let Some(sentinels) = self.sentinels.upgrade() else {
                return;
            };
            if subscription.is_none() && Instant::now() >= subscribe_at {
                next = (next + 1) % sentinels.addresses().len().max(1);
                match subscribe(&sentinels, next).await {
                    Ok(subscribed) => {
                        subscription = Some(subscribed);
                        // it may have changed before
                        check_at = Instant::now();
                    }
                    Err(failure) => {
                        subscribe_at = Instant::now() + self.pause(&mut failures);
                        log_failure(&failure, failures, &sentinels);
                    }
                }
            }
            if Instant::now() >= check_at {
                sentinels.check().await;
                checked_at = Instant::now();
                check_at = checked_at + jitter(self.check_every);
                if let Some(subscribed) = &mut subscription {
                    match subscribed.confirm(sentinels.config()).await {
                        Ok(()) => failures = 0,
                        Err(failure) => {
                            tracing::debug!(%failure, "the subscription to a sentinel is lost");
                            subscription = None;
                            subscribe_at = Instant::now() + self.pause(&mut failures);
                        }
                    }
                }
            }
        }
    }

    /// Whether a message is about the service of the store. Its first word is the service.
    fn concerns(&self, message: &Msg) -> bool {
        let text = message.get_payload::<String>().unwrap_or_default();
        let sentinels = self.sentinels.upgrade();
        sentinels.is_some_and(|sentinels| text.split(' ').next() == Some(sentinels.service()))
    }

    /// Counts a failure, and returns the pause after it.
    fn pause(&self, failures: &mut u32) -> Duration {
        *failures = failures.saturating_add(1);
        jitter(exponential(FIRST_PAUSE, *failures).min(self.check_every))
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

/// Warns when every sentinel was tried once.
fn log_failure(failure: &Failure, failures: u32, sentinels: &Sentinels) {
    let all = sentinels.addresses().len();
    if usize::try_from(failures) == Ok(all) {
        tracing::warn!(
            %failure,
            service = sentinels.service(),
            "cannot subscribe to any sentinel; a failover is noticed later"
        );
    } else {
        tracing::debug!(%failure, "cannot subscribe to a sentinel");
    }
}

/// Waits for the next event.
async fn event(subscription: &mut Option<Subscription>, suspicion: &Notify) -> Event {
    let mut suspicion = pin!(suspicion.notified());
    poll_fn(|cx| {
        if suspicion.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Suspicion);
        }
        let Some(subscription) = subscription else {
            return Poll::Pending;
        };
        Pin::new(&mut subscription.messages)
            .poll_next(cx)
            .map(|message| message.map_or(Event::Closed, Event::Switched))
    })
    .await
}

/// A connection to a sentinel that is subscribed.
struct Subscription {
    sentinel: Address,
    requests: PubSubSink,
    messages: PubSubStream,
}

async fn subscribe(sentinels: &Sentinels, index: usize) -> Result<Subscription, Failure> {
    let Some(sentinel) = sentinels.addresses().get(index) else {
        return Err(Failure::unavailable("there is no sentinel"));
    };
    let config = sentinels.config();
    let connected = Endpoint::Tcp(sentinel)
        .connect_to_subscribe(config, Role::Sentinel)
        .await?;
    let (requests, messages) = connected.split();
    let mut subscription = Subscription {
        sentinel: sentinel.clone(),
        requests,
        messages,
    };
    subscription.confirm(config).await?;
    tracing::debug!(%sentinel, "subscribed to a sentinel");
    Ok(subscription)
}

impl Subscription {
    /// Subscribes, or makes sure that the sentinel still replies: to subscribe again changes
    /// nothing, and needs no other permission.
    async fn confirm(&mut self, config: &RedisConfig) -> Result<(), Failure> {
        match timeout(
            config.connect_timeout,
            self.requests.subscribe(SWITCH_CHANNEL),
        )
        .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::from_connecting(&error)),
            Err(_) => Err(Failure::unavailable("timed out while subscribing")),
        }
        .map_err(|failure| failure.at(&self.sentinel))
    }
}

#[cfg(test)]
mod tests {
    use test_support::{FakeRedis, Redis, eventually};
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// No check happens by itself during a test.
    const NEVER: Duration = Duration::from_secs(3600);

    fn watching(servers: &test_support::Sentinels, check_every: Duration) -> Watching {
        let addresses = servers.sentinels.iter().map(|sentinel| Address {
            host: "127.0.0.1".to_owned(),
            port: sentinel.port(),
        });
        let config = RedisConfig::from_url(&servers.url()).expect("a URL");
        let service = test_support::Sentinels::SERVICE.to_owned();
        let on_change = Arc::new(|| {});
        let sentinels = Sentinels::new(Arc::new(config), addresses.collect(), service, on_change);
        Watching::with_interval(sentinels, check_every)
    }

    /// How many clients subscribe to a sentinel.
    fn subscribers(sentinel: &Redis) -> usize {
        let clients = sentinel.try_command::<String>(&["CLIENT", "LIST"]);
        clients.map_or(0, |clients| clients.matches(" sub=1 ").count())
    }

    async fn assert_subscribers(servers: &test_support::Sentinels, expected: usize) {
        eventually("a sentinel is subscribed to", async || {
            servers.sentinels.iter().map(subscribers).sum::<usize>() == expected
        })
        .await;
    }

    fn runtime() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failover_is_noticed_by_the_subscription_which_moves_to_another_sentinel() {
        let servers = test_support::Sentinels::start();
        assert_subscribers(&servers, 0).await;
        let watching = watching(&servers, NEVER);
        assert_subscribers(&servers, 0).await;
        watching.keep_running();
        watching.keep_running();
        assert_subscribers(&servers, 1).await;
        eventually("the first check", async || {
            watching.sentinels.generation() == 1
        })
        .await;
        servers.fail_over();
        eventually("the failover is noticed", async || {
            watching.sentinels.generation() == 2
        })
        .await;
        let found = watching.sentinels.find_primary().await.expect("a primary");
        assert_eq!(found.address.port, servers.servers[1].port());

        let is_subscribed = |sentinel: &&Redis| subscribers(sentinel) == 1;
        let subscribed = servers.sentinels.iter().find(is_subscribed);
        subscribed.expect("a subscription").kill();
        assert_subscribers(&servers, 1).await;
        drop(watching);
        assert_subscribers(&servers, 0).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sentinel_that_hangs_is_left_at_the_next_check() {
        let servers = test_support::Sentinels::start();
        let watching = watching(&servers, Duration::from_millis(500));
        watching.keep_running();
        assert_subscribers(&servers, 1).await;
        let is_subscribed = |sentinel: &&Redis| subscribers(sentinel) == 1;
        let hung = servers.sentinels.iter().find(is_subscribed);
        let hung = hung.expect("a subscription");
        hung.pause();
        let others = servers.sentinels.iter();
        let others: Vec<_> = others.filter(|other| other.port() != hung.port()).collect();
        eventually("another sentinel is subscribed to", async || {
            others.iter().any(|other| subscribers(other) == 1)
        })
        .await;
        hung.resume();
    }

    #[test]
    fn the_task_is_started_again_if_its_runtime_ended() {
        let servers = test_support::Sentinels::start();
        let watching = watching(&servers, NEVER);
        watching.keep_running();
        assert_eq!(watching.shared.running.load(Ordering::Acquire), NONE);
        let first = runtime();
        first.block_on(async {
            watching.keep_running();
            assert_subscribers(&servers, 1).await;
        });
        drop(first);
        let second = runtime();
        second.block_on(async {
            assert_subscribers(&servers, 0).await;
            watching.keep_running();
            assert_subscribers(&servers, 1).await;
        });
    }

    #[test]
    fn a_task_on_a_runtime_that_nothing_drives_is_replaced() {
        let servers = test_support::Sentinels::start();
        let watching = watching(&servers, Duration::from_millis(200));
        let stopped = runtime();
        stopped.block_on(async {
            watching.keep_alive();
            assert_subscribers(&servers, 1).await;
        });
        let other = runtime();
        other.block_on(async {
            eventually("the task is replaced", async || {
                watching.keep_alive();
                watching.shared.running.load(Ordering::Acquire) == 2
            })
            .await;
            assert_subscribers(&servers, 2).await;
        });
        // it learns of that when it runs again, and changes nothing
        stopped.block_on(assert_subscribers(&servers, 1));
        assert_eq!(watching.shared.running.load(Ordering::Acquire), 2);
    }

    /// The sentinel is a fake one that accepts no subscription.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_suspicion_makes_the_task_ask_the_sentinels() {
        let sentinel = FakeRedis::with_reply("").await;
        let name_primary = |port: &str, epoch: &str| {
            let words = [
                "ip",
                "h",
                "port",
                port,
                "flags",
                "master",
                "config-epoch",
                epoch,
            ];
            let words = words.map(|word| format!("${}\r\n{word}\r\n", word.len()));
            sentinel.set_reply(&format!("*8\r\n{}", words.concat()));
        };
        name_primary("1", "1");
        let address = Address::parse(&sentinel.addr().to_string(), 1).expect("an address");
        let config = Arc::new(RedisConfig::standalone("h").expect("an address"));
        let service = "sessions".to_owned();
        let sentinels = Sentinels::new(config, vec![address], service, Arc::new(|| {}));
        let watching = Watching::with_interval(sentinels, NEVER);
        let found = watching.sentinels.find_primary().await.expect("a primary");
        assert_eq!((found.address.port, found.generation), (1, 1));
        watching.keep_running();
        eventually("a subscription fails", async || sentinel.commands() > 1).await;
        name_primary("2", "2");
        watching.suspect_primary();
        eventually("the primary is another", async || {
            watching.sentinels.generation() == 2
        })
        .await;
    }
}
