//! How long a session lives, and when extending its expiry is worth a write.

mod assurance;

use std::time::Duration;

use crate::{clock::millis, config_error::ConfigError};

/// Differences up to this are put down to rounding and to the clocks of store and instances.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The timeouts of sessions by the name of a standard, for [`Builder::timeouts`].
///
/// NIST SP 800-63B-4 limits, for each authentication assurance level (AAL), the time since the user
/// last authenticated, which is the absolute timeout here, and the time without activity, which is
/// the idle timeout. Another [`log_in`] restarts both (section 5.2). These are the longest timeouts
/// that the standard recommends; shorter ones conform too.
///
/// | | absolute timeout | idle timeout | section |
/// |---|---|---|---|
/// | [`aal1`](Self::aal1) | 30 days | none: as long as the absolute one | 2.1.3 |
/// | [`aal2`](Self::aal2) | 24 hours | 1 hour | 2.2.3 |
/// | [`aal3`](Self::aal3) | 12 hours | 15 minutes | 2.3.3 |
///
/// A timeout alone does not reach a level: the standard also says how users authenticate, and that
/// session secrets should not outlive the browser (section 5.1), so leave the cookie's `max_age`
/// unset.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use session_core::{MemoryStore, Sessions, SigningKeys, Timeouts};
///
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .timeouts(Timeouts::aal2())
///     .build()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
///
/// [`Builder::timeouts`]: crate::Builder::timeouts
/// [`log_in`]: crate::Session::log_in
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The longest gap between two requests.
    pub(crate) idle: Duration,
    /// The longest life since the login, or since the creation.
    pub(crate) absolute: Option<Duration>,
    /// The smallest extension of the configured idle timeout that is worth a write.
    pub(crate) touch_after: Option<Duration>,
    /// Whether the cookie outlives the browser session.
    pub(crate) persistent: bool,
}

/// The lifetime that one session has for itself, in place of the configured one. The configuration of the day supplies the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LifetimeOverrides {
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) persistent: Option<bool>,
}

impl Timeouts {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// If a timeout is zero, or if `touch_after` is not shorter than the idle timeout: the store
    /// would end a session in use before a touch is due.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (option, timeout) in [
            ("idle_timeout", Some(self.idle)),
            ("absolute_timeout", self.absolute),
        ] {
            if timeout.is_some_and(|timeout| millis(timeout) == 0) {
                return Err(ConfigError::Zero { option });
            }
        }
        match self.touch_after {
            Some(touch_after) if millis(touch_after) >= millis(self.idle) => {
                Err(ConfigError::TouchAfter {
                    touch_after,
                    idle_timeout: self.idle,
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks the `max_age` of cookie options against the absolute timeout.
    ///
    /// # Errors
    ///
    /// If the absolute timeout ends the session before `max_age` has passed.
    pub(crate) fn check_max_age(&self, max_age: Option<Duration>) -> Result<(), ConfigError> {
        match (max_age, self.absolute) {
            (Some(max_age), Some(absolute_timeout)) if max_age > absolute_timeout => {
                Err(ConfigError::MaxAgeBeyondAbsolute {
                    max_age,
                    absolute_timeout,
                })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The longest gap between two requests of this session.
    pub(crate) fn idle(&self, own: &LifetimeOverrides) -> Duration {
        own.idle.unwrap_or(self.idle)
    }

    /// The longest life of this session.
    pub(crate) fn absolute(&self, own: &LifetimeOverrides) -> Option<Duration> {
        own.absolute.or(self.absolute)
    }

    /// Whether the cookie of this session outlives the browser session.
    pub(crate) fn persistent(&self, own: &LifetimeOverrides) -> bool {
        own.persistent.unwrap_or(self.persistent)
    }

    /// The time to live of a session of this age, in whole milliseconds: min(idle, absolute − age).
    /// Zero if the session is over.
    pub(crate) fn ttl(&self, own: &LifetimeOverrides, age: Duration) -> Duration {
        let idle = self.idle(own);
        let ttl = match self.absolute(own) {
            Some(absolute) => idle.min(absolute.saturating_sub(age)),
            None => idle,
        };
        whole_millis(ttl)
    }

    /// The `max_age` to issue the cookie of a session of this age with: what is left of the
    /// absolute timeout, without limit if there is none. `None` if the cookie ends with the browser
    /// session.
    pub(crate) fn cookie_max_age(
        &self,
        own: &LifetimeOverrides,
        age: Duration,
    ) -> Option<Duration> {
        self.persistent(own).then(|| match self.absolute(own) {
            Some(absolute) => absolute.saturating_sub(age),
            None => Duration::MAX,
        })
    }

    /// The smallest extension of the life of this session that is worth a write.
    pub(crate) fn touch_after(&self, own: &LifetimeOverrides) -> Duration {
        match (own.idle, self.touch_after) {
            (None, Some(touch_after)) => touch_after,
            (Some(_), _) | (None, None) => self.idle(own) / 10,
        }
    }

    /// Whether a touch is due: the store keeps the session for `remaining`, and should keep it for
    /// `ttl`.
    ///
    /// A touch is due if it extends the life by more than `touch_after`, by default a tenth of the
    /// idle timeout. A session with an idle timeout of its own uses a tenth of that. Requests that
    /// do not overlap therefore touch a session at most ten times per idle timeout; those that
    /// overlap have all read the same expiry, and each of them may touch.
    ///
    /// When `ttl` reaches up to the absolute timeout, a touch is due even if it extends the life by
    /// less. It is the last one: without it, the store would end a session in use up to
    /// `touch_after` too early.
    ///
    /// A touch is also due if the store keeps the session for ever, or for longer than today's
    /// configuration allows.
    pub(crate) fn touch_due(
        &self,
        own: &LifetimeOverrides,
        ttl: Duration,
        remaining: Option<Duration>,
    ) -> bool {
        let touch_after = self.touch_after(own);
        let is_last = ttl < whole_millis(self.idle(own));
        match remaining {
            None => true,
            Some(remaining) if remaining > ttl => remaining - ttl > touch_after.max(TOLERANCE),
            Some(remaining) if is_last => ttl - remaining > touch_after.min(TOLERANCE),
            Some(remaining) => ttl - remaining > touch_after,
        }
    }
}

fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_secs(60);
    const SEC: Duration = Duration::from_secs(1);
    const CONFIGURED: LifetimeOverrides = LifetimeOverrides {
        idle: None,
        absolute: None,
        persistent: None,
    };
    const CONFIG: Timeouts = Timeouts {
        idle: MIN.saturating_mul(30),
        absolute: Some(MIN.saturating_mul(720)),
        touch_after: None,
        persistent: false,
    };

    fn with_idle(idle: Duration) -> LifetimeOverrides {
        LifetimeOverrides {
            idle: Some(idle),
            ..CONFIGURED
        }
    }

    /// Sends requests at a fixed interval until the store has dropped the session. Returns the age
    /// that it reached, and the ages at which it was touched.
    fn live(
        timeouts: &Timeouts,
        own: &LifetimeOverrides,
        interval: Duration,
    ) -> (Duration, Vec<Duration>) {
        let (mut age, mut touches) = (Duration::ZERO, Vec::new());
        let mut remaining = timeouts.ttl(own, age);
        loop {
            if remaining <= interval {
                return (age + remaining, touches);
            }
            age += interval;
            remaining -= interval;
            let ttl = timeouts.ttl(own, age);
            if timeouts.touch_due(own, ttl, Some(remaining)) {
                touches.push(age);
                remaining = ttl;
            }
        }
    }

    #[test]
    fn the_shorter_of_idle_and_absolute_timeout_applies() {
        assert_eq!(CONFIG.ttl(&CONFIGURED, Duration::ZERO), 30 * MIN);
        assert_eq!(CONFIG.ttl(&CONFIGURED, 700 * MIN), 20 * MIN);
        assert_eq!(CONFIG.ttl(&CONFIGURED, 720 * MIN), Duration::ZERO);
        assert_eq!(CONFIG.ttl(&CONFIGURED, 10_000 * MIN), Duration::ZERO);
        let unlimited = Timeouts {
            absolute: None,
            ..CONFIG
        };
        assert_eq!(unlimited.ttl(&CONFIGURED, 10_000 * MIN), 30 * MIN);
    }

    #[test]
    fn a_session_may_override_the_timeouts() {
        let month = 30 * 24 * 60 * MIN;
        let own = LifetimeOverrides {
            idle: Some(month),
            absolute: Some(3 * month),
            persistent: Some(true),
        };
        assert_eq!(CONFIG.ttl(&own, 2 * month), month);
        assert_eq!(CONFIG.ttl(&own, 3 * month - MIN), MIN);
        assert!(CONFIG.persistent(&own));
    }

    #[test]
    fn a_persistent_cookie_lasts_until_the_absolute_timeout() {
        let persistent = Timeouts {
            persistent: true,
            ..CONFIG
        };
        let unlimited = Timeouts {
            absolute: None,
            ..persistent
        };
        assert_eq!(CONFIG.cookie_max_age(&CONFIGURED, MIN), None);
        assert_eq!(persistent.cookie_max_age(&CONFIGURED, MIN), Some(719 * MIN));
        assert_eq!(
            persistent.cookie_max_age(&CONFIGURED, 721 * MIN),
            Some(Duration::ZERO)
        );
        assert_eq!(
            unlimited.cookie_max_age(&CONFIGURED, MIN),
            Some(Duration::MAX)
        );
    }

    #[test]
    fn a_touch_is_due_if_it_extends_the_life_by_more_than_a_tenth() {
        let due = |remaining| CONFIG.touch_due(&CONFIGURED, 30 * MIN, remaining);
        assert!(!due(Some(30 * MIN)));
        assert!(!due(Some(27 * MIN)));
        assert!(due(Some(27 * MIN - Duration::from_millis(1))));
    }

    #[test]
    fn a_touch_is_due_if_the_store_keeps_the_session_for_too_long() {
        let due = |remaining| CONFIG.touch_due(&CONFIGURED, 30 * MIN, remaining);
        assert!(due(None), "for ever");
        assert!(due(Some(33 * MIN + Duration::from_millis(1))));
        assert!(!due(Some(33 * MIN)));
    }

    #[test]
    fn touch_after_applies_to_the_configured_idle_timeout_only() {
        let config = Timeouts {
            touch_after: Some(10 * MIN),
            ..CONFIG
        };
        assert!(!config.touch_due(&CONFIGURED, 30 * MIN, Some(20 * MIN)));
        assert!(config.touch_due(&CONFIGURED, 30 * MIN, Some(20 * MIN - SEC)));
        let own = with_idle(5 * MIN);
        assert!(!config.touch_due(&own, 5 * MIN, Some(5 * MIN - 30 * SEC)));
        assert!(config.touch_due(&own, 5 * MIN, Some(5 * MIN - 31 * SEC)));
    }

    #[test]
    fn a_touch_after_that_ends_sessions_in_use_is_refused() {
        let with = |touch_after| Timeouts {
            touch_after: Some(touch_after),
            ..CONFIG
        };
        assert_eq!(with(30 * MIN - SEC).check(), Ok(()));
        assert_eq!(with(Duration::ZERO).check(), Ok(()));
        for touch_after in [30 * MIN, 31 * MIN] {
            let error = with(touch_after).check().expect_err("too long");
            assert_eq!(
                error,
                ConfigError::TouchAfter {
                    touch_after,
                    idle_timeout: 30 * MIN
                }
            );
        }
    }

    #[test]
    fn timeouts_of_zero_are_refused() {
        let short = Duration::from_micros(999);
        for (timeouts, option) in [
            (
                Timeouts {
                    idle: short,
                    ..CONFIG
                },
                "idle_timeout",
            ),
            (
                Timeouts {
                    absolute: Some(short),
                    ..CONFIG
                },
                "absolute_timeout",
            ),
        ] {
            assert_eq!(timeouts.check(), Err(ConfigError::Zero { option }));
        }
        assert_eq!(CONFIG.check(), Ok(()));
    }

    #[test]
    fn a_max_age_beyond_the_absolute_timeout_is_refused() {
        assert_eq!(CONFIG.check_max_age(None), Ok(()));
        assert_eq!(CONFIG.check_max_age(Some(720 * MIN)), Ok(()));
        let error = CONFIG.check_max_age(Some(721 * MIN)).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "cookie.max_age = 43260s exceeds absolute_timeout = 43200s: \
             raise absolute_timeout or set it to None"
        );
        let unlimited = Timeouts {
            absolute: None,
            ..CONFIG
        };
        assert_eq!(unlimited.check_max_age(Some(721 * MIN)), Ok(()));
    }

    #[test]
    fn a_session_in_use_lives_until_the_absolute_timeout() {
        for interval in [SEC, 10 * SEC, 7 * MIN, 29 * MIN] {
            let (age, _) = live(&CONFIG, &CONFIGURED, interval);
            assert!(
                age.abs_diff(720 * MIN) <= TOLERANCE,
                "{interval:?}: ended at {age:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_session_in_use_is_not_ended_early_and_touched_at_most_ten_times_per_idle_timeout(
            idle in 10..3600u32,
            own in proptest::option::of(10..3600u32),
            touch_after in proptest::option::of(0.0..1.0),
            step in 0.01..0.99f64,
        ) {
            let timeouts = Timeouts {
                idle: idle * SEC,
                absolute: Some(8 * 3600 * SEC),
                touch_after: touch_after.map(|part| (idle * SEC).mul_f64(part)),
                persistent: false,
            };
            prop_assert_eq!(timeouts.check(), Ok(()));
            let overrides = own.map_or(CONFIGURED, |own| with_idle(own * SEC));
            let idle = timeouts.idle(&overrides);
            // a gap that neither the idle timeout nor the touch that came before it rules out
            let slack = match (own, timeouts.touch_after) {
                (None, Some(touch_after)) => touch_after,
                (Some(_), _) | (None, None) => idle / 10,
            };
            let interval = (idle - slack).mul_f64(step).max(SEC / 10);
            prop_assume!(interval < idle - slack);
            let (age, touches) = live(&timeouts, &overrides, interval);
            prop_assert!(age.abs_diff(8 * 3600 * SEC) <= TOLERANCE, "ended at {:?}", age);
            if slack >= idle / 10 {
                // the one that reaches up to the absolute timeout may come on top
                let ordinary = &touches[..touches.len().saturating_sub(1)];
                prop_assert!(ordinary.windows(11).all(|ten| ten[10] - ten[0] > idle));
            }
        }
    }
}
