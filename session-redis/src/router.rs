//! The way of an operation: to its node, and there again or to another if the first attempt fails,
//! all within one deadline.

use std::{collections::HashMap, sync::Arc, time::Duration};

use session_core::{Health, StoreError};
use tokio::time::{Instant, sleep};

use crate::{
    announcer::Announcer,
    backoff::jitter,
    cluster::Cluster,
    cluster_map::Serving,
    command::{Command, SendMode},
    config::RedisConfig,
    connector::Source,
    failure::{Failure, RetryAction},
    health,
    identity::OnNews,
    metrics,
    node::{Answered, FailedAttempt, Node},
    reply::{Reply, Values},
    retry::{Attempts, Next, Target},
    topology::Topology,
};

/// The nodes of a store.
#[derive(Debug)]
pub(crate) struct Router {
    nodes: Nodes,
    total_timeout: Duration,
}

#[derive(Debug)]
enum Nodes {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Router {
    /// `on_news` is called when a server may have lost writes.
    pub(crate) fn new(
        config: &Arc<RedisConfig>,
        announcer: &Arc<Announcer>,
        on_news: Option<OnNews>,
    ) -> Self {
        metrics::describe();
        let one = |source| Nodes::One(Node::single(source, config, announcer, on_news.clone()));
        let nodes = match &config.topology {
            Topology::Standalone(address) => one(Source::Tcp(address.clone())),
            Topology::Unix(path) => one(Source::Unix(path.clone())),
            Topology::Sentinel { sentinels, service } => one(Source::Sentinel {
                sentinels: sentinels.clone(),
                service: service.clone(),
            }),
            Topology::Cluster(seeds) => {
                let (config, announcer) = (config.clone(), announcer.clone());
                Nodes::Cluster(Cluster::new(seeds.clone(), config, announcer, on_news))
            }
        };
        Self {
            nodes,
            total_timeout: config.total_timeout,
        }
    }

    /// Carries out one operation.
    pub(crate) async fn run(&self, command: Command<'_>) -> Result<Reply, StoreError> {
        let deadline = self.deadline();
        match self.attempt(&command, &SendMode::default(), deadline).await {
            Ok(Answered { values, feed }) => {
                let reply = Reply::new(values, false, command.replicas().is_some());
                Ok(reply.with_feed(feed))
            }
            // boxed, because it is rare and would enlarge the future of every operation
            Err(failed) => Box::pin(self.retry(command, failed, deadline)).await,
        }
    }

    /// Carries out operations on keys of the same node, in one pipeline and in this order. Returns
    /// what became of each.
    ///
    /// Those that fail are sent again one by one, as [`run`](Self::run) does, also to other nodes.
    /// By then those after them may have been carried out.
    pub(crate) async fn run_all(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, StoreError>> {
        let deadline = self.deadline();
        let mut replies = Vec::with_capacity(commands.len());
        let attempted = self.attempt_all(commands, deadline).await;
        for (command, attempted) in commands.iter().zip(attempted) {
            let reply = match attempted {
                Ok(values) => Ok(Reply::new(values, false, command.replicas().is_some())),
                Err(failed) => self.retry(*command, failed, deadline).await,
            };
            replies.push(reply);
        }
        replies
    }

    async fn attempt_all(
        &self,
        commands: &[Command<'_>],
        deadline: Instant,
    ) -> Vec<Result<Values, FailedAttempt>> {
        let Some(first) = commands.first() else {
            return Vec::new();
        };
        let found = match (&self.nodes, self.node(first.key())) {
            (_, Some(node)) => Ok(node),
            (Nodes::One(node), None) => Ok(node.clone()),
            (Nodes::Cluster(cluster), None) => cluster.find_node(first.key(), deadline).await,
        };
        match found {
            Ok(node) => node.attempt_all(commands, deadline).await,
            Err(failure) => {
                let target = None;
                vec![Err(FailedAttempt { failure, target }); commands.len()]
            }
        }
    }

    /// Returns the nodes that serve sessions.
    pub(crate) async fn serving(&self) -> Result<Serving, Failure> {
        match &self.nodes {
            Nodes::One(node) => Ok(Serving {
                nodes: vec![node.clone()],
                unserved: 0,
            }),
            Nodes::Cluster(cluster) => cluster.serving(self.deadline()).await,
        }
    }

    /// Groups keys by their nodes, as far as those are known.
    pub(crate) fn group_by_node<'k>(&self, keys: &'k [String]) -> Vec<Vec<&'k str>> {
        let mut groups: HashMap<_, Vec<&str>> = HashMap::new();
        for key in keys {
            let node = self.node(key).map(|node| Arc::as_ptr(&node));
            groups.entry(node).or_default().push(key);
        }
        groups.into_values().collect()
    }

    /// Returns the node of a key, if it is known.
    fn node(&self, key: &str) -> Option<Arc<Node>> {
        match &self.nodes {
            Nodes::One(node) => Some(node.clone()),
            Nodes::Cluster(cluster) => cluster.node(key, &SendMode::default()),
        }
    }

    /// Asks for a new map of the cluster, if there is one.
    pub(crate) fn refresh(&self) {
        match &self.nodes {
            Nodes::One(_) => {}
            Nodes::Cluster(cluster) => {
                cluster.refresh();
            }
        }
    }

    /// When an operation that begins now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.total_timeout
    }

    /// Asks every node that serves sessions for a sign of life.
    pub(crate) async fn health(&self) -> Health {
        let deadline = self.deadline();
        match &self.nodes {
            Nodes::One(node) => health::of_node(node, deadline).await,
            Nodes::Cluster(cluster) => health::of_cluster(cluster, deadline).await,
        }
    }

    async fn attempt(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
        deadline: Instant,
    ) -> Result<Answered, FailedAttempt> {
        let cluster = match &self.nodes {
            Nodes::One(node) => return node.attempt(command, mode, deadline).await,
            Nodes::Cluster(cluster) => cluster,
        };
        let node = match cluster.node(command.key(), mode) {
            Some(node) => node,
            // boxed for the same reason
            None => match Box::pin(cluster.find_node(command.key(), deadline)).await {
                Ok(node) => node,
                Err(failure) => {
                    let target = None;
                    return Err(FailedAttempt { failure, target });
                }
            },
        };
        node.attempt(command, mode, deadline).await
    }

    /// Continues after a first attempt that failed.
    async fn retry(
        &self,
        command: Command<'_>,
        mut failed: FailedAttempt,
        deadline: Instant,
    ) -> Result<Reply, StoreError> {
        let mut attempts = Attempts::new(&command);
        loop {
            let FailedAttempt { failure, target } = failed;
            let Some(target) = target else {
                return Err(failure.into_store_error(attempts.in_doubt()));
            };
            self.tell_cluster(&command, &failure, &target);
            let (after, next) = attempts.after(&failure, &target);
            attempts = after;
            let retries = match next {
                Next::GiveUp => false,
                Next::Retry => true,
                Next::RetryAfter(pause) => {
                    let pause = jitter(pause);
                    let in_time = Instant::now() + pause < deadline;
                    if in_time {
                        sleep(pause).await;
                    }
                    in_time
                }
            };
            if !retries || Instant::now() >= deadline {
                return Err(failure.into_store_error(attempts.in_doubt()));
            }
            metrics::retried(&failure.retry_action());
            failed = match self.attempt(&command, attempts.mode(), deadline).await {
                Ok(Answered { values, feed }) => {
                    let confirmed = command.replicas().is_some();
                    let reply = Reply::new(values, attempts.in_doubt(), confirmed);
                    return Ok(reply.with_feed(feed));
                }
                Err(failed) => failed,
            };
        }
    }

    /// What a failure says about the map of the cluster.
    fn tell_cluster(&self, command: &Command<'_>, failure: &Failure, target: &Target) {
        let (Nodes::Cluster(cluster), Target::ClusterNode(replied)) = (&self.nodes, target) else {
            return;
        };
        match failure.retry_action() {
            RetryAction::Moved(to) => cluster.moved(command.key(), to.from(replied)),
            // the node is dead, or is a primary no more
            RetryAction::Reconnect
            | RetryAction::NextConnection
            | RetryAction::FindPrimary
            | RetryAction::SuspectPrimary
            | RetryAction::Wait => {
                cluster.refresh();
            }
            // it hangs, or its breaker is open
            RetryAction::GiveUp if failure.is_outage() => {
                cluster.refresh();
            }
            RetryAction::GiveUp | RetryAction::SendSource | RetryAction::Ask(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
