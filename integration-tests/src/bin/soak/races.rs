//! Slow requests that race with the end of their session: with a logout, a renewal, or a
//! regenerate.
//!
//! Two requests of one browser have loaded the session. One of them ends the session or its token,
//! and the slow one writes. The slow one commits either after the response of the other, or
//! concurrently. A third request arrives with the old cookie as soon as the end is acknowledged.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use session_core::{
    CookieOptions, Key, Outcome, OutcomeKind, SessionError, SessionId, Sessions, Store,
};
use session_redis::RedisStore;
use test_support::Redis;
use tokio::task::{JoinSet, yield_now};

use crate::{
    Failure, print_table,
    visits::{SUM, SetCookie, Visit, create, sessions},
};

const SLOW: Key<u64> = Key::new("slow");
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of races
    #[arg(long, default_value_t = 100_000)]
    races: u64,
    /// The number of concurrent races
    #[arg(long, default_value_t = 32)]
    concurrent: usize,
    /// The URL of Redis, which must be empty [default: a server that is started for the run]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// What the other request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Logout,
    Renew,
    Regenerate,
}

/// What the slow request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slow {
    Update,
    Touch,
}

/// The order of the two commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// The slow request commits after the response of the other one.
    SlowIsLast,
    Concurrent,
}

/// One race, as determined by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Race {
    ending: Ending,
    slow: Slow,
    order: Order,
}

impl Race {
    fn of(number: u64) -> Self {
        Self {
            ending: [Ending::Logout, Ending::Renew, Ending::Regenerate][(number % 3) as usize],
            slow: [Slow::Update, Slow::Touch][(number / 3 % 2) as usize],
            order: [Order::Concurrent, Order::Concurrent, Order::SlowIsLast]
                [(number / 6 % 3) as usize],
        }
    }
}

/// How many races of each kind had which outcome, or broke which promise.
type Outcomes = BTreeMap<(Race, Result<&'static str, String>), u64>;

struct Arena {
    store: RedisStore,
    /// Their cookies end with the browser session.
    transient: Sessions,
    /// Their cookies outlive it.
    persistent: Sessions,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let server = options.store.is_none().then(Redis::start);
    let url = options
        .store
        .clone()
        .or_else(|| server.as_ref().map(Redis::url))
        .expect("one of both");
    let store = RedisStore::connect(&url).await?;
    let arena = Arc::new(Arena {
        transient: sessions(store.clone(), CookieOptions::new())?,
        persistent: sessions(store.clone(), CookieOptions::new().max_age(HOUR))?,
        store,
    });
    let (begun, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut runners = JoinSet::new();
    for _ in 0..options.concurrent {
        let (arena, next, races) = (arena.clone(), next.clone(), options.races);
        runners.spawn(async move {
            let mut outcomes = Outcomes::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= races {
                    return outcomes;
                }
                let outcome = arena.run(number).await.map_err(|error| error.to_string());
                *outcomes.entry((Race::of(number), outcome)).or_default() += 1;
            }
        });
    }
    let mut outcomes = Outcomes::new();
    while let Some(done) = runners.join_next().await {
        for (key, count) in done? {
            *outcomes.entry(key).or_default() += count;
        }
    }
    let row = |((race, outcome), count): (&(Race, Result<&str, String>), &u64)| {
        let Race {
            ending,
            slow,
            order,
        } = race;
        let outcome = outcome.as_ref().map_or_else(
            |broken| format!("BROKEN: {broken}"),
            |&outcome| outcome.to_owned(),
        );
        vec![
            format!("{ending:?}"),
            format!("{slow:?}"),
            format!("{order:?}"),
            outcome,
            count.to_string(),
        ]
    };
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    print_table(
        &["ending", "slow request", "order", "outcome", "races"],
        &rows,
    );
    println!(
        "\n{} races in {:.1} s",
        options.races,
        begun.elapsed().as_secs_f64()
    );
    let broken: u64 = outcomes
        .iter()
        .filter(|((_, outcome), _)| outcome.is_err())
        .map(|(_, count)| count)
        .sum();
    let left = server
        .map(|server| server.command::<u64>(&["DBSIZE"]))
        .unwrap_or_default();
    match (broken, left) {
        (0, 0) => Ok(()),
        (0, left) => Err(format!("{left} sessions live on although all were ended").into()),
        (broken, _) => Err(format!("{broken} races broke a promise").into()),
    }
}

impl Arena {
    /// Runs one race and checks the promises. Returns the outcome of the slow request.
    async fn run(&self, number: u64) -> Result<&'static str, Failure> {
        let race = Race::of(number);
        let sessions = if (number / 18).is_multiple_of(2) {
            &self.transient
        } else {
            &self.persistent
        };
        let cookie = create(sessions).await?;
        let (slow, ending) = (
            Visit::begin(sessions, Some(&cookie)),
            Visit::begin(sessions, Some(&cookie)),
        );
        let (slow_session, session) = (slow.load().await?, ending.load().await?);
        let old = session.id().ok_or("a session without id")?;
        match race.slow {
            Slow::Update => drop(slow_session.update(SLOW, |slow| slow.unwrap_or(0) + 1)?),
            Slow::Touch => slow_session.touch()?,
        }
        match race.ending {
            Ending::Logout => session.destroy()?,
            Ending::Renew => session.renew()?,
            Ending::Regenerate => session.regenerate()?,
        }
        let (slow, ending) = match race.order {
            Order::SlowIsLast => {
                let ending = ending.finish().await;
                arrive_after_the_end(sessions, &cookie, old).await?;
                (slow.finish().await, ending)
            }
            // the first to be polled is the first to be sent, so that each goes first in turn, by a
            // different number of polls
            Order::Concurrent => {
                let lead = number / 72 % 4;
                let (slow_waits, ending_waits) = if (number / 36).is_multiple_of(2) {
                    (lead, 0)
                } else {
                    (0, lead)
                };
                let (slow, ending) = (late(slow, slow_waits), late(ending, ending_waits));
                let (slow, ending) = (tokio::spawn(slow), ending.await);
                arrive_after_the_end(sessions, &cookie, old).await?;
                (slow.await?, ending)
            }
        };
        self.check(sessions, race, old, &cookie, slow?, ending?)
            .await
    }

    async fn check(
        &self,
        sessions: &Sessions,
        race: Race,
        old: SessionId,
        cookie: &str,
        slow: (Outcome, Option<SetCookie>),
        ending: (Outcome, Option<SetCookie>),
    ) -> Result<&'static str, Failure> {
        let (outcome, set_cookie) = slow;
        let kind = outcome.kind();
        let name = kind.as_str();
        let is_expected = match race.slow {
            Slow::Update => matches!(kind, OutcomeKind::Saved | OutcomeKind::Gone),
            // a touch that comes too late loses nothing
            Slow::Touch => matches!(kind, OutcomeKind::Touched | OutcomeKind::Untouched),
        };
        if !is_expected {
            return Err(format!("the outcome of the slow request is {outcome:?}").into());
        }
        if let Some(cookie) = set_cookie {
            return Err(format!("the slow request sets a cookie: {cookie:?}").into());
        }
        if !Visit::begin(sessions, Some(cookie)).load().await?.is_new() {
            return Err("the old cookie still opens a session".into());
        }
        let is_stored = self.store.load(&old).await?.is_some();
        let survivor = match (race.ending, (ending.0.kind(), ending.1)) {
            (Ending::Logout, (OutcomeKind::Destroyed, Some(SetCookie::Removed))) if !is_stored => {
                None
            }
            (Ending::Renew, (OutcomeKind::Renewed, Some(SetCookie::Set(new)))) if is_stored => {
                Some(new)
            }
            (Ending::Regenerate, (OutcomeKind::Regenerated, Some(SetCookie::Set(new))))
                if !is_stored =>
            {
                Some(new)
            }
            (_, ending) => {
                return Err(
                    format!("the outcome of the end is {ending:?}, stored: {is_stored}").into(),
                );
            }
        };
        let Some(survivor) = survivor else {
            return Ok(name);
        };

        let visit = Visit::begin(sessions, Some(&survivor));
        let session = visit.load().await?;
        if session.is_new() {
            return Err("the new cookie opens nothing".into());
        }
        let (sum, slow) = (session.get(SUM)?, session.get(SLOW)?);
        let expected = match (race.ending, race.slow) {
            // no write is lost, and the session has the same id
            (Ending::Renew, Slow::Update)
                if kind == OutcomeKind::Saved && session.id() == Some(old) =>
            {
                (Some(0), Some(1))
            }
            (Ending::Renew, Slow::Touch) if session.id() == Some(old) => (Some(0), None),
            (Ending::Regenerate, _) if session.id() != Some(old) => (None, None),
            _ => return Err(format!("the outcome of the slow request is {outcome:?}").into()),
        };
        if (sum, slow) != expected {
            return Err(format!("the session holds {:?}, not {expected:?}", (sum, slow)).into());
        }
        session.destroy()?;
        let _ = visit.finish().await?;
        Ok(name)
    }
}

/// Sends a request with the old cookie when the response of the end has arrived. It never sees the
/// session, also if the slow request has not committed yet.
async fn arrive_after_the_end(
    sessions: &Sessions,
    cookie: &str,
    old: SessionId,
) -> Result<(), Failure> {
    let visit = Visit::begin(sessions, Some(cookie));
    let session = visit.load().await?;
    if !session.is_new() || session.id() == Some(old) || session.get(SUM)?.is_some() {
        return Err("a request after the end sees the session".into());
    }
    match visit.finish().await? {
        (outcome, None) if outcome.kind() == OutcomeKind::Untouched => Ok(()),
        other => Err(format!("the outcome of a request after the end is {other:?}").into()),
    }
}

type Finished = Result<(Outcome, Option<SetCookie>), SessionError>;

/// Finishes a request after yielding so many times.
async fn late(visit: Visit, turns: u64) -> Finished {
    for _ in 0..turns {
        yield_now().await;
    }
    visit.finish().await
}
