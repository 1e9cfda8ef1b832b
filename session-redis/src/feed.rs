//! What announces the changes of the records that were loaded through one connection.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use session_core::Feed;

/// The value of a feed that has ended.
const ENDED: u64 = u64::MAX;

/// A period during which a connection announces all changes.
#[derive(Debug)]
pub(crate) struct ConnectionFeed {
    began_at: Instant,
    /// When the last good heartbeat was sent, in nanoseconds since the beginning, or [`ENDED`].
    /// One word, because every hit of a cache reads it.
    certain_at: AtomicU64,
}

/// Why a feed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedEnd {
    /// The connection broke, or was replaced.
    ConnectionLost,
    /// A heartbeat was not answered in time.
    NoReply,
    /// The server has forgotten what it tracks, such as with `FLUSHALL`.
    Flushed,
    /// The server is not the primary.
    NotPrimary,
    /// The cluster is down, has changed, or has moved slots away from the node.
    ClusterChanged,
    /// The user may not run a command that is needed.
    Refused,
    /// The last listener is gone.
    NobodyListens,
}

impl FeedEnd {
    /// A name, for metrics and log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection_lost",
            Self::NoReply => "no_reply",
            Self::Flushed => "flushed",
            Self::NotPrimary => "not_primary",
            Self::ClusterChanged => "cluster_changed",
            Self::Refused => "refused",
            Self::NobodyListens => "nobody_listens",
        }
    }
}

impl ConnectionFeed {
    /// A feed that begins with a good heartbeat, which was sent then.
    pub(crate) fn new(sent_at: Instant) -> Self {
        Self {
            began_at: sent_at,
            certain_at: AtomicU64::new(0),
        }
    }

    /// Another good heartbeat was sent then.
    pub(crate) fn confirm(&self, sent_at: Instant) {
        let since = sent_at.saturating_duration_since(self.began_at);
        // never the value of an ended feed, which is 584 years
        let since = u64::try_from(since.as_nanos()).unwrap_or(ENDED - 1);
        let newer = |at| (at != ENDED && at < since).then_some(since);
        // an error means that there is nothing to change
        let _ = self
            .certain_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, newer);
    }

    /// Ends the feed, for good.
    pub(crate) fn end(&self) {
        self.certain_at.store(ENDED, Ordering::Release);
    }
}

impl Feed for ConnectionFeed {
    fn silence(&self) -> Option<Duration> {
        match self.certain_at.load(Ordering::Acquire) {
            ENDED => None,
            nanos => {
                let certain_at = Duration::from_nanos(nanos);
                Some(self.began_at.elapsed().saturating_sub(certain_at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_the_age_of_the_newest_heartbeat() {
        let began_at = Instant::now() - 10 * SECOND;
        let feed = ConnectionFeed::new(began_at);
        assert!(feed.silence() >= Some(10 * SECOND));
        feed.confirm(began_at + 9 * SECOND);
        feed.confirm(began_at + 5 * SECOND);
        feed.confirm(began_at - SECOND);
        let silence = feed.silence().expect("a living feed");
        assert!(silence >= SECOND && silence < 5 * SECOND, "{silence:?}");
    }

    #[test]
    fn a_feed_that_has_ended_does_not_come_back() {
        let now = Instant::now();
        let feed = ConnectionFeed::new(now);
        feed.end();
        feed.confirm(now + SECOND);
        assert_eq!(feed.silence(), None);
    }
}
