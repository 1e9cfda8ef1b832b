//! The timeouts of the authentication assurance levels of NIST SP 800-63B-4.

use std::time::Duration;

use super::Timeouts;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

impl Timeouts {
    /// Returns the timeouts of assurance level 1: 30 days, used or not (NIST SP 800-63B-4, 2.1.3).
    ///
    /// It applies to visitors who have not logged in, too. Add a shorter
    /// [`idle_timeout`](crate::Builder::idle_timeout) if the store should not keep their sessions
    /// for a month.
    #[must_use]
    pub const fn aal1() -> Self {
        Self::of_level(30 * DAY_S, 30 * DAY_S)
    }

    /// Returns the timeouts of assurance level 2: 24 hours, and one hour without a request (NIST SP
    /// 800-63B-4, 2.2.3).
    #[must_use]
    pub const fn aal2() -> Self {
        Self::of_level(HOUR_S, DAY_S)
    }

    /// Returns the timeouts of assurance level 3: 12 hours, and 15 minutes without a request (NIST
    /// SP 800-63B-4, 2.3.3).
    #[must_use]
    pub const fn aal3() -> Self {
        Self::of_level(15 * MINUTE_S, 12 * HOUR_S)
    }

    const fn of_level(idle_s: u64, absolute_s: u64) -> Self {
        Self {
            idle: Duration::from_secs(idle_s),
            absolute: Some(Duration::from_secs(absolute_s)),
            touch_after: None,
            persistent: false,
        }
    }
}
