//! How long an outage lasts for a service that is not restarted, and what its users see during it.
//!
//! Readers and writers, each with a session of its own, send one request after another through one
//! store. A fault is injected and, if it does not end by itself, removed. Times are measured from
//! the moment at which Redis can serve again. When a failover has made a new primary is unknown to
//! the test, so that its times are measured from the fault.

use std::time::{Duration, Instant};

use clap::Args;
use test_support::{Cluster, Fault, Proxy, Redis, Sentinels};
use tokio::time::sleep;

use crate::{Failure, print_table, probes::Probes};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The duration of a fault that does not end by itself, in seconds
    #[arg(long, default_value_t = 3)]
    outage: u64,
    /// The number of readers, and of writers
    #[arg(long, default_value_t = 4)]
    pairs: usize,
    /// The number of slots that are moved under load
    #[arg(long, default_value_t = 1000)]
    slots: u32,
    /// Run only the outages whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// When the sentinels consider a silent primary down.
const DOWN_AFTER: Duration = Duration::from_millis(500);
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
        report.row(probes.ended_now().await?);
    }
    if report.wants("standalone: SIGSTOP, SIGCONT") {
        let server = Redis::start();
        let probes = Probes::start(&server.url(), report.options.pairs, |_| true).await?;
        server.pause();
        sleep(outage).await;
        server.resume();
        report.row(probes.ended_now().await?);
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
            report.row(probes.ended_now().await?);
        }
    }
    if report.wants("Sentinel: kill -9 of the primary") {
        let group = Sentinels::with_down_after(DOWN_AFTER);
        let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
        let primary = group.primary();
        primary.kill();
        let probes = probes.since(Instant::now());
        group.wait_for_failover(primary.port());
        report.row(probes.ended_by_redis().await?);
    }
    if report.wants("Sentinel: SIGSTOP of the primary") {
        let group = Sentinels::with_down_after(DOWN_AFTER);
        let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
        let primary = group.primary();
        primary.pause();
        let probes = probes.since(Instant::now());
        group.wait_for_failover(primary.port());
        let row = probes.ended_by_redis().await;
        primary.resume();
        report.row(row?);
    }
    for (name, pauses) in [
        ("Sentinel: SENTINEL FAILOVER", false),
        ("Sentinel: CLIENT PAUSE WRITE, SENTINEL FAILOVER", true),
    ] {
        if report.wants(name) {
            let group = Sentinels::with_down_after(DOWN_AFTER);
            let probes = Probes::start(&group.url(), report.options.pairs, |_| true).await?;
            let old = group.primary();
            let probes = probes.since(Instant::now());
            if pauses {
                let () = old.command(&["CLIENT", "PAUSE", "2000", "WRITE"]);
            }
            group.fail_over();
            // what it has accepted since is lost by then
            old.wait_until_replica();
            report.row(probes.ended_by_redis().await?);
        }
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
        report.row(probes.since(Instant::now()).ended_by_redis().await?);
    }
    if report.wants("Cluster: CLUSTER FAILOVER") {
        let cluster = Cluster::with_replicas(1);
        let primary = *cluster.primaries().first().ok_or("no primary")?;
        let old = &cluster.nodes[primary];
        let url = cluster.url();
        let probes = Probes::start(&url, report.options.pairs, |id| holds(old, id)).await?;
        let probes = probes.since(Instant::now());
        cluster.fail_over(primary);
        old.wait_until_replica();
        report.row(probes.ended_by_redis().await?);
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
        let probes = probes.since(Instant::now());
        cluster.reshard(from, to, report.options.slots);
        report.row(probes.ended_by_redis().await?);
    }
    Ok(())
}

/// Whether a node of a cluster has the session.
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
    /// Whether this outage is selected. Begins its row.
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
