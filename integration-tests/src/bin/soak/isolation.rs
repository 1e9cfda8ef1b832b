//! Whether the failure of one node of a cluster affects the sessions on the others.
//!
//! Under open-loop load one of three primaries hangs, dies or is cut off from the instance. The
//! requests for sessions on the two others must be served as before.

use std::{sync::Arc, time::Duration};

use clap::Args;
use session_core::{Record, SessionId, Store, Version, Write};
use session_redis::RedisStore;
use test_support::{Cluster, Fault, Proxy};
use tokio::time::sleep;

use crate::{
    Failure,
    load::{Samples, open_loop},
    print_table,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Requests per second, over all nodes
    #[arg(long, default_value_t = 1500)]
    rate: u32,
    /// How long the fault lasts, and the time before and after it, in seconds
    #[arg(long, default_value_t = 7)]
    seconds: u64,
    /// Run only the faults whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// What happens to one of the nodes.
#[derive(Clone, Copy, Debug)]
enum NodeFault {
    Hangs,
    Dies,
    CutOff,
}

const FAULTS: [(NodeFault, &str); 3] = [
    (NodeFault::Hangs, "hangs (SIGSTOP)"),
    (NodeFault::Dies, "dies (kill -9)"),
    (NodeFault::CutOff, "is cut off (nothing arrives)"),
];
const SESSIONS: usize = 600;
const TTL: Duration = Duration::from_secs(3600);
/// The node that fails.
const FAULTY: usize = 0;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut affected = Vec::new();
    for (coverage, required) in [("no", true), ("yes", false)] {
        for (fault, name) in FAULTS {
            if !name.contains(&options.only) {
                continue;
            }
            let samples = measure(options, fault, coverage).await?;
            let [before, during, after] = phases(&samples, options.seconds);
            let others = |samples: &Samples| samples.only(|sample| sample.group != FAULTY);
            let own = |samples: &Samples| samples.only(|sample| sample.group == FAULTY);
            let end = Duration::from_secs(2 * options.seconds);
            let recovered = own(&after)
                .last_failure()
                .map_or(Duration::ZERO, |last| last.saturating_sub(end));
            rows.push(vec![
                name.to_owned(),
                coverage.to_owned(),
                format!("{:.2} %", others(&during).success()),
                milliseconds(others(&before).percentile(99.0)),
                milliseconds(others(&during).percentile(99.0)),
                format!("{:.2} %", own(&during).success()),
                milliseconds(own(&during).slowest_failure()),
                format!("{:.1} s", recovered.as_secs_f64()),
            ]);
            if required && others(&during).success() < 99.9 {
                affected.push(name);
            }
        }
    }
    print_table(
        &[
            "a node",
            "full coverage",
            "others served",
            "p99 before",
            "p99 during",
            "its own served",
            "slowest failure",
            "last failure after the end",
        ],
        &rows,
    );
    match &affected[..] {
        [] => Ok(()),
        affected => Err(format!("others were affected when a node {}", affected.join(", ")).into()),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", 1e3 * duration.as_secs_f64())
}

/// What was sent before, during and after the fault.
fn phases(samples: &Samples, seconds: u64) -> [Samples; 3] {
    [0, 1, 2].map(|phase| {
        let part = Duration::from_secs(phase * seconds)..Duration::from_secs((phase + 1) * seconds);
        samples.only(|sample| part.contains(&sample.at))
    })
}

async fn measure(options: &Options, fault: NodeFault, coverage: &str) -> Result<Samples, Failure> {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        let () = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", coverage]);
    }
    let faulty = &cluster.nodes[FAULTY];
    // instances reach the node that fails through a proxy, whose address it announces
    let proxy = Proxy::start(faulty.addr()).await;
    let port = proxy.addr().port().to_string();
    let () = faulty.command(&["CONFIG", "SET", "cluster-announce-port", &port]);
    let seeds: Vec<_> = cluster.nodes[1..].iter().map(|node| node.addr()).collect();
    let url = format!("redis+cluster://{},{}", seeds[0], seeds[1]);
    sleep(Duration::from_secs(2)).await;
    let store = RedisStore::connect(&url).await?;
    let sessions: Arc<[_]> = sessions(&cluster, &store).await?.into();

    let seconds = Duration::from_secs(options.seconds);
    let load = tokio::spawn(open_loop(options.rate, 3 * seconds, {
        let store = store.clone();
        move |number| {
            let (group, id, record) = &sessions[number as usize % sessions.len()];
            let (store, id, record) = (store.clone(), *id, record.clone());
            let writes = number.is_multiple_of(4);
            let served = async move {
                if writes {
                    let write = Write::new(&record, TTL);
                    store.save(&id, record.version(), write).await.is_ok()
                } else {
                    // a node that died has lost its sessions, which is an answer too
                    store.load(&id).await.is_ok()
                }
            };
            (*group, served)
        }
    }));
    sleep(seconds).await;
    match fault {
        NodeFault::Hangs => faulty.pause(),
        NodeFault::Dies => faulty.kill(),
        NodeFault::CutOff => proxy.set(Fault::Stall),
    }
    sleep(seconds).await;
    match fault {
        NodeFault::Hangs => faulty.resume(),
        NodeFault::Dies => faulty.restart(),
        NodeFault::CutOff => proxy.set(Fault::None),
    }
    Ok(load.await?)
}

/// Creates sessions. Returns the node of each.
async fn sessions(
    cluster: &Cluster,
    store: &RedisStore,
) -> Result<Vec<(usize, SessionId, Record)>, Failure> {
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let mut bytes = [0; SessionId::BYTES];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let id = SessionId::from_bytes(bytes);
        let record = Record::new(Version::from_bytes(*b"isolated"), vec![7; 200]);
        let _ = store.create(&id, Write::new(&record, TTL)).await?;
        let key = format!("session:{id}");
        // with whom the record is
        let holds = |node: &&test_support::Redis| {
            let count: u64 = node.try_command(&["EXISTS", &key]).unwrap_or(0);
            count == 1
        };
        let node = cluster.nodes.iter().position(|node| holds(&node));
        sessions.push((node.ok_or("a session is on no node")?, id, record));
    }
    Ok(sessions)
}
