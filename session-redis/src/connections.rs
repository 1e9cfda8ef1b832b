//! All connections of a store. An operation selects one of them, waits for a permit, is sent, and
//! is retried, all within one deadline.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use session_core::StoreError;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    backoff::jitter,
    breaker::{Active, Breaker, BreakerConfig},
    command::{Command, SendMode},
    config::RedisConfig,
    connector::Connector,
    failure::{Failure, RetryAction},
    node_connection::NodeConnection,
    reply::{Reply, Values},
    retry::{Attempts, Next, Target},
    shared_connection::SharedConnection,
    topology::Topology,
};

/// The connections of a store.
#[derive(Debug)]
pub(crate) struct Connections {
    nodes: Box<[Arc<NodeConnection>]>,
    /// Operations alternate between the connections, and this is the next one.
    round_robin: Option<AtomicUsize>,
    response_timeout: Duration,
    total_timeout: Duration,
}

/// A connection and a permit to use it.
struct Selection<'a> {
    node: &'a NodeConnection,
    active: Active<SharedConnection>,
    permit: SemaphorePermit<'a>,
}

/// What a scan of all connections found.
enum Scan<'a> {
    Selected(Selection<'a>),
    /// Every connection that is up has as many operations in flight as it may.
    Busy,
    Connecting(&'a NodeConnection),
    Down(Failure),
}

/// An attempt that failed, and on what, if anything was selected.
struct FailedAttempt {
    failure: Failure,
    target: Option<Target>,
}

impl Connections {
    pub(crate) fn new(config: Arc<RedisConfig>) -> Self {
        let breaker = BreakerConfig {
            failures: config.breaker_failures,
            connect_timeout: config.connect_timeout,
            probe_every: config.probe_every,
        };
        let connector = Arc::new(Connector::new(config.clone()));
        let nodes = (0..config.connections).map(|number| {
            NodeConnection::new(number, connector.clone(), config.max_in_flight, breaker)
        });
        Self {
            nodes: nodes.collect(),
            round_robin: match &config.topology {
                Topology::Cluster(_) => Some(AtomicUsize::new(0)),
                Topology::Standalone(_) | Topology::Unix(_) | Topology::Sentinel { .. } => None,
            },
            response_timeout: config.response_timeout,
            total_timeout: config.total_timeout,
        }
    }

    /// Carries out one operation.
    pub(crate) async fn run(&self, command: Command<'_>) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + self.total_timeout;
        match self.attempt(&command, &SendMode::default(), deadline).await {
            Ok(values) => Ok(Reply {
                values,
                in_doubt: false,
            }),
            // boxed, because it is rare and would enlarge the future of every operation
            Err(failed) => Box::pin(self.retry(command, failed, deadline)).await,
        }
    }

    async fn attempt(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
        deadline: Instant,
    ) -> Result<Values, FailedAttempt> {
        let selection = match self.scan() {
            Scan::Selected(selection) => Ok(selection),
            // boxed for the same reason
            scan => Box::pin(self.select(scan, deadline)).await,
        };
        let Selection {
            node,
            active,
            permit,
        } = selection.map_err(|failure| FailedAttempt {
            failure,
            target: None,
        })?;
        let remaining = deadline.saturating_duration_since(Instant::now());
        let limit = self.response_timeout.min(remaining);
        let result = active.connection.send(command, mode, limit).await;
        drop(permit);
        match result {
            Ok(values) => {
                node.on_reply();
                Ok(values)
            }
            Err(failure) => {
                tracing::debug!(
                    operation = command.name(),
                    key = command.key(),
                    connection = node.number(),
                    %failure,
                    "attempt failed"
                );
                let target = Some(self.report(node, &active, &failure));
                Err(FailedAttempt { failure, target })
            }
        }
    }

    /// Reports a failed attempt to the breakers.
    fn report(
        &self,
        node: &NodeConnection,
        active: &Active<SharedConnection>,
        failure: &Failure,
    ) -> Target {
        let is_cluster = active.connection.is_cluster();
        let mut replaced = false;
        match failure {
            Failure::Server(_) => {
                node.on_reply();
                if failure.retry_action() == RetryAction::FindPrimary && !is_cluster {
                    replaced = node.on_readonly(active);
                }
            }
            Failure::TimedOut => {
                // in a cluster, one node of many did not reply
                if node.on_timeout(active) && !is_cluster {
                    self.nodes.iter().for_each(|peer| peer.mark_suspect(active));
                }
            }
            Failure::Lost { .. } | Failure::Closed | Failure::NotSent { .. } => {
                node.on_lost(active);
            }
        }
        if is_cluster {
            Target::Cluster
        } else {
            Target::Server { replaced }
        }
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
            let (after, next) = attempts.after(&failure, target);
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
            failed = match self.attempt(&command, attempts.mode(), deadline).await {
                Ok(values) => {
                    return Ok(Reply {
                        values,
                        in_doubt: attempts.in_doubt(),
                    });
                }
                Err(failed) => failed,
            };
        }
    }

    /// Waits for a connection and a permit.
    async fn select<'a>(
        &'a self,
        mut scan: Scan<'a>,
        deadline: Instant,
    ) -> Result<Selection<'a>, Failure> {
        loop {
            scan = match scan {
                Scan::Selected(selection) => return Ok(selection),
                Scan::Down(failure) => return Err(failure.into_not_sent()),
                Scan::Busy => match timeout_at(deadline, self.next_permit()).await {
                    Ok(Some(selection)) => Scan::Selected(selection),
                    Ok(None) => self.scan(),
                    Err(_) => return Err(Failure::overloaded()),
                },
                Scan::Connecting(node) => match timeout_at(deadline, node.connecting()).await {
                    Ok(()) if Instant::now() < deadline => self.scan(),
                    Ok(()) | Err(_) => {
                        return Err(Failure::unavailable("timed out while connecting"));
                    }
                },
            };
        }
    }

    /// Finds the first connection that is up and has a permit left. Connections that were never
    /// used start to connect.
    ///
    /// Operations are not spread evenly, because those that share a connection share its system
    /// calls. In a cluster a connection reaches every node and nothing is shared, so there they
    /// alternate.
    fn scan(&self) -> Scan<'_> {
        let first = match &self.round_robin {
            Some(next) => next.fetch_add(1, Ordering::Relaxed) % self.nodes.len(),
            None => 0,
        };
        let (mut suspect, mut busy, mut connecting, mut down) = (None, false, None, None);
        for node in self.nodes[first..].iter().chain(&self.nodes[..first]) {
            match node.state() {
                Breaker::Up(up) => match node.permits().try_acquire() {
                    Ok(permit) => {
                        let is_suspect = up.is_suspect();
                        let selection = Selection {
                            node,
                            active: up.active,
                            permit,
                        };
                        if !is_suspect {
                            return Scan::Selected(selection);
                        }
                        suspect = suspect.or(Some(selection));
                    }
                    Err(_) => busy = true,
                },
                Breaker::Idle => {
                    node.start();
                    connecting = connecting.or(Some(node));
                }
                Breaker::Connecting(_) => connecting = connecting.or(Some(node)),
                Breaker::Down { failure, .. } => down = Some(failure),
            }
        }
        match (suspect, connecting, down) {
            (Some(selection), _, _) => Scan::Selected(selection),
            _ if busy => Scan::Busy,
            (None, Some(node), _) => Scan::Connecting(node),
            (None, None, Some(failure)) => Scan::Down(failure),
            (None, None, None) => Scan::Down(Failure::unavailable("there is no connection")),
        }
    }

    /// Waits for the first permit of any connection that is up. Returns `None` if no connection is
    /// up, or if the one whose permit it is has failed in the meantime.
    async fn next_permit(&self) -> Option<Selection<'_>> {
        let up = self
            .nodes
            .iter()
            .filter(|node| matches!(node.state(), Breaker::Up(_)));
        let mut waits: Vec<_> = up
            .map(|node| Box::pin(async move { (node, node.permits().acquire().await) }))
            .collect();
        if waits.is_empty() {
            return None;
        }
        let (node, permit) = poll_fn(|cx| {
            let ready = waits
                .iter_mut()
                .map(|wait| wait.as_mut().poll(cx))
                .find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        })
        .await;
        match (node.state(), permit) {
            (Breaker::Up(up), Ok(permit)) => Some(Selection {
                node,
                active: up.active,
                permit,
            }),
            _ => None,
        }
    }
}
