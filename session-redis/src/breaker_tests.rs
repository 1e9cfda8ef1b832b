//! Tables of states and events.

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
        discard: None,
    }
}

fn active(connection: &'static str, number: u64, connected_at: Instant) -> Active<&'static str> {
    Active {
        connection,
        serial: number,
        socket: number,
        generation: number,
        connected_at,
    }
}

fn up(start: Instant, failures: u32, check: Option<Repair>) -> Breaker<&'static str> {
    Breaker::Up(Up {
        active: active("a", CURRENT, start),
        failures,
        check,
    })
}

fn down(start: Instant) -> Breaker<&'static str> {
    Breaker::Down {
        failure: Failure::TimedOut,
        repair: repair(start, 2, false),
    }
}

fn connected(now: Instant) -> Event<&'static str> {
    Event::Connected(active("b", 8, now))
}

fn attempt_failed() -> Event<&'static str> {
    Event::AttemptFailed(Failure::Closed)
}

fn describe_state(state: &Breaker<&str>) -> String {
    match state {
        Breaker::Idle => "idle".into(),
        Breaker::Connecting(repair) if repair.discard.is_some() => "connecting anew".into(),
        Breaker::Connecting(_) => "connecting".into(),
        Breaker::Up(up) => {
            let check = if up.check.is_some() { " checked" } else { "" };
            format!("up {} {}{check}", up.active.connection, up.failures)
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
        Action::StartRepair => words.push("repair".into()),
        Action::Attempt { discard: false } => words.push("check".into()),
        Action::Attempt { discard: true } => words.push("replace".into()),
        Action::RetryNow => words.push("now".into()),
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
        (
            Event::Answered { serial: CURRENT },
            ["=", "=", "=", "up a 0 checked", "=", "="],
        ),
        (Event::Answered { serial: OTHER }, ["="; 6]),
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
                "connecting anew, repair",
                "connecting anew",
                "connecting anew",
                "=",
            ],
        ),
        (Event::Lost { serial: OTHER }, ["="; 6]),
        (
            Event::ReadOnly { serial: CURRENT },
            [
                "=",
                "=",
                "connecting anew, repair",
                "connecting anew",
                "connecting anew",
                "=",
            ],
        ),
        (Event::ReadOnly { serial: OTHER }, ["="; 6]),
        (
            Event::Disconnected { socket: CURRENT },
            [
                "=",
                "=",
                "connecting anew, repair",
                "connecting anew",
                "connecting anew",
                "=",
            ],
        ),
        // of a connection that was replaced
        (Event::Disconnected { socket: OTHER }, ["="; 6]),
        (
            Event::PeerLost {
                generation: CURRENT,
                idle: true,
            },
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
            Event::PeerLost {
                generation: CURRENT,
                idle: false,
            },
            ["="; 6],
        ),
        (
            Event::PeerLost {
                generation: OTHER,
                idle: true,
            },
            ["="; 6],
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
                "connecting, now",
                "connecting anew, repair",
                "connecting anew",
                "connecting anew",
                "down timed-out, now",
            ],
        ),
        (
            Event::PrimaryChanged {
                generation: CURRENT,
            },
            ["=", "connecting, now", "=", "=", "=", "down timed-out, now"],
        ),
        (
            Event::AttemptStarted,
            [
                "=",
                "connecting, check",
                "=",
                "up a 1 checked, check",
                "up a 0 checked, check",
                "down timed-out, check",
            ],
        ),
        (
            connected(now),
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
        assert_eq!(transition, expected.and(Action::Attempt { discard: false }));
    }
}

/// A check runs when it is found that the connection must be replaced: its result must not be used,
/// though the connection may pass it.
#[test]
fn a_connection_that_must_be_replaced_does_not_pass_a_running_check() {
    let start = Instant::now();
    let now = start + MIN_AGE;
    for event in [
        Event::ReadOnly { serial: CURRENT },
        Event::Lost { serial: CURRENT },
        Event::Disconnected { socket: CURRENT },
        Event::PrimaryChanged { generation: OTHER },
    ] {
        let state = up(start, 1, Some(repair(start, 0, true)));
        let state = state.on(event.clone(), &CONFIG, now).state;
        let checked = Event::Connected(active("a", CURRENT, now));
        let transition = state.clone().on(checked.clone(), &CONFIG, now);
        assert_eq!(describe(&state, &transition), "connecting anew, retry 0");
        let state = transition.state.on(Event::AttemptStarted, &CONFIG, now);
        assert_eq!(state.action, Action::Attempt { discard: true }, "{event:?}");
        let transition = state.state.clone().on(connected(now), &CONFIG, now);
        assert_eq!(
            describe(&state.state, &transition),
            "up b 0, end, connected"
        );
    }
}

#[test]
fn a_server_that_refuses_connections_is_tried_often_for_a_few_seconds() {
    let config = BreakerConfig {
        probe_every: Duration::from_secs(2),
        ..CONFIG
    };
    let start = Instant::now();
    let refused = || Failure::NoServer {
        text: String::new(),
    };
    for (elapsed_ms, failure, expected_ms) in [
        (0, refused(), 250),
        (3_999, refused(), 250),
        (4_500, refused(), 1_500),
        (9_000, refused(), 2_000),
        (0, Failure::TimedOut, 2_000),
        (3_999, Failure::unavailable("LOADING"), 2_000),
    ] {
        let now = start + Duration::from_millis(elapsed_ms);
        let state = Breaker::<()>::Down {
            failure: Failure::TimedOut,
            repair: repair(start, 12, false),
        };
        let transition = state.on(Event::AttemptFailed(failure.clone()), &config, now);
        let expected = Action::RetryAfter(Duration::from_millis(expected_ms));
        assert_eq!(transition.action, expected, "{failure:?} at {elapsed_ms}");
    }
}

#[test]
fn the_pauses_begin_anew_if_the_primary_changes() {
    let start = Instant::now();
    let now = start + Duration::from_secs(60);
    let state = Breaker::<()>::Down {
        failure: Failure::TimedOut,
        repair: repair(start, 12, false),
    };
    let changed = state.on(Event::PrimaryChanged { generation: 1 }, &CONFIG, now);
    assert_eq!(changed.action, Action::RetryNow);
    let failed = Event::AttemptFailed(Failure::Closed);
    let transition = changed.state.on(failed, &CONFIG, now);
    let first = Action::RetryAfter(FIRST_PAUSE);
    assert_eq!(transition.action, first);
}

fn any_event() -> impl Strategy<Value = Event<&'static str>> {
    let serial = 0u64..4;
    prop_oneof![
        Just(Event::Requested),
        serial.clone().prop_map(|serial| Event::Answered { serial }),
        serial.clone().prop_map(|serial| Event::TimedOut { serial }),
        serial.clone().prop_map(|serial| Event::Lost { serial }),
        serial.clone().prop_map(|serial| Event::ReadOnly { serial }),
        serial
            .clone()
            .prop_map(|socket| Event::Disconnected { socket }),
        (serial.clone(), any::<bool>())
            .prop_map(|(generation, idle)| Event::PeerLost { generation, idle }),
        (serial.clone(), any::<bool>())
            .prop_map(|(generation, idle)| Event::PeerTimedOut { generation, idle }),
        serial
            .clone()
            .prop_map(|generation| Event::PrimaryChanged { generation }),
        Just(Event::AttemptStarted),
        Just(attempt_failed()),
        serial.prop_map(|serial| Event::Connected(active("c", serial, Instant::now()))),
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
                Action::StartRepair => {
                    prop_assert!(!running, "a second repair");
                    running = true;
                }
                Action::EndRepair => {
                    prop_assert!(running, "no repair to end");
                    running = false;
                }
                Action::RetryAfter(_) | Action::RetryNow | Action::Attempt { .. } => {
                    prop_assert!(running, "no repair to go on");
                }
                Action::None => {}
            }
            state = transition.state;
            let needed = match &state {
                Breaker::Idle => false,
                Breaker::Connecting(_) | Breaker::Down { .. } => true,
                Breaker::Up(up) => up.check.is_some(),
            };
            prop_assert_eq!(running, needed, "{:?}", state);
        }
    }
}
