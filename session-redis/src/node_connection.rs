//! One of the connections to a node: replaced in the background when it fails, and guarded by a
//! circuit breaker.
//!
//! The breaker decides; this file carries out what it says.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify, task::yield_now, time::timeout};

use crate::{
    admission::Admission,
    backoff::jitter,
    batcher::{BatchEnd, Batcher, Observer},
    breaker::{Action, Active, Breaker, BreakerConfig, Event, Notice, Phase},
    breaker_cell::{Applied, BreakerCell},
    connector::{Connected, Connector, ServerConnection},
    metrics::NodeMetrics,
    pushes::OnDisconnect,
};

/// The connections to the same server.
pub(crate) trait Peers: Send + Sync {
    /// The one that probes a server that is down.
    fn first(&self) -> Option<&Arc<NodeConnection>>;

    /// A connection of this generation no longer gets replies. Others that are idle have not
    /// noticed.
    fn mark_suspect(&self, generation: u64);

    /// A connection of this generation broke. Others that are idle may have, too, and nothing would
    /// report it.
    fn check_idle(&self, generation: u64);
}

/// The connection that is in use or was used last, and the number of its socket.
#[derive(Default)]
struct Latest {
    connection: Option<ServerConnection>,
    socket: u64,
}

/// A place for a connection.
pub(crate) struct NodeConnection {
    number: usize,
    connector: Arc<Connector>,
    admission: Arc<Admission>,
    metrics: NodeMetrics,
    breaker: BreakerCell<Batcher>,
    next_serial: AtomicU64,
    /// The last socket that the server has closed, perhaps one that was not in use yet.
    disconnected: AtomicU64,
    latest: Mutex<Arc<tokio::sync::Mutex<Latest>>>,
    /// Ends the pause of the repair.
    retry_now: Arc<Notify>,
    /// A repair that was not seen to run for so long is stuck.
    stuck_after: Duration,
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
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            number,
            stuck_after: connector.longest_attempt() + config.probe_every,
            connector,
            admission,
            metrics,
            breaker: BreakerCell::new(config),
            // no socket has the number zero
            next_serial: AtomicU64::new(1),
            disconnected: AtomicU64::new(0),
            latest: Mutex::default(),
            retry_now: Arc::default(),
            peers,
            this: this.clone(),
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

    /// Starts another repair if nothing drives the runtime of the one that is needed.
    pub(crate) fn keep_repairing(&self) {
        if let Some(stuck) = self.breaker.stuck_repair(self.stuck_after) {
            self.apply_of_repair(stuck, Event::RepairAborted);
            self.apply(Event::Requested);
        }
    }

    /// A pipeline on the connection of this serial has ended.
    fn on_batch_end(&self, serial: u64, end: BatchEnd) {
        match end {
            // late news of a connection that was replaced
            BatchEnd::Replied { .. } | BatchEnd::TimedOut if !self.is_active(serial) => {}
            BatchEnd::Replied { took, operations } => {
                self.breaker.on_reply(serial);
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
                let was_active = self.is_active(serial);
                self.apply(Event::Lost { serial });
                if was_active
                    && !self.connector.reports_disconnects()
                    && let Some(peers) = self.peers.upgrade()
                {
                    peers.check_idle(self.connector.generation());
                }
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

    /// Another connection to the same server broke. If this one is idle it is checked before it is
    /// used.
    pub(crate) fn check_if_idle(&self, generation: u64) {
        if let Breaker::Up(up) = self.breaker.state() {
            let idle = up.active.connection.is_idle();
            self.apply(Event::PeerLost { generation, idle });
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
        self.carry_out(self.breaker.apply(event))
    }

    /// The same, with an event of the repair of this number.
    fn apply_of_repair(&self, repair: u64, event: Event<Batcher>) -> Applied {
        self.carry_out(self.breaker.apply_of_repair(repair, event))
    }

    fn carry_out(&self, applied: Applied) -> Applied {
        let (before, after) = applied.phases;
        self.metrics.connection(Some(before), Some(after));
        if let Some(notice) = &applied.notice {
            self.report(notice);
        }
        match applied.action {
            Action::StartRepair => self.start_repair(applied.repair),
            Action::RetryNow => self.retry_now.notify_one(),
            // the repair does these
            Action::None | Action::Attempt { .. } | Action::RetryAfter(_) | Action::EndRepair => {}
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

    fn start_repair(&self, number: u64) {
        let repair = RunningRepair {
            connection: self.this.clone(),
            number,
            finished: false,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(repair.run())),
            // no runtime: dropping the repair reports that it was aborted
            Err(_) => drop(repair),
        }
    }

    async fn attempt(&self, discard: bool) -> Event<Batcher> {
        let latest = self.latest();
        let mut latest = latest.lock().await;
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        // a connection that only passes a check says nothing new about the server
        let checks = matches!(self.breaker.state(), Breaker::Up(_));
        let connected = self
            .connector
            .connect(
                &mut latest.connection,
                discard,
                &self.on_disconnect(serial),
                self.observer(serial),
            )
            .await;
        match connected {
            Ok(Connected {
                connection,
                generation,
                checked,
            }) => {
                if !checked {
                    latest.socket = serial;
                }
                self.metrics.connected();
                if self.number == 0 && !checks {
                    self.admission.on_connected();
                }
                Event::Connected(Active {
                    connection,
                    serial,
                    socket: latest.socket,
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

    /// The latest connection. A repair that is stuck in an attempt keeps the one it has.
    fn latest(&self) -> Arc<tokio::sync::Mutex<Latest>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.try_lock().is_err() {
            *latest = Arc::default();
        }
        latest.clone()
    }

    /// Called when the server closes the socket of this number.
    fn on_disconnect(&self, socket: u64) -> OnDisconnect {
        let this = self.this.clone();
        Arc::new(move || {
            if let Some(connection) = this.upgrade() {
                connection.disconnected.fetch_max(socket, Ordering::SeqCst);
                connection.apply(Event::Disconnected { socket });
            }
        })
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
    number: u64,
    finished: bool,
}

impl RunningRepair {
    async fn run(mut self) {
        let number = self.number;
        while let Some(connection) = self.wait_for_first().await {
            let started = connection.apply_of_repair(number, Event::AttemptStarted);
            let Action::Attempt { discard } = started.action else {
                // another has taken its place
                return self.finish();
            };
            let event = connection.attempt(discard).await;
            let socket = match &event {
                Event::Connected(active) => Some(active.socket),
                _ => None,
            };
            let Action::RetryAfter(pause) = connection.apply_of_repair(number, event).action else {
                // the primary may have changed during the attempt
                connection.leave_old_primary();
                let disconnected = connection.disconnected.load(Ordering::SeqCst);
                if let Some(socket) = socket.filter(|socket| *socket == disconnected) {
                    // the server may have closed it before it was in use
                    connection.apply(Event::Disconnected { socket });
                }
                return self.finish();
            };
            let retry_now = connection.retry_now.clone();
            drop(connection);
            // an error means that the pause is over
            let _ = timeout(jitter(pause), retry_now.notified()).await;
        }
    }

    /// Waits for the first connection, if it must. Returns `None` if the node was dropped.
    async fn wait_for_first(&self) -> Option<Arc<NodeConnection>> {
        loop {
            let connection = self.connection.upgrade()?;
            let Some(first) = connection.wait_for_first() else {
                return Some(connection);
            };
            connection.breaker.repair_waits(self.number);
            let part = connection.stuck_after / 4;
            drop(connection);
            if timeout(part, first).await.is_ok() {
                return self.connection.upgrade();
            }
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
            connection.apply_of_repair(self.number, Event::RepairAborted);
        }
    }
}
