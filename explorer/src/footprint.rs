//! Which events of a history can change places without a difference.

use session_core::{IndexKey, SessionId};

/// What the part of a process between two scheduling points reads and writes of what it shares with
/// others.
///
/// Two parts that do not [`conflict`](Self::conflicts_with) lead to the same history in either
/// order, so only one order is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    reads: u64,
    writes: u64,
}

impl Footprint {
    /// Nothing that is shared.
    pub const LOCAL: Self = Self {
        reads: 0,
        writes: 0,
    };
    /// Everything, so that both orders with any other event are explored. The right choice in case
    /// of doubt.
    pub const ALL: Self = Self {
        reads: u64::MAX,
        writes: u64::MAX,
    };

    /// Reads a resource. Resources 0 to 7 belong to the explorer; use 8 to 31.
    pub const fn reading(resource: u32) -> Self {
        Self {
            reads: 1 << resource,
            writes: 0,
        }
    }

    /// Reads and writes a resource.
    pub const fn writing(resource: u32) -> Self {
        Self {
            reads: 1 << resource,
            writes: 1 << resource,
        }
    }

    /// The same, or nothing.
    pub(crate) fn writing_if(resource: Option<u32>) -> Self {
        resource.map_or(Self::LOCAL, Self::writing)
    }

    /// What two parts read and write together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            reads: self.reads | other.reads,
            writes: self.writes | other.writes,
        }
    }

    /// Whether the order of two events matters.
    pub const fn conflicts_with(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) != 0 || other.writes & self.reads != 0
    }

    /// Whether a resource is written.
    pub(crate) const fn is_writing(self, resource: u32) -> bool {
        self.writes & 1 << resource != 0
    }

    pub(crate) fn is_local(self) -> bool {
        self == Self::LOCAL
    }
}

/// The records of the store.
pub(crate) const STORE: u32 = 0;
/// The cookies of the first party; those of the others have the next numbers.
pub(crate) const JAR: u32 = 1;
/// What the first instance keeps; that of the second has the next number.
pub(crate) const KEPT: u32 = 5;
/// Which sessions are acknowledged. No process reads it, but what is promised depends on the order.
pub(crate) const LEDGER: u32 = 7;

/// The record of one session. Some share a number, which only costs histories.
pub(crate) fn record(id: &SessionId) -> u32 {
    32 + u32::from(id.to_bytes()[0] >> 3) % 24
}

/// What an index lists under one key.
pub(crate) fn entries(key: &IndexKey) -> u32 {
    56 + u32::from(key.as_bytes()[0] & 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reads_may_change_places_and_a_write_may_not() {
        let (read, write) = (Footprint::reading(9), Footprint::writing(9));
        assert!(!read.conflicts_with(read));
        assert!(read.conflicts_with(write));
        assert!(write.conflicts_with(read));
        assert!(write.conflicts_with(write));
        assert!(!write.conflicts_with(Footprint::writing(10)));
        assert!(Footprint::writing(10).and(read).conflicts_with(write));
        assert!(Footprint::ALL.conflicts_with(read));
        assert!(!Footprint::ALL.conflicts_with(Footprint::LOCAL));
    }
}
