//! The circuit breaker of one connection, as a pure state machine.
//!
//! ```text
//!         first use           connected
//!   Idle ──────────► Connecting ──────────► Up ◄── a check succeeds, or a new connection ──┐
//!                     ▲      │               │                                             │
//!       disconnected, │      │ attempts fail │ replies keep missing their deadline         │
//!       broken        │      ▼               ▼                                             │
//!       (from Up) ────┘     Down ──── attempts go on in the background ────────────────────┘
//! ```
//!
//! Operations wait while a connection is `Connecting`, which is short, and fail at once while it is
//! `Down`: then the breaker is open. No operation makes a connection itself. A background task, the
//! repair, checks or replaces it, so recovery takes as long with requests as without.
//!
//! [`Breaker::on`] takes an event and returns the next state and what to do. It reads no clock and
//! performs nothing; `NodeConnection` does.

use std::time::{Duration, Instant};

use crate::{backoff::exponential, failure::Failure};

/// The pause after the first failed attempt to connect; it doubles up to
/// [`BreakerConfig::probe_every`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// For so long after the beginning of an outage, a server that refuses connections is tried at least
/// every [`QUICK_PAUSE`]: it may just be restarted, and a refusal costs it nothing.
const QUICK: Duration = Duration::from_secs(4);
const QUICK_PAUSE: Duration = Duration::from_millis(250);

/// After that, the pause is at most this part of the outage.
const OUTAGE_PART: u32 = 3;

/// A connection younger than this is not replaced because its server is read-only: the server that
/// the sentinels name is, and would be again.
const MIN_AGE: Duration = Duration::from_secs(1);

/// When the breaker opens, and how often the connection is probed then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerConfig {
    /// The number of consecutive failures that open the breaker.
    pub(crate) failures: u32,
    /// The breaker opens if connecting takes this long, whatever the number of attempts.
    pub(crate) connect_timeout: Duration,
    /// The longest pause between two attempts to connect.
    pub(crate) probe_every: Duration,
}

/// The state of a connection of type `C`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Breaker<C> {
    /// Not used yet. No repair runs.
    Idle,
    /// The repair makes the first attempts.
    Connecting(Repair),
    /// There is a connection.
    Up(Up<C>),
    /// Attempts failed with this. The repair makes more.
    Down { failure: Failure, repair: Repair },
}

/// Which state a breaker is in, without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Connecting,
    Up,
    Down,
}

/// A connection in use, and whether it is suspect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Up<C> {
    pub(crate) active: Active<C>,
    /// Consecutive failures.
    failures: u32,
    /// The repair that checks the connection.
    check: Option<Repair>,
}

/// A connection in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Active<C> {
    pub(crate) connection: C,
    /// Tells this connection from earlier and later ones. One that was checked is a later one.
    pub(crate) serial: u64,
    /// Tells the socket from others. A check keeps it.
    pub(crate) socket: u64,
    /// Connections of one generation lead to the same server.
    pub(crate) generation: u64,
    /// When it was connected.
    pub(crate) connected_at: Instant,
}

/// The attempts of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    started_at: Instant,
    attempts: u32,
    /// The connection was suspect when the latest attempt started.
    suspect: bool,
    /// The socket that must not be used any more, even if it passes a check.
    discard: Option<u64>,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event<C> {
    /// An operation wants to use it.
    Requested,
    /// The server replied to an operation.
    Answered { serial: u64 },
    /// An operation got no reply in time.
    TimedOut { serial: u64 },
    /// It broke under an operation.
    Lost { serial: u64 },
    /// The server refused a write because it is a replica.
    ReadOnly { serial: u64 },
    /// The server closed it.
    Disconnected { socket: u64 },
    /// Another connection to the same server no longer gets replies. If this one is idle, it has
    /// not noticed.
    PeerTimedOut { generation: u64, idle: bool },
    /// Another connection to the same server broke, and no message would report it if this one
    /// had, too.
    PeerLost { generation: u64, idle: bool },
    /// Connections of other generations lead to a server that is no longer the primary.
    PrimaryChanged { generation: u64 },
    /// The repair starts an attempt.
    AttemptStarted,
    /// The attempt succeeded: the connection was checked, or replaced.
    Connected(Active<C>),
    /// The attempt failed.
    AttemptFailed(Failure),
    /// The repair ended without a result, because its runtime did.
    RepairAborted,
}

/// The state after an event, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transition<C> {
    pub(crate) state: Breaker<C>,
    pub(crate) action: Action,
    pub(crate) notice: Option<Notice>,
}

/// What to do about the repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    None,
    StartRepair,
    /// Check the connection, or make another. `discard` forbids the former.
    Attempt {
        discard: bool,
    },
    /// Make another attempt after this pause, before jitter.
    RetryAfter(Duration),
    /// End the pause.
    RetryNow,
    /// End the repair.
    EndRepair,
}

/// What operators should know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// The breaker opened, because of this.
    Opened(Failure),
    /// The breaker closed.
    Closed,
    /// There is a connection, without an outage before.
    Connected,
}

impl<C> Breaker<C> {
    /// Returns the next state, and what to do.
    pub(crate) fn on(self, event: Event<C>, config: &BreakerConfig, now: Instant) -> Transition<C> {
        match (self, event) {
            (state, Event::Connected(active)) if state.discards(active.socket) => {
                state.and(Action::RetryAfter(Duration::ZERO))
            }
            (state, Event::Connected(active)) => Transition {
                notice: Some(match state {
                    Self::Down { .. } => Notice::Closed,
                    Self::Idle | Self::Connecting(_) | Self::Up(_) => Notice::Connected,
                }),
                state: Self::Up(Up {
                    active,
                    failures: 0,
                    check: None,
                }),
                action: Action::EndRepair,
            },
            (_, Event::RepairAborted) => Self::Idle.and(Action::None),

            (Self::Idle, Event::Requested) => Self::reconnect(None, None, now),
            (Self::Idle, Event::AttemptFailed(_)) => Self::Idle.and(Action::EndRepair),

            (Self::Connecting(repair), Event::AttemptStarted) => {
                let (repair, action) = repair.attempt(false);
                Self::Connecting(repair).and(action)
            }
            (Self::Connecting(repair), Event::AttemptFailed(failure)) => {
                let repair = repair.failed();
                let pause = repair.pause(&failure, config, now);
                if repair.has_failed_for_long(config, now) {
                    Self::open(failure, repair, pause)
                } else {
                    Self::Connecting(repair).and(pause)
                }
            }
            (Self::Connecting(repair), Event::PrimaryChanged { .. }) => {
                Self::Connecting(repair).and(Action::RetryNow)
            }

            (Self::Up(up), Event::Answered { serial }) if up.active.serial == serial => {
                Self::Up(Up { failures: 0, ..up }).and(Action::None)
            }
            (Self::Up(up), Event::TimedOut { serial }) if up.active.serial == serial => {
                let failures = up.failures.saturating_add(1);
                let (repair, action) = Repair::running_or_new(up.check, None, now);
                if failures >= config.failures {
                    Self::open(Failure::TimedOut, repair, action)
                } else {
                    let check = Some(repair);
                    Self::Up(Up {
                        failures,
                        check,
                        ..up
                    })
                    .and(action)
                }
            }
            (Self::Up(up), Event::Lost { serial }) if up.active.serial == serial => up.replace(now),
            (Self::Up(up), Event::ReadOnly { serial })
                if up.active.serial == serial && up.active.age(now) >= MIN_AGE =>
            {
                up.replace(now)
            }
            (Self::Up(up), Event::Disconnected { socket }) if up.active.socket == socket => {
                up.replace(now)
            }
            (Self::Up(up), Event::PeerLost { generation, idle })
                if idle && up.active.generation == generation =>
            {
                Self::reconnect(up.check, None, now)
            }
            (Self::Up(up), Event::PeerTimedOut { generation, idle })
                if idle && up.active.generation == generation =>
            {
                let (repair, action) = Repair::running_or_new(up.check, None, now);
                Self::open(Failure::TimedOut, repair, action)
            }
            (Self::Up(up), Event::PrimaryChanged { generation })
                if up.active.generation != generation =>
            {
                up.replace(now)
            }
            (Self::Up(up), Event::AttemptStarted) => {
                let suspect = up.failures > 0;
                match up.check.map(|repair| repair.attempt(suspect)) {
                    Some((repair, action)) => {
                        let check = Some(repair);
                        Self::Up(Up { check, ..up }).and(action)
                    }
                    None => Self::Up(up).and(Action::None),
                }
            }
            (Self::Up(up), Event::AttemptFailed(failure)) => match up.check.map(Repair::failed) {
                Some(repair) if repair.suspect && up.failures == 0 => {
                    // the server has replied to an operation since, so the connection is fine
                    Self::Up(Up { check: None, ..up }).and(Action::EndRepair)
                }
                Some(repair) => {
                    let pause = repair.pause(&failure, config, now);
                    if repair.has_failed_for_long(config, now) {
                        Self::open(failure, repair, pause)
                    } else {
                        let check = Some(repair);
                        Self::Up(Up { check, ..up }).and(pause)
                    }
                }
                None => Self::Up(up).and(Action::EndRepair),
            },

            (Self::Down { failure, repair }, Event::AttemptStarted) => {
                let (repair, action) = repair.attempt(false);
                Self::Down { failure, repair }.and(action)
            }
            // operators want the latest reason
            (Self::Down { repair, .. }, Event::AttemptFailed(failure)) => {
                let repair = repair.failed();
                let pause = repair.pause(&failure, config, now);
                Self::Down { failure, repair }.and(pause)
            }
            // the new primary has not failed yet
            (Self::Down { failure, repair }, Event::PrimaryChanged { .. }) => {
                let repair = repair.restarted(now);
                Self::Down { failure, repair }.and(Action::RetryNow)
            }

            // events that do not matter in this state, or concern another connection
            (
                state @ (Self::Idle | Self::Connecting(_) | Self::Up(_) | Self::Down { .. }),
                Event::Requested
                | Event::Answered { .. }
                | Event::TimedOut { .. }
                | Event::Lost { .. }
                | Event::ReadOnly { .. }
                | Event::Disconnected { .. }
                | Event::PeerTimedOut { .. }
                | Event::PeerLost { .. }
                | Event::PrimaryChanged { .. }
                | Event::AttemptStarted,
            ) => state.and(Action::None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Connecting(_) => Phase::Connecting,
            Self::Up(_) => Phase::Up,
            Self::Down { .. } => Phase::Down,
        }
    }

    /// Whether a repair is to run.
    pub(crate) fn has_repair(&self) -> bool {
        match self {
            Self::Idle => false,
            Self::Connecting(_) | Self::Down { .. } => true,
            Self::Up(up) => up.check.is_some(),
        }
    }

    /// Whether the server has missed a deadline and has not replied since.
    pub(crate) fn is_suspect(&self) -> bool {
        match self {
            Self::Up(up) => up.is_suspect(),
            Self::Idle | Self::Connecting(_) | Self::Down { .. } => false,
        }
    }

    /// Whether this is the connection that is in use.
    pub(crate) fn is_active(&self, serial: u64) -> bool {
        match self {
            Self::Up(up) => up.active.serial == serial,
            Self::Idle | Self::Connecting(_) | Self::Down { .. } => false,
        }
    }

    fn and(self, action: Action) -> Transition<C> {
        Transition {
            state: self,
            action,
            notice: None,
        }
    }

    /// Whether this socket must not be used any more.
    fn discards(&self, socket: u64) -> bool {
        match self {
            Self::Connecting(repair) | Self::Down { repair, .. } => repair.discard == Some(socket),
            Self::Idle | Self::Up(_) => false,
        }
    }

    fn reconnect(check: Option<Repair>, discard: Option<u64>, now: Instant) -> Transition<C> {
        let (repair, action) = Repair::running_or_new(check, discard, now);
        Self::Connecting(repair).and(action)
    }

    fn open(failure: Failure, repair: Repair, action: Action) -> Transition<C> {
        Transition {
            notice: Some(Notice::Opened(failure.clone())),
            state: Self::Down { failure, repair },
            action,
        }
    }
}

impl<C> Up<C> {
    /// Replaces the connection, which would perhaps pass a check.
    fn replace(self, now: Instant) -> Transition<C> {
        Breaker::reconnect(self.check, Some(self.active.socket), now)
    }

    /// Whether the server has missed a deadline and has not replied since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failures > 0
    }
}

impl<C> Active<C> {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.connected_at)
    }
}

impl Repair {
    /// Returns the repair that runs, or one to start.
    fn running_or_new(running: Option<Self>, discard: Option<u64>, now: Instant) -> (Self, Action) {
        match running {
            Some(repair) => {
                let discard = discard.or(repair.discard);
                (Self { discard, ..repair }, Action::None)
            }
            None => {
                let repair = Self {
                    started_at: now,
                    attempts: 0,
                    suspect: false,
                    discard,
                };
                (repair, Action::StartRepair)
            }
        }
    }

    fn attempt(self, suspect: bool) -> (Self, Action) {
        let discard = self.discard.is_some();
        (Self { suspect, ..self }, Action::Attempt { discard })
    }

    fn restarted(self, now: Instant) -> Self {
        Self {
            started_at: now,
            attempts: 0,
            ..self
        }
    }

    fn failed(self) -> Self {
        let attempts = self.attempts.saturating_add(1);
        Self { attempts, ..self }
    }

    fn has_failed_for_long(&self, config: &BreakerConfig, now: Instant) -> bool {
        self.attempts >= config.failures
            || now.saturating_duration_since(self.started_at) >= config.connect_timeout
    }

    fn pause(&self, failure: &Failure, config: &BreakerConfig, now: Instant) -> Action {
        let pause = exponential(FIRST_PAUSE, self.attempts).min(config.probe_every);
        let outage = now.saturating_duration_since(self.started_at);
        Action::RetryAfter(match failure {
            Failure::NoServer { .. } if outage < QUICK => pause.min(QUICK_PAUSE),
            Failure::NoServer { .. } => pause.min(outage / OUTAGE_PART),
            Failure::Server(_)
            | Failure::NotSent { .. }
            | Failure::Closed
            | Failure::Lost { .. }
            | Failure::TimedOut => pause,
        })
    }
}

#[cfg(test)]
#[path = "breaker_simulation.rs"]
mod simulation;

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
