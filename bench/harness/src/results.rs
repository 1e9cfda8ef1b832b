//! What a run found, as it is kept in `results.json`.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine,
    options::Options,
    servers::{Role, Route},
};

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// When, where and with what.
    pub(crate) about: Vec<(String, String)>,
    pub(crate) counts: Vec<Count>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) many: Vec<Many>,
    #[serde(default)]
    pub(crate) near: Option<Near>,
    pub(crate) growth: Vec<Growth>,
    /// A cluster beside one server; it can be measured by itself.
    #[serde(default)]
    pub(crate) cluster: Option<Clustered>,
}

/// One server's exact costs, by scene.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) server: String,
    pub(crate) role: Role,
    pub(crate) scenes: BTreeMap<String, Scene>,
    /// Length of the `Cookie` header's value.
    pub(crate) cookie_bytes: usize,
    pub(crate) value_bytes: f64,
    /// `MEMORY USAGE` of a session.
    pub(crate) memory_bytes: f64,
    /// Connections to Redis when idle after these requests.
    pub(crate) connections: i64,
}

/// Costs of one request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scene {
    pub(crate) status: u16,
    pub(crate) commands: BTreeMap<String, f64>,
    pub(crate) round_trips: f64,
    pub(crate) in_bytes: f64,
    pub(crate) out_bytes: f64,
    pub(crate) head_bytes: f64,
    pub(crate) set_cookies: f64,
}

/// One measurement, and plain hyper around it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) server: String,
    pub(crate) role: Role,
    pub(crate) route: Route,
    pub(crate) round: usize,
    #[serde(flatten)]
    pub(crate) timing: Timing,
    pub(crate) resident_mib: f64,
}

/// What one measurement says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) requests: usize,
    pub(crate) errors: usize,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) redis_cpu_us: f64,
    /// CPU time of the server per second of load.
    pub(crate) server_busy: f64,
    pub(crate) redis_commands: f64,
    pub(crate) redis_reads: f64,
    /// Plain hyper before, between and after: the mean, and how far its runs lay apart.
    pub(crate) hyper_per_second: f64,
    pub(crate) hyper_drift: f64,
    /// CPU time of plain hyper per second of its load. Below one, something else than the server
    /// was short of time.
    pub(crate) hyper_busy: f64,
    pub(crate) hyper_p50_us: f64,
    pub(crate) hyper_p99_us: f64,
    pub(crate) hyper_cpu_us: f64,
    /// Shares of one core that other programs and other guests used meanwhile.
    pub(crate) foreign: f64,
    pub(crate) stolen: f64,
}

impl Timing {
    /// What speaks against a measurement: time taken by others, plain hyper held up, plain hyper's
    /// own drift.
    pub(crate) fn noise(&self) -> f64 {
        self.foreign + self.stolen + (1.0 - self.hyper_busy).max(0.0) + self.hyper_drift / 2.0
    }

    /// Whether it is left out where quieter ones remain.
    pub(crate) fn is_noisy(&self) -> bool {
        self.foreign + self.stolen > 0.10 || self.hyper_busy < 0.85 || self.hyper_drift > 0.25
    }

    /// Throughput as a share of plain hyper's.
    pub(crate) fn ratio(&self) -> f64 {
        self.per_second / self.hyper_per_second
    }

    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.server_cpu_us / self.hyper_cpu_us
    }

    /// p99 in plain hyper's p50, which is steadier than its p99.
    pub(crate) fn p99_ratio(&self) -> f64 {
        self.p99_us / self.hyper_p50_us
    }
}

/// Reads with few and with many sessions in Redis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Many {
    pub(crate) server: String,
    pub(crate) sessions: usize,
    pub(crate) value_bytes: f64,
    pub(crate) memory_bytes: f64,
    /// All that Redis holds more than when it was empty, by session.
    pub(crate) used_memory_bytes: f64,
    pub(crate) timings: Vec<Timing>,
}

/// What the near cache costs and saves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Near {
    /// Kept while memory was measured.
    pub(crate) sessions: usize,
    /// The memory that a kept session takes in the process.
    pub(crate) kept_bytes: f64,
    /// The share of reads that ask Redis.
    pub(crate) misses: f64,
    /// Of one read, on average.
    pub(crate) commands: BTreeMap<String, f64>,
    pub(crate) round_trips: f64,
}

/// How costs grow with instances or with bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) server: String,
    pub(crate) route: Route,
    pub(crate) instances: usize,
    /// Of the load, to all instances together.
    pub(crate) connections: usize,
    /// The size of the session as JSON.
    pub(crate) bytes: usize,
    pub(crate) timings: Vec<Timing>,
}

/// The same service on one server and on a cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Clustered {
    /// When, and what.
    pub(crate) about: String,
    pub(crate) cells: Vec<ClusterCell>,
}

/// What the sessions are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topology {
    OneServer,
    /// A cluster with so many primaries.
    Cluster(usize),
}

/// One side of it, on one route.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClusterCell {
    pub(crate) route: Route,
    pub(crate) store: Topology,
    /// Of the load.
    pub(crate) connections: usize,
    pub(crate) timings: Vec<Timing>,
}

impl Clustered {
    /// The cell of a side, whose timings were measured in the same rounds as those of the others.
    pub(crate) fn cell(
        &self,
        route: Route,
        store: Topology,
        connections: usize,
    ) -> Option<&ClusterCell> {
        let wanted = (route, store, connections);
        let mut cells = self.cells.iter();
        cells.find(|cell| (cell.route, cell.store, cell.connections) == wanted)
    }
}

impl ClusterCell {
    /// The median over the rounds of a figure, divided by that of another cell in the same round.
    /// Rounds in which either was noisy are left out if at least half of the rounds remain.
    pub(crate) fn ratio(&self, base: &Self, of: impl Fn(&Timing) -> f64) -> f64 {
        let rounds = self.timings.iter().zip(&base.timings);
        let is_quiet = |(one, other): &(&Timing, &Timing)| !one.is_noisy() && !other.is_noisy();
        let mut kept: Vec<_> = rounds.clone().filter(is_quiet).collect();
        if 2 * kept.len() < self.timings.len() {
            kept = rounds.collect();
        }
        median(kept.into_iter().map(|(one, other)| of(one) / of(other)))
    }
}

impl Results {
    pub(crate) fn new(machine: &Machine, options: &Options) -> anyhow::Result<Self> {
        let pinning = match (&machine.server, &machine.others) {
            (Some(server), Some(others)) => {
                format!("server on core {server}; Redis, load and harness on {others}")
            }
            _ => "none: one core".to_owned(),
        };
        let mut about = vec![
            ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            (
                "this project",
                said(
                    "git",
                    &["-C", crate::BENCH, "describe", "--always", "--dirty"],
                ),
            ),
            ("processor", processor()),
            ("kernel", said("uname", &["-sr"])),
            ("pinning", pinning),
            (
                "rustc",
                said("rustc", &["--version"]) + ", release, lto = thin, codegen-units = 1",
            ),
            (
                "redis-server",
                said("redis-server", &["--version"])
                    .split(" sha")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            ("node", said("node", &["--version"])),
            (
                "rounds",
                format!(
                    "{} of {} s each in three parts, plain hyper {} s before, between and after, {} connections",
                    options.rounds(),
                    options.seconds().as_secs_f64(),
                    options.canary().as_secs_f64(),
                    options.connections
                ),
            ),
        ];
        about.extend(
            CRATES
                .iter()
                .map(|name| (*name, locked(include_str!("../../Cargo.lock"), name))),
        );
        about.extend(PACKAGES.iter().map(|name| {
            (
                *name,
                locked_npm(include_str!("../../express/package-lock.json"), name),
            )
        }));
        let about = about
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(Self {
            about,
            counts: vec![],
            samples: vec![],
            many: vec![],
            near: None,
            growth: vec![],
            cluster: None,
        })
    }
}

/// The crates whose versions a reader asks for.
const CRATES: [&str; 13] = [
    "hyper",
    "axum",
    "tokio",
    "redis",
    "tower-sessions",
    "tower-sessions-redis-store",
    "fred",
    "actix-web",
    "actix-session",
    "axum_session",
    "axum_session_redispool",
    "redis_pool",
    "deadpool-redis",
];
const PACKAGES: [&str; 4] = ["express", "express-session", "connect-redis", "redis"];

/// The versions of a crate in a lock file.
fn locked(lock: &str, name: &str) -> String {
    let after = format!("name = \"{name}\"\nversion = \"");
    let versions = lock
        .split(after.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    versions.collect::<Vec<_>>().join(", ")
}

fn locked_npm(lock: &str, name: &str) -> String {
    let after = format!("\"node_modules/{name}\": {{\n      \"version\": \"");
    lock.split(after.as_str())
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .to_owned()
        + " (npm)"
}

/// What a program says, or nothing where there is none.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = text
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let names: Vec<_> = models.map(|(_, name)| name).collect();
    format!(
        "{} cores of {}",
        names.len(),
        names.first().copied().unwrap_or("unknown make")
    )
}

/// The measurements that are not noisy, or all where none is quiet.
pub(crate) fn quiet<'a>(timings: impl Iterator<Item = &'a Timing> + Clone) -> Vec<&'a Timing> {
    let quiet: Vec<_> = timings
        .clone()
        .filter(|timing| !timing.is_noisy())
        .collect();
    if quiet.is_empty() {
        timings.collect()
    } else {
        quiet
    }
}

/// The middle one, or the mean of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, f64::NAN, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn versions_are_found() {
        let lock =
            "name = \"redis\"\nversion = \"0.32.1\"\n\nname = \"redis\"\nversion = \"1.8.0\"\n";
        assert_eq!(locked(lock, "redis"), "0.32.1, 1.8.0");
        assert_eq!(
            locked_npm(
                "\"node_modules/redis\": {\n      \"version\": \"6.3.1\",",
                "redis"
            ),
            "6.3.1 (npm)"
        );
    }
}
