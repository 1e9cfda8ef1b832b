//! One of the connections of a store: replaced in the background when it fails, and guarded by a
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

use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
    task::yield_now,
    time::sleep,
};

use crate::{
    backoff::jitter,
    breaker::{Action, Active, Breaker, BreakerConfig, Event, Notice},
    breaker_cell::{Applied, BreakerCell},
    connector::{Connected, Connector, OnDisconnect, PooledConnection},
    shared_connection::SharedConnection,
};

/// A place for a connection, with the permits to use it.
pub(crate) struct NodeConnection {
    number: usize,
    connector: Arc<Connector>,
    max_in_flight: usize,
    /// How many more operations may be in flight.
    permits: Semaphore,
    breaker: BreakerCell<SharedConnection>,
    next_serial: AtomicU64,
    pooled: Mutex<PooledConnection>,
    on_disconnect: OnDisconnect,
    this: Weak<Self>,
}

impl NodeConnection {
    pub(crate) fn new(
        number: usize,
        connector: Arc<Connector>,
        max_in_flight: usize,
        config: BreakerConfig,
    ) -> Arc<Self> {
        let max_in_flight = max_in_flight.min(Semaphore::MAX_PERMITS);
        Arc::new_cyclic(|this: &Weak<Self>| {
            let weak = this.clone();
            let on_disconnect = move || {
                if let Some(node) = weak.upgrade() {
                    node.on_disconnect();
                }
            };
            Self {
                number,
                connector,
                max_in_flight,
                permits: Semaphore::new(max_in_flight),
                breaker: BreakerCell::new(config),
                next_serial: AtomicU64::new(0),
                pooled: Mutex::default(),
                on_disconnect: Arc::new(on_disconnect),
                this: this.clone(),
            }
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn permits(&self) -> &Semaphore {
        &self.permits
    }

    /// Returns the state of the connection. A connection to a server that is no longer the primary
    /// is replaced first.
    pub(crate) fn state(&self) -> Breaker<SharedConnection> {
        let state = self.breaker.state();
        let generation = self.connector.generation();
        match &state {
            Breaker::Up(up) if up.active.generation != generation => {
                self.apply(Event::PrimaryChanged { generation });
                self.breaker.state()
            }
            Breaker::Idle | Breaker::Connecting(_) | Breaker::Up(_) | Breaker::Down { .. } => state,
        }
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

    /// The server replied to an operation.
    pub(crate) fn on_reply(&self) {
        self.breaker.on_reply();
    }

    /// An operation got no reply in time. The connection stays in use while it is checked, unless
    /// this opens the breaker, which is the result.
    pub(crate) fn on_timeout(&self, active: &Active<SharedConnection>) -> bool {
        let serial = active.serial;
        let notice = self.apply(Event::TimedOut { serial }).notice;
        matches!(notice, Some(Notice::Opened(_)))
    }

    /// The breaker of another connection to the same server opened because replies are missing. If
    /// this one is idle it is checked before it is used; if it is in use it finds out by itself.
    pub(crate) fn mark_suspect(&self, peer: &Active<SharedConnection>) {
        self.apply(Event::PeerTimedOut {
            generation: peer.generation,
            idle: self.permits.available_permits() == self.max_in_flight,
        });
    }

    /// The connection broke under an operation.
    pub(crate) fn on_lost(&self, active: &Active<SharedConnection>) {
        let serial = active.serial;
        self.apply(if active.connection.is_cluster() {
            Event::NodeLost { serial }
        } else {
            Event::Lost { serial }
        });
    }

    /// The server refused a write because it is a replica. Returns whether the connection is
    /// replaced, and so may lead to the primary.
    pub(crate) fn on_readonly(&self, active: &Active<SharedConnection>) -> bool {
        let serial = active.serial;
        self.apply(Event::ReadOnly { serial });
        !self.breaker.is_active(serial)
    }

    fn on_disconnect(&self) {
        self.apply(Event::Disconnected);
    }

    /// Feeds an event to the breaker, and carries out what it says.
    fn apply(&self, event: Event<SharedConnection>) -> Applied {
        let applied = self.breaker.apply(event);
        if let Some(notice) = &applied.notice {
            self.log(notice);
        }
        if let Action::StartRepair { discard } = applied.action {
            self.start_repair(discard);
        }
        applied
    }

    fn log(&self, notice: &Notice) {
        let (connection, server) = (self.number, self.connector.topology());
        match notice {
            Notice::Opened(failure) => {
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
            node: self.this.clone(),
            finished: false,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(repair.run(discard))),
            // no runtime: dropping the repair reports that it was aborted
            Err(_) => drop(repair),
        }
    }

    async fn attempt(&self, discard: bool) -> Event<SharedConnection> {
        let mut pooled = self.pooled.lock().await;
        let connected = self
            .connector
            .connect(&mut pooled, discard, &self.on_disconnect)
            .await;
        match connected {
            Ok(Connected {
                connection,
                generation,
            }) => Event::Connected(Active {
                connection,
                serial: self.next_serial.fetch_add(1, Ordering::Relaxed),
                generation,
                connected_at: Instant::now(),
            }),
            Err(failure) => {
                tracing::debug!(connection = self.number, %failure, "cannot connect to Redis");
                Event::AttemptFailed(failure)
            }
        }
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
    node: Weak<NodeConnection>,
    finished: bool,
}

impl RunningRepair {
    async fn run(mut self, discard: bool) {
        while let Some(node) = self.node.upgrade() {
            node.apply(Event::AttemptStarted);
            let event = node.attempt(discard).await;
            let pause = match node.apply(event).action {
                Action::RetryAfter(pause) => pause,
                Action::None | Action::StartRepair { .. } | Action::EndRepair => {
                    return self.finish();
                }
            };
            drop(node);
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
        if let Some(node) = self.node.upgrade().filter(|_| !self.finished) {
            node.apply(Event::RepairAborted);
        }
    }
}
