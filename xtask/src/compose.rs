//! The compose files, on a Docker engine: each comes up by one command, survives the kill and the
//! return of its primary under load, and comes up again after `down` with the sessions it had.

mod load;
mod project;
mod visitor;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use xshell::Shell;

use load::{Load, Tally};
use project::Project;
use visitor::Visitor;

/// What each file starts beside its store.
const SITE: [&str; 4] = ["balancer", "one", "two", "three"];
const INSTANCES: [&str; 3] = ["one", "two", "three"];
/// The sessions of the load: enough for each primary of a cluster to have some.
const VISITORS: usize = 24;
/// How long the server is away if nothing replaces it.
const AWAY: Duration = Duration::from_secs(4);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A compose file.
struct Topology {
    name: &'static str,
    file: &'static str,
    /// The Redis servers; the first is a primary at first.
    servers: &'static [&'static str],
    /// What else runs.
    others: &'static [&'static str],
}

const TOPOLOGIES: [Topology; 3] = [
    Topology {
        name: "default",
        file: "docker-compose.yml",
        servers: &["redis"],
        others: &[],
    },
    Topology {
        name: "sentinel",
        file: "docker-compose.sentinel.yml",
        servers: &["primary", "replica"],
        others: &["sentinel-1", "sentinel-2", "sentinel-3"],
    },
    Topology {
        name: "cluster",
        file: "docker-compose.cluster.yml",
        servers: &[
            "cluster-1",
            "cluster-2",
            "cluster-3",
            "cluster-4",
            "cluster-5",
            "cluster-6",
        ],
        others: &[],
    },
];

/// The kill of a primary and its return.
struct Kill {
    server: String,
    killed: Tally,
    returned: Tally,
    back: Duration,
}

/// The figures of one file.
struct Report {
    up: Duration,
    kills: Vec<Kill>,
    lost: u64,
    down: Duration,
    up_again: Duration,
}

/// Tests all of the files, or the ones of these names.
pub(crate) fn run(sh: &Shell, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        ensure!(
            TOPOLOGIES.iter().any(|topology| topology.name == name),
            "no such topology: expected default, sentinel or cluster, found {name:?}"
        );
    }
    let mut reports = Vec::new();
    for topology in &TOPOLOGIES {
        if !names.is_empty() && !names.iter().any(|name| name == topology.name) {
            continue;
        }
        let project = Project::new(sh, topology.file)?;
        project.run(&["down", "--volumes", "--remove-orphans"])?;
        let report = test(&project, topology);
        if report.is_err() {
            eprintln!("{}", project.logs().unwrap_or_default());
        }
        project.run(&["down", "--volumes", "--remove-orphans"])?;
        reports.push((topology.name, report.context(topology.file)?));
    }
    print(&reports);
    Ok(())
}

fn print(reports: &[(&str, Report)]) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    println!("\n| file | first up | down | second up | acknowledged writes lost in all kills |");
    println!("|---|---|---|---|---|");
    for (name, report) in reports {
        let (up, down) = (seconds(report.up), seconds(report.down));
        let again = seconds(report.up_again);
        println!("| {name} | {up} | {down} | {again} | {} |", report.lost);
    }
    println!(
        "\n| file | killed | sessions affected | requests failed | outage | back in | then failed |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, report) in reports {
        for kill in &report.kills {
            println!(
                "| {name} | {} | {} of {VISITORS} | {} of {} | {} | {} | {} of {} |",
                kill.server,
                kill.killed.affected.len(),
                kill.killed.failures(),
                kill.killed.requests(),
                seconds(kill.killed.outage),
                seconds(kill.back),
                kill.returned.failures(),
                kill.returned.requests(),
            );
        }
    }
}

fn test(project: &Project<'_>, topology: &Topology) -> anyhow::Result<Report> {
    project.run(&["build"])?;
    let up = start(project, topology).context("first up")?;
    let kills = kills(project, topology)?;
    let witness = Visitor::logged_in(project.address())?;
    let begin = Instant::now();
    project.run(&["down"])?;
    let down = begin.elapsed();
    let up_again = start(project, topology).context("second up")?;
    let session = witness.session()?;
    ensure!(session["principal"] == "ann", "down lost {session}");
    let (kills, lost) = kills;
    Ok(Report {
        up,
        kills,
        lost,
        down,
        up_again,
    })
}

/// Brings the file up, checks the site, and returns the seconds until it served.
fn start(project: &Project<'_>, topology: &Topology) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    project.run(&["up", "-d"])?;
    let visitor = Visitor::new(project.address());
    wait("the site to serve", || Ok(visitor.is_served()))?;
    let up = begin.elapsed();
    let expected = [&SITE, topology.servers, topology.others].concat();
    let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
    let running = project.running()?;
    ensure!(running == expected, "{running:?} run, not {expected:?}");
    check_site(project)?;
    Ok(up)
}

/// A login on one instance is one on all, and so is a logout.
fn check_site(project: &Project<'_>) -> anyhow::Result<()> {
    let visitor = Visitor::logged_in(project.address())?;
    for session in on_every_instance(&visitor)? {
        ensure!(session["principal"] == "ann", "not logged in: {session}");
    }
    visitor.log_out()?;
    for session in on_every_instance(&visitor)? {
        ensure!(session["principal"].is_null(), "logged in: {session}");
    }
    Ok(())
}

/// The session as each instance shows it; the balancer uses one as soon as it has found it healthy.
fn on_every_instance(visitor: &Visitor) -> anyhow::Result<Vec<Value>> {
    let (mut sessions, mut missing) = (Vec::new(), INSTANCES.to_vec());
    wait("every instance to serve", || {
        let session = visitor.session()?;
        missing.retain(|name| session["instance"] != *name);
        sessions.push(session);
        Ok(missing.is_empty())
    })?;
    Ok(sessions)
}

/// Kills a primary under load, then the one that replaced it, and counts the writes that are lost.
fn kills(project: &Project<'_>, topology: &Topology) -> anyhow::Result<(Vec<Kill>, u64)> {
    let is_replicated = topology.servers.len() > 1;
    let visitors = (0..VISITORS).map(|_| Visitor::logged_in(project.address()));
    let load = Load::start(visitors.collect::<anyhow::Result<_>>()?);
    let begin = Instant::now();
    let calm = load.wait_for_success(begin)?;
    ensure!(calm.failures() == 0, "before the kill: {:?}", calm.outcomes);

    let mut kills = Vec::new();
    let mut victim = topology.servers[0].to_owned();
    for _ in 0..2 {
        wait("the replicas", || replicas_are_in_sync(project, topology))?;
        let primaries = primaries(project, topology)?;
        ensure!(primaries.contains(&victim), "{victim} is not a primary");
        let kill = kill(project, &load, &victim, is_replicated)
            .with_context(|| format!("kill of {victim}"))?;
        // a third of the sessions is on each of three primaries, give or take
        let affected = kill.killed.affected.len();
        ensure!(
            primaries.len() == 1 || affected <= VISITORS * 3 / 4,
            "one of {primaries:?} was killed, and {affected} of {VISITORS} sessions failed"
        );
        kills.push(kill);
        if is_replicated {
            victim = self::primaries(project, topology)?
                .difference(&primaries)
                .next()
                .with_context(|| format!("nothing replaced {victim}"))?
                .clone();
        }
    }
    let lost = load.finish()?;
    ensure!(is_replicated || lost == 0, "{lost} writes are lost");
    Ok((kills, lost))
}

fn kill(
    project: &Project<'_>,
    load: &Load,
    server: &str,
    is_replicated: bool,
) -> anyhow::Result<Kill> {
    let begin = Instant::now();
    project.run(&["kill", server])?;
    let killed = if is_replicated {
        load.wait_for_success(begin)?
    } else {
        thread::sleep(AWAY);
        load.since(begin)
    };
    ensure!(killed.failures() > 0, "no request noticed the kill");
    killed.check_failures()?;

    let begin = Instant::now();
    project.run(&["start", server])?;
    wait("its return", || {
        let role = project.role(server).unwrap_or_default();
        Ok(is_replicated == is_replica_in_sync(&role) && !role.is_empty())
    })?;
    let back = begin.elapsed();
    let returned = load.wait_for_success(begin)?;
    returned.check_failures()?;
    Ok(Kill {
        server: server.to_owned(),
        killed,
        returned,
        back,
    })
}

fn is_primary(role: &[String]) -> bool {
    role.first().is_some_and(|role| role == "master")
}

fn is_replica_in_sync(role: &[String]) -> bool {
    role.first().is_some_and(|role| role == "slave")
        && role.get(3).is_some_and(|state| state == "connected")
}

fn primaries(project: &Project<'_>, topology: &Topology) -> anyhow::Result<BTreeSet<String>> {
    let mut primaries = BTreeSet::new();
    for server in topology.servers {
        if is_primary(&project.role(server)?) {
            primaries.insert((*server).to_owned());
        }
    }
    Ok(primaries)
}

fn replicas_are_in_sync(project: &Project<'_>, topology: &Topology) -> anyhow::Result<bool> {
    for server in topology.servers {
        let role = project.role(server)?;
        if !is_primary(&role) && !is_replica_in_sync(&role) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until this is so.
fn wait(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let limit = Instant::now() + LIMIT;
    loop {
        if is_so()? {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("waited {LIMIT:?} for {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}
