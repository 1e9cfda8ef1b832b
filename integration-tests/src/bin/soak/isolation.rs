//! What the failure of one server costs, and whom: each fault on each topology.
//!
//! Under open-loop load one server hangs, dies or is cut off. In a cluster, the requests for
//! sessions on the other primaries must be served as before. With Sentinel and with one server
//! every session is affected; what counts is how fast requests fail, and when they are served
//! again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::Args;
use session_core::{Record, SessionId, Store, Version, Write};
use session_redis::RedisStore;
use tokio::time::sleep;

use crate::{
    Failure,
    load::{Samples, open_loop},
    print_table,
    topology::{NodeFault, Servers, Topology},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Requests per second, over all nodes
    #[arg(long, default_value_t = 1500)]
    rate: u32,
    /// How long the fault lasts, and the time before and after it, in seconds
    #[arg(long, default_value_t = 7)]
    seconds: u64,
    /// Run only the topologies and faults whose name contains this, such as `sentinel` or `hangs`
    #[arg(long, default_value = "")]
    only: String,
    /// Put the server that fails into a network namespace of its own, and cut it off by dropping
    /// packets instead of by a proxy that stalls; needs root on Linux
    #[arg(long)]
    namespace: bool,
}

const SESSIONS: usize = 600;
const TTL: Duration = Duration::from_secs(3600);
/// The groups of sessions: those on the server that fails, and all others.
const FAULTY: usize = 0;
const OTHERS: usize = 1;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for topology in Topology::ALL {
        for fault in NodeFault::ALL {
            let name = format!("{topology}: {fault}");
            let only = options.only.to_lowercase();
            if !name.to_lowercase().contains(&only) {
                continue;
            }
            eprintln!("{name}");
            let samples = measure(options, topology, fault).await?;
            let report = Report::new(&samples, options.seconds);
            rows.push(
                [topology.to_string(), fault.to_string()]
                    .into_iter()
                    .chain(report.cells())
                    .collect(),
            );
            let isolates = topology == Topology::Cluster;
            if !report.recovered || isolates && !report.is_isolated() {
                broken.push(name);
            }
        }
    }
    print_table(
        &[
            "topology",
            "a server",
            "others served",
            "p99 before",
            "p99 during",
            "its own served",
            "slowest failure",
            "failed with",
            "last failure after the fault",
            "after its end",
        ],
        &rows,
    );
    match &broken[..] {
        [] if rows.is_empty() => Err("nothing is selected".into()),
        [] => Ok(()),
        broken => Err(format!("not as promised: {}", broken.join(", ")).into()),
    }
}

/// What is said about a fault.
struct Report {
    /// Whether there are sessions that the fault should not affect.
    has_others: bool,
    others_served: f64,
    p99_before: Duration,
    p99_during: Duration,
    own_served: f64,
    slowest_failure: Duration,
    errors: BTreeMap<String, usize>,
    /// When the last request that failed had left, since the start of the run.
    last_failure: Option<Duration>,
    fault: std::ops::Range<Duration>,
    /// Whether everything was served in the last second.
    recovered: bool,
}

impl Report {
    fn new(samples: &Samples, seconds: u64) -> Self {
        let [before, during] = [0, 1].map(|phase| {
            let part =
                Duration::from_secs(phase * seconds)..Duration::from_secs((phase + 1) * seconds);
            samples.only(|sample| part.contains(&sample.at))
        });
        let [own, others] =
            [FAULTY, OTHERS].map(|group| during.only(|sample| sample.group == group));
        let others_before = before.only(|sample| sample.group == OTHERS);
        let end = Duration::from_secs(3 * seconds - 1);
        Self {
            has_others: others.len() > 0,
            others_served: others.success(),
            p99_before: others_before.percentile(99.0),
            p99_during: others.percentile(99.0),
            own_served: own.success(),
            slowest_failure: own.slowest_failure(),
            errors: samples.errors(),
            last_failure: samples.last_failure(),
            fault: Duration::from_secs(seconds)..Duration::from_secs(2 * seconds),
            recovered: samples.only(|sample| sample.at >= end).errors().is_empty(),
        }
    }

    /// Whether the others were served as before.
    fn is_isolated(&self) -> bool {
        self.others_served >= 99.9 && self.p99_during <= 2 * self.p99_before
    }

    fn cells(&self) -> Vec<String> {
        let of_others = |text: String| match self.has_others {
            true => text,
            false => "–".to_owned(),
        };
        let errors = self.errors.iter();
        let errors: Vec<_> = errors
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let since = |begin: Duration| match self.last_failure {
            Some(last) if last >= begin => seconds(last - begin),
            _ => "none".to_owned(),
        };
        vec![
            of_others(format!("{:.2} %", self.others_served)),
            of_others(milliseconds(self.p99_before)),
            of_others(milliseconds(self.p99_during)),
            format!("{:.2} %", self.own_served),
            milliseconds(self.slowest_failure),
            errors.join(", "),
            since(self.fault.start),
            since(self.fault.end),
        ]
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", 1e3 * duration.as_secs_f64())
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

async fn measure(
    options: &Options,
    topology: Topology,
    fault: NodeFault,
) -> Result<Samples, Failure> {
    let servers = Servers::start(topology, options.namespace).await?;
    let store = servers.store().await?;
    let sessions: Arc<[_]> = sessions(&servers, &store).await?.into();
    let seconds = Duration::from_secs(options.seconds);
    let load = tokio::spawn(open_loop(options.rate, 3 * seconds, move |number| {
        let (group, id, record) = &sessions[number as usize % sessions.len()];
        let (store, id, record) = (store.clone(), *id, record.clone());
        let writes = number.is_multiple_of(4);
        let answer = async move {
            if writes {
                let write = Write::new(&record, TTL);
                let saved = store.save(&id, record.version(), write).await;
                saved.err().map(|error| error.kind())
            } else {
                // a server that died has lost its sessions, which is an answer too
                let loaded = store.load(&id).await;
                loaded.err().map(|error| error.kind())
            }
        };
        (*group, answer)
    }));
    sleep(seconds).await;
    servers.begin(fault)?;
    sleep(seconds).await;
    servers.end(fault)?;
    Ok(load.await?)
}

/// Creates sessions. Returns the group of each.
async fn sessions(
    servers: &Servers,
    store: &RedisStore,
) -> Result<Vec<(usize, SessionId, Record)>, Failure> {
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let mut bytes = [0; SessionId::BYTES];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let id = SessionId::from_bytes(bytes);
        let record = Record::new(Version::from_bytes(*b"isolated"), vec![7; 200]);
        let _ = store.create(&id, Write::new(&record, TTL)).await?;
        let group = match servers.fails_with(&format!("session:{id}")) {
            true => FAULTY,
            false => OTHERS,
        };
        sessions.push((group, id, record));
    }
    if !sessions.iter().any(|(group, ..)| *group == FAULTY) {
        return Err("no session is on the server that fails".into());
    }
    Ok(sessions)
}
