//! Destroys the sessions of the journal again, when a server may have lost that they have ended.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::SessionId;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    announcer::Announcer,
    backoff::{exponential, jitter},
    bulk,
    config::RedisConfig,
    identity::{OnNews, ServerNews},
    journal::Journal,
    metrics,
    router::Router,
};

/// The shortest pause between two replays: each slot that moves is a reason for one.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The pauses before what failed is sent again.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);

/// How many sessions are destroyed before the task reports that it is running.
const PART: usize = 1000;

/// The journal of a store, and the task that replays it.
pub(crate) struct Replayer {
    router: Arc<Router>,
    config: Arc<RedisConfig>,
    journal: Mutex<Journal>,
    /// How often a server may have lost writes.
    losses: AtomicU64,
    running: Mutex<Running>,
    /// The task was dropped with its runtime before it was done.
    aborted: AtomicBool,
    /// Ends the pause after a failure.
    retry_now: Arc<Notify>,
    this: Weak<Self>,
}

#[derive(Debug, Default)]
struct Running {
    /// The number of the running task. One that nothing drives is replaced.
    task: Option<u64>,
    started: u64,
    /// When the task was last seen to run.
    seen_at: Option<Instant>,
    /// All sessions are to be destroyed again.
    requested: bool,
    /// When it was last begun with all of them.
    last: Option<Instant>,
}

impl Replayer {
    /// Makes the router too, because its connections notice what the replayer has to know.
    pub(crate) fn new(
        config: Arc<RedisConfig>,
        announcer: &Arc<Announcer>,
        max_ids: usize,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let weak = this.clone();
            let on_news: OnNews = Arc::new(move |news| {
                if let Some(replayer) = weak.upgrade() {
                    replayer.on_news(news);
                }
            });
            let on_news = (!config.ended_journal.is_zero()).then_some(on_news);
            Self {
                router: Arc::new(Router::new(&config, announcer, on_news)),
                journal: Mutex::new(Journal::new(config.ended_journal, max_ids)),
                config,
                losses: AtomicU64::new(0),
                running: Mutex::default(),
                aborted: AtomicBool::new(false),
                retry_now: Arc::default(),
                this: this.clone(),
            }
        })
    }

    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a server may have lost writes.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    fn on_news(&self, news: ServerNews) {
        match news {
            ServerNews::Replaced => {
                self.losses.fetch_add(1, Ordering::SeqCst);
                self.request();
            }
            // The time of the entries may be over before it is back. A task that is running has
            // not got its answers, or this is reported again.
            ServerNews::Unreachable if self.runs(&self.running()) => {}
            // another connection may work, on which it is repeated then
            ServerNews::Unreachable if self.has_replayed_lately() => {}
            ServerNews::Unreachable => self.request(),
        }
    }

    /// Starts another task if the last one was dropped with its runtime.
    pub(crate) fn keep_running(&self) {
        if self.aborted.load(Ordering::Relaxed) && self.aborted.swap(false, Ordering::SeqCst) {
            self.request();
        }
    }

    /// Destroys all sessions of the journal again, soon.
    pub(crate) fn request(&self) {
        if self.journal().ids(Instant::now()).is_empty() {
            return;
        }
        let number = {
            let mut running = self.running();
            running.requested = true;
            if self.runs(&running) {
                self.retry_now.notify_one();
                return;
            }
            running.started += 1;
            running.task = Some(running.started);
            running.seen_at = Some(Instant::now());
            self.journal().hold();
            running.started
        };
        let task = Task {
            replayer: self.this.clone(),
            number,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(task.run())),
            // no runtime: dropping the task reports that it was aborted
            Err(_) => drop(task),
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task is running, and something drives it.
    fn runs(&self, running: &Running) -> bool {
        let stuck_after = MAX_RETRY + 2 * self.config.total_timeout;
        let seen = running.seen_at.map(|seen_at| seen_at.elapsed());
        running.task.is_some() && seen.is_some_and(|seen| seen <= stuck_after)
    }

    /// Whether the task of this number is still the one. It is running.
    fn continues(&self, number: u64) -> bool {
        let mut running = self.running();
        if running.task != Some(number) {
            return false;
        }
        running.seen_at = Some(Instant::now());
        true
    }

    /// Whether the time of the entries has begun anew, and is not nearly over.
    fn has_replayed_lately(&self) -> bool {
        let last = self.running().last.map(|last| last.elapsed());
        last.is_some_and(|elapsed| elapsed < self.config.ended_journal / 2)
    }

    /// How long to wait after so many rounds that failed.
    fn pause(&self, failed: u32) -> Duration {
        match (failed, self.running().last) {
            (0, None) => Duration::ZERO,
            (0, Some(last)) => jitter(MIN_PAUSE).saturating_sub(last.elapsed()),
            (failed, _) => jitter(exponential(FIRST_RETRY, failed).min(MAX_RETRY)),
        }
    }

    /// What to destroy in the next round, beginning with what is left of the last one.
    fn next_round(&self, mut left: Vec<SessionId>) -> Vec<SessionId> {
        let mut running = self.running();
        if std::mem::take(&mut running.requested) {
            running.last = Some(Instant::now());
            return self.journal().ids(Instant::now());
        }
        drop(running);
        let mut journal = self.journal();
        left.retain(|id| journal.entry(id, Instant::now()).is_some());
        left
    }

    /// Whether the task of this number ends, because nothing is left to do.
    fn ends(&self, number: u64) -> bool {
        let mut running = self.running();
        if running.task != Some(number) {
            return true;
        }
        if !running.requested {
            running.task = None;
            self.journal().release(Instant::now());
        }
        running.task.is_none()
    }
}

/// Destroys the sessions until each request was answered. It does not keep the store alive.
struct Task {
    replayer: Weak<Replayer>,
    number: u64,
}

impl Task {
    async fn run(self) {
        let (mut left, mut failed) = (Vec::new(), 0u32);
        while let Some(replayer) = self.replayer.upgrade() {
            let (pause, retry_now) = (replayer.pause(failed), replayer.retry_now.clone());
            drop(replayer);
            match failed {
                0 => sleep(pause).await,
                // another server may have taken over
                _ if timeout(pause, retry_now.notified()).await.is_ok() => {
                    sleep(jitter(FIRST_RETRY)).await;
                }
                _ => {}
            }
            let Some(replayer) = self.replayer.upgrade() else {
                return;
            };
            let round = replayer.next_round(left);
            left = Vec::new();
            let (mut absent, mut were_present, mut last_error) = (0, 0, None);
            for part in round.chunks(PART) {
                if !replayer.continues(self.number) {
                    return;
                }
                let prefix = &replayer.config.prefix;
                let removal = bulk::remove(&replayer.router, prefix, part).await;
                absent += removal.absent.len();
                were_present += removal.were_present;
                left.extend(removal.left);
                last_error = removal.error.or(last_error);
            }
            metrics::ended_again(absent, were_present);
            if were_present > 0 {
                tracing::warn!(
                    sessions = were_present,
                    "sessions that had ended were back, and were destroyed again"
                );
            }
            match last_error {
                Some(error) => {
                    let count = left.len();
                    tracing::debug!(%error, count, "ended sessions cannot be destroyed again");
                    failed = failed.saturating_add(1);
                }
                None => failed = 0,
            }
            if left.is_empty() && replayer.ends(self.number) {
                return;
            }
        }
    }
}

impl Drop for Task {
    /// If the task was aborted, perhaps with its runtime, the next operation starts another.
    fn drop(&mut self) {
        let Some(replayer) = self.replayer.upgrade() else {
            return;
        };
        let mut running = replayer.running();
        if running.task == Some(self.number) {
            running.task = None;
            running.requested = true;
            replayer.aborted.store(true, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer")
            .field("router", &self.router)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
