//! What the store counts and measures, with the `metrics` facade.
//!
//! The handles of a node are made once, with their labels, so an operation formats and looks up
//! nothing. Gauges only add and subtract: several stores on one server add up, and what a node that
//! left the cluster had is gone.

use std::{fmt, sync::Arc, time::Instant};

use ::metrics::{
    Counter, Gauge, Histogram, Label, SharedString, Unit, counter, describe_counter,
    describe_gauge, describe_histogram, gauge, histogram,
};
use session_core::StoreErrorKind;

use crate::{
    breaker::Phase,
    failure::{Failure, RetryAction},
    feed::FeedEnd,
};

const DURATION: &str = "session_redis_operation_duration_seconds";
const IN_FLIGHT: &str = "session_redis_in_flight";
const WAITING: &str = "session_redis_waiting";
const WAIT_DURATION: &str = "session_redis_wait_duration_seconds";
const LIMIT: &str = "session_redis_in_flight_limit";
const CONNECTIONS: &str = "session_redis_connections";
const CONNECTS: &str = "session_redis_connects_total";
const BREAKER_OPENINGS: &str = "session_redis_breaker_openings_total";
const TIMEOUTS: &str = "session_redis_timeouts_total";
const OVERLOADS: &str = "session_redis_overloads_total";
const REDIRECTS: &str = "session_redis_redirects_total";
const RETRIES: &str = "session_redis_retries_total";
const MAP_REFRESHES: &str = "session_redis_map_refreshes_total";
const ENDED_AGAIN: &str = "session_redis_ended_again_total";
const CONFIRMATIONS: &str = "session_redis_confirmations_total";
const JOURNAL_DROPS: &str = "session_redis_journal_drops_total";

const ANNOUNCEMENTS: &str = "session_redis_announcements_total";
const FEEDS: &str = "session_redis_feeds";
const FEED_ENDS: &str = "session_redis_feed_ends_total";

const FEED_END_CAUSES: [FeedEnd; 7] = [
    FeedEnd::ConnectionLost,
    FeedEnd::NoReply,
    FeedEnd::Flushed,
    FeedEnd::NotPrimary,
    FeedEnd::ClusterChanged,
    FeedEnd::Refused,
    FeedEnd::NobodyListens,
];

const OPERATIONS: [&str; 5] = ["load", "create", "save", "touch", "destroy"];

/// Tells the recorder what the metrics are.
pub(crate) fn describe() {
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time that one attempt of an operation took, with waiting for its turn"
    );
    describe_gauge!(IN_FLIGHT, Unit::Count, "Operations in flight");
    describe_gauge!(
        WAITING,
        Unit::Count,
        "Operations that wait until fewer are in flight"
    );
    describe_histogram!(
        WAIT_DURATION,
        Unit::Seconds,
        "Time that operations waited until fewer were in flight"
    );
    describe_gauge!(
        LIMIT,
        Unit::Count,
        "Operations that may be in flight, adapted to the measured round trips"
    );
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections, by state");
    describe_counter!(
        CONNECTS,
        Unit::Count,
        "Attempts to make a connection, or to check a suspect one"
    );
    describe_counter!(
        BREAKER_OPENINGS,
        Unit::Count,
        "Connections that were given up until the server is back"
    );
    describe_counter!(
        TIMEOUTS,
        Unit::Count,
        "Attempts that got no reply within the response timeout"
    );
    describe_counter!(
        OVERLOADS,
        Unit::Count,
        "Operations that were refused because too many wait"
    );
    describe_counter!(
        REDIRECTS,
        Unit::Count,
        "Replies that name another node of the cluster"
    );
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Operations that were sent again for another reason than a redirection"
    );
    describe_counter!(
        MAP_REFRESHES,
        Unit::Count,
        "Requests for the map of the cluster"
    );
    describe_counter!(
        ANNOUNCEMENTS,
        Unit::Count,
        "Changes of sessions that the server has announced"
    );
    describe_gauge!(
        FEEDS,
        Unit::Count,
        "Connections that announce changes of sessions"
    );
    describe_counter!(
        FEED_ENDS,
        Unit::Count,
        "Connections that stopped announcing changes, for the moment or for good"
    );
    describe_counter!(
        CONFIRMATIONS,
        Unit::Count,
        "Writes that replicas were to confirm"
    );
    describe_counter!(
        ENDED_AGAIN,
        Unit::Count,
        "Sessions that were destroyed once more because a server may have lost writes"
    );
    describe_counter!(
        JOURNAL_DROPS,
        Unit::Count,
        "Sessions whose end was forgotten early because too many ended"
    );
}

/// The metrics of one node.
#[derive(Clone)]
pub(crate) struct NodeMetrics(Arc<Handles>);

struct Handles {
    /// For each operation, that of attempts that were answered, and of those that failed.
    durations: [[Histogram; 2]; OPERATIONS.len()],
    in_flight: Gauge,
    waiting: Gauge,
    waits: Histogram,
    limit: Gauge,
    idle: Gauge,
    connecting: Gauge,
    up: Gauge,
    down: Gauge,
    connected: Counter,
    connect_failed: Counter,
    breaker_openings: Counter,
    timeouts: Counter,
    overloads: Counter,
    moved: Counter,
    ask: Counter,
    announcements: Counter,
    feeds: Gauge,
    /// For each of [`FEED_END_CAUSES`].
    feed_ends: [Counter; FEED_END_CAUSES.len()],
}

/// When an attempt began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started(Instant);

/// An operation that waits for its turn, until it is dropped.
pub(crate) struct Waiting<'m> {
    handles: &'m Handles,
    since: Instant,
}

impl NodeMetrics {
    /// The metrics of the node of this name.
    pub(crate) fn new(node: impl fmt::Display) -> Self {
        let node: SharedString = node.to_string().into();
        let labels = |more: &[(&'static str, &'static str)]| {
            let mut labels = vec![Label::new("node", node.clone())];
            labels.extend(more.iter().map(|(key, value)| Label::new(*key, *value)));
            labels
        };
        let duration = |operation, result| {
            histogram!(
                DURATION,
                labels(&[("operation", operation), ("result", result)])
            )
        };
        let connections = |state| gauge!(CONNECTIONS, labels(&[("state", state)]));
        let connects = |result| counter!(CONNECTS, labels(&[("result", result)]));
        let redirects = |kind| counter!(REDIRECTS, labels(&[("kind", kind)]));
        Self(Arc::new(Handles {
            durations: OPERATIONS.map(|name| [duration(name, "ok"), duration(name, "error")]),
            in_flight: gauge!(IN_FLIGHT, labels(&[])),
            waiting: gauge!(WAITING, labels(&[])),
            waits: histogram!(WAIT_DURATION, labels(&[])),
            limit: gauge!(LIMIT, labels(&[])),
            idle: connections("idle"),
            connecting: connections("connecting"),
            up: connections("up"),
            down: connections("down"),
            connected: connects("ok"),
            connect_failed: connects("error"),
            breaker_openings: counter!(BREAKER_OPENINGS, labels(&[])),
            timeouts: counter!(TIMEOUTS, labels(&[])),
            overloads: counter!(OVERLOADS, labels(&[])),
            moved: redirects("moved"),
            ask: redirects("ask"),
            announcements: counter!(ANNOUNCEMENTS, labels(&[])),
            feeds: gauge!(FEEDS, labels(&[])),
            feed_ends: FEED_END_CAUSES
                .map(|end| counter!(FEED_ENDS, labels(&[("cause", end.name())]))),
        }))
    }

    /// An attempt begins.
    pub(crate) fn start(&self) -> Started {
        Started(Instant::now())
    }

    /// An attempt of an operation has ended.
    pub(crate) fn finish(
        &self,
        started: Started,
        operation: &'static str,
        failure: Option<&Failure>,
    ) {
        let handles = &*self.0;
        let [ok, error] = match OPERATIONS.iter().position(|name| *name == operation) {
            Some(index) => &handles.durations[index],
            None => return,
        };
        let took = started.0.elapsed();
        let Some(failure) = failure else {
            return ok.record(took);
        };
        error.record(took);
        match failure {
            Failure::TimedOut => handles.timeouts.increment(1),
            Failure::NotSent {
                kind: StoreErrorKind::Overloaded,
                ..
            } => handles.overloads.increment(1),
            Failure::Server(_) => match failure.retry_action() {
                RetryAction::Moved(_) => handles.moved.increment(1),
                RetryAction::Ask(_) => handles.ask.increment(1),
                _ => {}
            },
            Failure::NotSent { .. }
            | Failure::NoServer { .. }
            | Failure::Closed
            | Failure::Lost { .. } => {}
        }
    }

    /// One more operation is in flight.
    pub(crate) fn admitted(&self) {
        self.0.in_flight.increment(1);
    }

    /// One operation less is in flight.
    pub(crate) fn released(&self) {
        self.0.in_flight.decrement(1);
    }

    /// An operation waits for its turn.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let handles = &*self.0;
        handles.waiting.increment(1);
        Waiting {
            handles,
            since: Instant::now(),
        }
    }

    /// The number of operations that may be in flight has changed.
    pub(crate) fn limit(&self, before: usize, after: usize) {
        if before != after {
            self.0.limit.increment(after as f64 - before as f64);
        }
    }

    /// A connection has gone from one phase to another. `None` is before it exists, and after.
    pub(crate) fn connection(&self, before: Option<Phase>, after: Option<Phase>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.connections(before).decrement(1);
        }
        if let Some(after) = after {
            self.connections(after).increment(1);
        }
    }

    fn connections(&self, phase: Phase) -> &Gauge {
        match phase {
            Phase::Idle => &self.0.idle,
            Phase::Connecting => &self.0.connecting,
            Phase::Up => &self.0.up,
            Phase::Down => &self.0.down,
        }
    }

    /// A connection was made, or has passed a check.
    pub(crate) fn connected(&self) {
        self.0.connected.increment(1);
    }

    /// No connection could be made.
    pub(crate) fn connect_failed(&self) {
        self.0.connect_failed.increment(1);
    }

    /// A breaker has opened.
    pub(crate) fn breaker_opened(&self) {
        self.0.breaker_openings.increment(1);
    }

    /// The server has announced the change of a session.
    pub(crate) fn announced(&self) {
        self.0.announcements.increment(1);
    }

    /// A connection announces changes from now on.
    pub(crate) fn feed_began(&self) {
        self.0.feeds.increment(1);
    }

    /// A connection does not announce changes any more.
    pub(crate) fn feed_ended(&self, end: FeedEnd) {
        self.0.feeds.decrement(1);
        let index = FEED_END_CAUSES.iter().position(|other| *other == end);
        if let Some(counter) = index.and_then(|index| self.0.feed_ends.get(index)) {
            counter.increment(1);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handles.waiting.decrement(1);
        self.handles.waits.record(self.since.elapsed());
    }
}

impl fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeMetrics").finish_non_exhaustive()
    }
}

/// An operation is sent again after a failure that suggests this.
pub(crate) fn retried(action: &RetryAction) {
    let cause = match action {
        RetryAction::Reconnect => "connection_lost",
        RetryAction::NextConnection => "connection_closed",
        RetryAction::FindPrimary => "read_only",
        RetryAction::SendSource => "script_missing",
        RetryAction::Wait => "cluster_unsettled",
        // counted where they are received
        RetryAction::Moved(_) | RetryAction::Ask(_) => return,
        RetryAction::GiveUp | RetryAction::SuspectPrimary => return,
    };
    counter!(RETRIES, "cause" => cause).increment(1);
}

/// The map of the cluster was asked for. `changed` is `None` if there was no answer.
pub(crate) fn map_refreshed(changed: Option<bool>) {
    let result = match changed {
        Some(true) => "changed",
        Some(false) => "unchanged",
        None => "failed",
    };
    counter!(MAP_REFRESHES, "result" => result).increment(1);
}

/// Sessions were destroyed once more, and some of them had come back.
pub(crate) fn ended_again(count: usize, were_present: usize) {
    let absent = count.saturating_sub(were_present) as u64;
    counter!(ENDED_AGAIN, "record" => "absent").increment(absent);
    counter!(ENDED_AGAIN, "record" => "present").increment(were_present as u64);
}

/// The ends of so many sessions were forgotten early.
pub(crate) fn ended_ids_dropped(count: usize) {
    counter!(JOURNAL_DROPS).increment(count as u64);
}

/// A write was to be confirmed by replicas, and was by as many as asked for, or by fewer.
pub(crate) fn confirmed(by_all: bool) {
    let result = if by_all { "confirmed" } else { "too_few" };
    counter!(CONFIRMATIONS, "result" => result).increment(1);
}
