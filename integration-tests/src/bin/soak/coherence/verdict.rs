//! What a history shows, and whether every promise was kept.
//!
//! A read is *stale* if it shows a session as it was before a change that had been acknowledged when
//! the read began. Its *age* is the time since the earliest such acknowledgement.

use crate::user_history::Nanos;

/// What the history shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reads: u64,
    /// Reads that found no session.
    pub(crate) found_nothing: u64,
    /// Reads of a value that had been replaced for longer than the lease.
    pub(crate) stale_beyond: u64,
    /// Reads of a session that had ended, or with a token that had been replaced, for longer than
    /// the lease.
    pub(crate) ended_beyond: u64,
    /// Reads that did not show a change that their own process had acknowledged.
    pub(crate) own_unseen: u64,
    /// Reads that found no session although nobody had begun to end it or to replace the token.
    pub(crate) missing: u64,
    /// Acknowledged writes that are not in the value of a session.
    pub(crate) lost_updates: u64,
    /// Increments of a session that nobody made.
    pub(crate) invented_updates: u64,
    /// The ages of the stale reads within the lease, sorted.
    pub(crate) ages: Vec<Nanos>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub(crate) fn is_good(&self) -> bool {
        let Self {
            stale_beyond,
            ended_beyond,
            own_unseen,
            missing,
            lost_updates,
            invented_updates,
            ..
        } = self;
        let broken = [
            stale_beyond,
            ended_beyond,
            own_unseen,
            missing,
            lost_updates,
            invented_updates,
        ];
        broken.into_iter().all(|count| *count == 0)
    }
}
