//! How long an outage lasts for a service that is not restarted, and what its users see meanwhile.
//!
//! Some readers and some writers, each with a session of its own, send one request after the other through one store. A fault is
//! brought about and, where it does not end by itself, taken away. Times count from the moment at which Redis could serve again; in a
//! failover that is for Redis to find out, so they count from the fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use session_core::{CookieOptions, SessionError, Sessions};
use session_redis::RedisStore;
use test_support::{Cluster, Fault, Proxy, Redis, Sentinels};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    Failure, print_table,
    visits::{SUM, Visit, create, sessions, sum},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long a fault lasts that does not end by itself, in seconds
    #[arg(long, default_value_t = 3)]
    outage: u64,
    /// Readers, and as many writers
    #[arg(long, default_value_t = 4)]
    pairs: usize,
    /// Slots that are moved while requests go on
    #[arg(long, default_value_t = 1000)]
    slots: u32,
    /// Only the outages whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// When the sentinels consider a silent primary down.
const DOWN_AFTER: Duration = Duration::from_millis(500);
/// Between two requests of one reader or writer.
const PACE: Duration = Duration::from_millis(4);
/// All is well when every one of them was served so often in a row.
const STREAK: u64 = 100;
/// When a store that does not recover ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut report = Report {
        options,
        rows: Vec::new(),
    };
    let outcome = scenarios(&mut report).await;
    print_table(
        &[
            "topology",
            "outage",
            "first read",
            "first write",
            "last failure",
            "slowest answer",
            "requests failed",
            "writes lost",
        ],
        &report.rows,
    );
    outcome
}

async fn scenarios(report: &mut Report<'_>) -> Result<(), Failure> {
    let outage = Duration::from_secs(report.options.outage);
    if report.wants("standalone: kill -9, started again") {
        let server = Redis::start_durable();
        let probes = Probes::start(&server.url(), report.options.pairs, |_| true).await?;
        server.kill();
        sleep(outage).await;
        server.restart();
        report.row(probes.healed().await?);
    }
    if report.wants("standalone: SIGSTOP, SIGCONT") {
        let server = Redis::start();
        let probes = Probes::start(&server.url(), report.options.pairs, |_| true).await?;
        server.pause();
        sleep(outage).await;
        server.resume();
        report.row(probes.healed().await?);
    }
    for (name, fault) in [
        ("standalone: network cut, connections closed", Fault::Cut),
        ("standalone: network stalls, connections open", Fault::Stall),
    ] {
        if report.wants(name) {
            let server = Redis::start();
            let proxy = Proxy::start(server.addr()).await;
            let probes = Probes::start(&proxy.url(), report.options.pairs, |_| true).await?;
            proxy.set(fault);
            sleep(outage).await;
            proxy.set(Fault::None);
            report.row(probes.healed().await?);
        }
    }
    if report.wants("Sentinel: kill -9 of the primary") {
        let group = Sentinels::with_down_after(DOWN_AFTER);
        let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
        let primary = group.primary();
        primary.kill();
        let probes = probes.fault_was(Instant::now());
        group.wait_for_failover(primary.port());
        report.row(probes.settled().await?);
    }
    if report.wants("Sentinel: SIGSTOP of the primary") {
        let group = Sentinels::with_down_after(DOWN_AFTER);
        let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
        let primary = group.primary();
        primary.pause();
        let probes = probes.fault_was(Instant::now());
        group.wait_for_failover(primary.port());
        let row = probes.settled().await;
        primary.resume();
        report.row(row?);
    }
    if report.wants("Sentinel: SENTINEL FAILOVER") {
        let group = Sentinels::with_down_after(DOWN_AFTER);
        let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
        let probes = probes.fault_was(Instant::now());
        group.fail_over();
        report.row(probes.settled().await?);
    }
    if report.wants("Cluster: kill -9 of a primary") {
        let cluster = Cluster::with_replicas(1);
        let victim = *cluster.primaries().first().ok_or("no primary")?;
        // a replica without data is not promoted
        cluster.nodes[victim].wait_for_replica();
        let probes = Probes::start(&cluster.url(), report.options.pairs, |id| {
            holds(&cluster.nodes[victim], id)
        })
        .await?;
        cluster.nodes[victim].kill();
        report.row(probes.fault_was(Instant::now()).settled().await?);
    }
    let reshard = format!(
        "Cluster: {} slots moved to another primary",
        report.options.slots
    );
    if report.wants(&reshard) {
        let cluster = Cluster::with_replicas(1);
        let primaries = cluster.primaries();
        let (from, to) = (primaries[0], primaries[1]);
        let probes = Probes::start(&cluster.url(), report.options.pairs, |id| {
            holds(&cluster.nodes[from], id)
        })
        .await?;
        let probes = probes.fault_was(Instant::now());
        cluster.reshard(from, to, report.options.slots);
        report.row(probes.settled().await?);
    }
    Ok(())
}

/// Whether this node of a cluster keeps the session.
fn holds(node: &Redis, id: &str) -> bool {
    node.command::<Vec<String>>(&["KEYS", &format!("*{id}")])
        .len()
        == 1
}

struct Report<'a> {
    options: &'a Options,
    rows: Vec<Vec<String>>,
}

impl Report<'_> {
    /// Whether this outage is asked for. Begins its row.
    fn wants(&mut self, name: &str) -> bool {
        let wanted = name
            .to_lowercase()
            .contains(&self.options.only.to_lowercase());
        if wanted {
            eprintln!("{name}");
            self.rows
                .push(name.splitn(2, ": ").map(str::to_owned).collect());
        }
        wanted
    }

    fn row(&mut self, cells: [String; 6]) {
        self.rows.last_mut().expect("begun").extend(cells);
    }
}

/// Readers and writers at work.
struct Probes {
    fault: Instant,
    stop: Arc<AtomicBool>,
    sessions: Sessions,
    tasks: Vec<Probe>,
}

struct Probe {
    is_reader: bool,
    cookie: String,
    /// How often it was served since it last failed.
    streak: Arc<AtomicU64>,
    task: JoinHandle<Vec<Request>>,
}

/// One request that was made.
#[derive(Clone, Copy, Debug)]
struct Request {
    begun: Instant,
    ended: Instant,
    served: bool,
}

impl Probes {
    /// Starts them on sessions that are kept where they should be, and waits until all is well.
    async fn start(
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
        probes.wait().await?;
        Ok(probes.fault_was(Instant::now()))
    }

    /// Begins to count here.
    fn fault_was(self, fault: Instant) -> Self {
        Self { fault, ..self }
    }

    /// The row of an outage that ends now.
    async fn healed(self) -> Result<[String; 6], Failure> {
        let able = Instant::now();
        self.row(able).await
    }

    /// The row of an outage that Redis ends itself.
    async fn settled(self) -> Result<[String; 6], Failure> {
        let fault = self.fault;
        self.row(fault).await
    }

    async fn wait(&self) -> Result<(), Failure> {
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
                return Err("the store does not recover".into());
            }
            sleep(PACE).await;
        }
        Ok(())
    }

    async fn row(self, able: Instant) -> Result<[String; 6], Failure> {
        self.wait().await?;
        self.stop.store(true, Ordering::Relaxed);
        let (mut reads, mut writes, mut lost) = (Vec::new(), Vec::new(), 0);
        for probe in self.tasks {
            let requests = probe.task.await?;
            if !probe.is_reader {
                let acknowledged = requests.iter().filter(|request| request.served).count() as u64;
                lost += acknowledged
                    .saturating_sub(sum(&self.sessions, &probe.cookie).await?.unwrap_or(0));
            }
            let since = requests
                .into_iter()
                .filter(|request| request.ended >= self.fault);
            if probe.is_reader {
                reads.extend(since)
            } else {
                writes.extend(since)
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

/// When the first request was served that began after one had failed.
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
