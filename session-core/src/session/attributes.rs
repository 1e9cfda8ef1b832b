//! What a session is called, how long it lives, and its cookie.

use std::time::{Duration, SystemTime};

use super::Session;
use crate::{
    body::Transport,
    clock::Millis,
    cookie_options::CookieOptions,
    error::SessionError,
    id::SessionId,
    op::Op,
    state::State,
    timeouts::{LifetimeOverrides, Timeouts},
    token::SessionToken,
    verbs::Verb,
    watch::Watch,
};

impl Session {
    /// Returns the id; `None` if the session has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn log_line(session: &Session) -> String {
    ///     session.id().map_or("no session".into(), |id| format!("session {id}"))
    /// }
    /// ```
    pub fn id(&self) -> Option<SessionId> {
        self.shared()
            .cell
            .read(|state| state.token().map(SessionToken::id))
    }

    /// Returns the token, to open the session outside of this request
    /// ([`Sessions::open`](crate::Sessions::open)); `None` if the session has ended.
    ///
    /// Before a commit it may be one that is not stored yet, or that is about to be replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError, Sessions};
    /// async fn in_background(sessions: Sessions, session: &Session) -> Result<(), SessionError> {
    ///     let Some(token) = session.token() else { return Ok(()) };
    ///     if let Some(session) = sessions.open(&token).await? {
    ///         session.insert("report", "ready")?;
    ///         let _ = session.save().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn token(&self) -> Option<SessionToken> {
        self.shared().cell.read(|state| state.token().cloned())
    }

    /// Begins to watch whether the session ends, here or on another instance. For adapters;
    /// applications await `ended` of their adapter.
    pub fn watch(&self) -> Watch {
        Watch::new(self.shared().config.clone(), self.id(), self.principal())
    }

    /// Returns how the token of the session travels. Only a token in a cookie is attached by the
    /// browser to requests that another site has caused.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, Transport};
    /// fn needs_csrf_check(session: &Session) -> bool {
    ///     session.transport() == Transport::Cookie
    /// }
    /// ```
    pub fn transport(&self) -> Transport {
        self.shared().request.transport
    }

    /// Whether this is another session than the one that the request presented: it began with this
    /// request.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn is_first_visit(session: &Session) -> bool {
    ///     session.is_new()
    /// }
    /// ```
    pub fn is_new(&self) -> bool {
        self.id()
            .is_some_and(|id| Some(id) != self.shared().request.presented)
    }

    /// Whether there is anything to write. A change that was reverted is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn has_unsaved_changes(session: &Session) -> bool {
    ///     session.is_modified()
    /// }
    /// ```
    pub fn is_modified(&self) -> bool {
        self.shared().cell.read(State::is_modified)
    }

    /// Returns when the session began; `None` if it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// # use std::time::SystemTime;
    /// fn began(session: &Session) -> Option<SystemTime> {
    ///     session.created_at()
    /// }
    /// ```
    pub fn created_at(&self) -> Option<SystemTime> {
        self.shared()
            .cell
            .read(State::created_at)
            .map(Millis::to_system_time)
    }

    /// Returns when the session ends unless another request comes; `None` if it has ended.
    ///
    /// For a stored session this is what the store says, for others the life that it would get now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// use std::time::{Duration, SystemTime};
    ///
    /// fn ends_soon(session: &Session) -> bool {
    ///     session.expires_at().is_some_and(|at| at < SystemTime::now() + Duration::from_secs(60))
    /// }
    /// ```
    pub fn expires_at(&self) -> Option<SystemTime> {
        let config = &self.shared().config;
        let now = config.now();
        let life = self.shared().cell.read(|state| match state {
            State::Unmodified { base, .. } if !base.touch_requested => base.remaining(now),
            State::Uninitialized { .. }
            | State::New { .. }
            | State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Regenerated { .. }
            | State::Superseded { .. }
            | State::InDoubt(_) => {
                let age = now.wall.since(state.began_at()?);
                Some(config.policy.timeouts.ttl(&state.contents()?.lifetime, age))
            }
            State::Destroyed { .. } | State::Gone => None,
        })?;
        Some(now.wall.plus(life).to_system_time())
    }

    /// Returns the time left to a session whose cookie outlives the browser; `None` for one that
    /// ends with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn is_remembered(session: &Session) -> bool {
    ///     session.max_age().is_some()
    /// }
    /// ```
    pub fn max_age(&self) -> Option<Duration> {
        self.original_max_age()?;
        let expires_at = self.expires_at()?;
        let now = self.shared().config.now().wall.to_system_time();
        Some(expires_at.duration_since(now).unwrap_or_default())
    }

    /// Returns the idle timeout of a session whose cookie outlives the browser; `None` for one that
    /// ends with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// # use std::time::Duration;
    /// fn remembered_for(session: &Session) -> Option<Duration> {
    ///     session.original_max_age()
    /// }
    /// ```
    pub fn original_max_age(&self) -> Option<Duration> {
        self.timeouts(|timeouts, lifetime| {
            timeouts
                .persistent(lifetime)
                .then(|| timeouts.idle(lifetime))
        })
    }

    /// Returns the longest gap between two requests of this session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn minutes(session: &Session) -> u64 {
    ///     session.idle_timeout().as_secs() / 60
    /// }
    /// ```
    pub fn idle_timeout(&self) -> Duration {
        self.timeouts(Timeouts::idle)
    }

    /// Returns the longest life of this session, counted from the login, or from its creation if
    /// nobody has logged in.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn hours(session: &Session) -> Option<u64> {
    ///     Some(session.absolute_timeout()?.as_secs() / 3600)
    /// }
    /// ```
    pub fn absolute_timeout(&self) -> Option<Duration> {
        self.timeouts(Timeouts::absolute)
    }

    /// Gives this session an idle timeout of its own and a cookie that outlives the browser; `None`
    /// gives it the configured idle timeout and a cookie that ends with the browser. Zero ends the
    /// session.
    ///
    /// The absolute timeout still limits the session, so set that too for "remember me".
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// use std::time::Duration;
    ///
    /// const DAY: Duration = Duration::from_secs(86_400);
    ///
    /// fn remember_me(session: &Session) -> Result<(), SessionError> {
    ///     session.set_max_age(Some(30 * DAY))?;
    ///     session.set_absolute_timeout(Some(90 * DAY))
    /// }
    /// ```
    pub fn set_max_age(&self, max_age: Option<Duration>) -> Result<(), SessionError> {
        self.call(Verb::Write(Op::SetIdle(max_age)))?;
        self.call(Verb::Write(Op::SetPersistent(Some(max_age.is_some()))))
    }

    /// Gives this session an idle timeout of its own; `None` gives it the configured one.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// # use std::time::Duration;
    /// fn shorten(session: &Session) -> Result<(), SessionError> {
    ///     session.set_idle_timeout(Some(Duration::from_secs(300)))
    /// }
    /// ```
    pub fn set_idle_timeout(&self, idle: Option<Duration>) -> Result<(), SessionError> {
        self.call(Verb::Write(Op::SetIdle(idle)))
    }

    /// Gives this session an absolute timeout of its own; `None` gives it the configured one.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// # use std::time::Duration;
    /// fn at_most_an_hour(session: &Session) -> Result<(), SessionError> {
    ///     session.set_absolute_timeout(Some(Duration::from_secs(3600)))
    /// }
    /// ```
    pub fn set_absolute_timeout(&self, absolute: Option<Duration>) -> Result<(), SessionError> {
        self.call(Verb::Write(Op::SetAbsolute(absolute)))
    }

    /// Chooses whether the cookie of this session outlives the browser; `None` as configured.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn on_a_shared_computer(session: &Session) -> Result<(), SessionError> {
    ///     session.set_persistent(Some(false))
    /// }
    /// ```
    pub fn set_persistent(&self, persistent: Option<bool>) -> Result<(), SessionError> {
        self.call(Verb::Write(Op::SetPersistent(persistent)))
    }

    /// Ends this session at a fixed time, however busy it is: an absolute timeout given as a
    /// moment.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// # use std::time::SystemTime;
    /// fn until(session: &Session, end_of_exam: SystemTime) -> Result<(), SessionError> {
    ///     session.set_expires_at(end_of_exam)
    /// }
    /// ```
    pub fn set_expires_at(&self, at: SystemTime) -> Result<(), SessionError> {
        let Some(began_at) = self.shared().cell.read(State::began_at) else {
            return Err(SessionError::gone());
        };
        let absolute = at
            .duration_since(began_at.to_system_time())
            .unwrap_or_default();
        self.set_absolute_timeout(Some(absolute))
    }

    /// Returns the cookie options of this session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{CookieOptions, Session};
    /// fn options(session: &Session) -> CookieOptions {
    ///     session.cookie()
    /// }
    /// ```
    pub fn cookie(&self) -> CookieOptions {
        let spec = &self.shared().request.cookie;
        self.shared().cell.read(|state| match state.contents() {
            Some(contents) => spec.options_with(&contents.cookie),
            None => spec.options().clone(),
        })
    }

    /// Changes the cookie attributes of this session, now and for as long as it lives, and sends
    /// the cookie. Name, path, domain and `max_age` cannot be changed.
    ///
    /// # Errors
    ///
    /// If the options are invalid or conflict, or the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{SameSite, Session, SessionError};
    /// fn same_site_only(session: &Session) -> Result<(), SessionError> {
    ///     session.set_cookie(|cookie| cookie.same_site(SameSite::Strict))
    /// }
    /// ```
    pub fn set_cookie(
        &self,
        change: impl FnOnce(CookieOptions) -> CookieOptions,
    ) -> Result<(), SessionError> {
        let overrides = self
            .shared()
            .request
            .cookie
            .overrides(change(self.cookie()))?;
        self.call(Verb::Write(Op::SetCookie(overrides)))
    }

    fn timeouts<T>(&self, look: impl FnOnce(&Timeouts, &LifetimeOverrides) -> T) -> T {
        let timeouts = &self.shared().config.policy.timeouts;
        self.shared().cell.read(|state| match state.contents() {
            Some(contents) => look(timeouts, &contents.lifetime),
            None => look(timeouts, &LifetimeOverrides::default()),
        })
    }
}
