//! The servers of `coherence`, and what is done to them.
//!
//! Nothing here may lose an acknowledged write: no server is killed, and one that is replaced has
//! handed everything over before.

use std::{collections::BTreeMap, fmt, thread, time::Duration};

use clap::ValueEnum;
use test_support::{Cluster, Fault as Network, Proxy, Redis, Sentinels, wait_until};

use crate::{Failure, worker::target};

/// Longer than a fault, so that no failover happens that was not planned.
const DOWN_AFTER: Duration = Duration::from_secs(6);
/// The same for a cluster, in milliseconds.
const NODE_TIMEOUT: &str = "4000";
/// The slots that are moved at a time.
const SLOTS: u32 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// One server, which each process reaches through a proxy of its own
    Server,
    /// A primary and a replica, watched by sentinels
    Sentinel,
    /// Three primaries with a replica each
    Cluster,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "one server",
            Self::Sentinel => "Sentinel",
            Self::Cluster => "cluster",
        })
    }
}

/// What is done to servers, or to the way to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A server closes all connections of clients.
    Kill,
    /// The network of one process closes its connections, and accepts none for a while.
    Cut,
    /// The network of one process, or a server, forwards or answers nothing for a while, up to
    /// nearly twice the lease.
    Stall,
    /// The replica takes the place of its primary, as an operator requests.
    FailOver,
    /// Slots move from one primary to another.
    Reshard,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::Kill,
        Self::Cut,
        Self::Stall,
        Self::FailOver,
        Self::Reshard,
    ];

    pub(crate) fn happens_to(self, topology: Topology) -> bool {
        match self {
            Self::Kill | Self::Stall => true,
            Self::Cut => topology == Topology::Server,
            Self::FailOver => topology != Topology::Server,
            Self::Reshard => topology == Topology::Cluster,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "connections killed",
            Self::Cut => "networks cut",
            Self::Stall => "stalls",
            Self::FailOver => "planned failovers",
            Self::Reshard => "slots moved",
        })
    }
}

/// The servers of a topology. They end when the value is dropped.
pub(crate) enum Servers {
    Server { server: Redis, proxies: Vec<Proxy> },
    Sentinel(Box<Sentinels>),
    Cluster(Cluster),
}

impl Servers {
    pub(crate) async fn start(topology: Topology, processes: usize) -> Self {
        match topology {
            Topology::Server => {
                let (server, mut proxies) = (Redis::start(), Vec::new());
                for _ in 0..processes {
                    proxies.push(Proxy::start(server.addr()).await);
                }
                Self::Server { server, proxies }
            }
            Topology::Sentinel => Self::Sentinel(Box::new(Sentinels::with_down_after(DOWN_AFTER))),
            Topology::Cluster => {
                let cluster = Cluster::with_replicas(1);
                for node in &cluster.nodes {
                    let set = ["CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT];
                    let () = node.command(&set);
                }
                Self::Cluster(cluster)
            }
        }
    }

    /// Where a store finds them.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Server { server, .. } => server.url(),
            Self::Sentinel(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The same, for the process of this number.
    pub(crate) fn url_of(&self, process: usize) -> String {
        match self {
            Self::Server { proxies, .. } => proxies[process].url(),
            Self::Sentinel(_) | Self::Cluster(_) => self.url(),
        }
    }

    /// The numbers of the servers that are primaries.
    fn primaries(&self) -> Vec<usize> {
        let servers = self.servers();
        (0..servers.len())
            .filter(|&number| servers[number].is_primary())
            .collect()
    }

    fn servers(&self) -> &[Redis] {
        match self {
            Self::Server { server, .. } => std::slice::from_ref(server),
            Self::Sentinel(sentinels) => &sentinels.servers,
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }
}

/// Injects faults, one after the other.
pub(crate) struct Injector<'s> {
    servers: &'s Servers,
    primaries: Vec<usize>,
    /// In which failover each server was replaced last.
    replaced: BTreeMap<usize, u64>,
    rolls: u64,
    pub(crate) counts: BTreeMap<Fault, u64>,
}

impl<'s> Injector<'s> {
    pub(crate) fn new(servers: &'s Servers) -> Self {
        Self {
            servers,
            primaries: servers.primaries(),
            replaced: BTreeMap::new(),
            rolls: 0,
            counts: BTreeMap::new(),
        }
    }

    /// A pseudorandom number below the bound.
    fn roll(&mut self, bound: usize) -> usize {
        self.rolls += 1;
        target(usize::MAX, self.rolls, bound)
    }

    /// A duration between these, in milliseconds.
    fn duration(&mut self, least: usize, most: usize) -> Duration {
        let millis = least + self.roll(most - least);
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// Waits for a moment, in which nothing is wrong.
    pub(crate) fn pause(&mut self) {
        thread::sleep(self.duration(300, 2000));
    }

    /// Begins a fault and waits until it is over. Blocks the thread.
    ///
    /// # Errors
    ///
    /// Another server is a primary although no failover was requested.
    pub(crate) fn inject(&mut self, fault: Fault) -> Result<(), Failure> {
        let choice = self.roll(usize::MAX);
        let servers = self.servers;
        let primary = &servers.servers()[self.primaries[choice % self.primaries.len()]];
        match (fault, servers) {
            (Fault::Kill, _) => {
                let _: u64 = primary.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
            (Fault::Cut | Fault::Stall, Servers::Server { proxies, .. }) => {
                let proxy = &proxies[choice % proxies.len()];
                let (network, duration) = match fault {
                    Fault::Cut => (Network::Cut, self.duration(20, 1500)),
                    _ => (Network::Stall, self.duration(100, 3500)),
                };
                proxy.set(network);
                thread::sleep(duration);
                proxy.set(Network::None);
            }
            (Fault::Stall, Servers::Sentinel(_) | Servers::Cluster(_)) => {
                let duration = self.duration(100, 3500);
                let millis = duration.as_millis().to_string();
                let () = primary.command(&["CLIENT", "PAUSE", &millis, "ALL"]);
                thread::sleep(duration);
            }
            (Fault::FailOver, Servers::Sentinel(sentinels)) => {
                let before = sentinels.primary();
                before.wait_for_replica();
                // one that still takes the replica for a primary would demote it again at once
                wait_until("every sentinel knows that the replica is one", || {
                    sentinels.sentinels.iter().all(knows_replica)
                });
                // nobody writes to the old one while its successor gets everything
                let () = before.command(&["CLIENT", "PAUSE", "2000", "WRITE"]);
                sentinels.fail_over();
                before.wait_until_replica();
                sentinels.primary().wait_for_replica();
                self.primaries = servers.primaries();
            }
            (Fault::FailOver, Servers::Cluster(cluster)) => self.fail_over(cluster),
            (Fault::Reshard, Servers::Cluster(cluster)) => {
                let from = choice % self.primaries.len();
                let to = (from + 1 + choice / 7 % 2) % self.primaries.len();
                cluster.reshard(self.primaries[from], self.primaries[to], SLOTS);
                wait_until("the nodes agree", || agree(cluster));
            }
            (Fault::Cut, Servers::Sentinel(_) | Servers::Cluster(_))
            | (Fault::FailOver, Servers::Server { .. })
            | (Fault::Reshard, Servers::Server { .. } | Servers::Sentinel(_)) => {
                return Err(format!("{fault} cannot happen to these servers").into());
            }
        }
        *self.counts.entry(fault).or_default() += 1;
        match self.servers.primaries() == self.primaries {
            true => Ok(()),
            false => Err("another server is a primary, which nobody has requested".into()),
        }
    }

    /// Replaces the primary that was replaced least recently: the others do not vote twice within
    /// a short time for a replica of the same one.
    fn fail_over(&mut self, cluster: &Cluster) {
        let last = |number: &usize| self.replaced.get(number).copied();
        let primary = self.primaries.iter().copied().min_by_key(last);
        let primary = primary.expect("a cluster has primaries");
        let before = &cluster.nodes[primary];
        before.wait_for_replica();
        cluster.fail_over(primary);
        before.wait_until_replica();
        wait_until("the nodes agree", || agree(cluster));
        self.replaced.insert(primary, self.rolls);
        self.primaries = cluster.primaries();
    }
}

/// Whether a sentinel has seen that every replica is a replica. It looks every ten seconds.
fn knows_replica(sentinel: &Redis) -> bool {
    let words = ["SENTINEL", "REPLICAS", Sentinels::SERVICE];
    let replicas = sentinel.try_command::<Vec<Vec<String>>>(&words);
    let is_replica = |fields: &Vec<String>| {
        let mut pairs = fields.chunks(2);
        pairs.any(|pair| pair == ["role-reported", "slave"])
    };
    replicas.is_ok_and(|replicas| !replicas.is_empty() && replicas.iter().all(is_replica))
}

/// Whether all nodes say the same about primaries and slots, and that all is well.
fn agree(cluster: &Cluster) -> bool {
    let view = |node: &Redis| {
        let info: String = node.command(&["CLUSTER", "INFO"]);
        let nodes: String = node.command(&["CLUSTER", "NODES"]);
        let mut view: Vec<Vec<String>> = Vec::new();
        for line in nodes.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [id, _, flags, primary, _, _, _, _, slots @ ..] = &words[..] else {
                return None;
            };
            let flags = flags.replace("myself,", "");
            let all = [&[*id, &flags, *primary], slots].concat();
            view.push(all.into_iter().map(str::to_owned).collect());
        }
        view.sort_unstable();
        info.contains("cluster_state:ok").then_some(view)
    };
    let mut views = cluster.nodes.iter().map(view);
    let first = views.next().flatten();
    first.is_some() && views.all(|view| view == first)
}
