//! A process that updates sessions which other processes update too, and reports the outcome of
//! each update.
//!
//! It reads cookies from its standard input, one a line, and writes one line for each event: the
//! number of the task, and a letter ([`Event`]). A line is one write to a pipe, so that everything
//! reported before the process is killed arrives.

use std::io::{self, BufRead, Write};

use clap::Args;
use session_core::{CookieOptions, SessionErrorKind, Sessions};
use session_redis::RedisStore;
use tokio::time::{Duration, sleep};

use crate::{
    Failure,
    visits::{SUM, Visit, sessions},
};

/// The pause before an update is retried while Redis is unavailable.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The URL of Redis
    #[arg(long)]
    pub(crate) store: String,
    /// The number of the first task, counted over all processes
    #[arg(long)]
    pub(crate) first_task: usize,
    /// The number of tasks
    #[arg(long)]
    pub(crate) tasks: usize,
    /// The number of updates of each task
    #[arg(long)]
    pub(crate) updates: u64,
}

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The update is stored.
    Acknowledged,
    /// It is unknown whether the update is stored. It is not retried.
    Unknown,
    /// Too many conflicts in a row. Nothing was written, and the update is retried.
    Contention,
    /// Redis was unavailable. Nothing was written, and the update is retried.
    Unavailable,
}

impl Event {
    fn letter(self) -> char {
        match self {
            Self::Acknowledged => 'a',
            Self::Unknown => 'u',
            Self::Contention => 'c',
            Self::Unavailable => 'w',
        }
    }

    /// Parses a line into the task and the event.
    pub(crate) fn parse(line: &str) -> Option<(usize, Self)> {
        let (task, letter) = line.split_once(' ')?;
        let events = [
            Self::Acknowledged,
            Self::Unknown,
            Self::Contention,
            Self::Unavailable,
        ];
        let event = events
            .into_iter()
            .find(|event| letter.chars().eq([event.letter()]))?;
        Some((task.parse().ok()?, event))
    }

    /// Whether the task continues with its next update.
    pub(crate) fn is_last(self) -> bool {
        match self {
            Self::Acknowledged | Self::Unknown => true,
            Self::Contention | Self::Unavailable => false,
        }
    }
}

/// The session that a task updates at this step. Pseudorandom, so that whoever counts can compute
/// it.
pub(crate) fn target(task: usize, step: u64, sessions: usize) -> usize {
    // splitmix64
    let mut x = (task as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(step)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) % sessions as u64) as usize
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let cookies = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let sessions = sessions(
        RedisStore::connect(&options.store).await?,
        CookieOptions::new(),
    )?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in options.first_task..options.first_task + options.tasks {
        let (sessions, cookies, updates) = (sessions.clone(), cookies.clone(), options.updates);
        tasks.spawn(async move {
            for step in 0..updates {
                let cookie = &cookies[target(task, step, cookies.len())];
                loop {
                    let event = update(&sessions, cookie).await?;
                    writeln!(io::stdout(), "{task} {}", event.letter())?;
                    match event {
                        Event::Acknowledged | Event::Unknown => break,
                        Event::Contention => {}
                        Event::Unavailable => sleep(PAUSE).await,
                    }
                }
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Makes one request that increments the sum.
async fn update(sessions: &Sessions, cookie: &str) -> Result<Event, Failure> {
    let visit = Visit::begin(sessions, Some(cookie));
    let session = match visit.load().await {
        Ok(session) if session.is_new() => return Err("a session is lost".into()),
        Ok(session) => session,
        // nothing was written
        Err(error) => match error.kind() {
            SessionErrorKind::Unavailable | SessionErrorKind::Overloaded => {
                return Ok(Event::Unavailable);
            }
            _ => return Err(error.into()),
        },
    };
    session.update(SUM, |sum| sum.unwrap_or(0) + 1)?;
    match visit.finish().await {
        Ok((outcome, None)) if outcome.saved => Ok(Event::Acknowledged),
        Ok(other) => Err(format!("the outcome of an update is {other:?}").into()),
        Err(error) => match error.kind() {
            SessionErrorKind::InDoubt => Ok(Event::Unknown),
            SessionErrorKind::Contention => Ok(Event::Contention),
            SessionErrorKind::Unavailable | SessionErrorKind::Overloaded => Ok(Event::Unavailable),
            _ => Err(error.into()),
        },
    }
}
