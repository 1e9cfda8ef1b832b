//! What is measured, and for how long.

use std::time::Duration;

use clap::Parser;

use crate::servers::{Route, SERVERS, Server};

/// Measures this project beside its peers, and plain hyper around each of them.
#[derive(Clone, Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
pub(crate) struct Options {
    /// About three minutes instead of fifteen: one short round, and a tenth of the many sessions
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every server on every route [default: 4, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one measurement [default: 1.5, quick: 0.6]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of each run of plain hyper before, between and after [default: 0.25, quick: 0.15]
    #[arg(long)]
    canary: Option<f64>,
    /// Connections of the load generator
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: usize,
    /// Only servers whose name contains one of these, separated by commas
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Only these routes, separated by commas
    #[arg(long, value_delimiter = ',', value_enum)]
    routes: Vec<Route>,
    /// Sessions of the scenario of many sessions [default: 1000000, quick: 100000]
    #[arg(long)]
    many: Option<usize>,
    /// How often a measurement is repeated while others use the machine; the quietest is kept
    #[arg(long, default_value_t = 1)]
    pub(crate) repeats: usize,
    /// Seconds to wait, all in all, for others to leave the machine alone
    #[arg(long, default_value_t = 120)]
    pub(crate) patience: u64,
    /// Seconds to leave the machine to others before each measurement
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rest: f64,
    /// Leave the exact counts out
    #[arg(long)]
    pub(crate) skip_counts: bool,
    /// Leave the scenarios of many sessions and of growth out
    #[arg(long)]
    pub(crate) skip_scenarios: bool,
    /// Measure one server beside a cluster and nothing else; with --publish, everything else of
    /// bench/results.json stays as it is
    #[arg(long, conflicts_with_all = ["report", "skip_scenarios"])]
    pub(crate) cluster: bool,
    /// Write bench/results.json, docs/bench.svg and the tables of docs/BENCHMARKS.md, and not
    /// bench/target alone
    #[arg(long)]
    pub(crate) publish: bool,
    /// Measure nothing; write tables and chart of bench/results.json again
    #[arg(long)]
    pub(crate) report: bool,
}

impl Options {
    /// Puts the defaults where nothing was said.
    pub(crate) fn settled(mut self) -> Self {
        let (rounds, seconds, canary, many) = if self.quick {
            (1, 0.6, 0.15, 100_000)
        } else {
            (4, 1.5, 0.25, 1_000_000)
        };
        self.rounds.get_or_insert(rounds);
        self.seconds.get_or_insert(seconds);
        self.canary.get_or_insert(canary);
        self.many.get_or_insert(many);
        self
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or_default()
    }

    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or_default())
    }

    pub(crate) fn canary(&self) -> Duration {
        Duration::from_secs_f64(self.canary.unwrap_or_default())
    }

    pub(crate) fn many(&self) -> usize {
        self.many.unwrap_or_default()
    }

    /// The servers chosen, without plain hyper, which stands around all of them.
    pub(crate) fn servers(&self) -> Vec<&'static Server> {
        let wanted = |name: &str| {
            self.servers.is_empty() || self.servers.iter().any(|part| name.contains(part.as_str()))
        };
        SERVERS
            .iter()
            .filter(|server| wanted(server.name))
            .collect()
    }

    pub(crate) fn routes(&self, server: &Server) -> Vec<Route> {
        let wanted = |route: &Route| self.routes.is_empty() || self.routes.contains(route);
        server.routes().iter().copied().filter(wanted).collect()
    }
}
