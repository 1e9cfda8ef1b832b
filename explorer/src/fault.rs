//! What can go wrong at one scheduling point.

use std::fmt;

/// A fault at a scheduling point. A history has as many as its case allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is not applied, and the store says so.
    Unavailable,
    /// The call is applied, and its reply is lost.
    ReplyLost,
    /// The call is not applied, and the caller cannot know.
    RequestLost,
    /// The caller is told nothing, and the call is applied later.
    Late,
    /// The client gives up before the call is applied.
    AbortBefore,
    /// The client gives up after the call is applied.
    AbortAfter,
    /// The client gives up, and the call is applied later.
    AbortLate,
    /// The response does not reach the client.
    ResponseLost,
    /// The feed of an instance ends, and its announcements are lost. The next one begins at once.
    Interrupted,
}

impl Fault {
    /// The faults of a call that changes something.
    pub const OF_WRITES: &'static [Self] = &[
        Self::Unavailable,
        Self::ReplyLost,
        Self::RequestLost,
        Self::Late,
        Self::AbortBefore,
        Self::AbortAfter,
        Self::AbortLate,
    ];
    /// The faults of a call that changes nothing.
    pub const OF_READS: &'static [Self] =
        &[Self::Unavailable, Self::RequestLost, Self::AbortBefore];
    /// The faults of what is done in the background: it never happens.
    pub const OF_BACKGROUND: &'static [Self] = &[Self::Unavailable];
    /// The faults of an announcement.
    pub const OF_ANNOUNCEMENTS: &'static [Self] = &[Self::Interrupted];
    /// The faults of a response.
    pub const OF_RESPONSES: &'static [Self] = &[Self::ResponseLost];

    /// Whether the process that waits at the point is dropped.
    pub(crate) fn drops_caller(self) -> bool {
        match self {
            Self::AbortBefore | Self::AbortAfter | Self::AbortLate => true,
            Self::Unavailable
            | Self::ReplyLost
            | Self::RequestLost
            | Self::Late
            | Self::ResponseLost
            | Self::Interrupted => false,
        }
    }

    /// Whether the call is applied at this point.
    pub(crate) fn applies(self) -> bool {
        match self {
            Self::ReplyLost | Self::AbortAfter => true,
            Self::Unavailable
            | Self::RequestLost
            | Self::Late
            | Self::AbortBefore
            | Self::AbortLate
            | Self::ResponseLost
            | Self::Interrupted => false,
        }
    }

    /// Whether the call is applied later, by a process of its own.
    pub(crate) fn is_late(self) -> bool {
        matches!(self, Self::Late | Self::AbortLate)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "not applied, the store is unavailable",
            Self::ReplyLost => "applied, the reply is lost",
            Self::RequestLost => "not applied, no reply",
            Self::Late => "no reply, arrives late",
            Self::AbortBefore => "not applied, the client gives up",
            Self::AbortAfter => "applied, the client gives up",
            Self::AbortLate => "the client gives up, arrives late",
            Self::ResponseLost => "the response is lost",
            Self::Interrupted => "the feed ends, what it has to announce is lost",
        })
    }
}
