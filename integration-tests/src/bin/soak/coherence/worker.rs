//! One of the processes of `coherence`: it reads, changes and ends sessions that others change too,
//! and reports what it saw, and what was acknowledged.
//!
//! It learns from its standard input which tokens the others have issued. A session is renewed and
//! ended by one process, which is another one after each login, so that its token is never unknown
//! to everybody. Every process increments its counter.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use clap::Args;
use integration_tests::keys;
use session_core::{NearCache, SessionError, SessionErrorKind, SessionId, Sessions};
use session_redis::RedisStore;
use tokio::{
    sync::oneshot,
    task::{JoinSet, yield_now},
    time::{Instant, sleep, sleep_until},
};

use super::{
    report::{Login, Report, Span, Token},
    tokens::{Held, Tokens},
};
use crate::{
    Failure,
    user_history::Nanos,
    users_worker::{now, user_name},
    visits::{SUM, SetCookie, Visit},
    worker::target,
};

/// For how long a process may serve what it keeps: the default of the near cache.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// The pause before an operation that failed is repeated.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The URL of Redis
    #[arg(long)]
    store: String,
    /// The number of this process
    #[arg(long)]
    number: usize,
    /// The number of processes
    #[arg(long)]
    processes: usize,
    /// The number of tasks
    #[arg(long)]
    tasks: usize,
    /// The number of users
    #[arg(long)]
    users: usize,
    /// The number of reads
    #[arg(long)]
    reads: usize,
    /// The number of writes, renewals and logouts
    #[arg(long)]
    changes: usize,
    /// The least duration, over which the operations are spread, in seconds
    #[arg(long)]
    seconds: u64,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let near_cache = NearCache::new().lease(LEASE);
    let sessions = Sessions::builder(RedisStore::connect(&options.store).await?)
        .signing_keys(keys())
        .near_cache(near_cache)
        .build()?;
    let tokens = Arc::new(Tokens::of(options.users));
    let (complete, first_tokens) = oneshot::channel();
    thread::spawn({
        let tokens = tokens.clone();
        move || {
            if let Err(error) = tokens.listen(complete) {
                eprintln!("a process does not hear of tokens any more: {error}");
            }
        }
    });
    first_tokens.await?;
    let mut tasks = JoinSet::new();
    for task in 0..options.tasks {
        let share = |count| (0..count).filter(|n| n % options.tasks == task).count();
        let mut task = Task {
            sessions: sessions.clone(),
            tokens: tokens.clone(),
            process: options.number,
            processes: options.processes,
            source: options.number * 10_007 + task,
            rolls: 0,
        };
        let (reads, changes) = (share(options.reads), share(options.changes));
        let duration = Duration::from_secs(options.seconds);
        tasks.spawn(async move { task.run(reads, changes, duration).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let stats = sessions
        .near_cache_stats()
        .ok_or("there is no near cache")?;
    say(&Report::NearCache {
        hits: stats.hits,
        misses: stats.misses,
    })?;
    Ok(())
}

/// A line is one write to a pipe.
fn say(report: &Report) -> io::Result<()> {
    io::stdout().write_all((report.line() + "\n").as_bytes())
}

/// The name of a failure that can happen although nothing is broken.
fn failure(error: &SessionError) -> Result<&'static str, Failure> {
    match error.kind() {
        kind @ (SessionErrorKind::Contention
        | SessionErrorKind::Gone
        | SessionErrorKind::Superseded
        | SessionErrorKind::InDoubt
        | SessionErrorKind::Overloaded
        | SessionErrorKind::Unavailable) => Ok(kind.as_str()),
        _ => Err(error.to_string().into()),
    }
}

struct Task {
    sessions: Sessions,
    tokens: Arc<Tokens>,
    process: usize,
    processes: usize,
    source: usize,
    rolls: u64,
}

impl Task {
    /// A pseudorandom number below the bound.
    fn roll(&mut self, bound: usize) -> usize {
        self.rolls += 1;
        target(self.source, self.rolls, bound)
    }

    async fn run(
        &mut self,
        mut reads: usize,
        mut changes: usize,
        duration: Duration,
    ) -> Result<(), Failure> {
        let (begun, all) = (Instant::now(), (reads + changes) as f64);
        while reads + changes > 0 {
            let done = 1.0 - (reads + changes) as f64 / all;
            sleep_until(begun + duration.mul_f64(done)).await;
            let left = if self.roll(reads + changes) < reads {
                while !self.read().await? {
                    sleep(PAUSE).await;
                }
                &mut reads
            } else {
                while !self.change().await? {
                    sleep(PAUSE).await;
                }
                &mut changes
            };
            *left -= 1;
            // a read that is answered by the near cache waits for nothing
            yield_now().await;
        }
        Ok(())
    }

    /// Reports that an operation did nothing, and why.
    fn nothing(&self, operation: &str, error: &SessionError) -> Result<bool, Failure> {
        let name = failure(error)?;
        say(&Report::Other(format!("{operation}:{name}")))?;
        Ok(false)
    }

    /// Sends a request that reads, one in five with the token before the newest. Returns whether
    /// there was an answer.
    async fn read(&mut self) -> Result<bool, Failure> {
        let users = self.tokens.users();
        let (user, before) = (self.roll(users), self.roll(5) == 0);
        let Some(held) = self.tokens.get(user, before) else {
            return Err("a user has no token".into());
        };
        let begun = now();
        let visit = Visit::begin(&self.sessions, Some(&held.cookie));
        let session = match visit.load().await {
            Ok(session) => session,
            Err(error) => return self.nothing("read", &error),
        };
        let span = Span {
            begun,
            ended: now(),
        };
        let seen = match session.is_new() {
            true => None,
            false if session.principal() != Some(user_name(user)) => {
                return Err("a token opens the session of another user".into());
            }
            false => Some(session.get(SUM)?.ok_or("a session has no counter")?),
        };
        let token = held.token;
        say(&Report::Read { token, seen, span })?;
        let _ = visit.finish().await?;
        Ok(true)
    }

    /// Sends a request that changes something. Returns whether it was acknowledged.
    async fn change(&mut self) -> Result<bool, Failure> {
        let users = self.tokens.users();
        let (user, kind) = (self.roll(users), self.roll(100));
        let (process, processes) = (self.process, self.processes);
        let may = |login: Login| (login.user + login.number as usize) % processes == process;
        let claimed = match kind {
            0..80 => None,
            _ => self.tokens.claim(user, may),
        };
        let Some(held) = claimed else {
            return self.write(user).await;
        };
        let done = match kind {
            0..92 => self.renew(&held).await,
            _ => self.log_out(&held).await,
        };
        self.tokens.release(held.token.login.user);
        done
    }

    async fn write(&self, user: usize) -> Result<bool, Failure> {
        let held = self.tokens.get(user, false).ok_or("a user has no token")?;
        let login = held.token.login;
        let begun = now();
        let visit = Visit::begin(&self.sessions, Some(&held.cookie));
        let session = match visit.load().await {
            Ok(session) => session,
            Err(error) => return self.nothing("write", &error),
        };
        if session.is_new() {
            say(&Report::Other("write:ended_before".into()))?;
            return Ok(false);
        }
        session.update(SUM, |sum| sum.unwrap_or(0) + 1)?;
        match visit.finish().await {
            Ok((outcome, None)) if outcome.saved => {
                let ended = now();
                let value = session.get(SUM)?.ok_or("a session has no counter")?;
                let span = Span { begun, ended };
                say(&Report::Written { login, value, span })?;
                Ok(true)
            }
            Ok((outcome, _)) if outcome.lost.is_some() => {
                say(&Report::Other("write:lost_to_an_end".into()))?;
                Ok(false)
            }
            Ok(other) => Err(format!("the outcome of a write is {other:?}").into()),
            Err(error) => {
                if error.kind() == SessionErrorKind::InDoubt {
                    say(&Report::Unknown { login })?;
                }
                self.nothing("write", &error)
            }
        }
    }

    async fn renew(&self, held: &Held) -> Result<bool, Failure> {
        let token = Token {
            number: held.token.number + 1,
            ..held.token
        };
        let begun = now();
        let visit = Visit::begin(&self.sessions, Some(&held.cookie));
        let session = match visit.load().await {
            Ok(session) => session,
            Err(error) => return self.nothing("renewal", &error),
        };
        let Some(id) = session.id().filter(|_| !session.is_new()) else {
            return Err("a session has ended that nobody else may end".into());
        };
        session.renew()?;
        match visit.finish().await {
            Ok((outcome, Some(SetCookie::Set(cookie)))) if outcome.renewed => {
                self.issue(token, begun, cookie)?;
                Ok(true)
            }
            Ok(other) => Err(format!("the outcome of a renewal is {other:?}").into()),
            Err(error) => {
                if error.kind() == SessionErrorKind::InDoubt {
                    // the new token is not known, and the old one may open nothing
                    say(&Report::InDoubt { token, begun })?;
                    let _ = self.nothing("renewal", &error)?;
                    return self.end(held.token.login, &id, now()).await;
                }
                self.nothing("renewal", &error)
            }
        }
    }

    async fn log_out(&self, held: &Held) -> Result<bool, Failure> {
        let login = held.token.login;
        let begun = now();
        let visit = Visit::begin(&self.sessions, Some(&held.cookie));
        let session = match visit.load().await {
            Ok(session) => session,
            Err(error) => return self.nothing("logout", &error),
        };
        let Some(id) = session.id().filter(|_| !session.is_new()) else {
            return Err("a session has ended that nobody else may end".into());
        };
        session.log_out()?;
        match visit.finish().await {
            Ok((outcome, _)) if outcome.ended.is_some() => {
                let ended = now();
                let span = Span { begun, ended };
                say(&Report::Ended { login, span })?;
                self.log_in_again(login).await?;
                Ok(true)
            }
            Ok(other) => Err(format!("the outcome of a logout is {other:?}").into()),
            Err(error) => {
                let _ = self.nothing("logout", &error)?;
                match error.kind() {
                    SessionErrorKind::InDoubt => self.end(login, &id, begun).await,
                    _ => Ok(false),
                }
            }
        }
    }

    /// Ends a session by its id, however often that must be tried.
    async fn end(&self, login: Login, id: &SessionId, begun: Nanos) -> Result<bool, Failure> {
        while let Err(error) = self.sessions.end(id).await {
            let _ = self.nothing("end", &error)?;
            sleep(PAUSE).await;
        }
        let ended = now();
        let span = Span { begun, ended };
        say(&Report::Ended { login, span })?;
        self.log_in_again(login).await?;
        Ok(true)
    }

    /// Logs the user of an ended session in, however often that must be tried.
    async fn log_in_again(&self, before: Login) -> Result<(), Failure> {
        let login = Login {
            number: before.number + 1,
            ..before
        };
        loop {
            let begun = now();
            match log_in(&self.sessions, login.user).await {
                Ok(cookie) => return self.issue(Token { login, number: 0 }, begun, cookie),
                Err(error) => {
                    let _ = self.nothing("login", &error)?;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Reports a token, and uses it from now on.
    fn issue(&self, token: Token, begun: Nanos, cookie: String) -> Result<(), Failure> {
        let ended = now();
        self.tokens.add(Held {
            token,
            cookie: cookie.as_str().into(),
        });
        let span = Span { begun, ended };
        say(&Report::Issued {
            token,
            span,
            cookie,
        })?;
        Ok(())
    }
}

/// Logs a user in, and returns the cookie of the session.
pub(crate) async fn log_in(sessions: &Sessions, user: usize) -> Result<String, SessionError> {
    let visit = Visit::begin(sessions, None);
    let session = visit.load().await?;
    session.log_in(&user_name(user))?;
    session.insert(SUM, &0)?;
    match visit.finish().await? {
        (_, Some(SetCookie::Set(cookie))) => Ok(cookie),
        (outcome, other) => panic!("the outcome of a login is {outcome:?}, {other:?}"),
    }
}
