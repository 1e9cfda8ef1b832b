//! The servers of `isolation`, one of which fails.

use std::{fmt, time::Duration};

use session_redis::RedisStore;
use test_support::{Cluster, Fault, Namespace, Place, Proxy, Redis, Sentinels, eventually};

use crate::Failure;

/// The topologies, and what a cluster does if slots are not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Serves the other slots: `cluster-require-full-coverage no`.
    Cluster,
    /// Serves nothing, which is the default.
    ClusterOfFullCoverage,
    Sentinel,
    OneServer,
}

impl Topology {
    pub(crate) const ALL: [Self; 4] = [
        Self::Cluster,
        Self::ClusterOfFullCoverage,
        Self::Sentinel,
        Self::OneServer,
    ];
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster, full coverage no",
            Self::ClusterOfFullCoverage => "cluster, full coverage yes",
            Self::Sentinel => "Sentinel",
            Self::OneServer => "one server",
        })
    }
}

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeFault {
    Hangs,
    Dies,
    CutOff,
}

impl NodeFault {
    pub(crate) const ALL: [Self; 3] = [Self::Hangs, Self::Dies, Self::CutOff];
}

impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangs => "hangs (SIGSTOP)",
            Self::Dies => "dies (kill -9)",
            Self::CutOff => "is cut off (nothing arrives)",
        })
    }
}

/// When sentinels consider a silent primary down.
const DOWN_AFTER: Duration = Duration::from_millis(500);

/// Running servers, and the way to the one that fails.
pub(crate) struct Servers {
    running: Running,
    way: Way,
}

enum Running {
    Cluster(Cluster),
    Sentinels(Box<Sentinels>),
    OneServer(Redis),
}

/// What a server is cut off by.
enum Way {
    /// A proxy that forwards nothing. Everybody reaches the server through it.
    Proxy(Proxy),
    /// A link that drops packets.
    Namespace(Namespace),
}

impl Servers {
    /// Starts the servers of a topology. The one that fails is behind a proxy, or, if
    /// `in_namespace` is set, in a network namespace of its own.
    pub(crate) async fn start(topology: Topology, in_namespace: bool) -> Result<Self, Failure> {
        let namespace = match in_namespace {
            true => Some(Namespace::start().map_err(|error| {
                format!("not available: a network namespace of its own: {error}")
            })?),
            false => None,
        };
        let (near, far) = match &namespace {
            Some(namespace) => (namespace.near(), namespace.far()),
            None => (Place::loopback(), Place::loopback()),
        };
        match topology {
            Topology::Cluster => Self::cluster([far, near.clone(), near], "no", namespace).await,
            Topology::ClusterOfFullCoverage => {
                Self::cluster([far, near.clone(), near], "yes", namespace).await
            }
            Topology::Sentinel => {
                let primary = Redis::in_place(&far, &["--repl-diskless-sync-delay", "0"]);
                let own = primary.addr();
                let way = Way::to(&primary, namespace).await;
                let address = match &way {
                    Way::Proxy(proxy) => proxy.addr(),
                    Way::Namespace(_) => own,
                };
                let sentinels = Sentinels::of(primary, address, &near, DOWN_AFTER);
                let running = Running::Sentinels(Box::new(sentinels));
                Ok(Self { running, way })
            }
            Topology::OneServer => {
                let server = Redis::in_place(&far, &[]);
                let way = Way::to(&server, namespace).await;
                let running = Running::OneServer(server);
                Ok(Self { running, way })
            }
        }
    }

    async fn cluster(
        places: [Place; 3],
        coverage: &str,
        namespace: Option<Namespace>,
    ) -> Result<Self, Failure> {
        let cluster = Cluster::in_places(&places);
        for node in &cluster.nodes {
            let () = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", coverage]);
        }
        let way = Way::to(&cluster.nodes[0], namespace).await;
        if let Way::Proxy(proxy) = &way {
            let port = proxy.addr().port().to_string();
            let () = cluster.nodes[0].command(&["CONFIG", "SET", "cluster-announce-port", &port]);
            eventually("the others know the address of the proxy", async || {
                cluster.nodes[1..].iter().all(|node| {
                    let nodes: String = node.command(&["CLUSTER", "NODES"]);
                    nodes.contains(&format!(":{port}@"))
                })
            })
            .await;
        }
        let running = Running::Cluster(cluster);
        Ok(Self { running, way })
    }

    /// A store on them.
    pub(crate) async fn store(&self) -> Result<RedisStore, Failure> {
        let url = match (&self.running, &self.way) {
            (Running::Cluster(cluster), _) => {
                let seeds = cluster.nodes[1..]
                    .iter()
                    .map(|node| node.addr().to_string());
                format!("redis+cluster://{}", seeds.collect::<Vec<_>>().join(","))
            }
            (Running::Sentinels(sentinels), _) => sentinels.url(),
            (Running::OneServer(_), Way::Proxy(proxy)) => proxy.url(),
            (Running::OneServer(server), Way::Namespace(_)) => server.url(),
        };
        Ok(RedisStore::connect(&url).await?)
    }

    /// Whether the server that fails has this key.
    pub(crate) fn fails_with(&self, key: &str) -> bool {
        let count: u64 = self.faulty().try_command(&["EXISTS", key]).unwrap_or(0);
        count == 1
    }

    pub(crate) fn begin(&self, fault: NodeFault) -> Result<(), Failure> {
        match (fault, &self.way) {
            (NodeFault::Hangs, _) => self.faulty().pause(),
            (NodeFault::Dies, _) => self.faulty().kill(),
            (NodeFault::CutOff, Way::Proxy(proxy)) => proxy.set(Fault::Stall),
            (NodeFault::CutOff, Way::Namespace(namespace)) => namespace.cut()?,
        }
        Ok(())
    }

    pub(crate) fn end(&self, fault: NodeFault) -> Result<(), Failure> {
        match (fault, &self.way) {
            (NodeFault::Hangs, _) => self.faulty().resume(),
            (NodeFault::Dies, _) => self.faulty().restart(),
            (NodeFault::CutOff, Way::Proxy(proxy)) => proxy.set(Fault::None),
            (NodeFault::CutOff, Way::Namespace(namespace)) => namespace.heal()?,
        }
        Ok(())
    }

    fn faulty(&self) -> &Redis {
        match &self.running {
            Running::Cluster(cluster) => &cluster.nodes[0],
            Running::Sentinels(sentinels) => &sentinels.servers[0],
            Running::OneServer(server) => server,
        }
    }
}

impl Way {
    async fn to(server: &Redis, namespace: Option<Namespace>) -> Self {
        match namespace {
            Some(namespace) => Self::Namespace(namespace),
            None => Self::Proxy(Proxy::start(server.addr()).await),
        }
    }
}
