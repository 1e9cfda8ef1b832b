//! One node: a server, with the connections to it, what may be in flight to it, and its breakers.
//!
//! A single server is one node. Sentinels make one node whose address changes. A cluster is a map
//! from slots to nodes. Nodes share nothing, so one that hangs or is dead affects only the sessions
//! on it.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use redis::Cmd;
use session_core::Replicas;
use tokio::time::{Instant, timeout_at};

use crate::{
    address::Address,
    admission::{Admission, Permit, Priority},
    announcer::Announcer,
    batcher::Batcher,
    breaker::{Active, Breaker, BreakerConfig},
    command::{Command, SendMode},
    config::RedisConfig,
    confirmation::{Confirmation, take_confirmed},
    connector::{Connector, Source},
    failure::{Failure, RetryAction},
    feed::{ConnectionFeed, FeedEnd},
    identity::{OnNews, ServerIdentity},
    metrics::NodeMetrics,
    node_connection::{NodeConnection, Peers},
    reply::{Values, take_replies, take_tracked},
    retry::Target,
    script::ScriptForm,
    tracking::NodeTracking,
    unshared::{UnsharedConnection, UnsharedConnections},
};

/// A server, and everything that is used to reach it.
pub(crate) struct Node {
    /// Its address, if it is a node of a cluster.
    member: Option<Address>,
    connector: Arc<Connector>,
    connections: Box<[Arc<NodeConnection>]>,
    /// For writes that replicas confirm.
    confirming: UnsharedConnections,
    /// For scans, each of which keeps its connection until it ends.
    scanning: UnsharedConnections,
    admission: Arc<Admission>,
    metrics: NodeMetrics,
    response_timeout: Duration,
}

/// The replies to an attempt.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) values: Values,
    /// What announces the next change of what was read.
    pub(crate) feed: Option<Arc<ConnectionFeed>>,
}

/// An attempt that failed, and on what, if it was sent.
#[derive(Clone, Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) failure: Failure,
    pub(crate) target: Option<Target>,
}

/// A connection that is in use.
struct Selection<'n> {
    connection: &'n NodeConnection,
    active: Active<Batcher>,
}

/// What a scan of all connections found.
enum Scan<'n> {
    Selected(Selection<'n>),
    Connecting,
    Down(Failure),
}

/// Whether a node can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Nothing was sent yet.
    Idle,
    Connecting,
    Up,
    /// Its breaker is open, because of this.
    Down(Failure),
}

impl Node {
    /// The node of a store that has only one.
    pub(crate) fn single(
        source: Source,
        config: &Arc<RedisConfig>,
        announcer: &Arc<Announcer>,
        on_news: Option<OnNews>,
    ) -> Arc<Self> {
        Self::new(source, None, config, announcer, on_news)
    }

    /// A node of a cluster.
    pub(crate) fn of_cluster(
        address: Address,
        config: &Arc<RedisConfig>,
        announcer: &Arc<Announcer>,
        on_news: Option<OnNews>,
    ) -> Arc<Self> {
        let source = Source::Tcp(address.clone());
        Self::new(source, Some(address), config, announcer, on_news)
    }

    fn new(
        source: Source,
        member: Option<Address>,
        config: &Arc<RedisConfig>,
        announcer: &Arc<Announcer>,
        on_news: Option<OnNews>,
    ) -> Arc<Self> {
        let breaker = BreakerConfig {
            failures: config.breaker_failures,
            connect_timeout: config.connect_timeout,
            probe_every: config.probe_every,
        };
        let metrics = NodeMetrics::new(source.name());
        let admission = Admission::new(
            config.max_in_flight,
            config.response_timeout,
            config.total_timeout,
            metrics.clone(),
        );
        Arc::new_cyclic(|node: &Weak<Self>| {
            let weak = node.clone();
            let on_change = Arc::new(move || {
                if let Some(node) = weak.upgrade() {
                    node.leave_old_primary();
                }
            });
            let tracking = NodeTracking::new(announcer.clone(), metrics.clone());
            let identity = ServerIdentity::new(on_news);
            let connector = Connector::new(source, config.clone(), on_change, tracking, identity);
            let connector = Arc::new(connector);
            let connection = |number| {
                let (connector, admission) = (connector.clone(), admission.clone());
                let metrics = metrics.clone();
                let peers: Weak<dyn Peers> = node.clone();
                NodeConnection::new(number, connector, admission, metrics, breaker, peers)
            };
            Self {
                member,
                connections: (0..config.connections).map(connection).collect(),
                confirming: UnsharedConnections::new(connector.clone()),
                scanning: UnsharedConnections::new(connector.clone()),
                response_timeout: config.response_timeout,
                connector,
                admission,
                metrics: metrics.clone(),
            }
        })
    }

    /// The server, for log lines.
    pub(crate) fn source(&self) -> &Source {
        self.connector.source()
    }

    /// The state of the best of its connections.
    pub(crate) fn state(&self) -> NodeState {
        let (mut idle, mut connecting, mut down) = (false, false, None);
        for connection in &self.connections {
            match connection.state() {
                Breaker::Up(_) => return NodeState::Up,
                Breaker::Idle => idle = true,
                Breaker::Connecting(_) => connecting = true,
                Breaker::Down { failure, .. } => down = Some(failure),
            }
        }
        match down {
            Some(failure) => NodeState::Down(failure),
            None if idle && !connecting => NodeState::Idle,
            None => NodeState::Connecting,
        }
    }

    /// Replaces all connections to a server that is no longer the primary.
    fn leave_old_primary(&self) {
        let generation = self.connector.generation();
        self.connector.tracking().leave_old_primary(generation);
        for connection in &self.connections {
            connection.leave_old_primary();
        }
    }

    /// Slots of the cluster have moved to other nodes. Loads from now on can be announced again.
    pub(crate) fn on_lost_slots(&self) {
        self.connector.tracking().end_feeds(FeedEnd::ClusterChanged);
    }

    /// Sends a command once.
    pub(crate) async fn attempt(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
        deadline: Instant,
    ) -> Result<Answered, FailedAttempt> {
        self.connector.keep_watching();
        let started = self.metrics.start();
        let result = match command.replicas() {
            None => self.send(command, mode, deadline).await,
            // boxed, because it is rare and would enlarge the future of every operation
            Some(replicas) => {
                let sent = Box::pin(self.send_and_wait(command, replicas, mode, deadline)).await;
                sent.map(|values| Answered { values, feed: None })
            }
        };
        let failure = result.as_ref().err().map(|failed| &failed.failure);
        self.metrics.finish(started, command.name(), failure);
        result
    }

    /// Sends commands once, as one pipeline. Returns what each of them led to.
    pub(crate) async fn attempt_all(
        &self,
        commands: &[Command<'_>],
        deadline: Instant,
    ) -> Vec<Result<Values, FailedAttempt>> {
        self.connector.keep_watching();
        let started = self.metrics.start();
        let results = match self.send_all(commands, deadline).await {
            Ok(results) => results,
            Err(failed) => vec![Err(failed); commands.len()],
        };
        for (command, result) in commands.iter().zip(&results) {
            let failure = result.as_ref().err().map(|failed| &failed.failure);
            self.metrics.finish(started, command.name(), failure);
        }
        results
    }

    async fn send_all(
        &self,
        commands: &[Command<'_>],
        deadline: Instant,
    ) -> Result<Vec<Result<Values, FailedAttempt>>, FailedAttempt> {
        let priority = commands.iter().map(Command::priority);
        let priority = priority.max().unwrap_or(Priority::Begin);
        let (selection, permit) = self.admit(priority, deadline).await?;
        let parts = commands.iter();
        let parts: Vec<_> = parts.map(|c| c.commands(ScriptForm::Hash)).collect();
        let counts: Vec<_> = parts.iter().map(Vec::len).collect();
        let all = parts.into_iter().flatten().collect();
        let (limit, batcher) = (self.limit(deadline), &selection.active.connection);
        let sent = batcher.send_all(all, false, limit, Some(permit)).await;
        let failed = |failure| FailedAttempt {
            target: Some(self.on_failure(&selection, &failure)),
            failure,
        };
        let mut values = sent.map_err(failed)?.into_iter();
        let results = counts.into_iter().map(|count| {
            let own = values.by_ref().take(count).collect();
            take_replies(own).map_err(failed)
        });
        Ok(results.collect())
    }

    /// Waits for a connection and for a turn on it.
    async fn admit(
        &self,
        priority: Priority,
        deadline: Instant,
    ) -> Result<(Selection<'_>, Permit), FailedAttempt> {
        let admitted = match (self.scan(), self.admission.try_admit(priority)) {
            (Scan::Selected(selection), Some(permit)) => Ok((selection, permit)),
            // boxed, because it is rare and would enlarge the future of every operation
            (scan, permit) => {
                drop(permit);
                Box::pin(async {
                    let selection = self.select(scan, deadline).await?;
                    let permit = self.admission.admit(priority, deadline).await?;
                    if selection.is_in_use() {
                        return Ok((selection, permit));
                    }
                    Ok((self.select(self.scan(), deadline).await?, permit))
                })
                .await
            }
        };
        admitted.map_err(|failure| FailedAttempt {
            failure,
            // in a cluster, another node may take over
            target: self.member.clone().map(Target::ClusterNode),
        })
    }

    /// How long to wait for a reply.
    fn limit(&self, deadline: Instant) -> Duration {
        let remaining = deadline.saturating_duration_since(Instant::now());
        self.response_timeout.min(remaining)
    }

    async fn send(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
        deadline: Instant,
    ) -> Result<Answered, FailedAttempt> {
        let (selection, permit) = self.admit(command.priority(), deadline).await?;
        let limit = self.limit(deadline);
        let batcher = &selection.active.connection;
        let asking = mode.asking.is_some();
        let feed = match command.is_tracked() && !asking {
            // of the connection that will answer, before anything is sent on it
            true => batcher.feed(),
            false => None,
        };
        let result = if feed.is_some() {
            let commands = command.commands(mode.script);
            let sent = batcher.send_all(commands, asking, limit, Some(permit));
            let values = sent.await.and_then(take_tracked);
            values.map(|(values, tracked)| {
                if let Err(failure) = &tracked {
                    batcher.refuse_tracking(self.source(), failure);
                }
                let feed = feed.filter(|_| tracked.is_ok());
                Answered { values, feed }
            })
        } else {
            let commands = command.untracked().commands(mode.script);
            let sent = batcher.send(commands, asking, limit, Some(permit));
            sent.await.map(|values| Answered { values, feed: None })
        };
        result.map_err(|failure| {
            tracing::debug!(
                operation = command.name(),
                key = command.key(),
                server = %self.source(),
                connection = selection.connection.number(),
                %failure,
                "attempt failed"
            );
            let target = Some(self.on_failure(&selection, &failure));
            FailedAttempt { failure, target }
        })
    }

    /// Sends a command and waits for replicas, on a connection that nobody else uses.
    async fn send_and_wait(
        &self,
        command: &Command<'_>,
        replicas: Replicas,
        mode: &SendMode,
        deadline: Instant,
    ) -> Result<Values, FailedAttempt> {
        // a node that is down is not tried
        let selection = self.select(self.scan(), deadline).await;
        let selection = selection.map_err(|failure| FailedAttempt {
            failure,
            target: self.member.clone().map(Target::ClusterNode),
        })?;
        let failed = |failure| FailedAttempt {
            target: Some(self.on_failure(&selection, &failure)),
            failure,
        };
        let mut connection = self.confirming.get(deadline).await.map_err(failed)?;
        // held until there are replies
        let permit = self.admission.admit(command.priority(), deadline).await;
        let _permit = permit.map_err(failed)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let made = Confirmation::new(command, replicas, mode, self.response_timeout, left);
        let made =
            made.ok_or_else(|| failed(Failure::unavailable("timed out while connecting")))?;
        let replies = connection.send_all(&made.pipeline, made.limit).await;
        let values = replies.and_then(|replies| take_confirmed(replies, mode.asking.is_some()));
        values.map_err(|failure| {
            if failure.retry_action() == RetryAction::FindPrimary {
                connection.close();
            }
            failed(failure)
        })
    }

    /// Sends commands that are not operations on a session as one pipeline, if there is a
    /// connection. Replies to them may be errors.
    pub(crate) async fn query(&self, commands: Vec<Cmd>) -> Option<Result<Values, Failure>> {
        let Scan::Selected(selection) = self.scan() else {
            return None;
        };
        let batcher = &selection.active.connection;
        Some(
            batcher
                .send(commands, false, self.response_timeout, None)
                .await,
        )
    }

    /// Returns a connection for a scan, which nobody else uses.
    pub(crate) async fn scanning(&self, deadline: Instant) -> Result<UnsharedConnection, Failure> {
        self.scanning.get(deadline).await
    }

    /// Asks the server for a sign of life. Connects first if that was not tried yet.
    pub(crate) async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        let selection = self.select(self.scan(), deadline).await?;
        let limit = self.limit(deadline);
        let batcher = &selection.active.connection;
        let ping = vec![redis::cmd("PING")];
        batcher.send(ping, false, limit, None).await.map(drop)
    }

    /// Takes an error reply into account. The connection itself reports what happens to it.
    fn on_failure(&self, selection: &Selection<'_>, failure: &Failure) -> Target {
        let Selection { connection, active } = selection;
        let replaced = match failure.retry_action() {
            RetryAction::FindPrimary => {
                let replaced = connection.on_readonly(active);
                self.connector.tracking().end_feeds(FeedEnd::NotPrimary);
                if replaced {
                    // the retry must not find another connection to the same server
                    for peer in &self.connections {
                        peer.on_readonly_peer(active.generation);
                    }
                }
                replaced
            }
            RetryAction::SuspectPrimary => {
                self.connector.suspect_primary();
                false
            }
            RetryAction::GiveUp
            | RetryAction::Reconnect
            | RetryAction::NextConnection
            | RetryAction::SendSource
            | RetryAction::Moved(_)
            | RetryAction::Ask(_)
            | RetryAction::Wait => false,
        };
        match (&self.member, replaced) {
            (Some(address), _) => Target::ClusterNode(address.clone()),
            (None, replaced) => Target::Server { replaced },
        }
    }

    /// Waits until there is a connection, or until it is known that there is none.
    async fn select<'n>(
        &'n self,
        mut scan: Scan<'n>,
        deadline: Instant,
    ) -> Result<Selection<'n>, Failure> {
        loop {
            scan = match scan {
                Scan::Selected(selection) => return Ok(selection),
                Scan::Down(failure) => return Err(failure.into_not_sent()),
                Scan::Connecting => match timeout_at(deadline, self.one_connecting_ended()).await {
                    Ok(()) if Instant::now() < deadline => self.scan(),
                    Ok(()) | Err(_) => {
                        return Err(Failure::unavailable("timed out while connecting"));
                    }
                },
            };
        }
    }

    /// Waits until the first attempts of one of the connections have succeeded or failed.
    async fn one_connecting_ended(&self) {
        let is_connecting = |connection: &&Arc<NodeConnection>| {
            matches!(connection.state(), Breaker::Connecting(_))
        };
        let connecting = self.connections.iter().filter(is_connecting);
        let mut ends: Vec<_> = connecting.map(|one| Box::pin(one.connecting())).collect();
        poll_fn(|cx| {
            let one_ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            match one_ended || ends.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Finds the first connection that is up. Connections that were never used start to connect.
    ///
    /// Operations are not spread evenly, because those that share a connection share its system
    /// calls. The others are spare.
    fn scan(&self) -> Scan<'_> {
        let (mut suspect, mut connecting, mut down) = (None, None, None);
        for connection in &self.connections {
            match connection.state() {
                Breaker::Up(up) => {
                    let is_suspect = up.is_suspect();
                    let active = up.active;
                    let selection = Selection { connection, active };
                    if !is_suspect {
                        return Scan::Selected(selection);
                    }
                    suspect = suspect.or(Some(selection));
                }
                Breaker::Idle => {
                    connection.start();
                    connecting = connecting.or(Some(connection));
                }
                Breaker::Connecting(_) => {
                    connection.keep_repairing();
                    connecting = connecting.or(Some(connection));
                }
                Breaker::Down { failure, .. } => {
                    connection.keep_repairing();
                    down = Some(failure);
                }
            }
        }
        match (suspect, down, connecting) {
            (Some(selection), _, _) => Scan::Selected(selection),
            (None, _, Some(first)) if first.number() == 0 => Scan::Connecting,
            // the others wait for the first, so they are not worth waiting for
            (None, Some(failure), _) => Scan::Down(failure),
            (None, None, Some(_)) => Scan::Connecting,
            (None, None, None) => Scan::Down(Failure::unavailable("there is no connection")),
        }
    }
}

impl Peers for Node {
    fn first(&self) -> Option<&Arc<NodeConnection>> {
        self.connections.first()
    }

    fn mark_suspect(&self, generation: u64) {
        for connection in &self.connections {
            connection.mark_suspect(generation);
        }
    }

    fn check_idle(&self, generation: u64) {
        for connection in &self.connections {
            connection.check_if_idle(generation);
        }
    }
}

impl Selection<'_> {
    fn is_in_use(&self) -> bool {
        self.connection.is_active(self.active.serial)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("source", &self.source())
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
