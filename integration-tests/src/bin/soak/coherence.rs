//! Processes with a near cache each read sessions that others change and end, while connections
//! break, networks and servers hang, slots move, and primaries are replaced by plan.
//!
//! Afterwards what was acknowledged is compared with what was seen ([`History`]) and with what is
//! in Redis: no read shows a session as it was before a change that was acknowledged longer ago
//! than the lease, or that its own process has acknowledged, no update is lost, and no living
//! session is reported as absent.

mod history;
mod report;
mod servers;
mod tokens;
mod verdict;
pub(crate) mod worker;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use integration_tests::keys;
use session_core::Sessions;
use session_redis::RedisStore;

use self::{
    history::{History, Process},
    report::{Login, Report, Span, Token},
    servers::{Fault, Injector, Servers, Topology},
    verdict::Verdict,
    worker::{LEASE, log_in},
};
use crate::{Failure, print_table, users_worker::now, visits::sum};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of reads of all processes together, on each topology
    #[arg(long, default_value_t = 1_000_000)]
    reads: usize,
    /// The number of writes, renewals and logouts of all processes together
    #[arg(long, default_value_t = 100_000)]
    changes: usize,
    /// The number of processes
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// The number of tasks of each process
    #[arg(long, default_value_t = 16)]
    tasks: usize,
    /// The number of users, who have one session each at a time
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// The least duration on each topology, over which the operations are spread, in seconds
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Where the sessions are [default: one after the other]
    #[arg(long)]
    topology: Option<Topology>,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let all = [Topology::Server, Topology::Sentinel, Topology::Cluster];
    let (mut head, mut columns) = (vec!["what".to_owned()], Vec::new());
    let mut outcome = Ok(());
    for topology in all {
        if options.topology.is_none_or(|only| only == topology) {
            let judged = match Run::check(options, topology).await {
                Ok(findings) => {
                    head.push(topology.to_string());
                    columns.push(findings.rows());
                    findings.judge()
                }
                Err(error) => Err(error),
            };
            // the other topologies are tested all the same
            outcome = outcome.and(judged.map_err(|error| format!("{topology}: {error}").into()));
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (number, (what, _)) in columns.first().into_iter().flatten().enumerate() {
        let figures = columns.iter().map(|column| column[number].1.clone());
        rows.push([what.clone()].into_iter().chain(figures).collect());
    }
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    print_table(&head, &rows);
    outcome
}

/// Who hears of new tokens.
type Inputs = Arc<[Mutex<ChildStdin>]>;

/// What the readers of the processes send.
type Message = (Process, Result<Report, String>);

struct Run<'a> {
    options: &'a Options,
    servers: &'a Servers,
    sessions: Sessions,
    history: History,
    /// The newest token of each session, by number, and its cookie.
    newest: BTreeMap<Login, (u32, String)>,
}

/// Processes that end with the value.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<'a> Run<'a> {
    /// Runs the processes on servers of this topology, and judges what they report.
    async fn check(options: &'a Options, topology: Topology) -> Result<Findings, Failure> {
        let servers = Servers::start(topology, options.processes).await;
        let sessions = Sessions::builder(RedisStore::connect(&servers.url()).await?)
            .signing_keys(keys())
            .build()?;
        let mut run = Run {
            options,
            servers: &servers,
            sessions,
            history: History::default(),
            newest: BTreeMap::new(),
        };
        let tokens = run.log_everybody_in().await?;
        let begun = Instant::now();
        let faults = run.drive(topology, tokens)?;
        let took = begun.elapsed();
        let mut stored = Vec::new();
        for login in run.history.living() {
            let (_, cookie) = run.newest.get(&login).ok_or("a session has no token")?;
            stored.push((login, sum(&run.sessions, cookie).await?));
        }
        let lease = u64::try_from(LEASE.as_nanos())?;
        Ok(Findings {
            topology,
            verdict: run.history.judge(lease, &stored),
            history: run.history,
            faults,
            took,
        })
    }

    /// The first login of every user, by this process.
    async fn log_everybody_in(&mut self) -> Result<Vec<Report>, Failure> {
        let mut tokens = Vec::new();
        for user in 0..self.options.users {
            let login = Login { user, number: 0 };
            let begun = now();
            let cookie = log_in(&self.sessions, user).await?;
            let ended = now();
            tokens.push(Report::Issued {
                token: Token { login, number: 0 },
                span: Span { begun, ended },
                cookie,
            });
        }
        Ok(tokens)
    }

    /// Runs the processes and injects faults, until all operations are done. Returns how
    /// many faults there were.
    fn drive(
        &mut self,
        topology: Topology,
        tokens: Vec<Report>,
    ) -> Result<BTreeMap<Fault, u64>, Failure> {
        let (mut children, mut inputs, mut outputs) = (Children(Vec::new()), vec![], vec![]);
        for process in 0..self.options.processes {
            let mut child = self.start(process)?;
            inputs.push(Mutex::new(child.stdin.take().ok_or("no pipe")?));
            outputs.push(child.stdout.take().ok_or("no pipe")?);
            children.0.push(child);
        }
        let inputs = Inputs::from(inputs);
        let (sender, receiver) = mpsc::channel();
        for token in tokens {
            tell_all(&inputs, &token.line());
            sender.send((self.options.processes, Ok(token)))?;
        }
        for (process, output) in outputs.into_iter().enumerate() {
            let (inputs, sender) = (inputs.clone(), sender.clone());
            thread::spawn(move || read_reports(process, output, &inputs, &sender));
        }
        drop(sender);
        let over = AtomicBool::new(false);
        let servers = self.servers;
        let faults = thread::scope(|scope| {
            let injecting = scope.spawn(|| inject(topology, servers, &over));
            let reported = receiver.iter().try_for_each(|(process, report): Message| {
                let report = report?;
                match &report {
                    Report::Issued { token, cookie, .. } => {
                        let newest = self.newest.entry(token.login).or_default();
                        if token.number >= newest.0 {
                            *newest = (token.number, cookie.clone());
                        }
                    }
                    // the process has done everything
                    Report::NearCache { .. } => over.store(true, Ordering::Relaxed),
                    _ => {}
                }
                self.history.add(process, report);
                Ok::<_, Failure>(())
            });
            over.store(true, Ordering::Relaxed);
            let faults = injecting.join().map_err(|_| "a fault was not injected")?;
            reported.and(faults)
        })?;
        for child in &mut children.0 {
            let status = child.wait()?;
            if !status.success() {
                return Err(format!("a process ended with {status}").into());
            }
        }
        Ok(faults)
    }

    fn start(&self, process: Process) -> Result<Child, Failure> {
        let options = self.options;
        let share = |count: usize| {
            let share = (0..count).filter(|n| n % options.processes == process);
            share.count().to_string()
        };
        let child = Command::new(std::env::current_exe()?)
            .args(["coherence-worker", "--store", &self.servers.url_of(process)])
            .args(["--number", &process.to_string()])
            .args(["--processes", &options.processes.to_string()])
            .args(["--tasks", &options.tasks.to_string()])
            .args(["--users", &options.users.to_string()])
            .args(["--reads", &share(options.reads)])
            .args(["--changes", &share(options.changes)])
            .args(["--seconds", &options.seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(child)
    }
}

/// Passes on what a process reports, and its new tokens to all processes.
fn read_reports(process: Process, output: ChildStdout, inputs: &Inputs, sender: &Sender<Message>) {
    for line in BufReader::new(output).lines() {
        let report = line.map_err(|error| error.to_string()).and_then(|line| {
            let report = line.parse()?;
            if matches!(report, Report::Issued { .. }) {
                tell_all(inputs, &line);
            }
            Ok(report)
        });
        if sender.send((process, report)).is_err() {
            return;
        }
    }
}

fn tell_all(inputs: &Inputs, line: &str) {
    for input in inputs.iter() {
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        // a process that has done everything does not listen any more
        let _ = input.write_all(format!("{line}\n").as_bytes());
    }
}

/// Injects each fault that can happen in turn, until the run is over.
fn inject(
    topology: Topology,
    servers: &Servers,
    over: &AtomicBool,
) -> Result<BTreeMap<Fault, u64>, Failure> {
    let mut injector = Injector::new(servers);
    let faults = Fault::ALL.into_iter().cycle();
    for fault in faults.filter(|fault| fault.happens_to(topology)) {
        injector.pause();
        if over.load(Ordering::Relaxed) {
            break;
        }
        injector.inject(fault)?;
    }
    Ok(injector.counts)
}

/// What is known after a run.
struct Findings {
    topology: Topology,
    history: History,
    verdict: Verdict,
    faults: BTreeMap<Fault, u64>,
    took: Duration,
}

impl Findings {
    fn judge(&self) -> Result<(), Failure> {
        if !self.verdict.is_good() {
            return Err("a promise was broken".into());
        }
        let faults = Fault::ALL.into_iter();
        let mut faults = faults.filter(|fault| fault.happens_to(self.topology));
        let History {
            hits,
            writes,
            renewals,
            logouts,
            ..
        } = self.history;
        let counts = [hits, writes, renewals, logouts, self.verdict.found_nothing];
        let is_meaningful = faults.all(|fault| self.faults.contains_key(&fault))
            && counts.iter().all(|count| *count > 0);
        match is_meaningful {
            true => Ok(()),
            false => Err("the run is too small to show anything".into()),
        }
    }

    fn rows(&self) -> Vec<(String, String)> {
        let Self {
            history, verdict, ..
        } = self;
        let (hits, misses) = (history.hits as f64, history.misses as f64);
        let errors = |of_reads: bool| {
            let names = history.others.iter();
            let of = names.filter(|(name, _)| name.starts_with("read:") == of_reads);
            let texts = of.map(|(name, count)| {
                let name = name.replace("read:", "").replace([':', '_'], " ");
                format!("{count} {name}")
            });
            texts.collect::<Vec<_>>().join(", ")
        };
        let mut rows = vec![
            ("reads".to_owned(), verdict.reads.to_string()),
            (
                "answered by the near cache".to_owned(),
                format!("{:.1} %", 100.0 * hits / (hits + misses)),
            ),
            ("writes".to_owned(), history.writes.to_string()),
            ("renewals".to_owned(), history.renewals.to_string()),
            (
                "logouts, and logins".to_owned(),
                history.logouts.to_string(),
            ),
        ];
        rows.extend(Fault::ALL.map(|fault| {
            let count = self.faults.get(&fault);
            let count = count.map_or("-".to_owned(), u64::to_string);
            (fault.to_string(), count)
        }));
        let broken = [
            ("values stale beyond the lease", verdict.stale_beyond),
            (
                "ended sessions and replaced tokens that open beyond the lease",
                verdict.ended_beyond,
            ),
            ("own changes not seen", verdict.own_unseen),
            ("living sessions not found", verdict.missing),
            ("updates lost", verdict.lost_updates),
            ("updates that nobody made", verdict.invented_updates),
        ];
        rows.extend(broken.map(|(what, count)| (format!("**{what}**"), count.to_string())));
        let ages = &verdict.ages;
        let millis = |part: f64| {
            let last = ages.len().saturating_sub(1) as f64;
            let age = ages.get((last * part) as usize);
            age.map_or("-".to_owned(), |age| format!("{:.2} ms", *age as f64 / 1e6))
        };
        rows.extend([
            (
                "stale reads within the lease".to_owned(),
                ages.len().to_string(),
            ),
            ("their age, median".to_owned(), millis(0.5)),
            ("99th percentile".to_owned(), millis(0.99)),
            ("highest".to_owned(), millis(1.0)),
            ("reads that failed".to_owned(), errors(true)),
            ("changes that failed".to_owned(), errors(false)),
            (
                "seconds".to_owned(),
                format!("{:.0}", self.took.as_secs_f64()),
            ),
        ]);
        rows
    }
}
