//! Runs one operation: picks a connection, waits its turn, sends, and decides about another attempt, all within one deadline.
//!
//! Whether an operation may be repeated rests on what it does when it was applied already:
//!
//! * `load` reads; `destroy` removes what is gone; `touch` sets the same life again.
//! * `create` and `save` find their own version stored, and answer as the first time.
//! * A `save` whose first attempt is unknown and whose second meets *another* version may have been applied and overwritten. Its
//!   caller must not replay it, so that stays unknown ([`Reply::unsure`]).
//!
//! One repetition follows a broken connection, none a missed deadline: a server that hangs needs no second request. A connection that
//! had ended before anything was sent on it is passed over. A late first
//! attempt harms nothing: the version it expects is gone. Error replies promise that nothing was applied, so redirections of a
//! cluster are followed as often as [`REDIRECTIONS`] says.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use session_core::StoreError;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    batch::Values,
    config::{RedisConfig, Topology},
    connector::Connector,
    error::{Advice, Failure},
    lane::{Lane, Live, Patience, State, jitter},
    script::{Call, Form},
};

/// How often the cluster may send an operation elsewhere, with pauses from 10 ms that double: 0.3 s in all.
const REDIRECTIONS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// All connections of a store.
#[derive(Debug)]
pub(crate) struct Connections {
    lanes: Box<[Arc<Lane>]>,
    /// They take turns, and this one is next.
    in_turn: bool,
    next: AtomicUsize,
    response_timeout: Duration,
    total_timeout: Duration,
}

/// What the server said in the end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) values: Values,
    /// An earlier attempt may have been applied as well.
    pub(crate) unsure: bool,
}

impl Connections {
    pub(crate) fn new(config: RedisConfig) -> Self {
        let patience = Patience {
            failures: config.failures,
            connect_timeout: config.connect_timeout,
            probe_every: config.probe_every,
        };
        let (count, max_in_flight) = (config.connections, config.max_in_flight);
        let (response_timeout, total_timeout) = (config.response_timeout, config.total_timeout);
        let in_turn = matches!(config.topology, Topology::Cluster(_));
        let connector = Arc::new(Connector::new(config));
        let lanes =
            (0..count).map(|number| Lane::new(number, connector.clone(), max_in_flight, patience));
        Self {
            lanes: lanes.collect(),
            in_turn,
            next: AtomicUsize::new(0),
            response_timeout,
            total_timeout,
        }
    }

    /// Does one operation.
    pub(crate) async fn run(&self, call: Call<'_>) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + self.total_timeout;
        match self.attempt(&call, &Form::default(), deadline).await {
            Ok(values) => Ok(Reply {
                values,
                unsure: false,
            }),
            // in a box, because it is rare and would make the future of every operation as large as its own
            Err(failed) => Box::pin(self.again(call, failed, deadline)).await,
        }
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        form: &Form,
        deadline: Instant,
    ) -> Result<Values, Failed<'_>> {
        let picked = match self.look() {
            Look::Picked(picked) => Ok(picked),
            // in a box for the same reason
            look => Box::pin(self.pick(look, deadline)).await,
        };
        let Picked { lane, live, turn } = picked.map_err(|failure| Failed {
            failure,
            tried_on: None,
        })?;
        let patience = self
            .response_timeout
            .min(deadline.saturating_duration_since(Instant::now()));
        let outcome = live.link.send(call, form, patience).await;
        drop(turn);
        let failure = match outcome {
            Ok(values) => {
                lane.answered();
                return Ok(values);
            }
            Err(failure) => failure,
        };
        tracing::debug!(operation = call.name(), key = call.key(), connection = lane.number(), %failure, "attempt failed");
        match &failure {
            Failure::Answered { .. } => lane.answered(),
            Failure::TimedOut => {
                // in a cluster that was one node of many
                if lane.timed_out(&live) && !live.link.is_cluster() {
                    self.lanes.iter().for_each(|lane| lane.doubt(&live));
                }
            }
            Failure::Lost { .. } | Failure::Ended | Failure::Unreached { .. } => lane.lost(&live),
        }
        Err(Failed {
            failure,
            tried_on: Some((lane, live)),
        })
    }

    /// What follows a first attempt that failed.
    async fn again(
        &self,
        call: Call<'_>,
        mut failed: Failed<'_>,
        deadline: Instant,
    ) -> Result<Reply, StoreError> {
        let mut form = Form::default();
        let (mut unsure, mut retried, mut redirections) = (false, false, 0);
        loop {
            let Failed { failure, tried_on } = failed;
            let Some((lane, live)) = tried_on else {
                return Err(failure.into_store_error(unsure));
            };
            unsure |= failure.is_unknown() && call.writes();
            let again = match failure.advice() {
                Advice::GiveUp => false,
                // its lane is not picked again before it is connected
                Advice::PassOver => true,
                Advice::Reconnect => !std::mem::replace(&mut retried, true),
                Advice::SendSource => !std::mem::replace(&mut form.source, true),
                Advice::FindPrimary if !live.link.is_cluster() => {
                    lane.demoted(&live) && !std::mem::replace(&mut retried, true)
                }
                Advice::Ask(node) => {
                    redirections += 1;
                    form.asking = Some(node);
                    live.link.is_cluster() && redirections <= REDIRECTIONS
                }
                Advice::LookAgain | Advice::FindPrimary => {
                    redirections += 1;
                    form.asking = None;
                    let pause = jitter(FIRST_PAUSE * 2u32.saturating_pow(redirections - 1));
                    let again = live.link.is_cluster()
                        && redirections <= REDIRECTIONS
                        && Instant::now() + pause < deadline;
                    if again {
                        sleep(pause).await;
                    }
                    again
                }
            };
            if !again || Instant::now() >= deadline {
                return Err(failure.into_store_error(unsure));
            }
            failed = match self.attempt(&call, &form, deadline).await {
                Ok(values) => return Ok(Reply { values, unsure }),
                Err(failed) => failed,
            };
        }
    }

    /// A connection that is up, and a turn on it, as soon as there is one.
    async fn pick<'a>(
        &'a self,
        mut look: Look<'a>,
        deadline: Instant,
    ) -> Result<Picked<'a>, Failure> {
        loop {
            look = match look {
                Look::Picked(picked) => return Ok(picked),
                Look::Away(failure) => return Err(away_from(failure)),
                Look::Busy => match timeout_at(deadline, self.next_turn()).await {
                    Ok(Some(picked)) => Look::Picked(picked),
                    Ok(None) => self.look(),
                    Err(_) => return Err(Failure::unreached("all connections are busy")),
                },
                Look::Connecting(lane) => {
                    let mut watch = lane.watch();
                    let settled =
                        watch.wait_for(|state| matches!(state, State::Up(_) | State::Down(_)));
                    let settled = timeout_at(deadline, settled).await;
                    settled
                        .map(drop)
                        .map_err(|_| Failure::unreached("no connection yet"))?;
                    self.look()
                }
            };
        }
    }

    /// The first connection that is up and has a turn left, and that turn. Connections that nobody has used yet begin to be made.
    ///
    /// Work is not dealt out evenly: operations that share a connection share its system calls. Only in a cluster, where each connection
    /// is many and nothing is shared, do they take turns.
    fn look(&self) -> Look<'_> {
        let first = if self.in_turn {
            self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()
        } else {
            0
        };
        let (mut suspect, mut busy, mut connecting, mut away) = (None, false, None, None);
        for lane in self.lanes[first..].iter().chain(&self.lanes[..first]) {
            match lane.state() {
                State::Up(live) => match lane.turns.try_acquire() {
                    Ok(turn) if lane.is_suspect() => {
                        suspect = suspect.or(Some(Picked { lane, live, turn }))
                    }
                    Ok(turn) => return Look::Picked(Picked { lane, live, turn }),
                    Err(_) => busy = true,
                },
                State::Idle => {
                    lane.start();
                    connecting = connecting.or(Some(lane));
                }
                State::Connecting => connecting = connecting.or(Some(lane)),
                State::Down(failure) => away = Some(failure),
            }
        }
        match (suspect, connecting, away) {
            (Some(picked), _, _) => Look::Picked(picked),
            _ if busy => Look::Busy,
            (None, Some(lane), _) => Look::Connecting(lane),
            (None, None, Some(failure)) => Look::Away(failure),
            (None, None, None) => Look::Away(Failure::unreached("there is no connection")),
        }
    }

    /// The first turn that anybody gives back.
    async fn next_turn(&self) -> Option<Picked<'_>> {
        let up = self
            .lanes
            .iter()
            .filter(|lane| matches!(lane.state(), State::Up(_)));
        let mut waits: Vec<_> = up
            .map(|lane| Box::pin(async move { (lane, lane.turns.acquire().await) }))
            .collect();
        if waits.is_empty() {
            return None;
        }
        let (lane, turn) = poll_fn(|cx| {
            let given = waits
                .iter_mut()
                .map(|wait| wait.as_mut().poll(cx))
                .find(Poll::is_ready);
            given.unwrap_or(Poll::Pending)
        })
        .await;
        match (lane.state(), turn) {
            (State::Up(live), Ok(turn)) => Some(Picked { lane, live, turn }),
            _ => None,
        }
    }
}

/// An attempt that failed, and on which connection, if there was one.
struct Failed<'a> {
    failure: Failure,
    tried_on: Option<(&'a Lane, Live)>,
}

/// A connection that is up, and a turn on it.
struct Picked<'a> {
    lane: &'a Lane,
    live: Live,
    turn: SemaphorePermit<'a>,
}

enum Look<'a> {
    Picked(Picked<'a>),
    /// All that are up have as much to do as they may.
    Busy,
    Connecting(&'a Lane),
    Away(Failure),
}

/// Nothing was sent: what took the connection away is only the reason.
fn away_from(failure: Failure) -> Failure {
    match failure {
        Failure::Unreached { .. } => failure,
        Failure::Answered { .. } | Failure::Ended | Failure::Lost { .. } | Failure::TimedOut => {
            Failure::unreached(failure.to_string())
        }
    }
}
