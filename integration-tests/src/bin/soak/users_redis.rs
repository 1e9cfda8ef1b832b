//! The servers of `users`, and what the index takes in them.

use clap::ValueEnum;
use integration_tests::keys;
use session_core::{Sessions, Store};
use test_support::{Cluster, Redis};

use crate::{Failure, print_table, users_worker::Service, visits::Visit};

/// The keys of the index in the store of the run.
const INDEX_KEYS: &str = "session:index:*";
/// The field of an index key that is not a session.
const HIGHEST: &str = "n";
/// The sessions of one user whose index is measured.
const MEASURED: [usize; 4] = [1, 5, 20, 100];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// One server
    Server,
    /// Three primaries
    Cluster,
}

/// The servers of a topology. They end when the value is dropped.
pub(crate) enum Servers {
    Server(Redis),
    Cluster(Cluster),
}

impl Servers {
    pub(crate) fn start(topology: Topology) -> Self {
        match topology {
            Topology::Server => Self::Server(Redis::start()),
            Topology::Cluster => Self::Cluster(Cluster::start()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Server(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    pub(crate) fn nodes(&self) -> &[Redis] {
        match self {
            Self::Server(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }
}

/// The ids that stand in the index, once for each entry, and the bytes of its keys.
pub(crate) fn index(nodes: &[Redis]) -> (Vec<String>, u64) {
    let (mut ids, mut bytes) = (Vec::new(), 0);
    for node in nodes {
        for key in node.command::<Vec<String>>(&["KEYS", INDEX_KEYS]) {
            let fields: Vec<String> = node.command(&["HKEYS", &key]);
            ids.extend(fields.into_iter().filter(|field| field != HIGHEST));
            bytes += memory(node, &key);
        }
    }
    (ids, bytes)
}

/// The bytes that a key takes in Redis; 0 if there is none.
fn memory(node: &Redis, key: &str) -> u64 {
    let usage: Option<u64> = node.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
    usage.unwrap_or_default()
}

/// How many of these ids have no record.
pub(crate) async fn without_session(service: &Service, ids: &[String]) -> Result<usize, Failure> {
    let mut without = 0;
    for id in ids {
        let loaded = service.store().load(&id.parse()?).await?;
        without += usize::from(loaded.is_none());
    }
    Ok(without)
}

/// Prints what the index and the records of one user take in Redis.
pub(crate) async fn print_memory(service: &Service, server: &Redis) -> Result<(), Failure> {
    let sessions = Sessions::builder(service.store().clone())
        .signing_keys(keys())
        .build()?;
    let mut rows = Vec::new();
    for count in MEASURED {
        server.command::<()>(&["FLUSHALL"]);
        for _ in 0..count {
            let visit = Visit::begin(&sessions, None);
            visit.load().await?.log_in("ann")?;
            let _ = visit.finish().await?;
        }
        let (ids, bytes) = index(std::slice::from_ref(server));
        let record = memory(server, &format!("session:{}", ids[0]));
        rows.push(vec![
            count.to_string(),
            bytes.to_string(),
            format!("{:.0}", bytes as f64 / count as f64),
            record.to_string(),
        ]);
    }
    println!();
    let head = [
        "sessions of a user",
        "bytes of the index",
        "per session",
        "record",
    ];
    print_table(&head, &rows);
    Ok(())
}
