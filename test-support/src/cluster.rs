//! A Redis cluster of three primaries.

use crate::{
    redis::{Redis, run_cli},
    wait::wait_until,
};

/// Three primaries that share the slots. The first three nodes are the primaries at the beginning.
#[derive(Debug)]
pub struct Cluster {
    /// All nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts three primaries without replicas.
    pub fn start() -> Self {
        Self::with_replicas(0)
    }

    /// Starts three primaries with so many replicas each, and waits until all nodes serve and all
    /// replicas have a copy.
    pub fn with_replicas(replicas: usize) -> Self {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let nodes: Vec<_> = (0..3 * (1 + replicas))
            .map(|_| Redis::cluster_node(&options))
            .collect();
        let cluster = Self { nodes };
        let (addresses, per_primary) = (cluster.addresses(), replicas.to_string());
        let mut arguments = vec![
            "--cluster",
            "create",
            "--cluster-yes",
            "--cluster-replicas",
            &per_primary,
        ];
        arguments.extend(addresses.iter().map(String::as_str));
        run_cli(&arguments);
        wait_until("the cluster is complete", || {
            let synced = cluster.nodes.iter().filter(|node| node.is_synced_replica());
            cluster.is_up() && synced.count() == 3 * replicas
        });
        cluster
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.addresses().join(","))
    }

    /// The indices of the running nodes that are primaries at the moment.
    pub fn primaries(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&n| self.nodes[n].is_running() && self.nodes[n].is_primary())
            .collect()
    }

    /// Moves this many slots from one primary to another, as an operator would.
    pub fn reshard(&self, from: usize, to: usize, slots: u32) {
        let [from_id, to_id] =
            [from, to].map(|n| self.nodes[n].command::<String>(&["CLUSTER", "MYID"]));
        run_cli(&[
            "--cluster",
            "reshard",
            &self.nodes[from].addr().to_string(),
            "--cluster-from",
            &from_id,
            "--cluster-to",
            &to_id,
            "--cluster-slots",
            &slots.to_string(),
            "--cluster-yes",
        ]);
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.addr().to_string())
            .collect()
    }

    fn is_up(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.command::<String>(&["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        })
    }
}
