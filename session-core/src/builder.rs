//! Building [`Sessions`]: every option, its default, and the checks between options.

use std::{fmt, sync::Arc, time::Duration};

use http::{Extensions, StatusCode, Uri, request::Parts};

use crate::{
    any_store::AnyStore,
    clock::{Clock, SystemClock},
    config::{Config, CookieFn, IdSource, LoadModeFn, OriginalUri},
    config_error::ConfigError,
    contention::ContentionLocks,
    cookie_options::CookieOptions,
    cookie_spec::CookieSpec,
    entropy::{Entropy, EntropyError, OsEntropy},
    event::{Observer, SessionEvent},
    format::Native,
    id::SessionId,
    policy::{ExpressOptions, LoadMode, OnDecodeError, OnLost, Policy, SessionLimit, WhenFull},
    records::Records,
    replicas::Replicas,
    request_scheme::Proxy,
    sessions::Sessions,
    sign::SigningKeys,
    store::Store,
    timeouts::Timeouts,
    transports::Transports,
    watchers::Watchers,
};

#[cfg(feature = "near-cache")]
use crate::near_cache::{NearCache, NearRecords};

/// The longest gap between two requests: OWASP Session Management Cheat Sheet, 15 to 30 minutes for
/// common applications.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The longest life: a working day (OWASP ASVS 5.0, 7.3.2).
const ABSOLUTE_TIMEOUT: Duration = Duration::from_secs(12 * 3600);
const MAX_BYTES: usize = 64 * 1024;
const COMMIT_DEADLINE: Duration = Duration::from_secs(5);
const SUPERSEDE_GRACE: Duration = Duration::from_secs(10);

/// Builds [`Sessions`].
///
#[doc = include_str!("../docs/options.md")]
#[must_use]
pub struct Builder {
    store: AnyStore,
    keys: Option<SigningKeys>,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
    cookie: CookieOptions,
    cookie_fn: Option<CookieFn>,
    transports: Transports,
    proxy: Proxy,
    policy: Policy,
    id_source: Option<IdSource>,
    original_uri: Option<OriginalUri>,
    lists_sessions: bool,
    observer: Option<Observer>,
    load_mode: Option<LoadModeFn>,
    #[cfg(feature = "near-cache")]
    near_cache: Option<NearCache>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
}

impl Sessions {
    /// Starts with a store; [`Builder`] lists the options.
    pub fn builder(store: impl Store) -> Builder {
        Builder {
            store: AnyStore::new(store),
            keys: None,
            idle_timeout: None,
            absolute_timeout: Some(ABSOLUTE_TIMEOUT),
            cookie: CookieOptions::default(),
            cookie_fn: None,
            transports: Transports::default(),
            proxy: Proxy::default(),
            policy: Policy {
                timeouts: Timeouts {
                    idle: IDLE_TIMEOUT,
                    absolute: None,
                    touch_after: None,
                    persistent: false,
                },
                express: ExpressOptions::default(),
                on_lost: OnLost::default(),
                on_decode_error: OnDecodeError::default(),
                max_bytes: MAX_BYTES,
                commit_deadline: COMMIT_DEADLINE,
                confirm: None,
                supersede_grace: SUPERSEDE_GRACE,
                commit_if: None,
                limit: None,
            },
            id_source: None,
            original_uri: None,
            lists_sessions: true,
            observer: None,
            load_mode: None,
            #[cfg(feature = "near-cache")]
            near_cache: None,
            entropy: Arc::new(OsEntropy),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Builder {
    /// The keys that sign the cookie.
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

    /// The longest life of a session; `None` is no limit.
    pub fn absolute_timeout(self, absolute: impl Into<Option<Duration>>) -> Self {
        Self {
            absolute_timeout: absolute.into(),
            ..self
        }
    }

    /// Both timeouts, by the name of a standard.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.idle_timeout(timeouts.idle)
            .absolute_timeout(timeouts.absolute)
    }

    /// The smallest extension that is worth writing a new expiry.
    pub fn touch_after(mut self, touch_after: Duration) -> Self {
        self.policy.timeouts.touch_after = Some(touch_after);
        self
    }

    /// Name and attributes of the cookie.
    pub fn cookie(self, cookie: CookieOptions) -> Self {
        Self { cookie, ..self }
    }

    /// Computes the cookie options of each request. If they are invalid, loading the session is an
    /// error of kind [`Config`](crate::SessionErrorKind::Config).
    pub fn cookie_for(
        self,
        options: impl Fn(&Parts) -> CookieOptions + Send + Sync + 'static,
    ) -> Self {
        Self {
            cookie_fn: Some(Arc::new(options)),
            ..self
        }
    }

    /// Whether tokens travel in cookies, in the `Authorization` header, or in either.
    pub fn transports(self, transports: Transports) -> Self {
        Self { transports, ..self }
    }

    /// The options that express-session has under the same names.
    pub fn express(mut self, options: ExpressOptions) -> Self {
        self.policy.express = options;
        self
    }

    /// Which proxy headers to trust when detecting HTTPS.
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { proxy, ..self }
    }

    /// What happens to a response if writes of its request were not stored.
    pub fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.policy.on_lost = on_lost;
        self
    }

    /// What happens if a stored record cannot be decoded.
    pub fn on_decode_error(mut self, on_decode_error: OnDecodeError) -> Self {
        self.policy.on_decode_error = on_decode_error;
        self
    }

    /// The largest data of one session, in bytes as stored.
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.policy.max_bytes = max_bytes;
        self
    }

    /// How long a commit may go on merging with concurrent changes.
    pub fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.policy.commit_deadline = deadline;
        self
    }

    /// How long after a renewal a request with the old token counts as one that was sent before it.
    pub fn supersede_grace(mut self, grace: Duration) -> Self {
        self.policy.supersede_grace = grace;
        self
    }

    /// Commits the session only with responses whose status passes.
    pub fn commit_if(
        mut self,
        commit_if: impl Fn(StatusCode) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.commit_if = Some(Arc::new(commit_if));
        self
    }

    /// Chooses the ids of new sessions, from the request that begins them.
    pub fn id_source(
        self,
        source: impl Fn(&Parts) -> Result<SessionId, EntropyError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id_source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Finds the URI that the browser requested, if a router removes a prefix.
    pub fn original_uri(
        self,
        find: impl Fn(&Extensions) -> Option<Uri> + Send + Sync + 'static,
    ) -> Self {
        Self {
            original_uri: Some(Arc::new(find)),
            ..self
        }
    }

    /// Whether the sessions of each principal and of each tag are listed, so that
    /// [`Sessions::of`] finds them.
    pub fn list_sessions(self, list_sessions: bool) -> Self {
        Self {
            lists_sessions: list_sessions,
            ..self
        }
    }

    /// Chooses how the session of a request is loaded. A page that polls must not keep its session
    /// alive:
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use session_core::{LoadMode, MemoryStore, Sessions, SigningKeys};
    ///
    /// let sessions = Sessions::builder(MemoryStore::new())
    ///     .signing_keys(SigningKeys::random()?)
    ///     .load_mode(|request| match request.uri.path() {
    ///         "/api/poll" => LoadMode::Peek,
    ///         _ => LoadMode::Normal,
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// ```
    pub fn load_mode(self, choose: impl Fn(&Parts) -> LoadMode + Send + Sync + 'static) -> Self {
        Self {
            load_mode: Some(Arc::new(choose)),
            ..self
        }
    }

    /// Waits for replicas of the store in every request that writes or ends a session, and in
    /// [`Sessions::end`] and the methods of [`SessionsOf`](crate::SessionsOf).
    ///
    /// What is said of [`Session::confirm`](crate::Session::confirm), which has the last word for
    /// its own request, applies.
    pub fn confirm(mut self, replicas: Replicas) -> Self {
        self.policy.confirm = Some(replicas);
        self
    }

    /// The most sessions that a principal may have.
    pub fn max_sessions_per_principal(mut self, max: usize, when_full: WhenFull) -> Self {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        self.policy.limit = Some(SessionLimit { max, when_full });
        self
    }

    /// Takes a function that is told what happens to sessions, after the store has confirmed it: for
    /// audit logs. It is called on the task of the request, so it must not block.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use session_core::{MemoryStore, SessionEventKind, Sessions, SigningKeys};
    ///
    /// let sessions = Sessions::builder(MemoryStore::new())
    ///     .signing_keys(SigningKeys::random()?)
    ///     .on_event(|event| match event.kind {
    ///         SessionEventKind::LoggedIn => println!("{} logged in", event.id),
    ///         SessionEventKind::Ended(reason) => println!("{} ended: {reason:?}", event.id),
    ///         _ => {}
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// ```
    pub fn on_event(self, observer: impl Fn(&SessionEvent<'_>) + Send + Sync + 'static) -> Self {
        Self {
            observer: Some(Arc::new(observer)),
            ..self
        }
    }

    /// Keeps loaded sessions in the process, so that a read costs no round trip to the store.
    /// [`guide::near_cache`](crate::guide::near_cache) has the whole story.
    ///
    /// The store announces every change, and a kept session is served only while it does. What this
    /// relaxes: after a logout, renewal or write on *another* instance, this one may serve the
    /// session as it was for as long as one message takes, and at most for
    /// [the lease](NearCache::lease) if the network fails. On the instance that made the change, it
    /// is in effect at once. Writes are compared with what is stored as ever, so no update is lost,
    /// and a token that a kept session does not confirm is looked up in the store.
    /// [`SessionHandle::load_fresh`](crate::SessionHandle::load_fresh) asks the store.
    #[cfg(feature = "near-cache")]
    pub fn near_cache(self, options: NearCache) -> Self {
        Self {
            near_cache: Some(options),
            ..self
        }
    }

    /// Replaces the clocks, for tests.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Replaces the random number generator, for tests.
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
    /// If an option is missing or invalid, or two options conflict; the error names them.
    pub fn build(mut self) -> Result<Sessions, ConfigError> {
        let keys = self.keys.ok_or(ConfigError::NoSigningKeys)?;
        let timeouts = &mut self.policy.timeouts;
        timeouts.idle = match (self.idle_timeout, self.cookie.max_age) {
            (Some(idle), Some(max_age)) if idle != max_age => {
                return Err(ConfigError::Exclusive {
                    first: format!("idle_timeout = {idle:?}"),
                    second: format!("cookie.max_age = {max_age:?}"),
                    rule: "max_age sets the idle timeout",
                });
            }
            (idle, max_age) => idle.or(max_age).unwrap_or(IDLE_TIMEOUT),
        };
        timeouts.absolute = self.absolute_timeout;
        timeouts.persistent = self.cookie.max_age.is_some();
        timeouts.check()?;
        timeouts.check_max_age(self.cookie.max_age)?;
        if self.policy.max_bytes == 0 {
            return Err(ConfigError::Zero {
                option: "max_bytes",
            });
        }
        let index = self.lists_sessions.then(|| self.store.index()).flatten();
        let option = "max_sessions_per_principal";
        match (self.policy.limit, &index) {
            (Some(SessionLimit { max: 0, .. }), _) => return Err(ConfigError::Zero { option }),
            (Some(_), None) => return Err(ConfigError::NoIndex { option }),
            (Some(_) | None, _) => {}
        }
        #[cfg(feature = "near-cache")]
        let near = match self.near_cache {
            Some(options) => Some(near_records(options, &self.store)?),
            None => None,
        };
        #[cfg(not(feature = "near-cache"))]
        let near = None;
        let watchers = Watchers::new(self.store.changes());
        Ok(Sessions::new(Config {
            records: Records::new(self.store, near),
            index,
            keys,
            cookie: Arc::new(CookieSpec::check(self.cookie)?),
            cookie_fn: self.cookie_fn,
            transports: self.transports,
            proxy: self.proxy,
            policy: self.policy,
            id_source: self.id_source,
            original_uri: self.original_uri,
            load_mode: self.load_mode,
            observer: self.observer,
            entropy: self.entropy,
            clock: self.clock,
            format: Box::new(Native),
            contention: ContentionLocks::default(),
            watchers,
        }))
    }
}

#[cfg(feature = "near-cache")]
fn near_records(options: NearCache, store: &AnyStore) -> Result<NearRecords, ConfigError> {
    let zero = |option| Err(ConfigError::Zero { option });
    match (options, store.changes()) {
        (NearCache { max_bytes: 0, .. }, _) => zero("near_cache.max_bytes"),
        (NearCache { lease, .. }, _) if lease.is_zero() => zero("near_cache.lease"),
        (_, None) => Err(ConfigError::NoChanges {
            option: "near_cache",
        }),
        (_, Some(changes)) => Ok(NearRecords::new(options, changes)),
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
    use crate::memory::MemoryStore;

    const MINUTE: Duration = Duration::from_secs(60);

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
    fn invalid_and_conflicting_options_are_rejected_by_name() {
        check(Sessions::builder(MemoryStore::new()), &["signing_keys"]);
        check(builder().idle_timeout(Duration::ZERO), &["idle_timeout"]);
        check(
            builder().absolute_timeout(Duration::from_nanos(1)),
            &["absolute_timeout"],
        );
        check(builder().max_bytes(0), &["max_bytes"]);
        check(
            builder().idle_timeout(MINUTE).touch_after(MINUTE),
            &["touch_after", "idle_timeout", "60s"],
        );
        let month = 30 * 24 * 60 * MINUTE;
        check(
            builder()
                .cookie(CookieOptions::new().max_age(month))
                .idle_timeout(MINUTE),
            &["idle_timeout = 60s", "cookie.max_age = 2592000s"],
        );
        check(
            builder().cookie(CookieOptions::new().max_age(month)),
            &["absolute_timeout = 43200s", "cookie.max_age = 2592000s"],
        );
        check(
            builder().cookie(CookieOptions::new().name("__Host-x").path("/app")),
            &["cookie.name", "cookie.path = /app"],
        );
    }
}
