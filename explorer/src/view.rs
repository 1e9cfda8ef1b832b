//! What a session holds, as somebody saw it.

use std::time::Duration;

use session_core::Session;

use crate::principal::Principal;

/// The contents of a session, as somebody saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who is logged in.
    pub principal: Option<Principal>,
    /// How often each update was applied: four bits each.
    pub tally: u64,
    /// Which writes are there, one bit each, by their number.
    pub names: u64,
    /// It has the tag.
    pub is_tagged: bool,
}

/// The tag that sessions can have.
pub(crate) const TAG: (&str, &str) = ("sid", "1");

/// The value that `Verb::Update` counts up: how often each update of a history was applied, four
/// bits each.
pub(crate) const TALLY: &str = "tally";

/// The bit of a value that an anonymous session begins with.
pub(crate) const ORIGIN: (&str, u32) = ("origin", 62);
/// The bit of a value that Ann's session begins with.
pub(crate) const MAIL: (&str, u32) = ("mail", 63);

impl Seen {
    /// Looks at a session.
    pub(crate) fn of(session: &Session) -> Self {
        let mut names = 0;
        for name in session.names() {
            let bit = match name.strip_prefix('w').map(str::parse) {
                Some(Ok(number)) => number,
                _ => match name.as_str() {
                    "origin" => ORIGIN.1,
                    "mail" => MAIL.1,
                    _ => continue,
                },
            };
            names |= 1 << bit;
        }
        Self {
            principal: session.principal().as_deref().and_then(Principal::named),
            tally: session.get(TALLY).ok().flatten().unwrap_or(0),
            names,
            is_tagged: session.tag(TAG.0).as_deref() == Some(TAG.1),
        }
    }

    /// How often the update or write of this number is in it.
    pub(crate) fn count(&self, number: u32) -> u64 {
        (self.tally >> (4 * number) & 15).max(self.names >> number & 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A record, as one of its tokens opens it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its contents.
    pub seen: Seen,
    /// The latest secret that opens it.
    pub secret: [u8; 16],
    /// Another one, if there is a near cache.
    pub second: Option<[u8; 16]>,
    /// The life that its timeouts give it at this moment.
    pub life: Duration,
    /// The life that the store gives it.
    pub remaining: Duration,
    /// Its idle timeout.
    pub idle: Duration,
    /// The absolute timeout has passed.
    pub over: bool,
}
