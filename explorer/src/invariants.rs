//! What must hold after each history. Each file has one of the promises of the design.

mod browser;
mod doubt;
mod ends;
mod everywhere;
mod lifetimes;
mod limits;
mod listed;
mod logins;
mod near_cache;
mod renewals;
mod round_trips;
mod unchanged;
mod updates;

use std::fmt;

use crate::{evidence::Evidence, executor::End, history::History};

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every request ends.
    Termination,
    /// Every acknowledged update is applied exactly once, every unacknowledged one at most once.
    Updates,
    /// After an acknowledged `destroy`, no token of that session opens it.
    Ends,
    /// After an acknowledged `renew` or `log_in`, no earlier token opens the session, and no
    /// request with an earlier token reads or changes what belongs to another principal.
    Renewals,
    /// A login succeeds whatever becomes of the session that it is made in; concurrent logins of
    /// one principal end in one session.
    Logins,
    /// A request is told that it is unknown what became of a write only if the store did not show
    /// it.
    Doubt,
    /// When all responses have been delivered, the browser's cookie opens what its user expects;
    /// nobody is told that they are logged out while the session lives.
    Browser,
    /// A session in use is not ended before its timeouts, and one that is not in use is not
    /// extended.
    Lifetimes,
    /// Of several concurrent requests with `require_unchanged` that write or claim, exactly one
    /// succeeds.
    Unchanged,
    /// An untouched request makes no store call, and no request makes more round trips than it
    /// needs.
    RoundTrips,
    /// Who ends all sessions of a user misses none that was acknowledged before, and ends none of
    /// somebody else.
    Everywhere,
    /// An acknowledged session is listed as long as it lives, and a list leaves no entry without a
    /// session.
    Listed,
    /// A principal never has more sessions than allowed, and with a limit no session ends and no
    /// login is refused without need.
    Limits,
    /// An instance with a near cache does not show what it has to know is outdated, and asks the
    /// store only if it has to.
    NearCache,
}

impl Invariant {
    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Termination => "termination",
            Self::Updates => "updates",
            Self::Ends => "ends",
            Self::Renewals => "renewals",
            Self::Logins => "logins",
            Self::Doubt => "doubt",
            Self::Browser => "browser",
            Self::Lifetimes => "lifetimes",
            Self::Unchanged => "unchanged",
            Self::RoundTrips => "round trips",
            Self::Everywhere => "everywhere",
            Self::Listed => "listed",
            Self::Limits => "limits",
            Self::NearCache => "near cache",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.as_str(), self.what)
    }
}

/// Checks every promise.
pub(crate) fn check(history: &History<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |invariant, what: String| violations.push(Violation { invariant, what });
    match history.end {
        End::Complete => {}
        End::Abandoned => return violations,
        End::Deadlock => report(
            Invariant::Termination,
            "requests wait for each other".into(),
        ),
        End::Endless => report(Invariant::Termination, "a request does not end".into()),
    }
    let evidence = Evidence::of(history);
    for (invariant, check) in [
        (Invariant::Updates, updates::check as Check),
        (Invariant::Ends, ends::check),
        (Invariant::Renewals, renewals::check),
        (Invariant::Logins, logins::check),
        (Invariant::Doubt, doubt::check),
        (Invariant::Browser, browser::check),
        (Invariant::Lifetimes, lifetimes::check),
        (Invariant::Unchanged, unchanged::check),
        (Invariant::RoundTrips, round_trips::check),
        (Invariant::Everywhere, everywhere::check),
        (Invariant::Listed, listed::check),
        (Invariant::Limits, limits::check),
        (Invariant::NearCache, near_cache::check),
    ] {
        check(&evidence, &mut |what| report(invariant, what));
    }
    violations
}

type Check = fn(&Evidence<'_>, &mut dyn FnMut(String));
