//! Concurrent updates of shared sessions by many processes, which count the updates that are
//! acknowledged.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use clap::Args;
use session_core::{CookieOptions, Sessions};
use session_redis::RedisStore;
use test_support::Redis;

use crate::{
    Failure, print_table,
    visits::{create, sessions, sum},
    worker::{Event, target},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) load: Load,
    /// The URL of Redis [default: a server that is started for the run]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// The size of a load.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// The number of processes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// The number of tasks, of all processes together
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    tasks: u16,
    /// The number of updates of each task
    #[arg(long, default_value_t = 10_000)]
    updates: u64,
    /// The number of sessions, which all tasks share
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..))]
    sessions: u16,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    // ends when the function returns
    let server = options.store.is_none().then(Redis::start);
    let url = options
        .store
        .clone()
        .or_else(|| server.as_ref().map(Redis::url))
        .expect("one of both");
    let workers = Workers::start(&url, &options.load).await?;
    let totals = workers.end().await?;
    totals.print();
    match totals.unknown() {
        0 => totals.check(),
        unknown => {
            Err(format!("{unknown} updates have an unknown outcome although nothing failed").into())
        }
    }
}

/// Running processes.
pub(crate) struct Workers {
    load: Load,
    begun: Instant,
    sessions: Sessions,
    cookies: Vec<String>,
    progress: Arc<Progress>,
    workers: Vec<Worker>,
}

/// The events that all processes have reported so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) unavailable: AtomicU64,
}

struct Worker {
    child: Child,
    reader: Option<JoinHandle<Result<Tally, String>>>,
    /// It was killed, so that the last events of its tasks are missing.
    killed: bool,
}

/// The reports of one process, by session, and the progress of each of its tasks.
struct Tally {
    first_task: usize,
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    steps: Vec<u64>,
    contentions: u64,
    unavailable: u64,
}

impl Workers {
    /// Stores the sessions and starts the processes.
    pub(crate) async fn start(url: &str, load: &Load) -> Result<Self, Failure> {
        let sessions = sessions(RedisStore::connect(url).await?, CookieOptions::new())?;
        let mut cookies = Vec::new();
        for _ in 0..load.sessions {
            cookies.push(create(&sessions).await?);
        }
        let progress = Arc::new(Progress::default());
        let (processes, tasks) = (usize::from(load.processes), usize::from(load.tasks));
        let mut workers = Vec::new();
        for number in 0..processes {
            let range = number * tasks / processes..(number + 1) * tasks / processes;
            workers.push(Worker::start(
                url,
                range,
                load.updates,
                &cookies,
                progress.clone(),
            )?);
        }
        Ok(Self {
            load: load.clone(),
            begun: Instant::now(),
            sessions,
            cookies,
            progress,
            workers,
        })
    }

    /// The number of updates without those of one process.
    pub(crate) fn goal_without_one(&self) -> u64 {
        u64::from(self.load.tasks) * self.load.updates * (u64::from(self.load.processes) - 1)
            / u64::from(self.load.processes)
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits until a condition holds or all processes have ended.
    pub(crate) fn wait_until(&self, holds: impl Fn(&Progress) -> bool) {
        let is_over = || {
            self.workers
                .iter()
                .all(|worker| worker.reader.as_ref().is_none_or(JoinHandle::is_finished))
        };
        while !holds(&self.progress) && !is_over() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills one process with `SIGKILL`.
    pub(crate) fn kill(&mut self, number: usize) -> Result<(), Failure> {
        self.workers[number].killed = true;
        Ok(self.workers[number].child.kill()?)
    }

    /// Waits for all processes, and reads the sums that are stored.
    pub(crate) async fn end(mut self) -> Result<Totals, Failure> {
        let mut totals = Totals {
            load: self.load.clone(),
            took: Duration::ZERO,
            sums: vec![Sum::default(); self.cookies.len()],
            contentions: 0,
            unavailable: 0,
        };
        for worker in &mut self.workers {
            let tally = worker
                .reader
                .take()
                .expect("taken once")
                .join()
                .map_err(|_| "a reader panicked")??;
            let status = worker.child.wait()?;
            if !worker.killed && !status.success() {
                return Err(format!("a process ended with {status}").into());
            }
            totals.add(
                &tally,
                if worker.killed {
                    Some(self.load.updates)
                } else {
                    None
                },
            );
        }
        totals.took = self.begun.elapsed();
        for (cookie, totals) in self.cookies.iter().zip(&mut totals.sums) {
            totals.stored = sum(&self.sessions, cookie).await?;
        }
        Ok(totals)
    }
}

impl Worker {
    fn start(
        url: &str,
        tasks: std::ops::Range<usize>,
        updates: u64,
        cookies: &[String],
        progress: Arc<Progress>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "worker",
            "--store",
            url,
            "--first-task",
            &tasks.start.to_string(),
        ]);
        command.args([
            "--tasks",
            &tasks.len().to_string(),
            "--updates",
            &updates.to_string(),
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        // from here on it is killed when the value is dropped
        let mut worker = Self {
            child,
            reader: None,
            killed: false,
        };
        writeln!(stdin.expect("piped"), "{}", cookies.join("\n"))?;
        let mut tally = Tally {
            first_task: tasks.start,
            acknowledged: vec![0; cookies.len()],
            unknown: vec![0; cookies.len()],
            steps: vec![0; tasks.len()],
            contentions: 0,
            unavailable: 0,
        };
        worker.reader = Some(std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = line.map_err(|error| error.to_string())?;
                let (task, event) =
                    Event::parse(&line).ok_or_else(|| format!("a process reports {line:?}"))?;
                tally.add(task, event, &progress);
            }
            Ok(tally)
        }));
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tally {
    fn add(&mut self, task: usize, event: Event, progress: &Progress) {
        let step = &mut self.steps[task - self.first_task];
        let session = target(task, *step, self.acknowledged.len());
        *step += u64::from(event.is_last());
        match event {
            Event::Acknowledged => {
                self.acknowledged[session] += 1;
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Event::Unknown => self.unknown[session] += 1,
            Event::Contention => self.contentions += 1,
            Event::Unavailable => {
                self.unavailable += 1;
                progress.unavailable.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What was acknowledged, and what is stored.
pub(crate) struct Totals {
    load: Load,
    took: Duration,
    sums: Vec<Sum>,
    contentions: u64,
    unavailable: u64,
}

/// The same for one session.
#[derive(Clone, Debug, Default)]
struct Sum {
    acknowledged: u64,
    unknown: u64,
    stored: Option<u64>,
}

impl Totals {
    /// Adds the reports of a process. Of one that was killed, the last update of each task is
    /// unknown.
    fn add(&mut self, tally: &Tally, killed_before: Option<u64>) {
        for (sum, (acknowledged, unknown)) in self
            .sums
            .iter_mut()
            .zip(tally.acknowledged.iter().zip(&tally.unknown))
        {
            sum.acknowledged += acknowledged;
            sum.unknown += unknown;
        }
        let sessions = self.sums.len();
        for (task, &step) in tally.steps.iter().enumerate() {
            if killed_before.is_some_and(|updates| step < updates) {
                self.sums[target(tally.first_task + task, step, sessions)].unknown += 1;
            }
        }
        self.contentions += tally.contentions;
        self.unavailable += tally.unavailable;
    }

    fn acknowledged(&self) -> u64 {
        self.sums.iter().map(|sum| sum.acknowledged).sum()
    }

    /// The number of updates of which it is unknown whether they are stored.
    pub(crate) fn unknown(&self) -> u64 {
        self.sums.iter().map(|sum| sum.unknown).sum()
    }

    pub(crate) fn print(&self) {
        let stored: u64 = self.sums.iter().filter_map(|sum| sum.stored).sum();
        let rate = self.acknowledged() as f64 / self.took.as_secs_f64();
        let rows = [
            ("processes", self.load.processes.to_string()),
            ("tasks", self.load.tasks.to_string()),
            ("sessions", self.load.sessions.to_string()),
            ("updates acknowledged", self.acknowledged().to_string()),
            ("updates of unknown outcome", self.unknown().to_string()),
            ("sum of what is stored", stored.to_string()),
            ("retried after contention", self.contentions.to_string()),
            (
                "retried while Redis was unavailable",
                self.unavailable.to_string(),
            ),
            ("seconds", format!("{:.1}", self.took.as_secs_f64())),
            ("updates per second", format!("{rate:.0}")),
        ];
        print_table(
            &["what", "figure"],
            &rows.map(|(what, figure)| vec![what.to_owned(), figure]),
        );
    }

    /// Checks for each session that every acknowledged update is stored, and no update twice.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for (number, sum) in self.sums.iter().enumerate() {
            let bounds = sum.acknowledged..=sum.acknowledged + sum.unknown;
            if !sum.stored.is_some_and(|stored| bounds.contains(&stored)) {
                return Err(format!("session {number}: {sum:?}").into());
            }
        }
        Ok(())
    }
}
