//! A place for one shared connection, which is replaced in the background when it fails, with a circuit breaker.
//!
//! ```text
//!          first use           made
//!   Idle ───────────► Connecting ───────────► Up ◄── still answers a PING, or replaced ──┐
//!                      ▲      │                │                                         │
//!                      │      │ cannot be made │ replies keep missing their deadline     │
//!        hung up, lost │      ▼                ▼                                         │
//!        (from Up) ────┘     Down ─── tried every `probe_every`, in the background ──────┘
//! ```
//!
//! Operations wait while it is `Connecting`, which is short, and are refused at once while it is `Down`: that is the breaker. No
//! request ever makes a connection, so none pays for trying; recovery takes about `probe_every`, with or without requests.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore, watch},
    time::{Instant, sleep},
};

use crate::{
    connector::{Connector, Held, Made},
    error::Failure,
    link::Link,
};

/// First pause between two attempts; doubles up to `probe_every`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// A connection younger than this is not replaced for being read-only: the server is, and would be again.
const YOUNG: Duration = Duration::from_secs(1);

/// One of the store's connections.
#[derive(Debug)]
pub(crate) struct Lane {
    number: usize,
    connector: Arc<Connector>,
    patience: Patience,
    max_in_flight: usize,
    /// How many more operations may be under way.
    pub(crate) turns: Semaphore,
    state: watch::Sender<State>,
    /// Missed deadlines and the like, since something last succeeded.
    failures: AtomicU32,
    serial: AtomicU64,
    repairing: AtomicBool,
    held: Mutex<Held>,
    this: Weak<Lane>,
}

/// When to give up and when to try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) failures: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) probe_every: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Not used yet.
    Idle,
    /// The first attempts to connect are under way.
    Connecting,
    /// Usable, as far as anybody knows.
    Up(Live),
    /// Several attempts failed; more are made in the background.
    Down(Failure),
}

/// A connection in use, and which one of the lane's it is.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) link: Link,
    serial: u64,
    era: u64,
    since: Instant,
}

impl Lane {
    pub(crate) fn new(
        number: usize,
        connector: Arc<Connector>,
        max_in_flight: usize,
        patience: Patience,
    ) -> Arc<Self> {
        let max_in_flight = max_in_flight.min(Semaphore::MAX_PERMITS);
        Arc::new_cyclic(|this| Self {
            number,
            connector,
            patience,
            max_in_flight,
            turns: Semaphore::new(max_in_flight),
            state: watch::Sender::new(State::Idle),
            failures: AtomicU32::new(0),
            serial: AtomicU64::new(0),
            repairing: AtomicBool::new(false),
            held: Mutex::default(),
            this: this.clone(),
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn state(&self) -> State {
        let state = self.state.borrow().clone();
        match state {
            State::Up(live) if live.era != self.connector.era() => {
                if self.change_from(&live, State::Connecting) {
                    self.repair(true);
                }
                State::Connecting
            }
            State::Idle | State::Connecting | State::Up(_) | State::Down(_) => state,
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Makes the first connection, if nobody has begun to.
    pub(crate) fn start(&self) {
        let began = self.state.send_if_modified(|state| match state {
            State::Idle => {
                *state = State::Connecting;
                true
            }
            State::Connecting | State::Up(_) | State::Down(_) => false,
        });
        if began {
            self.repair(false);
        }
    }

    /// The server answered.
    pub(crate) fn answered(&self) {
        // written only when it changes: many cores read it
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// No reply came in time. The connection stays in use while it is checked, unless that has happened too often in a row, which
    /// is answered.
    pub(crate) fn timed_out(&self, live: &Live) -> bool {
        if !self.is_current(live) {
            return false;
        }
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let away = failures >= self.patience.failures
            && self.change_from(live, State::Down(Failure::TimedOut));
        self.repair(false);
        away
    }

    /// Another connection to the same server was given up because nothing answers. This one is not used before it has, unless it
    /// is in use and so finds out for itself.
    pub(crate) fn doubt(&self, other: &Live) {
        let State::Up(live) = self.state() else {
            return;
        };
        let idle = self.turns.available_permits() == self.max_in_flight;
        if idle && live.era == other.era && self.change_from(&live, State::Down(Failure::TimedOut))
        {
            self.repair(false);
        }
    }

    /// Whether something is overdue, and nothing has been answered since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }

    /// The connection broke under an operation.
    pub(crate) fn lost(&self, live: &Live) {
        if live.link.is_cluster() {
            // that was one node of many, and the cluster client repairs it; but not where all fail
            if self.is_current(live)
                && self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.patience.failures
            {
                self.repair(false);
            }
        } else if self.change_from(live, State::Connecting) {
            self.repair(false);
        }
    }

    /// The server has become a replica. Answers whether another primary is looked for.
    pub(crate) fn demoted(&self, live: &Live) -> bool {
        let replaced = live.since.elapsed() >= YOUNG && self.change_from(live, State::Connecting);
        if replaced {
            tracing::info!(
                connection = self.number,
                "redis server writes no more; looking for another"
            );
            self.repair(true);
        }
        replaced || !self.is_current(live)
    }

    /// The server closed the connection while nobody was looking.
    pub(crate) fn hung_up(&self) {
        let changed = self.state.send_if_modified(|state| match state {
            State::Up(_) => {
                *state = State::Connecting;
                true
            }
            State::Idle | State::Connecting | State::Down(_) => false,
        });
        if changed {
            tracing::debug!(
                connection = self.number,
                "redis server closed the connection"
            );
            self.repair(false);
        }
    }

    fn is_current(&self, live: &Live) -> bool {
        matches!(&*self.state.borrow(), State::Up(current) if current.serial == live.serial)
    }

    fn change_from(&self, live: &Live, next: State) -> bool {
        let failure = if let State::Down(failure) = &next {
            Some(failure.clone())
        } else {
            None
        };
        let changed = self.state.send_if_modified(|state| match state {
            State::Up(current) if current.serial == live.serial => {
                *state = next;
                true
            }
            State::Idle | State::Connecting | State::Up(_) | State::Down(_) => false,
        });
        if let Some(failure) = failure.filter(|_| changed) {
            self.tell_away(&failure);
        }
        changed
    }

    /// Checks or replaces the connection in the background, until there is one that answers. One such task runs at a time.
    fn repair(&self, discard: bool) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.repairing.swap(true, Ordering::AcqRel) {
            return;
        }
        let repairing = Repairing {
            lane: self.this.clone(),
            done: false,
        };
        runtime.spawn(repairing.run(discard));
    }

    fn tell_away(&self, failure: &Failure) {
        let server = self.connector.server();
        tracing::warn!(connection = self.number, %server, %failure, "redis is away; operations fail at once until it is back");
    }

    async fn attempt(&self, discard: bool) -> Result<Made, Failure> {
        let mut held = self.held.lock().await;
        self.connector
            .connect(&mut held, discard, self.this.clone())
            .await
    }
}

/// The task that repairs a lane. It does not keep the lane alive, and takes its flag back also when it is aborted.
struct Repairing {
    lane: Weak<Lane>,
    done: bool,
}

impl Repairing {
    async fn run(mut self, mut discard: bool) {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0u32;
        while let Some(lane) = self.lane.upgrade() {
            let before = lane.failures.load(Ordering::Relaxed);
            match lane.attempt(discard).await {
                Ok(made) => return self.finish(&lane, made),
                Err(failure) => {
                    attempts = attempts.saturating_add(1);
                    let away = attempts >= lane.patience.failures
                        || begun.elapsed() >= lane.patience.connect_timeout;
                    // a suspect that has answered in the meantime is let off
                    let acquitted = || before > 0 && lane.failures.load(Ordering::Relaxed) == 0;
                    if matches!(&*lane.state.borrow(), State::Up(_)) && acquitted() {
                        self.over(&lane);
                        // what went wrong in this moment found a repair under way, and counted on it
                        if !matches!(&*lane.state.borrow(), State::Up(_)) {
                            lane.repair(false);
                        }
                        return;
                    }
                    tracing::debug!(connection = lane.number, %failure, attempts, "redis connection cannot be made");
                    lane.state.send_if_modified(|state| match state {
                        State::Connecting | State::Up(_) if away => {
                            lane.tell_away(&failure);
                            *state = State::Down(failure);
                            true
                        }
                        // the newest reason is the one to tell
                        State::Down(_) => {
                            *state = State::Down(failure);
                            false
                        }
                        State::Idle | State::Connecting | State::Up(_) => false,
                    });
                    discard = false;
                }
            }
            let jittered = jitter(pause);
            pause = (pause * 2).min(lane.patience.probe_every);
            drop(lane);
            sleep(jittered).await;
        }
    }

    fn finish(&mut self, lane: &Lane, Made { link, era }: Made) {
        let serial = lane.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let live = Live {
            link,
            serial,
            era,
            since: Instant::now(),
        };
        lane.failures.store(0, Ordering::Relaxed);
        // the flag first: whoever finds the new connection broken must be able to start the next repair
        self.over(lane);
        let previous = lane.state.send_replace(State::Up(live));
        match previous {
            State::Down(_) => {
                tracing::info!(connection = lane.number, server = %lane.connector.server(), "redis is back")
            }
            State::Idle | State::Connecting | State::Up(_) => {
                tracing::debug!(connection = lane.number, "redis connection is up")
            }
        }
    }

    fn over(&mut self, lane: &Lane) {
        self.done = true;
        lane.repairing.store(false, Ordering::Release);
    }
}

impl Drop for Repairing {
    /// Aborted, with its runtime perhaps: the next use begins anew.
    fn drop(&mut self) {
        if let Some(lane) = self.lane.upgrade().filter(|_| !self.done) {
            lane.repairing.store(false, Ordering::Release);
            lane.state.send_replace(State::Idle);
        }
    }
}

/// Between half of a length of time and all of it, so that many processes do not knock in step.
pub(crate) fn jitter(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) as u32;
    time / 2 + (time / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_a_half_and_the_whole() {
        let time = Duration::from_millis(250);
        let pauses: Vec<_> = (0..1000).map(|_| jitter(time)).collect();
        assert!(pauses.iter().all(|pause| (time / 2..=time).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
