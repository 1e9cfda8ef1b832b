//! One of the connections to a node: replaced in the background when it fails, and guarded by a
//! circuit breaker.
//!
//! The breaker decides; this file carries out what it says.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{runtime::Handle, sync::Mutex, task::yield_now, time::sleep};

use crate::{
    admission::Admission,
    backoff::jitter,
    batcher::{BatchEnd, Batcher, Observer},
    breaker::{Action, Active, Breaker, BreakerConfig, Event, Notice, Phase},
    breaker_cell::{Applied, BreakerCell},
    connector::{Connected, Connector, ServerConnection},
    endpoint::OnDisconnect,
    metrics::NodeMetrics,
};

/// The connections to the same server.
pub(crate) trait Peers: Send + Sync {
    /// The one that probes a server that is down.
    fn first(&self) -> Option<&Arc<NodeConnection>>;

    /// A connection of this generation no longer gets replies. Others that are idle have not
    /// noticed.
    fn mark_suspect(&self, generation: u64);
}

/// A place for a connection.
pub(crate) struct NodeConnection {
    number: usize,
    connector: Arc<Connector>,
    admission: Arc<Admission>,
    metrics: NodeMetrics,
    breaker: BreakerCell<Batcher>,
    next_serial: AtomicU64,
    /// How often the server has closed a connection, also one that was not in use yet.
    disconnects: AtomicU64,
    /// The connection that is in use, or was used last.
    latest: Mutex<Option<ServerConnection>>,
    on_disconnect: OnDisconnect,
    peers: Weak<dyn Peers>,
    this: Weak<Self>,
}

impl NodeConnection {
    pub(crate) fn new(
        number: usize,
        connector: Arc<Connector>,
        admission: Arc<Admission>,
        metrics: NodeMetrics,
        config: BreakerConfig,
        peers: Weak<dyn Peers>,
    ) -> Arc<Self> {
        metrics.connection(None, Some(Phase::Idle));
        Arc::new_cyclic(|this: &Weak<Self>| {
            let weak = this.clone();
            let on_disconnect = move || {
                if let Some(connection) = weak.upgrade() {
                    connection.disconnects.fetch_add(1, Ordering::SeqCst);
                    connection.apply(Event::Disconnected);
                }
            };
            Self {
                number,
                connector,
                admission,
                metrics,
                breaker: BreakerCell::new(config),
                next_serial: AtomicU64::new(0),
                disconnects: AtomicU64::new(0),
                latest: Mutex::default(),
                on_disconnect: Arc::new(on_disconnect),
                peers,
                this: this.clone(),
            }
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Whether this is the connection that is in use.
    pub(crate) fn is_active(&self, serial: u64) -> bool {
        self.breaker.is_active(serial)
    }

    /// Returns the state of the connection. A connection to a server that is no longer the primary
    /// is replaced first.
    pub(crate) fn state(&self) -> Breaker<Batcher> {
        let state = self.breaker.state();
        match &state {
            Breaker::Up(up) if up.active.generation != self.connector.generation() => {
                self.leave_old_primary();
                self.breaker.state()
            }
            Breaker::Idle | Breaker::Connecting(_) | Breaker::Up(_) | Breaker::Down { .. } => state,
        }
    }

    /// Replaces a connection to a server that is no longer the primary.
    pub(crate) fn leave_old_primary(&self) {
        let generation = self.connector.generation();
        self.apply(Event::PrimaryChanged { generation });
    }

    /// Waits until the first attempts to connect have succeeded or failed.
    pub(crate) async fn connecting(&self) {
        self.breaker.connecting_ended().await;
        if matches!(self.breaker.state(), Breaker::Idle) {
            // the repair was aborted: if that is because this runtime shuts down, it must be able
            // to drop this operation
            yield_now().await;
        }
    }

    /// Makes the first connection, unless that has begun.
    pub(crate) fn start(&self) {
        self.apply(Event::Requested);
    }

    /// A pipeline on the connection of this serial has ended.
    fn on_batch_end(&self, serial: u64, end: BatchEnd) {
        match end {
            // late news of a connection that was replaced
            BatchEnd::Replied { .. } | BatchEnd::TimedOut if !self.is_active(serial) => {}
            BatchEnd::Replied { took, operations } => {
                self.breaker.on_reply();
                self.admission.on_round_trip(took, operations);
            }
            BatchEnd::TimedOut => {
                self.admission.on_timeout();
                let notice = self.apply(Event::TimedOut { serial }).notice;
                if let (Some(Notice::Opened(_)), Some(peers)) = (notice, self.peers.upgrade()) {
                    peers.mark_suspect(self.connector.generation());
                }
            }
            BatchEnd::Lost => {
                self.apply(Event::Lost { serial });
            }
        }
    }

    /// The breaker of another connection to the same server opened because replies are missing. If
    /// this one is idle it is checked before it is used; if it is in use it finds out by itself.
    pub(crate) fn mark_suspect(&self, generation: u64) {
        if let Breaker::Up(up) = self.breaker.state() {
            let idle = up.active.connection.is_idle();
            self.apply(Event::PeerTimedOut { generation, idle });
        }
    }

    /// The server refused a write because it is a replica. Returns whether the connection is
    /// replaced, and so may lead to the primary.
    pub(crate) fn on_readonly(&self, active: &Active<Batcher>) -> bool {
        let serial = active.serial;
        self.apply(Event::ReadOnly { serial });
        !self.breaker.is_active(serial)
    }

    /// Another connection to the same server found that it is a replica.
    pub(crate) fn on_readonly_peer(&self, generation: u64) {
        match self.breaker.state() {
            Breaker::Up(up) if up.active.generation == generation => {
                self.on_readonly(&up.active);
            }
            Breaker::Idle | Breaker::Connecting(_) | Breaker::Up(_) | Breaker::Down { .. } => {}
        }
    }

    /// Feeds an event to the breaker, and carries out what it says.
    fn apply(&self, event: Event<Batcher>) -> Applied {
        let applied = self.breaker.apply(event);
        let (before, after) = applied.phases;
        self.metrics.connection(Some(before), Some(after));
        if let Some(notice) = &applied.notice {
            self.report(notice);
        }
        if let Action::StartRepair { discard } = applied.action {
            self.start_repair(discard);
        }
        applied
    }

    /// Logs and counts what operators should know.
    fn report(&self, notice: &Notice) {
        let (connection, server) = (self.number, self.connector.source());
        match notice {
            Notice::Opened(failure) => {
                self.metrics.breaker_opened();
                tracing::warn!(
                    connection,
                    %server,
                    %failure,
                    "Redis is unavailable; operations fail at once until it is back"
                );
            }
            Notice::Closed => tracing::info!(connection, %server, "Redis is available again"),
            Notice::Connected => tracing::debug!(connection, %server, "connected to Redis"),
        }
    }

    fn start_repair(&self, discard: bool) {
        let repair = RunningRepair {
            connection: self.this.clone(),
            finished: false,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(repair.run(discard))),
            // no runtime: dropping the repair reports that it was aborted
            Err(_) => drop(repair),
        }
    }

    async fn attempt(&self, discard: bool) -> Event<Batcher> {
        let mut latest = self.latest.lock().await;
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        // a connection that only passes a check says nothing new about the server
        let checks = matches!(self.breaker.state(), Breaker::Up(_));
        let connected = self
            .connector
            .connect(
                &mut latest,
                discard,
                &self.on_disconnect,
                self.observer(serial),
            )
            .await;
        match connected {
            Ok(Connected {
                connection,
                generation,
            }) => {
                self.metrics.connected();
                if self.number == 0 && !checks {
                    self.admission.on_connected();
                }
                Event::Connected(Active {
                    connection,
                    serial,
                    generation,
                    connected_at: Instant::now(),
                })
            }
            Err(failure) => {
                self.metrics.connect_failed();
                tracing::debug!(connection = self.number, %failure, "cannot connect to Redis");
                Event::AttemptFailed(failure)
            }
        }
    }

    fn observer(&self, serial: u64) -> Observer {
        let this = self.this.clone();
        Arc::new(move |end| {
            if let Some(connection) = this.upgrade() {
                connection.on_batch_end(serial, end);
            }
        })
    }

    /// Waits until the first connection of the node has reached the server, if that is what it
    /// tries: many instances with several connections each would not let a server come back.
    fn wait_for_first(&self) -> Option<impl Future<Output = ()> + use<>> {
        let peers = self.peers.upgrade()?;
        let first = peers.first().filter(|first| first.number != self.number)?;
        Some(first.breaker.closed())
    }
}

impl Drop for NodeConnection {
    fn drop(&mut self) {
        let phase = self.breaker.state().phase();
        self.metrics.connection(Some(phase), None);
    }
}

impl fmt::Debug for NodeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConnection")
            .field("number", &self.number)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// The task that checks or replaces a connection. It does not keep the node connection alive.
struct RunningRepair {
    connection: Weak<NodeConnection>,
    finished: bool,
}

impl RunningRepair {
    async fn run(mut self, discard: bool) {
        while let Some(connection) = self.connection.upgrade() {
            if let Some(first) = connection.wait_for_first() {
                drop(connection);
                first.await;
            } else {
                drop(connection);
            }
            let Some(connection) = self.connection.upgrade() else {
                break;
            };
            connection.apply(Event::AttemptStarted);
            let disconnects = connection.disconnects.load(Ordering::SeqCst);
            let event = connection.attempt(discard).await;
            let pause = match connection.apply(event).action {
                Action::RetryAfter(pause) => pause,
                Action::None | Action::StartRepair { .. } | Action::EndRepair => {
                    // the primary may have changed during the attempt
                    connection.leave_old_primary();
                    if connection.disconnects.load(Ordering::SeqCst) != disconnects {
                        // the server may have closed it before it was in use
                        connection.apply(Event::Disconnected);
                    }
                    return self.finish();
                }
            };
            drop(connection);
            sleep(jitter(pause)).await;
        }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for RunningRepair {
    /// If the task was aborted, perhaps with its runtime, the next operation starts another.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade().filter(|_| !self.finished) {
            connection.apply(Event::RepairAborted);
        }
    }
}
