//! One of the processes of `users`: it logs users in and out, ends their sessions, and reports what
//! was acknowledged, and when, one line for each event.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use integration_tests::keys;
use rustix::time::{ClockId, clock_gettime};
use session_core::{Destroy, SessionError, SessionErrorKind, SessionId, Sessions, Store, WhenFull};
use session_redis::RedisStore;
use tokio::task::JoinSet;

use crate::{
    Failure,
    user_history::{Ended, Nanos, Report},
    visits::{SetCookie, Visit},
    worker::target,
};

/// The most sessions of a user.
pub(crate) const LIMIT: usize = 5;
/// The idle timeout of some sessions, which then expire.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// The sessions that a task remembers.
const HELD: usize = 24;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The URL of Redis
    #[arg(long)]
    pub(crate) store: String,
    /// What the choices of the process follow from
    #[arg(long)]
    pub(crate) seed: usize,
    /// The number of tasks
    #[arg(long)]
    pub(crate) tasks: usize,
    /// The number of operations
    #[arg(long)]
    pub(crate) operations: usize,
    /// The number of users
    #[arg(long)]
    pub(crate) users: usize,
    /// The number of tags
    #[arg(long)]
    pub(crate) tags: usize,
}

/// The sessions of all users. A login of every second user beyond the limit is rejected, one of the
/// others ends the oldest session.
#[derive(Clone)]
pub(crate) struct Service {
    store: RedisStore,
    evicting: Sessions,
    rejecting: Sessions,
}

impl Service {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let store = RedisStore::connect(url).await?;
        let sessions = |when_full| {
            Sessions::builder(store.clone())
                .signing_keys(keys())
                .max_sessions_per_principal(LIMIT, when_full)
                .build()
        };
        Ok(Self {
            evicting: sessions(WhenFull::EvictOldest)?,
            rejecting: sessions(WhenFull::Reject)?,
            store,
        })
    }

    pub(crate) fn store(&self) -> &RedisStore {
        &self.store
    }

    pub(crate) fn sessions(&self, user: usize) -> &Sessions {
        match user.is_multiple_of(2) {
            true => &self.evicting,
            false => &self.rejecting,
        }
    }
}

pub(crate) fn user_name(user: usize) -> String {
    format!("user-{user}")
}

pub(crate) fn tag_value(tag: usize) -> String {
    format!("tag-{tag}")
}

/// The monotonic clock, which every process of the machine reads alike.
pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = Nanos::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + Nanos::try_from(now.tv_nsec).unwrap_or_default()
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let service = Service::connect(&options.store).await?;
    let mut tasks = JoinSet::new();
    for number in 0..options.tasks {
        let mut task = Task {
            service: service.clone(),
            users: options.users,
            tags: options.tags,
            source: options.seed * 10_007 + number,
            rolls: 0,
            held: Vec::new(),
        };
        let operations = (0..options.operations).filter(|n| n % options.tasks == number);
        let operations = operations.count();
        tasks.spawn(async move {
            for _ in 0..operations {
                let report = match task.step().await {
                    Ok(report) => report,
                    Err(error) => Report::Other(failure(&error)?.to_owned()),
                };
                say(&report)?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// A line is one write to a pipe, so that everything reported before the process is killed arrives.
fn say(report: &Report) -> io::Result<()> {
    io::stdout().write_all((report.line() + "\n").as_bytes())
}

/// The name of a failure that can happen although nothing is broken.
fn failure(error: &SessionError) -> Result<&'static str, Failure> {
    match error.kind() {
        kind @ (SessionErrorKind::LimitReached
        | SessionErrorKind::Contention
        | SessionErrorKind::InDoubt
        | SessionErrorKind::Overloaded
        | SessionErrorKind::Unavailable) => Ok(kind.as_str()),
        _ => Err(error.to_string().into()),
    }
}

/// A session that a task has the cookie of.
struct Held {
    id: SessionId,
    user: usize,
    cookie: String,
}

struct Task {
    service: Service,
    users: usize,
    tags: usize,
    source: usize,
    rolls: u64,
    held: Vec<Held>,
}

impl Task {
    /// A pseudorandom number below the bound.
    fn roll(&mut self, bound: usize) -> usize {
        self.rolls += 1;
        target(self.source, self.rolls, bound)
    }

    async fn step(&mut self) -> Result<Report, SessionError> {
        let user = self.roll(self.users);
        match self.roll(100) {
            0..50 => self.log_in(user).await,
            50..64 => self.log_out().await,
            64..80 => self.visit().await,
            80..87 => self.end_all(user).await,
            87..90 => self.end_tag().await,
            90..94 => self.end_others().await,
            94..97 => self.evict().await,
            _ => {
                let _ = self.sessions(user).of(&user_name(user)).list().await?;
                Ok(Report::Other("list".into()))
            }
        }
    }

    fn sessions(&self, user: usize) -> &Sessions {
        self.service.sessions(user)
    }

    async fn log_in(&mut self, user: usize) -> Result<Report, SessionError> {
        let (tag, is_short) = (self.roll(self.tags), self.roll(5) == 0);
        let visit = Visit::begin(self.sessions(user), None);
        let session = visit.load().await?;
        session.log_in(&user_name(user))?;
        session.set_tag("tag", &tag_value(tag))?;
        if is_short {
            session.set_idle_timeout(Some(SHORT))?;
        }
        let (_, cookie) = visit.finish().await?;
        let acknowledged = now();
        let (Some(id), Some(SetCookie::Set(cookie))) = (session.id(), cookie) else {
            return Ok(Report::Other("login_without_cookie".into()));
        };
        if self.held.len() == HELD {
            self.held.remove(0);
        }
        self.held.push(Held { id, user, cookie });
        let report = Report::LoggedIn {
            id: id.to_string(),
            user,
            tag,
            acknowledged,
        };
        // which of the user's other sessions are alive shows whether the limit holds
        let mut number = 0;
        while number < self.held.len() {
            if self.held[number].user == user && !self.look(number).await? {
                self.held.remove(number);
            } else {
                number += 1;
            }
        }
        Ok(report)
    }

    /// Sends a request with a session that is held. Reports whether it is alive.
    async fn look(&self, number: usize) -> Result<bool, SessionError> {
        let held = &self.held[number];
        let begun = now();
        let visit = Visit::begin(self.sessions(held.user), Some(&held.cookie));
        let session = visit.load().await?;
        let is_alive = session.principal().is_some() && session.id() == Some(held.id);
        if is_alive {
            let id = held.id.to_string();
            // if the pipe is broken, nobody is left to be told
            let _ = say(&Report::Alive { id, begun });
        }
        let _ = visit.finish().await?;
        Ok(is_alive)
    }

    /// Takes one of the sessions that are held.
    fn take(&mut self) -> Option<Held> {
        let count = self.held.len();
        (count > 0).then(|| {
            let number = self.roll(count);
            self.held.remove(number)
        })
    }

    async fn visit(&mut self) -> Result<Report, SessionError> {
        let Some(held) = self.take() else {
            return Ok(Report::Other("nothing".into()));
        };
        self.held.push(held);
        if !self.look(self.held.len() - 1).await? {
            self.held.pop();
        }
        Ok(Report::Other("visit".into()))
    }

    async fn log_out(&mut self) -> Result<Report, SessionError> {
        let Some(held) = self.take() else {
            return Ok(Report::Other("nothing".into()));
        };
        let begun = now();
        let visit = Visit::begin(self.sessions(held.user), Some(&held.cookie));
        let session = visit.load().await?;
        if session.id() != Some(held.id) {
            return Ok(Report::Other("ended_already".into()));
        }
        session.log_out()?;
        let _ = visit.finish().await?;
        Ok(Report::LoggedOut {
            id: held.id.to_string(),
            begun,
            acknowledged: now(),
        })
    }

    async fn end_all(&mut self, user: usize) -> Result<Report, SessionError> {
        let begun = now();
        let _ = self.sessions(user).of(&user_name(user)).end_all().await?;
        Ok(Report::EndedUser(Ended {
            of: user,
            begun,
            acknowledged: now(),
            kept: None,
        }))
    }

    async fn end_tag(&mut self) -> Result<Report, SessionError> {
        let of = self.roll(self.tags);
        let begun = now();
        let tagged = self.service.evicting.tagged("tag", &tag_value(of));
        let _ = tagged.end_all().await?;
        Ok(Report::EndedTag(Ended {
            of,
            begun,
            acknowledged: now(),
            kept: None,
        }))
    }

    async fn end_others(&mut self) -> Result<Report, SessionError> {
        let Some(held) = self.take() else {
            return Ok(Report::Other("nothing".into()));
        };
        let visit = Visit::begin(self.sessions(held.user), Some(&held.cookie));
        let session = visit.load().await?;
        if session.id() != Some(held.id) {
            return Ok(Report::Other("ended_already".into()));
        }
        let begun = now();
        let of_user = self.sessions(held.user).of(&user_name(held.user));
        let _ = of_user.end_others(&session).await?;
        let report = Report::EndedUser(Ended {
            of: held.user,
            begun,
            acknowledged: now(),
            kept: Some(held.id.to_string()),
        });
        self.held.push(held);
        Ok(report)
    }

    /// Removes a record behind the back of the index, as Redis does when its memory is full.
    async fn evict(&mut self) -> Result<Report, SessionError> {
        let Some(held) = self.take() else {
            return Ok(Report::Other("nothing".into()));
        };
        let evicted = self.service.store.destroy(&held.id, Destroy::any()).await;
        let name = evicted.map_or("eviction_failed", |_| "eviction");
        Ok(Report::Other(name.into()))
    }
}
