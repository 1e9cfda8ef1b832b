//! What a connection announces: the feed that is alive on it, if any.
//!
//! A connection has one feed after the other. One begins with the first good heartbeat. Whatever
//! was loaded through a feed that has ended stays unannounced, because the next one is another.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use redis::Value;

use crate::{
    announcer::Announcer,
    feed::{ConnectionFeed, FeedEnd},
    metrics::NodeMetrics,
};

/// The feed of one connection.
pub(crate) struct Tracking {
    announcer: Arc<Announcer>,
    metrics: NodeMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No feed is alive, and one may begin.
    Waiting,
    Alive {
        feed: Arc<ConnectionFeed>,
        /// The epoch of the cluster in which it began.
        epoch: Option<u64>,
    },
    /// No feed will begin on this connection, because of this.
    Over(FeedEnd),
}

impl Tracking {
    fn new(announcer: Arc<Announcer>, metrics: NodeMetrics) -> Self {
        Self {
            announcer,
            metrics,
            state: Mutex::new(State::Waiting),
        }
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// The feed that is alive.
    pub(crate) fn feed(&self) -> Option<Arc<ConnectionFeed>> {
        match &*self.state() {
            State::Alive { feed, .. } => Some(feed.clone()),
            State::Waiting | State::Over(_) => None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.state(), State::Over(_))
    }

    /// Whether no feed will begin on this connection, but one could on another to the server.
    pub(crate) fn is_replaceable(&self) -> bool {
        match &*self.state() {
            State::Over(FeedEnd::Refused) | State::Waiting | State::Alive { .. } => false,
            State::Over(_) => true,
        }
    }

    /// A heartbeat that was sent then was answered as it should be, in this epoch of a cluster.
    pub(crate) fn confirm(&self, sent_at: Instant, epoch: Option<u64>) {
        let same_epoch = match &*self.state() {
            State::Alive { epoch: began, .. } => *began == epoch,
            State::Waiting | State::Over(_) => true,
        };
        if !same_epoch {
            self.end(FeedEnd::ClusterChanged);
        }
        let mut state = self.state();
        match &*state {
            State::Alive { feed, .. } => feed.confirm(sent_at),
            State::Waiting => {
                let feed = Arc::new(ConnectionFeed::new(sent_at));
                *state = State::Alive { feed, epoch };
                self.metrics.feed_began();
            }
            State::Over(_) => {}
        }
    }

    /// Ends the feed. Another may begin.
    pub(crate) fn end(&self, end: FeedEnd) {
        let mut state = self.state();
        if let State::Alive { feed, .. } = &*state {
            feed.end();
            *state = State::Waiting;
            drop(state);
            self.on_end(end);
        }
    }

    /// Ends the feed. No other begins on this connection.
    pub(crate) fn finish(&self, end: FeedEnd) {
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, State::Over(end));
        if let State::Alive { feed, .. } = before {
            feed.end();
            drop(state);
            self.on_end(end);
        }
    }

    /// The server does not announce changes to this user, or not at all. The store works without.
    pub(crate) fn refuse(&self, server: impl fmt::Display, failure: impl fmt::Display) {
        self.finish(FeedEnd::Refused);
        if self.announcer.is_first_refusal() {
            tracing::warn!(
                %server,
                %failure,
                "Redis does not announce changes of sessions; is the user permitted to track them?"
            );
        }
    }

    fn on_end(&self, end: FeedEnd) {
        self.metrics.feed_ended(end);
        tracing::debug!(
            cause = end.name(),
            "changes are not announced for the moment"
        );
        self.announcer.interrupted();
    }

    /// The server has sent an invalidation: of some keys, or of all.
    pub(crate) fn on_invalidation(&self, data: &[Value]) {
        let [Value::Array(keys)] = data else {
            return self.end(FeedEnd::Flushed);
        };
        for key in keys {
            let is_session = match key {
                Value::BulkString(key) => self.announcer.changed(key),
                Value::SimpleString(key) => self.announcer.changed(key.as_bytes()),
                _ => false,
            };
            if is_session {
                self.metrics.announced();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracking").field(&*self.state()).finish()
    }
}

/// The feeds of the connections to one node.
#[derive(Debug)]
pub(crate) struct NodeTracking {
    announcer: Arc<Announcer>,
    metrics: NodeMetrics,
    /// With the generation of each connection.
    connections: Mutex<Vec<(u64, Weak<Tracking>)>>,
}

impl NodeTracking {
    pub(crate) fn new(announcer: Arc<Announcer>, metrics: NodeMetrics) -> Self {
        Self {
            announcer,
            metrics,
            connections: Mutex::default(),
        }
    }

    /// What a new connection of this generation announces: nothing yet.
    pub(crate) fn of_connection(&self, generation: u64) -> Arc<Tracking> {
        let tracking = Tracking::new(self.announcer.clone(), self.metrics.clone());
        let tracking = Arc::new(tracking);
        let mut connections = self.connections();
        connections.retain(|(_, known)| known.strong_count() > 0);
        connections.push((generation, Arc::downgrade(&tracking)));
        tracking
    }

    /// Ends the feeds of all connections. Others may begin.
    pub(crate) fn end_feeds(&self, end: FeedEnd) {
        for (_, tracking) in self.all() {
            tracking.end(end);
        }
    }

    /// Ends the feeds of connections of earlier generations, which lead to a server that is not the
    /// primary any more.
    pub(crate) fn leave_old_primary(&self, generation: u64) {
        let all = self.all().into_iter();
        for (_, tracking) in all.filter(|(other, _)| *other < generation) {
            tracking.finish(FeedEnd::NotPrimary);
        }
    }

    fn all(&self) -> Vec<(u64, Arc<Tracking>)> {
        let connections = self.connections();
        let all = connections.iter();
        all.filter_map(|(generation, tracking)| Some((*generation, tracking.upgrade()?)))
            .collect()
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(u64, Weak<Tracking>)>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use session_core::{Feed, Listener, SessionId};

    use super::*;

    #[derive(Default)]
    struct Counts {
        changes: AtomicUsize,
        interruptions: AtomicUsize,
    }

    impl Listener for Counts {
        fn changed(&self, _: &SessionId) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }

        fn interrupted(&self) {
            self.interruptions.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counts {
        fn interruptions(&self) -> usize {
            self.interruptions.load(Ordering::Relaxed)
        }
    }

    fn node() -> (NodeTracking, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let weak: Weak<Counts> = Arc::downgrade(&counts);
        let announcer = Announcer::new("session:");
        announcer.add(weak);
        let node = NodeTracking::new(announcer, NodeMetrics::new("node"));
        (node, counts)
    }

    fn alive(tracking: &Tracking) -> Arc<ConnectionFeed> {
        tracking.feed().expect("a living feed")
    }

    #[test]
    fn a_heartbeat_begins_a_feed_and_the_end_is_told_once() {
        let (node, counts) = node();
        let tracking = node.of_connection(0);
        assert!(tracking.feed().is_none());
        tracking.end(FeedEnd::NoReply);
        assert_eq!(counts.interruptions(), 0, "there was none");
        tracking.confirm(Instant::now(), None);
        let first = alive(&tracking);
        tracking.confirm(Instant::now(), None);
        assert!(Arc::ptr_eq(&first, &alive(&tracking)));
        tracking.end(FeedEnd::NoReply);
        tracking.end(FeedEnd::NoReply);
        assert_eq!((first.silence(), counts.interruptions()), (None, 1));
        tracking.confirm(Instant::now(), None);
        assert!(alive(&tracking).silence().is_some());
        assert_eq!(first.silence(), None, "another begins");
    }

    #[test]
    fn nothing_begins_on_a_connection_that_is_over() {
        let (node, counts) = node();
        let tracking = node.of_connection(0);
        tracking.confirm(Instant::now(), None);
        let feed = alive(&tracking);
        tracking.finish(FeedEnd::ConnectionLost);
        tracking.confirm(Instant::now(), None);
        assert!(tracking.feed().is_none() && tracking.is_over());
        assert_eq!((feed.silence(), counts.interruptions()), (None, 1));
    }

    #[test]
    fn another_connection_helps_unless_the_server_refuses() {
        let (node, _counts) = node();
        let finished = |end| {
            let tracking = node.of_connection(0);
            tracking.confirm(Instant::now(), None);
            assert!(!tracking.is_replaceable(), "a living feed");
            tracking.end(FeedEnd::NoReply);
            assert!(!tracking.is_replaceable(), "another feed may begin");
            tracking.finish(end);
            tracking.is_replaceable()
        };
        assert!(finished(FeedEnd::NotPrimary) && finished(FeedEnd::ConnectionLost));
        assert!(!finished(FeedEnd::Refused));
    }

    #[test]
    fn another_epoch_begins_another_feed() {
        let (node, counts) = node();
        let tracking = node.of_connection(0);
        tracking.confirm(Instant::now(), Some(7));
        let first = alive(&tracking);
        tracking.confirm(Instant::now(), Some(7));
        assert!(Arc::ptr_eq(&first, &alive(&tracking)));
        tracking.confirm(Instant::now(), Some(8));
        assert!(!Arc::ptr_eq(&first, &alive(&tracking)));
        assert_eq!((first.silence(), counts.interruptions()), (None, 1));
    }

    #[test]
    fn an_invalidation_of_everything_ends_the_feed() {
        let (node, counts) = node();
        let tracking = node.of_connection(0);
        tracking.confirm(Instant::now(), None);
        let id = SessionId::from_bytes([1; SessionId::BYTES]);
        let keys = [format!("session:{id}"), "other".to_owned()];
        let keys = keys.map(|key| Value::BulkString(key.into()));
        tracking.on_invalidation(&[Value::Array(keys.to_vec())]);
        assert_eq!(counts.changes.load(Ordering::Relaxed), 1);
        assert!(tracking.feed().is_some());
        for all in [Value::Nil, Value::Okay] {
            tracking.confirm(Instant::now(), None);
            tracking.on_invalidation(&[all]);
            assert!(tracking.feed().is_none());
        }
        assert_eq!(counts.interruptions(), 2);
    }

    #[test]
    fn the_feeds_of_an_old_primary_end_for_good_and_others_live_on() {
        let (node, counts) = node();
        let (old, new) = (node.of_connection(0), node.of_connection(1));
        // the primary may change again meanwhile
        let newer = node.of_connection(2);
        for tracking in [&old, &new, &newer] {
            tracking.confirm(Instant::now(), None);
        }
        node.leave_old_primary(1);
        assert!(old.is_over() && new.feed().is_some() && newer.feed().is_some());
        drop(newer);
        assert_eq!(counts.interruptions(), 1);
        node.end_feeds(FeedEnd::ClusterChanged);
        assert!(new.feed().is_none() && !new.is_over());
        assert_eq!(counts.interruptions(), 2);
        drop(old);
        node.of_connection(1);
        assert_eq!(node.all().len(), 1);
    }
}
