//! Every history of verbs up to length six, against an oracle that never looks at a state.
//!
//! The machine goes from state to state; the oracle reads the whole history at once and says what must come of it. Then faults
//! are seeded into the machine, and each must be found.

use super::*;
use crate::{
    OnGone, OsEntropy, SessionToken, Undecodable, Unset, Version, op::Op, record::Record,
    state::Fresh, timeouts::Timeouts, token::Secret,
};
use bytes::Bytes;
use std::sync::Arc;

const LENGTH: usize = 6;
const IDLE: Duration = Duration::from_secs(1800);
const OWN_IDLE: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Insert,
    Remove,
    Renew,
    Regenerate,
    Destroy,
    Discard,
    Touch,
    MaxAge,
}

use Verb::*;
const VERBS: [Verb; 8] = [
    Insert, Remove, Renew, Regenerate, Destroy, Discard, Touch, MaxAge,
];

/// What a request starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    NoCookie,
    DeadCookie,
    Stored,
    /// Stored, and old enough that a touch is due.
    StoredDue,
    /// Stored, and its cookie was signed by an older key.
    StoredStale,
}

/// The values that every history is tried with.
struct World {
    now: SystemTime,
    stored: Stored,
    fresh: Fresh,
    next: Fresh,
}

impl World {
    fn new() -> Self {
        let token = |id| {
            let secret = Secret::generate(&OsEntropy).expect("entropy");
            SessionToken::new(SessionId::from_bytes([id; 16]), secret)
        };
        let now = clock::from_millis(1_790_000_000_000);
        let mut contents = Contents::default();
        contents.data.insert("kept", Bytes::from_static(b"\x01"));
        let held = token(1);
        let record = Record {
            version: Version::from_bytes([1; 8]),
            secret_hash: held.secret().hash(),
            created_at: clock::to_millis(now),
            contents,
            unknown: Vec::new(),
        };
        let stored = Stored {
            token: held,
            record: Arc::new(record),
            ttl: Some(IDLE),
            seen_at: now,
            touch: false,
            written: false,
        };
        let fresh = |id| Fresh {
            token: token(id),
            created_at: clock::to_millis(now),
            initial: Contents::default(),
        };
        Self {
            now,
            stored,
            fresh: fresh(2),
            next: fresh(3),
        }
    }

    fn begin(&self, start: Start) -> (State, Request) {
        let request = Request {
            cookie: start != Start::NoCookie,
            stale: start == Start::StoredStale,
            addressable: true,
        };
        let state = match start {
            Start::NoCookie | Start::DeadCookie => State::Uninitialized {
                fresh: self.fresh.clone(),
                discarded: false,
            },
            Start::Stored | Start::StoredStale => State::Unmodified {
                stored: self.stored.clone(),
                discarded: false,
            },
            Start::StoredDue => {
                let stored = Stored {
                    ttl: Some(IDLE / 2),
                    ..self.stored.clone()
                };
                State::Unmodified {
                    stored,
                    discarded: false,
                }
            }
        };
        (state, request)
    }

    fn step(&self, state: State, verb: Verb) -> State {
        let write = |state: State, op| {
            let fresh = state.write_needs_fresh().then(|| self.next.clone());
            let (state, written) = state.write(op, usize::MAX, fresh);
            written.expect("nothing is gone here");
            state
        };
        match verb {
            Insert => write(state, Op::Set("value".into(), Bytes::from_static(b"\x02"))),
            Remove => write(state, Op::Remove("value".into())),
            Renew => state.renew(),
            Regenerate => state.regenerate(self.next.clone()),
            Destroy => state.destroy(),
            Discard => state.discard(),
            Touch => state.touch(),
            MaxAge => {
                let state = write(state, Op::SetIdle(Some(OWN_IDLE)));
                write(state, Op::SetPersistent(Some(true)))
            }
        }
    }
}

fn policies() -> [Policy; 4] {
    let timeouts = Timeouts {
        idle: IDLE,
        absolute: None,
        touch_after: None,
        persistent: false,
    };
    let base = Policy {
        timeouts,
        resave: false,
        save_uninitialized: false,
        rolling: false,
        unset: Unset::Discard,
        on_gone: OnGone::Discard,
        undecodable: Undecodable::Fail,
        remove_rejected_cookie: false,
        max_bytes: usize::MAX,
        commit_attempts: 1,
        commit_deadline: IDLE,
        commit_if: None,
    };
    [
        base.clone(),
        Policy {
            resave: true,
            rolling: true,
            ..base.clone()
        },
        Policy {
            save_uninitialized: true,
            ..base.clone()
        },
        Policy {
            timeouts: Timeouts {
                persistent: true,
                ..timeouts
            },
            ..base
        },
    ]
}

/// What a history must come to, read off the history alone.
fn oracle(start: Start, history: &[Verb], policy: &Policy, old: SessionId) -> Plan {
    let was_stored = !matches!(start, Start::NoCookie | Start::DeadCookie);
    let retire = was_stored.then_some(old);
    let end = history
        .iter()
        .rposition(|verb| matches!(verb, Destroy | Regenerate));
    let tail = &history[end.map_or(0, |at| at + 1)..];
    let discarded = tail.iter().rposition(|verb| *verb == Discard);
    let kept = &tail[discarded.map_or(0, |at| at + 1)..];
    let value = kept.iter().rfind(|verb| matches!(verb, Insert | Remove)) == Some(&Insert);
    let own_life = kept.contains(&MaxAge);
    let wrote = kept
        .iter()
        .any(|verb| matches!(verb, Insert | Remove | MaxAge));
    let ttl = if own_life { OWN_IDLE } else { IDLE };

    let create = || Plan {
        step: Step::Create {
            ttl,
            retire: end.and(retire),
        },
        cookie: CookieStep::Set,
    };
    let nothing = Plan {
        step: Step::Nothing,
        cookie: CookieStep::Keep,
    };
    match end.map(|at| history[at]) {
        Some(Regenerate) => return create(),
        Some(_) if value || wrote && policy.save_uninitialized => return create(),
        Some(_) => {
            let cookie = if start == Start::NoCookie {
                CookieStep::Keep
            } else {
                CookieStep::Remove
            };
            return Plan {
                step: retire.map_or(Step::Nothing, |id| Step::Destroy { id }),
                cookie,
            };
        }
        None => {}
    }
    if !was_stored {
        let wanted = value || policy.save_uninitialized && (wrote || discarded.is_none());
        return if wanted { create() } else { nothing };
    }
    if tail.contains(&Renew) {
        return Plan {
            step: Step::Save { ttl, renew: true },
            cookie: CookieStep::Set,
        };
    }
    let touched = kept.contains(&Touch);
    if discarded.is_some() && !wrote && !touched {
        return nothing;
    }
    let step = if value || own_life || policy.resave {
        Step::Save { ttl, renew: false }
    } else if touched || start == Start::StoredDue {
        Step::Touch { ttl }
    } else {
        Step::Nothing
    };
    let outlives = own_life || policy.timeouts.persistent;
    let outdated =
        policy.rolling || start == Start::StoredStale || outlives && step != Step::Nothing;
    let step = if outdated {
        Step::Save { ttl, renew: false }
    } else {
        step
    };
    Plan {
        step,
        cookie: if outdated {
            CookieStep::Set
        } else {
            CookieStep::Keep
        },
    }
}

/// The machine under test: how a verb changes the state, and what is decided at the end.
struct Machine {
    step: fn(&World, State, Verb) -> State,
    decide: fn(&State, Request, &Policy, SystemTime) -> Plan,
}

const REAL: Machine = Machine {
    step: World::step,
    decide: |state, request, policy, now| decide(state, request, policy, Asked::Finish, now),
};

/// Walks every history from this start. Gives how many there were, or the first on which machine and oracle disagree.
fn walk(machine: &Machine, start: Start) -> Result<usize, String> {
    let (world, policies) = (World::new(), policies());
    let (state, request) = world.begin(start);
    let mut walk = Walk {
        machine,
        world: &world,
        policies: &policies,
        start,
        request,
        history: Vec::new(),
        seen: 0,
    };
    walk.from(&state)?;
    Ok(walk.seen)
}

struct Walk<'a> {
    machine: &'a Machine,
    world: &'a World,
    policies: &'a [Policy],
    start: Start,
    request: Request,
    history: Vec<Verb>,
    seen: usize,
}

impl Walk<'_> {
    fn from(&mut self, state: &State) -> Result<(), String> {
        self.seen += 1;
        for policy in self.policies {
            let plan = (self.machine.decide)(state, self.request, policy, self.world.now);
            let expected = oracle(
                self.start,
                &self.history,
                policy,
                self.world.stored.token.id(),
            );
            if plan != expected {
                let flags = (
                    policy.resave,
                    policy.save_uninitialized,
                    policy.rolling,
                    policy.timeouts.persistent,
                );
                return Err(format!(
                    "{:?} {:?} {flags:?}: {plan:?}, not {expected:?}",
                    self.start, self.history
                ));
            }
        }
        if self.history.len() == LENGTH {
            return Ok(());
        }
        for verb in VERBS {
            self.history.push(verb);
            self.from(&(self.machine.step)(self.world, state.clone(), verb))?;
            self.history.pop();
        }
        Ok(())
    }
}

#[track_caller]
fn check(start: Start) {
    let histories: usize = (0..=LENGTH as u32)
        .map(|length| VERBS.len().pow(length))
        .sum();
    assert_eq!(walk(&REAL, start), Ok(histories));
}

#[test]
fn every_history_without_a_cookie() {
    check(Start::NoCookie);
}

#[test]
fn every_history_with_a_cookie_that_opens_nothing() {
    check(Start::DeadCookie);
}

#[test]
fn every_history_of_a_stored_session() {
    check(Start::Stored);
}

#[test]
fn every_history_of_a_stored_session_whose_touch_is_due() {
    check(Start::StoredDue);
}

#[test]
fn every_history_of_a_stored_session_under_an_older_key() {
    check(Start::StoredStale);
}

/// A fault in how a verb changes the state.
fn bad_step(step: fn(&World, State, Verb) -> State) -> Machine {
    Machine { step, ..REAL }
}

/// A fault in what is decided.
fn bad_plan(decide: fn(&State, Request, &Policy, SystemTime) -> Plan) -> Machine {
    Machine { decide, ..REAL }
}

fn right(state: &State, request: Request, policy: &Policy, now: SystemTime) -> Plan {
    (REAL.decide)(state, request, policy, now)
}

#[test]
fn every_seeded_fault_is_found() {
    let faults: [(&str, Machine); 17] = [
        (
            "a write after destroy forgets to end the old session",
            bad_step(|world, state, verb| match (world.step(state, verb), verb) {
                (State::New { fresh, draft, .. }, Insert) => State::New {
                    fresh,
                    draft,
                    destroyed: None,
                },
                (state, _) => state,
            }),
        ),
        (
            "a write after destroy goes to the old session",
            bad_step(|world, state, verb| match (state, verb) {
                (
                    State::Destroyed {
                        retired: Retired(Some(_)),
                    },
                    Insert,
                ) => world.step(
                    State::Unmodified {
                        stored: world.stored.clone(),
                        discarded: false,
                    },
                    verb,
                ),
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "discard takes a destroy back",
            bad_step(|world, state, verb| match (state, verb) {
                (
                    State::Destroyed {
                        retired: Retired(Some(_)),
                    },
                    Discard,
                ) => State::Unmodified {
                    stored: world.stored.clone(),
                    discarded: true,
                },
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "discard takes a renewal back",
            bad_step(|world, state, verb| match (state, verb) {
                (State::Renewed { stored, .. }, Discard) => State::Unmodified {
                    stored,
                    discarded: true,
                },
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "a write forgets the renewal",
            bad_step(|world, state, verb| match (world.step(state, verb), verb) {
                (State::Renewed { stored, draft }, Insert) => State::Modified { stored, draft },
                (state, _) => state,
            }),
        ),
        (
            "renew forgets the writes",
            bad_step(|world, state, verb| match (state, verb) {
                (State::Modified { stored, .. }, Renew) => State::Unmodified {
                    stored,
                    discarded: false,
                },
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "regenerate lets the old session live",
            bad_step(|world, state, verb| match world.step(state, verb) {
                State::Regenerated { fresh, draft, .. } => State::Regenerated {
                    fresh,
                    draft,
                    retired: Retired(None),
                },
                state => state,
            }),
        ),
        (
            "regenerate keeps the id",
            bad_step(|world, state, verb| match (state, verb) {
                (State::Unmodified { stored, .. }, Regenerate) => State::Renewed {
                    draft: crate::op::Draft::of(stored.record.contents.clone()),
                    stored,
                },
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "touch revives",
            bad_step(|world, state, verb| match (state, verb) {
                (
                    State::Destroyed {
                        retired: Retired(Some(_)),
                    },
                    Touch,
                ) => State::Unmodified {
                    stored: world.stored.clone(),
                    discarded: false,
                },
                (state, _) => world.step(state, verb),
            }),
        ),
        (
            "an empty regenerated session is not stored",
            bad_plan(|state, request, policy, now| match state {
                State::Regenerated {
                    draft,
                    retired: Retired(None),
                    ..
                } if draft.contents.data.is_empty() => Plan {
                    step: Step::Nothing,
                    cookie: CookieStep::Keep,
                },
                _ => right(state, request, policy, now),
            }),
        ),
        (
            "destroy leaves the cookie",
            bad_plan(|state, request, policy, now| {
                match (state, right(state, request, policy, now)) {
                    (State::Destroyed { .. }, plan) => Plan {
                        cookie: CookieStep::Keep,
                        ..plan
                    },
                    (_, plan) => plan,
                }
            }),
        ),
        (
            "destroy removes a cookie that nobody sent",
            bad_plan(|state, request, policy, now| {
                right(
                    state,
                    Request {
                        cookie: true,
                        ..request
                    },
                    policy,
                    now,
                )
            }),
        ),
        (
            "a reverted change is written",
            bad_plan(|state, request, policy, now| {
                match (state, right(state, request, policy, now)) {
                    (
                        State::Modified { .. },
                        Plan {
                            step: Step::Nothing,
                            cookie,
                        },
                    ) => Plan {
                        step: Step::Save {
                            ttl: IDLE,
                            renew: false,
                        },
                        cookie,
                    },
                    (_, plan) => plan,
                }
            }),
        ),
        (
            "a lifetime alone makes a session",
            bad_plan(|state, request, policy, now| match state {
                State::New {
                    draft,
                    destroyed: None,
                    ..
                } if draft.contents != Contents::default() => Plan {
                    step: Step::Create {
                        ttl: OWN_IDLE,
                        retire: None,
                    },
                    cookie: CookieStep::Set,
                },
                _ => right(state, request, policy, now),
            }),
        ),
        (
            "a renewal is not told",
            bad_plan(
                |state, request, policy, now| match right(state, request, policy, now) {
                    Plan {
                        step: step @ Step::Save { renew: true, .. },
                        ..
                    } => Plan {
                        step,
                        cookie: CookieStep::Keep,
                    },
                    plan => plan,
                },
            ),
        ),
        (
            "an older key is not replaced",
            bad_plan(|state, request, policy, now| {
                right(
                    state,
                    Request {
                        stale: false,
                        ..request
                    },
                    policy,
                    now,
                )
            }),
        ),
        (
            "a touch that is not due is written",
            bad_plan(|state, request, policy, now| {
                match (state, right(state, request, policy, now)) {
                    (
                        State::Unmodified {
                            discarded: false, ..
                        },
                        Plan {
                            step: Step::Nothing,
                            cookie,
                        },
                    ) => Plan {
                        step: Step::Touch { ttl: IDLE },
                        cookie,
                    },
                    (_, plan) => plan,
                }
            }),
        ),
    ];
    for (fault, machine) in faults {
        let starts = [
            Start::StoredStale,
            Start::NoCookie,
            Start::Stored,
            Start::StoredDue,
            Start::DeadCookie,
        ];
        let found = starts
            .into_iter()
            .any(|start| walk(&machine, start).is_err());
        assert!(found, "not found: {fault}");
    }
}
