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
//! performs nothing; [`NodeConnection`](crate::node_connection) does.

use std::time::{Duration, Instant};

use crate::{backoff::exponential, failure::Failure};

/// The pause after the first failed attempt to connect; it doubles up to
/// [`BreakerConfig::probe_every`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

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
    Up {
        active: Active<C>,
        /// Consecutive failures. If there are any, the connection is suspect.
        failures: u32,
        /// The repair that checks a suspect connection.
        check: Option<Repair>,
    },
    /// Attempts failed with this. The repair makes more.
    Down { failure: Failure, repair: Repair },
}

/// A connection in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Active<C> {
    pub(crate) connection: C,
    /// Tells this connection from earlier and later ones.
    pub(crate) serial: u64,
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
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event<C> {
    /// An operation wants to use it.
    Requested,
    /// The server replied to an operation.
    Answered,
    /// An operation got no reply in time.
    TimedOut { serial: u64 },
    /// It broke under an operation.
    Lost { serial: u64 },
    /// A cluster connection lost one of its nodes, which it reconnects by itself.
    NodeLost { serial: u64 },
    /// The server refused a write because it is a replica.
    ReadOnly { serial: u64 },
    /// The server closed it.
    Disconnected,
    /// Another connection to the same server no longer gets replies. If this one is idle, it has
    /// not noticed.
    PeerTimedOut { generation: u64, idle: bool },
    /// Connections of other generations lead to a server that is no longer the primary.
    PrimaryChanged { generation: u64 },
    /// The repair starts an attempt.
    AttemptStarted,
    /// The attempt succeeded: the connection was checked, or replaced.
    Connected {
        connection: C,
        serial: u64,
        generation: u64,
    },
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
    /// Start the repair. `discard` says that the connection must not be used any more, even if it
    /// passes a check.
    StartRepair {
        discard: bool,
    },
    /// Make another attempt after this pause, before jitter.
    RetryAfter(Duration),
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
            (
                state,
                Event::Connected {
                    connection,
                    serial,
                    generation,
                },
            ) => Transition {
                notice: Some(match state {
                    Self::Down { .. } => Notice::Closed,
                    Self::Idle | Self::Connecting(_) | Self::Up { .. } => Notice::Connected,
                }),
                state: Self::Up {
                    active: Active {
                        connection,
                        serial,
                        generation,
                        connected_at: now,
                    },
                    failures: 0,
                    check: None,
                },
                action: Action::EndRepair,
            },
            (_, Event::RepairAborted) => Self::Idle.and(Action::None),

            (Self::Idle, Event::Requested) => Self::reconnect(None, false, now),
            (Self::Idle, Event::AttemptFailed(_)) => Self::Idle.and(Action::EndRepair),

            (Self::Connecting(repair), Event::AttemptStarted) => {
                Self::Connecting(repair.attempt(false)).and(Action::None)
            }
            (Self::Connecting(repair), Event::AttemptFailed(failure)) => {
                let repair = repair.failed();
                if repair.has_failed_for_long(config, now) {
                    Self::open(failure, repair, repair.pause(config))
                } else {
                    Self::Connecting(repair).and(repair.pause(config))
                }
            }

            (Self::Up { active, check, .. }, Event::Answered) => Self::Up {
                active,
                failures: 0,
                check,
            }
            .and(Action::None),
            (
                Self::Up {
                    active,
                    failures,
                    check,
                },
                Event::TimedOut { serial },
            ) if active.serial == serial => {
                let failures = failures.saturating_add(1);
                let (repair, action) = Repair::running_or_new(check, false, now);
                if failures >= config.failures {
                    Self::open(Failure::TimedOut, repair, action)
                } else {
                    let check = Some(repair);
                    Self::Up {
                        active,
                        failures,
                        check,
                    }
                    .and(action)
                }
            }
            (
                Self::Up {
                    active,
                    failures,
                    check,
                },
                Event::NodeLost { serial },
            ) if active.serial == serial => {
                let failures = failures.saturating_add(1);
                let (check, action) = if failures >= config.failures {
                    let (repair, action) = Repair::running_or_new(check, false, now);
                    (Some(repair), action)
                } else {
                    (check, Action::None)
                };
                Self::Up {
                    active,
                    failures,
                    check,
                }
                .and(action)
            }
            (Self::Up { active, check, .. }, Event::Lost { serial }) if active.serial == serial => {
                Self::reconnect(check, false, now)
            }
            (Self::Up { active, check, .. }, Event::ReadOnly { serial })
                if active.serial == serial
                    && now.saturating_duration_since(active.connected_at) >= MIN_AGE =>
            {
                Self::reconnect(check, true, now)
            }
            (Self::Up { check, .. }, Event::Disconnected) => Self::reconnect(check, false, now),
            (
                Self::Up { active, check, .. },
                Event::PeerTimedOut {
                    generation,
                    idle: true,
                },
            ) if active.generation == generation => {
                let (repair, action) = Repair::running_or_new(check, false, now);
                Self::open(Failure::TimedOut, repair, action)
            }
            (Self::Up { active, check, .. }, Event::PrimaryChanged { generation })
                if active.generation != generation =>
            {
                Self::reconnect(check, true, now)
            }
            (
                Self::Up {
                    active,
                    failures,
                    check,
                },
                Event::AttemptStarted,
            ) => Self::Up {
                active,
                failures,
                check: check.map(|repair| repair.attempt(failures > 0)),
            }
            .and(Action::None),
            (
                Self::Up {
                    active,
                    failures,
                    check: Some(repair),
                },
                Event::AttemptFailed(failure),
            ) => {
                let repair = repair.failed();
                if repair.suspect && failures == 0 {
                    // the server has replied to an operation since, so the connection is fine
                    Self::Up {
                        active,
                        failures,
                        check: None,
                    }
                    .and(Action::EndRepair)
                } else if repair.has_failed_for_long(config, now) {
                    Self::open(failure, repair, repair.pause(config))
                } else {
                    Self::Up {
                        active,
                        failures,
                        check: Some(repair),
                    }
                    .and(repair.pause(config))
                }
            }
            (state @ Self::Up { check: None, .. }, Event::AttemptFailed(_)) => {
                state.and(Action::EndRepair)
            }

            (Self::Down { failure, repair }, Event::AttemptStarted) => {
                let repair = repair.attempt(false);
                Self::Down { failure, repair }.and(Action::None)
            }
            // operators want the latest reason
            (Self::Down { repair, .. }, Event::AttemptFailed(failure)) => {
                let repair = repair.failed();
                Self::Down { failure, repair }.and(repair.pause(config))
            }

            // what no longer concerns the connection, or concerns an earlier one
            (
                state,
                Event::Requested
                | Event::Answered
                | Event::TimedOut { .. }
                | Event::Lost { .. }
                | Event::NodeLost { .. }
                | Event::ReadOnly { .. }
                | Event::Disconnected
                | Event::PeerTimedOut { .. }
                | Event::PrimaryChanged { .. }
                | Event::AttemptStarted,
            ) => state.and(Action::None),
        }
    }

    /// Whether the server has missed a deadline and has not replied since.
    pub(crate) fn is_suspect(&self) -> bool {
        match self {
            Self::Up { failures, .. } => *failures > 0,
            Self::Idle | Self::Connecting(_) | Self::Down { .. } => false,
        }
    }

    /// Whether this is the connection that is in use.
    pub(crate) fn is_active(&self, serial: u64) -> bool {
        match self {
            Self::Up { active, .. } => active.serial == serial,
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

    fn reconnect(check: Option<Repair>, discard: bool, now: Instant) -> Transition<C> {
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

impl Repair {
    /// Returns the repair that runs, or one to start.
    fn running_or_new(running: Option<Self>, discard: bool, now: Instant) -> (Self, Action) {
        match running {
            Some(repair) => (repair, Action::None),
            None => {
                let repair = Self {
                    started_at: now,
                    attempts: 0,
                    suspect: false,
                };
                (repair, Action::StartRepair { discard })
            }
        }
    }

    fn attempt(self, suspect: bool) -> Self {
        Self { suspect, ..self }
    }

    fn failed(self) -> Self {
        let attempts = self.attempts.saturating_add(1);
        Self { attempts, ..self }
    }

    fn has_failed_for_long(&self, config: &BreakerConfig, now: Instant) -> bool {
        self.attempts >= config.failures
            || now.saturating_duration_since(self.started_at) >= config.connect_timeout
    }

    fn pause(&self, config: &BreakerConfig) -> Action {
        Action::RetryAfter(exponential(FIRST_PAUSE, self.attempts).min(config.probe_every))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        failures: 2,
        connect_timeout: Duration::from_secs(1),
        probe_every: Duration::from_millis(15),
    };

    /// The connection in use has this serial and this generation.
    const CURRENT: u64 = 7;
    const OTHER: u64 = 6;

    fn repair(started_at: Instant, attempts: u32, suspect: bool) -> Repair {
        Repair {
            started_at,
            attempts,
            suspect,
        }
    }

    fn up(start: Instant, failures: u32, check: Option<Repair>) -> Breaker<&'static str> {
        Breaker::Up {
            active: Active {
                connection: "a",
                serial: CURRENT,
                generation: CURRENT,
                connected_at: start,
            },
            failures,
            check,
        }
    }

    fn down(start: Instant) -> Breaker<&'static str> {
        Breaker::Down {
            failure: Failure::TimedOut,
            repair: repair(start, 2, false),
        }
    }

    fn connected() -> Event<&'static str> {
        Event::Connected {
            connection: "b",
            serial: 8,
            generation: 8,
        }
    }

    fn attempt_failed() -> Event<&'static str> {
        Event::AttemptFailed(Failure::Closed)
    }

    fn describe_state(state: &Breaker<&str>) -> String {
        match state {
            Breaker::Idle => "idle".into(),
            Breaker::Connecting(_) => "connecting".into(),
            Breaker::Up {
                active,
                failures,
                check,
            } => {
                let check = if check.is_some() { " checked" } else { "" };
                format!("up {} {failures}{check}", active.connection)
            }
            Breaker::Down { failure, .. } => match failure {
                Failure::TimedOut => "down timed-out".into(),
                failure => format!("down {failure:?}").to_lowercase(),
            },
        }
    }

    /// Describes a transition in one line; `=` is none.
    fn describe(before: &Breaker<&'static str>, transition: &Transition<&'static str>) -> String {
        if transition.state == *before
            && transition.action == Action::None
            && transition.notice.is_none()
        {
            return "=".into();
        }
        let mut words = vec![describe_state(&transition.state)];
        match transition.action {
            Action::None => {}
            Action::StartRepair { discard: false } => words.push("repair".into()),
            Action::StartRepair { discard: true } => words.push("replace".into()),
            Action::RetryAfter(pause) => words.push(format!("retry {}", pause.as_millis())),
            Action::EndRepair => words.push("end".into()),
        }
        match &transition.notice {
            None => {}
            Some(Notice::Opened(_)) => words.push("opened".into()),
            Some(Notice::Closed) => words.push("closed".into()),
            Some(Notice::Connected) => words.push("connected".into()),
        }
        words.join(", ")
    }

    /// Every state with every event, 500 ms after an age at which a connection may be replaced.
    #[test]
    fn every_event_in_every_state() {
        let start = Instant::now();
        let now = start + MIN_AGE;
        let recent = now - Duration::from_millis(500);
        let suspect = repair(recent, 0, true);
        let states = [
            Breaker::Idle,
            Breaker::Connecting(repair(recent, 0, false)),
            up(start, 0, None),
            // no reply to one operation; a check runs
            up(start, 1, Some(suspect)),
            // the same, and the server has replied since
            up(start, 0, Some(suspect)),
            down(recent),
        ];
        let table: Vec<(Event<&'static str>, [&str; 6])> = vec![
            (
                Event::Requested,
                ["connecting, repair", "=", "=", "=", "=", "="],
            ),
            (Event::Answered, ["=", "=", "=", "up a 0 checked", "=", "="]),
            (
                Event::TimedOut { serial: CURRENT },
                [
                    "=",
                    "=",
                    "up a 1 checked, repair",
                    "down timed-out, opened",
                    "up a 1 checked",
                    "=",
                ],
            ),
            (Event::TimedOut { serial: OTHER }, ["="; 6]),
            (
                Event::Lost { serial: CURRENT },
                [
                    "=",
                    "=",
                    "connecting, repair",
                    "connecting",
                    "connecting",
                    "=",
                ],
            ),
            (Event::Lost { serial: OTHER }, ["="; 6]),
            (
                Event::NodeLost { serial: CURRENT },
                ["=", "=", "up a 1", "up a 2 checked", "up a 1 checked", "="],
            ),
            (Event::NodeLost { serial: OTHER }, ["="; 6]),
            (
                Event::ReadOnly { serial: CURRENT },
                [
                    "=",
                    "=",
                    "connecting, replace",
                    "connecting",
                    "connecting",
                    "=",
                ],
            ),
            (Event::ReadOnly { serial: OTHER }, ["="; 6]),
            (
                Event::Disconnected,
                [
                    "=",
                    "=",
                    "connecting, repair",
                    "connecting",
                    "connecting",
                    "=",
                ],
            ),
            (
                Event::PeerTimedOut {
                    generation: CURRENT,
                    idle: true,
                },
                [
                    "=",
                    "=",
                    "down timed-out, repair, opened",
                    "down timed-out, opened",
                    "down timed-out, opened",
                    "=",
                ],
            ),
            (
                Event::PeerTimedOut {
                    generation: CURRENT,
                    idle: false,
                },
                ["="; 6],
            ),
            (
                Event::PeerTimedOut {
                    generation: OTHER,
                    idle: true,
                },
                ["="; 6],
            ),
            (
                Event::PrimaryChanged { generation: OTHER },
                [
                    "=",
                    "=",
                    "connecting, replace",
                    "connecting",
                    "connecting",
                    "=",
                ],
            ),
            (
                Event::PrimaryChanged {
                    generation: CURRENT,
                },
                ["="; 6],
            ),
            (
                Event::AttemptStarted,
                ["=", "=", "=", "=", "up a 0 checked", "="],
            ),
            (
                connected(),
                [
                    "up b 0, end, connected",
                    "up b 0, end, connected",
                    "up b 0, end, connected",
                    "up b 0, end, connected",
                    "up b 0, end, connected",
                    "up b 0, end, closed",
                ],
            ),
            (
                attempt_failed(),
                [
                    "idle, end",
                    "connecting, retry 10",
                    "up a 0, end",
                    "up a 1 checked, retry 10",
                    "up a 0, end",
                    "down closed, retry 15",
                ],
            ),
            (
                Event::RepairAborted,
                ["=", "idle", "idle", "idle", "idle", "idle"],
            ),
        ];
        for (event, row) in table {
            for (state, expected) in states.iter().zip(row) {
                let transition = state.clone().on(event.clone(), &CONFIG, now);
                assert_eq!(
                    describe(state, &transition),
                    expected,
                    "{event:?} in {}",
                    describe_state(state)
                );
            }
        }
    }

    #[test]
    fn the_breaker_opens_after_the_configured_number_of_attempts() {
        let now = Instant::now();
        let mut state = Breaker::Idle.on(Event::Requested, &CONFIG, now).state;
        let mut seen = vec![];
        for _ in 0..4 {
            let transition = state.clone().on(attempt_failed(), &CONFIG, now);
            seen.push(describe(&state, &transition));
            state = transition.state;
        }
        assert_eq!(
            seen,
            [
                "connecting, retry 10",
                "down closed, retry 15, opened",
                "down closed, retry 15",
                "down closed, retry 15",
            ]
        );
    }

    #[test]
    fn the_breaker_opens_if_connecting_takes_too_long() {
        let start = Instant::now();
        let now = start + CONFIG.connect_timeout;
        for state in [
            Breaker::Connecting(repair(start, 0, false)),
            up(start, 1, Some(repair(start, 0, true))),
        ] {
            let transition = state.clone().on(attempt_failed(), &CONFIG, now);
            assert_eq!(
                describe(&state, &transition),
                "down closed, retry 10, opened"
            );
        }
    }

    #[test]
    fn a_young_connection_to_a_read_only_server_is_kept() {
        let start = Instant::now();
        let young = start + MIN_AGE - Duration::from_millis(1);
        let state = up(start, 0, None);
        let event = Event::ReadOnly { serial: CURRENT };
        let transition = state.clone().on(event, &CONFIG, young);
        assert_eq!(describe(&state, &transition), "=");
    }

    #[test]
    fn a_check_that_fails_without_a_suspicion_goes_on() {
        let now = Instant::now();
        // the server replied before the attempt started, so the failed attempt is newer
        let state = up(now, 0, Some(repair(now, 0, false)));
        let transition = state.clone().on(attempt_failed(), &CONFIG, now);
        assert_eq!(describe(&state, &transition), "up a 0 checked, retry 10");
    }

    #[test]
    fn an_attempt_records_whether_the_connection_was_suspect() {
        let now = Instant::now();
        for failures in [0, 1] {
            let state = up(now, failures, Some(repair(now, 0, false)));
            let transition = state.on(Event::AttemptStarted, &CONFIG, now);
            let expected = up(now, failures, Some(repair(now, 0, failures > 0)));
            assert_eq!(transition, expected.and(Action::None));
        }
    }

    fn any_event() -> impl Strategy<Value = Event<&'static str>> {
        let serial = 0u64..4;
        prop_oneof![
            Just(Event::Requested),
            Just(Event::Answered),
            serial.clone().prop_map(|serial| Event::TimedOut { serial }),
            serial.clone().prop_map(|serial| Event::Lost { serial }),
            serial.clone().prop_map(|serial| Event::NodeLost { serial }),
            serial.clone().prop_map(|serial| Event::ReadOnly { serial }),
            Just(Event::Disconnected),
            (serial.clone(), any::<bool>())
                .prop_map(|(generation, idle)| Event::PeerTimedOut { generation, idle }),
            serial
                .clone()
                .prop_map(|generation| Event::PrimaryChanged { generation }),
            Just(Event::AttemptStarted),
            Just(attempt_failed()),
            (serial.clone(), serial).prop_map(|(serial, generation)| Event::Connected {
                connection: "c",
                serial,
                generation
            }),
            Just(Event::RepairAborted),
        ]
    }

    proptest! {
        /// So a connection that is not usable is always being repaired, and by one task only.
        #[test]
        fn exactly_one_repair_runs_while_one_is_needed(
            events in proptest::collection::vec((any_event(), 0u64..800), 0..60)
        ) {
            let (mut state, mut running, mut now) = (Breaker::Idle, false, Instant::now());
            for (event, elapsed_ms) in events {
                now += Duration::from_millis(elapsed_ms);
                let by_repair = matches!(
                    event,
                    Event::AttemptStarted
                        | Event::AttemptFailed(_)
                        | Event::Connected { .. }
                        | Event::RepairAborted
                );
                if by_repair && !running {
                    continue;
                }
                running &= event != Event::RepairAborted;
                let transition = state.on(event, &CONFIG, now);
                match transition.action {
                    Action::StartRepair { .. } => {
                        prop_assert!(!running, "a second repair");
                        running = true;
                    }
                    Action::EndRepair => {
                        prop_assert!(running, "no repair to end");
                        running = false;
                    }
                    Action::RetryAfter(_) => prop_assert!(running, "no repair to go on"),
                    Action::None => {}
                }
                state = transition.state;
                let needed = match &state {
                    Breaker::Idle => false,
                    Breaker::Connecting(_) | Breaker::Down { .. } => true,
                    Breaker::Up { check, .. } => check.is_some(),
                };
                prop_assert_eq!(running, needed, "{:?}", state);
            }
        }
    }
}
