//! How long a session lives: the longest gap, the longest life, and when a touch is worth a write.

use std::time::Duration;

/// The configured lifetime of sessions. A session may carry its own ([`LifetimeOverrides`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) absolute: Option<Duration>,
    pub(crate) touch_after: Option<Duration>,
    pub(crate) persistent: bool,
}

/// What one session says of its own lifetime; where it is silent, the configuration of today holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LifetimeOverrides {
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) persistent: Option<bool>,
}

impl Timeouts {
    /// The longest gap between two requests of this session.
    pub(crate) fn idle(&self, life: &LifetimeOverrides) -> Duration {
        life.idle.unwrap_or(self.idle)
    }

    /// The longest life of this session, however busy.
    pub(crate) fn absolute(&self, life: &LifetimeOverrides) -> Option<Duration> {
        life.absolute.or(self.absolute)
    }

    /// Whether the browser keeps the cookie when it closes.
    pub(crate) fn persistent(&self, life: &LifetimeOverrides) -> bool {
        life.persistent.unwrap_or(self.persistent)
    }

    /// The life to give a session of this age: min(idle, absolute − age), whole milliseconds; zero when it is over.
    pub(crate) fn ttl(&self, life: &LifetimeOverrides, age: Duration) -> Duration {
        let idle = self.idle(life);
        let left = self
            .absolute(life)
            .map_or(idle, |absolute| idle.min(absolute.saturating_sub(age)));
        Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether a store that gives a session `remaining` life should be told `ttl` instead.
    ///
    /// Due when the life regained exceeds `touch_after`, one tenth of the idle timeout unless configured: a busy
    /// session writes its expiry at most ten times per idle window. Also due when the store would keep the session longer
    /// than today's configuration allows, or for ever.
    pub(crate) fn touch_due(
        &self,
        life: &LifetimeOverrides,
        ttl: Duration,
        remaining: Option<Duration>,
    ) -> bool {
        let slack = self.touch_after.unwrap_or(self.idle(life) / 10);
        match remaining {
            None => true,
            Some(remaining) if remaining <= ttl => ttl - remaining > slack,
            // clocks and milliseconds may disagree by a little
            Some(remaining) => remaining - ttl > slack.max(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(60);
    const CONFIG: Timeouts = Timeouts {
        idle: MIN.saturating_mul(30),
        absolute: Some(MIN.saturating_mul(720)),
        touch_after: None,
        persistent: false,
    };

    #[test]
    fn the_shorter_of_idle_and_absolute_rules() {
        let life = LifetimeOverrides::default();
        assert_eq!(CONFIG.ttl(&life, Duration::ZERO), 30 * MIN);
        assert_eq!(CONFIG.ttl(&life, 700 * MIN), 20 * MIN);
        assert_eq!(CONFIG.ttl(&life, 720 * MIN), Duration::ZERO);
        assert_eq!(CONFIG.ttl(&life, 10_000 * MIN), Duration::ZERO);
    }

    #[test]
    fn a_session_may_carry_its_own_timeouts() {
        let month = 30 * 24 * 60 * MIN;
        let life = LifetimeOverrides {
            idle: Some(month),
            absolute: Some(3 * month),
            persistent: Some(true),
        };
        assert_eq!(CONFIG.ttl(&life, 2 * month), month);
        assert_eq!(CONFIG.ttl(&life, 3 * month - MIN), MIN);
        assert!(CONFIG.persistent(&life));
    }

    #[test]
    fn a_touch_is_due_when_more_than_a_tenth_would_be_regained() {
        let due = |remaining| CONFIG.touch_due(&LifetimeOverrides::default(), 30 * MIN, remaining);
        assert!(!due(Some(30 * MIN)));
        assert!(!due(Some(27 * MIN)));
        assert!(due(Some(27 * MIN - Duration::from_millis(1))));
        assert!(due(None), "a session that would never expire");
        assert!(
            due(Some(34 * MIN)),
            "a session that was given more under another configuration"
        );
    }

    /// R14 in small: however many requests come, an idle window sees at most ten touches.
    #[test]
    fn a_busy_session_is_touched_at_most_ten_times_per_idle_window() {
        let (mut remaining, mut touches) = (30 * MIN, 0);
        for _ in 0..30 * 60 {
            remaining -= Duration::from_secs(1);
            if CONFIG.touch_due(&LifetimeOverrides::default(), 30 * MIN, Some(remaining)) {
                (remaining, touches) = (30 * MIN, touches + 1);
            }
        }
        assert_eq!(touches, 9);
    }
}
