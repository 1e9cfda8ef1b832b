//! Putting [`Sessions`] together: every option, its default, and the checks between them.

use std::{fmt, sync::Arc, time::Duration};

use http::{Extensions, StatusCode, Uri, request::Parts};

use crate::{
    Clock, SessionId, SystemClock,
    cookie::CookieOptions,
    error::ConfigError,
    format::Native,
    manager::{Config, Queues, Sessions},
    policy::{OnGone, Policy, Undecodable, Unset},
    sign::SigningKeys,
    store::AnyStore,
    timeouts::Timeouts,
    token::{Entropy, EntropyError, OsEntropy},
    transport::Proxy,
};

/// Longest gap between two requests, unless configured. OWASP Session Management Cheat Sheet: 15 to 30 minutes for common
/// applications.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Longest life, unless configured: a working day (OWASP ASVS 7.3.2).
const ABSOLUTE_TIMEOUT: Duration = Duration::from_secs(12 * 3600);
const MAX_BYTES: usize = 64 * 1024;
const COMMIT_ATTEMPTS: u32 = 100;
const COMMIT_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) type IdSource = Arc<dyn Fn(&Parts) -> Result<SessionId, EntropyError> + Send + Sync>;
pub(crate) type CookieFn = Arc<dyn Fn(&Parts) -> CookieOptions + Send + Sync>;
pub(crate) type OriginalUri = Arc<dyn Fn(&Extensions) -> Option<Uri> + Send + Sync>;

/// Builds [`Sessions`].
///
/// | option | default | meaning |
/// |---|---|---|
/// | `signing_keys` | required | keys that sign the cookie, newest first |
/// | `idle_timeout` | 30 minutes | longest gap between two requests |
/// | `absolute_timeout` | 12 hours | longest life, however busy |
/// | `touch_after` | a tenth of the idle timeout | life regained that is worth a write |
/// | `cookie` | see [`CookieOptions`] | name and attributes of the cookie |
/// | `rolling` | false | set the cookie on every response of a session that was loaded |
/// | `resave` | false | store a loaded session again although nothing changed |
/// | `save_uninitialized` | false | store a new session although nothing was written |
/// | `unset` | [`Unset::Discard`] | what `Session::unset` does |
/// | `proxy` | [`Proxy::Unspecified`] | whom to believe about TLS |
/// | `on_gone` | [`OnGone::Discard`] | what to do when the session ended meanwhile |
/// | `undecodable` | [`Undecodable::StartFresh`] | what to do about records that cannot be read |
/// | `max_bytes` | 65536 | largest data of one session |
/// | `commit_attempts` | 100 | how often a write is replayed on what others wrote |
/// | `commit_deadline` | 5 seconds | how long a write may go on being replayed |
/// | `commit_if` | any status | responses that write the session |
/// | `remove_rejected_cookie` | false | remove a cookie that opens nothing |
#[must_use]
pub struct Builder {
    store: AnyStore,
    keys: Option<SigningKeys>,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
    cookie: CookieOptions,
    cookie_fn: Option<CookieFn>,
    proxy: Proxy,
    policy: Policy,
    id_source: Option<IdSource>,
    original_uri: Option<OriginalUri>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
}

impl Builder {
    pub(crate) fn new(store: AnyStore) -> Self {
        Self {
            store,
            keys: None,
            idle_timeout: None,
            absolute_timeout: Some(ABSOLUTE_TIMEOUT),
            cookie: CookieOptions::default(),
            cookie_fn: None,
            proxy: Proxy::default(),
            policy: Policy {
                timeouts: Timeouts {
                    idle: IDLE_TIMEOUT,
                    absolute: None,
                    touch_after: None,
                    persistent: false,
                },
                resave: false,
                save_uninitialized: false,
                rolling: false,
                unset: Unset::default(),
                on_gone: OnGone::default(),
                undecodable: Undecodable::default(),
                remove_rejected_cookie: false,
                max_bytes: MAX_BYTES,
                commit_attempts: COMMIT_ATTEMPTS,
                commit_deadline: COMMIT_DEADLINE,
                commit_if: None,
            },
            id_source: None,
            original_uri: None,
            entropy: Arc::new(OsEntropy),
            clock: Arc::new(SystemClock),
        }
    }

    /// The keys that sign the cookie. Every instance needs the same ones.
    pub fn signing_keys(self, keys: SigningKeys) -> Self {
        Self {
            keys: Some(keys),
            ..self
        }
    }

    /// The longest gap between two requests of a session.
    pub fn idle_timeout(self, idle: Duration) -> Self {
        Self {
            idle_timeout: Some(idle),
            ..self
        }
    }

    /// The longest life of a session, however busy; `None` for no limit.
    pub fn absolute_timeout(self, absolute: impl Into<Option<Duration>>) -> Self {
        Self {
            absolute_timeout: absolute.into(),
            ..self
        }
    }

    /// How much life a touch must regain to be worth a write. Zero writes at every request.
    pub fn touch_after(mut self, touch_after: Duration) -> Self {
        self.policy.timeouts.touch_after = Some(touch_after);
        self
    }

    /// Name and attributes of the cookie.
    pub fn cookie(self, cookie: CookieOptions) -> Self {
        Self { cookie, ..self }
    }

    /// Computes the cookie options from each request, once. Its `max_age` goes to sessions that begin with the request.
    pub fn cookie_for(
        self,
        options: impl Fn(&Parts) -> CookieOptions + Send + Sync + 'static,
    ) -> Self {
        Self {
            cookie_fn: Some(Arc::new(options)),
            ..self
        }
    }

    /// Sets the cookie on every response of a session that was loaded. Each such response costs a write: it proves that no other
    /// request has renewed the token meanwhile, which the cookie would otherwise undo in the browser.
    pub fn rolling(mut self, rolling: bool) -> Self {
        self.policy.rolling = rolling;
        self
    }

    /// Stores a loaded session at the end of each request although nothing changed. A change of somebody else is
    /// never overwritten by it.
    pub fn resave(mut self, resave: bool) -> Self {
        self.policy.resave = resave;
        self
    }

    /// Stores a new session that a handler loaded although nothing was written to it.
    pub fn save_uninitialized(mut self, save: bool) -> Self {
        self.policy.save_uninitialized = save;
        self
    }

    /// What [`Session::unset`](crate::Session::unset) does.
    pub fn unset(mut self, unset: Unset) -> Self {
        self.policy.unset = unset;
        self
    }

    /// Whom to believe that the browser spoke TLS.
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { proxy, ..self }
    }

    /// What to do when the session ended while a request wrote to it.
    pub fn on_gone(mut self, on_gone: OnGone) -> Self {
        self.policy.on_gone = on_gone;
        self
    }

    /// What to do about stored records that cannot be read.
    pub fn undecodable(mut self, undecodable: Undecodable) -> Self {
        self.policy.undecodable = undecodable;
        self
    }

    /// The largest data of one session, in bytes as stored.
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.policy.max_bytes = max_bytes;
        self
    }

    /// How often one commit tries again on what others wrote meanwhile.
    pub fn commit_attempts(mut self, attempts: u32) -> Self {
        self.policy.commit_attempts = attempts;
        self
    }

    /// How long one commit may go on trying again on what others wrote meanwhile. What a single call to the store may take is the
    /// store's to bound.
    pub fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.policy.commit_deadline = deadline;
        self
    }

    /// Writes the session only with responses whose status passes. By default every response does: the counter
    /// of failed logins on an error page counts.
    pub fn commit_if(
        mut self,
        commit_if: impl Fn(StatusCode) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.commit_if = Some(Arc::new(commit_if));
        self
    }

    /// Removes a cookie that turned out, on loading, to open no session. Off by default: a response that races
    /// with a login would remove the new cookie.
    pub fn remove_rejected_cookie(mut self, remove: bool) -> Self {
        self.policy.remove_rejected_cookie = remove;
        self
    }

    /// Names new sessions. It sees the request that begins the session; the secret half of the token is drawn from the
    /// operating system all the same. An id that is taken is asked for again.
    pub fn id_source(
        self,
        source: impl Fn(&Parts) -> Result<SessionId, EntropyError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id_source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Finds the URI that the browser asked for, where a router has stripped a prefix before sessions see the request. The cookie
    /// path is held against it.
    pub fn original_uri(
        self,
        find: impl Fn(&Extensions) -> Option<Uri> + Send + Sync + 'static,
    ) -> Self {
        Self {
            original_uri: Some(Arc::new(find)),
            ..self
        }
    }

    /// Tells the age of sessions by this clock, for tests.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Draws tokens from this source, for tests. Anything but a cryptographic generator hands sessions to strangers.
    pub fn insecure_entropy(self, entropy: impl Entropy) -> Self {
        Self {
            entropy: Arc::new(entropy),
            ..self
        }
    }

    /// Checks the options and builds.
    ///
    /// # Errors
    ///
    /// When an option is missing or unusable, or two exclude each other; the error names them.
    pub fn build(mut self) -> Result<Sessions, ConfigError> {
        let keys = self.keys.ok_or(ConfigError::NoSigningKeys)?;
        let timeouts = &mut self.policy.timeouts;
        timeouts.idle = match (self.idle_timeout, self.cookie.max_age) {
            (Some(idle), Some(max_age)) if idle != max_age => {
                return Err(ConfigError::Exclusive {
                    first: format!("idle_timeout = {idle:?}"),
                    second: format!("cookie.max_age = {max_age:?}"),
                    rule: "the browser and the store would keep the session for different times",
                });
            }
            (idle, max_age) => idle.or(max_age).unwrap_or(IDLE_TIMEOUT),
        };
        timeouts.absolute = self.absolute_timeout;
        timeouts.persistent = self.cookie.max_age.is_some();
        for (option, zero) in [
            ("idle_timeout", timeouts.idle.as_millis() == 0),
            (
                "absolute_timeout",
                timeouts
                    .absolute
                    .is_some_and(|absolute| absolute.as_millis() == 0),
            ),
            ("commit_attempts", self.policy.commit_attempts == 0),
            ("max_bytes", self.policy.max_bytes == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero { option });
            }
        }
        Ok(Sessions::new(Config {
            store: self.store,
            keys,
            cookie: Arc::new(self.cookie.check()?),
            cookie_fn: self.cookie_fn,
            proxy: self.proxy,
            policy: self.policy,
            id_source: self.id_source,
            original_uri: self.original_uri,
            entropy: self.entropy,
            clock: self.clock,
            format: Box::new(Native),
            queues: Queues::default(),
        }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("keys", &self.keys)
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn builder() -> Builder {
        Sessions::builder(MemoryStore::new()).signing_keys(SigningKeys::random().expect("entropy"))
    }

    #[track_caller]
    fn check(builder: Builder, expected: &[&str]) {
        let error = builder.build().expect_err("must not build").to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} does not name {part}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_when_built() {
        check(Sessions::builder(MemoryStore::new()), &["signing_keys"]);
        check(builder().idle_timeout(Duration::ZERO), &["idle_timeout"]);
        check(
            builder().absolute_timeout(Duration::from_nanos(1)),
            &["absolute_timeout"],
        );
        check(builder().commit_attempts(0), &["commit_attempts"]);
        check(builder().max_bytes(0), &["max_bytes"]);
        let month = CookieOptions::new().max_age(Duration::from_secs(30 * 86400));
        check(
            builder()
                .cookie(month)
                .idle_timeout(Duration::from_secs(60)),
            &["idle_timeout = 60s", "cookie.max_age = 2592000s"],
        );
        check(
            builder().cookie(CookieOptions::new().name("__Host-x").path("/app")),
            &["cookie.name", "cookie.path = /app"],
        );
    }
}
