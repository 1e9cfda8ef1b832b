//! Readers and writers, each with a session of its own, that send one request after another through
//! one store, and what they have seen of an outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::{CookieOptions, SessionError, Sessions};
use session_redis::RedisStore;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    Failure,
    visits::{SUM, Visit, create, sessions, sum},
};

/// The pause between two requests of a reader or writer.
const PACE: Duration = Duration::from_millis(4);
/// The service has recovered if every reader and writer was served so often in a row.
const STREAK: u64 = 100;
/// Ends the run if the service has not recovered by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Running readers and writers.
pub(crate) struct Probes {
    fault: Instant,
    stop: Arc<AtomicBool>,
    sessions: Sessions,
    tasks: Vec<Probe>,
}

struct Probe {
    is_reader: bool,
    cookie: String,
    /// The requests that were served since the last one that failed.
    streak: Arc<AtomicU64>,
    task: JoinHandle<Vec<Request>>,
}

/// When a request began and ended, and whether it was served.
#[derive(Clone, Copy, Debug)]
struct Request {
    begun: Instant,
    ended: Instant,
    served: bool,
}

impl Probes {
    /// Starts them on sessions that `is_wanted` accepts by their id, and waits until all are
    /// served.
    pub(crate) async fn start(
        url: &str,
        pairs: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let sessions = sessions(RedisStore::connect(url).await?, CookieOptions::new())?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..2 * pairs {
            let cookie = loop {
                let cookie = create(&sessions).await?;
                let id = Visit::begin(&sessions, Some(&cookie))
                    .load()
                    .await?
                    .id()
                    .ok_or("a session without id")?;
                if is_wanted(id.as_str()) {
                    break cookie;
                }
            };
            let (is_reader, streak) = (number < pairs, Arc::new(AtomicU64::new(0)));
            let task = probe(
                sessions.clone(),
                cookie.clone(),
                is_reader,
                streak.clone(),
                stop.clone(),
            );
            tasks.push(Probe {
                is_reader,
                cookie,
                streak,
                task: tokio::spawn(task),
            });
        }
        let probes = Self {
            fault: Instant::now(),
            stop,
            sessions,
            tasks,
        };
        probes.wait_until_served().await?;
        Ok(probes.since(Instant::now()))
    }

    /// Sets the instant of the fault.
    pub(crate) fn since(self, fault: Instant) -> Self {
        Self { fault, ..self }
    }

    /// The row of an outage that ends now.
    pub(crate) async fn ended_now(self) -> Result<[String; 6], Failure> {
        let able = Instant::now();
        self.row(able).await
    }

    /// The row of an outage that Redis ends by itself.
    pub(crate) async fn ended_by_redis(self) -> Result<[String; 6], Failure> {
        let fault = self.fault;
        self.row(fault).await
    }

    async fn wait_until_served(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        self.tasks
            .iter()
            .for_each(|probe| probe.streak.store(0, Ordering::Relaxed));
        while self
            .tasks
            .iter()
            .any(|probe| probe.streak.load(Ordering::Relaxed) < STREAK)
        {
            if begun.elapsed() > PATIENCE {
                return Err("the service does not recover".into());
            }
            sleep(PACE).await;
        }
        Ok(())
    }

    async fn row(self, able: Instant) -> Result<[String; 6], Failure> {
        self.wait_until_served().await?;
        self.stop.store(true, Ordering::Relaxed);
        let (mut reads, mut writes, mut lost) = (Vec::new(), Vec::new(), 0);
        for probe in self.tasks {
            let requests = probe.task.await?;
            if !probe.is_reader {
                let acknowledged = requests.iter().filter(|request| request.served).count() as u64;
                lost += acknowledged
                    .saturating_sub(sum(&self.sessions, &probe.cookie).await?.unwrap_or(0));
            }
            let recent = requests
                .into_iter()
                .filter(|request| request.ended >= self.fault);
            if probe.is_reader {
                reads.extend(recent)
            } else {
                writes.extend(recent)
            }
        }
        let all: Vec<_> = reads.iter().chain(&writes).copied().collect();
        let failed: Vec<_> = all.iter().filter(|request| !request.served).collect();
        let slowest = all
            .iter()
            .map(|request| request.ended - request.begun)
            .max()
            .unwrap_or_default();
        let last = failed
            .iter()
            .map(|request| request.ended.saturating_duration_since(able))
            .max();
        Ok([
            first(&reads, able),
            first(&writes, able),
            last.map_or("none".to_owned(), milliseconds),
            milliseconds(slowest),
            format!("{} of {}", failed.len(), all.len()),
            lost.to_string(),
        ])
    }
}

async fn probe(
    sessions: Sessions,
    cookie: String,
    is_reader: bool,
    streak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let served = request(&sessions, &cookie, is_reader).await.is_ok();
        requests.push(Request {
            begun,
            ended: Instant::now(),
            served,
        });
        match served {
            true => streak.fetch_add(1, Ordering::Relaxed),
            false => streak.swap(0, Ordering::Relaxed),
        };
        sleep(PACE).await;
    }
    requests
}

async fn request(sessions: &Sessions, cookie: &str, is_reader: bool) -> Result<(), SessionError> {
    let visit = Visit::begin(sessions, Some(cookie));
    let session = visit.load().await?;
    if !is_reader {
        session.update(SUM, |sum| sum.unwrap_or(0) + 1)?;
    }
    visit.finish().await.map(drop)
}

/// When the first request that began after a failure was served.
fn first(requests: &[Request], able: Instant) -> String {
    let Some(failed) = requests
        .iter()
        .filter(|request| !request.served)
        .map(|request| request.ended)
        .min()
    else {
        return "no failure".to_owned();
    };
    let served = requests
        .iter()
        .filter(|request| request.served && request.begun >= failed && request.ended >= able);
    served
        .map(|request| request.ended - able)
        .min()
        .map_or("never".to_owned(), milliseconds)
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
