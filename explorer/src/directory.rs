//! What an index lists, for those who judge.

use session_core::{AnyIndex, Index, IndexEntry, SessionId};

use crate::{point, whose::Whose};

/// All entries of an index at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<(Whose, IndexEntry)>,
}

/// What is left when everything has stopped and somebody has looked at the list.
#[derive(Clone, Debug)]
pub struct LastLook {
    /// Whose sessions were listed.
    pub whose: Whose,
    /// The sessions that the list returned; `None` if it failed.
    pub listed: Option<Vec<SessionId>>,
    /// The entries that remain.
    pub entries: Vec<SessionId>,
}

impl Directory {
    /// Reads an index without taking part in the history.
    pub(crate) fn read(index: &AnyIndex) -> Self {
        let of = |whose: Whose| {
            let entries = point::run_to_end(index.entries(&whose.key(), 0, usize::MAX));
            let entries = entries.unwrap_or_default().into_iter();
            entries.map(move |entry| (whose, entry))
        };
        Self {
            entries: Whose::ALL.into_iter().flat_map(of).collect(),
        }
    }

    /// The sequence number of a session; `None` if it is not listed.
    pub fn sequence(&self, whose: Whose, id: SessionId) -> Option<u64> {
        self.of(whose)
            .find(|entry| entry.id == id)
            .map(|entry| entry.sequence)
    }

    /// The entries of a principal or of the tag, in their order.
    pub fn of(&self, whose: Whose) -> impl Iterator<Item = &IndexEntry> {
        let entries = self.entries.iter();
        entries.filter_map(move |(other, entry)| (*other == whose).then_some(entry))
    }
}
