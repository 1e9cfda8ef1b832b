//! The servers of `failover`, which lose what they have acknowledged.

use std::fmt;

use session_core::SessionId;
use test_support::{Cluster, Redis, Sentinels, eventually};

/// How the writes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The primary is killed, and sentinels promote a replica that has not heard of them.
    Sentinel,
    /// The same with a primary of a cluster.
    Cluster,
    /// A server is killed, and starts again from a snapshot.
    Snapshot,
}

impl Loss {
    pub(crate) const ALL: [Self; 3] = [Self::Sentinel, Self::Cluster, Self::Snapshot];
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sentinel => "Sentinel: replica promoted",
            Self::Cluster => "Cluster: replica promoted",
            Self::Snapshot => "one server: restarted from a snapshot",
        })
    }
}

/// Running servers.
pub(crate) enum Servers {
    Sentinels(Box<Sentinels>),
    Cluster(Cluster),
    OneServer(Redis),
}

impl Servers {
    pub(crate) fn start(loss: Loss) -> Self {
        match loss {
            Loss::Sentinel => Self::Sentinels(Box::new(Sentinels::start())),
            Loss::Cluster => Self::Cluster(Cluster::with_replicas(1)),
            Loss::Snapshot => Self::OneServer(Redis::start()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sentinels(group) => group.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::OneServer(server) => server.url(),
        }
    }

    /// Whether the server that will be lost has this session.
    pub(crate) fn loses(&self, id: &SessionId) -> bool {
        let exists = ["EXISTS", &format!("session:{id}")];
        // another node of a cluster may have it
        self.victim()
            .try_command::<u64>(&exists)
            .is_ok_and(|n| n > 0)
    }

    /// What is written from now on will be lost.
    pub(crate) fn keep_no_more(&self) {
        match self {
            Self::Sentinels(_) | Self::Cluster(_) => {
                self.victim().wait_for_replica();
                self.victim().stop_replication();
            }
            Self::OneServer(server) => {
                let () = server.command(&["SAVE"]);
            }
        }
    }

    pub(crate) fn lose(&self) {
        self.victim().kill();
        if let Self::OneServer(server) = self {
            server.restart();
        }
    }

    /// Waits until others have taken the place of what was lost.
    pub(crate) async fn wait_until_replaced(&self) {
        match self {
            Self::Sentinels(group) => group.wait_for_failover(group.servers[0].port()),
            Self::Cluster(cluster) => {
                eventually("a replica takes over", async || {
                    cluster.primaries().len() == 3
                })
                .await;
            }
            Self::OneServer(_) => {}
        }
    }

    fn victim(&self) -> &Redis {
        match self {
            Self::Sentinels(group) => &group.servers[0],
            Self::Cluster(cluster) => &cluster.nodes[0],
            Self::OneServer(server) => server,
        }
    }
}
