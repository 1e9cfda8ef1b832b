//! A Redis cluster of three primaries.

use crate::{
    authority::Certificates,
    place::Place,
    port::HOST,
    redis::{Redis, run_cli},
    wait::wait_until,
};

const OPTIONS: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--repl-diskless-sync-delay",
    "0",
];

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
        let places = vec![Place::loopback(); 3 * (1 + replicas)];
        Self::start_nodes(&places, replicas)
    }

    /// Starts three primaries without replicas elsewhere than on the loopback interface.
    pub fn in_places(places: &[Place; 3]) -> Self {
        Self::start_nodes(places, 0)
    }

    fn start_nodes(places: &[Place], replicas: usize) -> Self {
        let nodes = places.iter();
        let nodes: Vec<_> = nodes
            .map(|place| Redis::cluster_node(place, &OPTIONS))
            .collect();
        let addresses = nodes.iter().map(|node| node.addr().to_string()).collect();
        Self::create(nodes, addresses, replicas, vec![])
    }

    /// Starts three primaries that speak TLS with each other.
    pub(crate) fn with_tls(certificates: &Certificates) -> Self {
        let tls = certificates.options().into_iter();
        let tls = tls.chain([("tls-cluster", "yes".to_owned())]);
        let mut options: Vec<_> = tls
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        options.extend(OPTIONS.map(str::to_owned));
        let nodes: Vec<_> = (0..3).map(|_| Redis::tls_cluster_node(&options)).collect();
        let port = |node: &Redis| node.tls_port().expect("a TLS port");
        let addresses = nodes.iter().map(|node| format!("{HOST}:{}", port(node)));
        let addresses = addresses.collect();
        Self::create(nodes, addresses, 0, certificates.cli_options())
    }

    fn create(
        nodes: Vec<Redis>,
        addresses: Vec<String>,
        replicas: usize,
        cli_options: Vec<String>,
    ) -> Self {
        let cluster = Self { nodes };
        let per_primary = replicas.to_string();
        let mut arguments: Vec<&str> = cli_options.iter().map(String::as_str).collect();
        arguments.extend([
            "--cluster",
            "create",
            "--cluster-yes",
            "--cluster-replicas",
            &per_primary,
        ]);
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

    /// Requests that a replica of this primary takes its place, and waits for that.
    pub fn fail_over(&self, primary: usize) {
        let id: String = self.nodes[primary].command(&["CLUSTER", "MYID"]);
        let is_replica = |node: &&Redis| {
            let own: String = node.command(&["CLUSTER", "NODES"]);
            let own = own.lines().find(|line| line.contains("myself"));
            own.is_some_and(|own| own.split(' ').nth(3) == Some(&id))
        };
        let replica = self.nodes.iter().find(is_replica).expect("a replica");
        let () = replica.command(&["CLUSTER", "FAILOVER"]);
        wait_until("the replica is a primary", || replica.is_primary());
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
