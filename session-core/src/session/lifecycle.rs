//! Logging in, renewing, ending and saving a session.

use std::{sync::Arc, time::SystemTime};

use super::Session;
use crate::{
    clock::Millis, commit, decide::Trigger, draft::Login, error::SessionError, outcome::Outcome,
    policy::Unset, replicas::Replicas, verbs::Verb,
};

impl Session {
    /// Returns the principal that is logged in.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn greeting(session: &Session) -> String {
    ///     match session.principal() {
    ///         Some(name) => format!("Hello, {name}"),
    ///         None => "Please log in".into(),
    ///     }
    /// }
    /// ```
    pub fn principal(&self) -> Option<String> {
        self.shared()
            .cell
            .read(|state| Some(state.contents()?.principal.as_deref()?.to_owned()))
    }

    /// Returns when somebody last logged in. [`fresh_within`](Self::fresh_within) tells whether that
    /// is recent.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// use std::time::SystemTime;
    ///
    /// fn last_login(session: &Session) -> Option<SystemTime> {
    ///     session.authenticated_at()
    /// }
    /// ```
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        self.shared()
            .cell
            .read(|state| state.authenticated_at())
            .map(Millis::to_system_time)
    }

    /// Logs a principal in. Call it when credentials have been checked, also if the same principal
    /// is logged in already.
    ///
    /// The session gets a new token, so that none from before the login opens it (OWASP Session
    /// Management Cheat Sheet, "Renew the Session ID After Any Privilege Level Change"), and its
    /// absolute timeout starts again. What an anonymous session holds is kept. If another principal
    /// is logged in, their session ends and a new one begins, with a new id and no data.
    ///
    /// A login is stored even if the session ended or its token was superseded concurrently: it
    /// then begins a new session, with the writes of this request. Two concurrent logins of one
    /// principal, such as from a form that was sent twice, both return a token that works.
    ///
    /// # Errors
    ///
    /// If the session is closed or was [opened](crate::Sessions::open) outside of a request, or no
    /// token can be generated.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// # fn password_is_right(_: &str, _: &str) -> bool { true }
    /// fn log_in(session: &Session, name: &str, password: &str) -> Result<bool, SessionError> {
    ///     if !password_is_right(name, password) {
    ///         return Ok(false);
    ///     }
    ///     session.log_in(name)?;
    ///     Ok(true)
    /// }
    /// ```
    pub fn log_in(&self, principal: &str) -> Result<(), SessionError> {
        self.check_response()?;
        let login = Login {
            principal: Arc::from(principal),
            at: self.shared().config.now().wall,
        };
        self.call(Verb::LogIn(login))
    }

    /// Gives the session a new token at the commit. Id and data stay, and the old token is dead.
    /// For a change of privilege other than a login.
    ///
    /// Requests that are in progress with the old token keep their authority over the session, and
    /// their writes are merged. If a concurrent request renews first, this renewal is dropped.
    ///
    /// # Errors
    ///
    /// If the session has ended, is closed, or was [opened](crate::Sessions::open) outside of a
    /// request.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn enter_admin_mode(session: &Session) -> Result<(), SessionError> {
    ///     session.renew()?;
    ///     session.insert("admin", &true)
    /// }
    /// ```
    pub fn renew(&self) -> Result<(), SessionError> {
        self.check_response()?;
        self.call(Verb::Renew)
    }

    /// Ends this session and begins an empty one with a new id, which is stored even if nothing is
    /// written to it.
    ///
    /// The new session is created even if the old one was destroyed concurrently, so do not copy
    /// data across by hand; use [`renew`](Self::renew) or [`log_in`](Self::log_in), which keep it.
    ///
    /// # Errors
    ///
    /// If no token can be generated, the session is closed, or was [opened](crate::Sessions::open)
    /// outside of a request. The session is then unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn start_over(session: &Session) -> Result<(), SessionError> {
    ///     session.regenerate()?;
    ///     session.insert("step", &1)
    /// }
    /// ```
    pub fn regenerate(&self) -> Result<(), SessionError> {
        self.check_response()?;
        self.call(Verb::Regenerate)
    }

    /// Ends the session at the commit, and removes the cookie. This is the logout, which
    /// [`log_out`](Self::log_out) is another name for.
    ///
    /// A write after it begins a new session with a new id; the old one never returns. The commit
    /// fails with [`Superseded`](crate::SessionErrorKind::Superseded) if the request's token
    /// carries no authority over the session, so that nobody is told that they are logged out while
    /// their session lives.
    ///
    /// # Errors
    ///
    /// If the session is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn log_out(session: &Session) -> Result<(), SessionError> {
    ///     session.destroy()?;
    ///     session.insert("flash", "You are logged out.")
    /// }
    /// ```
    pub fn destroy(&self) -> Result<(), SessionError> {
        self.call(Verb::Destroy)
    }

    /// Ends the session at the commit, and removes the cookie: [`destroy`](Self::destroy) by the
    /// name that goes with [`log_in`](Self::log_in).
    ///
    /// # Errors
    ///
    /// As [`destroy`](Self::destroy).
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn log_out(session: &Session) -> Result<(), SessionError> {
    ///     session.log_out()
    /// }
    /// ```
    pub fn log_out(&self) -> Result<(), SessionError> {
        self.destroy()
    }

    /// Forgets what this request wrote. A [`destroy`](Self::destroy),
    /// [`regenerate`](Self::regenerate) or [`renew`](Self::renew) stays.
    ///
    /// # Errors
    ///
    /// If the session is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn preview(session: &Session) -> Result<(), SessionError> {
    ///     session.insert("theme", "dark")?;
    ///     // … render the page …
    ///     session.discard()
    /// }
    /// ```
    pub fn discard(&self) -> Result<(), SessionError> {
        self.call(Verb::Discard)
    }

    /// Does what [`ExpressOptions::unset`](crate::ExpressOptions::unset) says: discards the changes
    /// or destroys the session.
    ///
    /// # Errors
    ///
    /// If the session is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn forget(session: &Session) -> Result<(), SessionError> {
    ///     session.unset()
    /// }
    /// ```
    pub fn unset(&self) -> Result<(), SessionError> {
        match self.shared().config.policy.express.unset {
            Unset::Discard => self.discard(),
            Unset::Destroy => self.destroy(),
        }
    }

    /// Resets the idle timer at the commit, ignoring `touch_after`.
    ///
    /// # Errors
    ///
    /// If the session is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn keep_alive(session: &Session) -> Result<(), SessionError> {
    ///     session.touch()
    /// }
    /// ```
    pub fn touch(&self) -> Result<(), SessionError> {
        self.call(Verb::Touch)
    }

    /// Makes a concurrent change an error ([`Conflict`](crate::SessionErrorKind::Conflict)) instead
    /// of merging. Of several concurrent requests that call it and write or end the session,
    /// exactly one succeeds.
    ///
    /// It compares values, principal, lifetimes and cookie attributes, so a concurrent touch, a
    /// renewal, or a login as the same principal is no change. It covers [`destroy`](Self::destroy)
    /// and [`regenerate`](Self::regenerate); a request that writes nothing checks nothing.
    ///
    /// # Examples
    ///
    /// A code that can be used once:
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// async fn redeem(session: &Session, code: u32) -> Result<bool, SessionError> {
    ///     session.require_unchanged();
    ///     let expected: Option<u32> = session.remove("code")?;
    ///     session.save().await?;
    ///     Ok(expected == Some(code))
    /// }
    /// ```
    pub fn require_unchanged(&self) {
        self.shared().cell.require_unchanged();
    }

    /// Waits until so many replicas of the store have what this request writes and ends, before it
    /// is acknowledged; a touch is not waited for. For what must not be undone when the primary of
    /// the store is lost, such as the end of a stolen session.
    ///
    /// Fewer replicas in time is no error. [`Outcome::replicas`](crate::Outcome::replicas) says how
    /// many there were, and what to do about too few is up to the application. Repeating the request
    /// does not help: the session has ended, so there is nothing left to write and to wait for.
    /// [`Builder::confirm`](crate::Builder::confirm) asks for it in every request.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Replicas, Session, SessionError};
    /// use http::StatusCode;
    ///
    /// async fn log_out(session: &Session) -> Result<StatusCode, SessionError> {
    ///     session.confirm(Replicas::new(1));
    ///     session.log_out()?;
    ///     let outcome = session.save().await?;
    ///     Ok(match outcome.replicas {
    ///         // the session has ended, but a failover at this moment would bring it back
    ///         Some(0) => StatusCode::ACCEPTED,
    ///         // also if nothing was written, or the store has no replicas
    ///         Some(_) | None => StatusCode::OK,
    ///     })
    /// }
    /// ```
    pub fn confirm(&self, replicas: Replicas) {
        self.shared().cell.confirm(replicas);
    }

    /// Writes now instead of at the end of the request. A new session is stored even if it is
    /// empty, and its cookie is sent with the response even if that is an error response.
    ///
    /// # Errors
    ///
    /// As [`Sessions::finish`](crate::Sessions::finish); [`Gone`](crate::SessionErrorKind::Gone) or
    /// [`Superseded`](crate::SessionErrorKind::Superseded) if writes of the application were not
    /// stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the write may or may not be applied. The next commit of the
    /// session finds out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// async fn reserve(session: &Session) -> Result<(), SessionError> {
    ///     session.insert("reserved", &true)?;
    ///     let _ = session.save().await?;
    ///     // … now other requests see it …
    ///     Ok(())
    /// }
    /// ```
    pub async fn save(&self) -> Result<Outcome, SessionError> {
        if self.shared().cell.is_closed() {
            return Err(SessionError::closed());
        }
        let outcome = commit::commit(self.shared(), Trigger::Save).await?;
        match outcome.lost {
            Some(loss) => Err(loss.into()),
            None => Ok(outcome),
        }
    }

    /// Reads the session again. What was written here and not saved is lost.
    ///
    /// # Errors
    ///
    /// [`Gone`](crate::SessionErrorKind::Gone) if the session is not stored,
    /// [`Superseded`](crate::SessionErrorKind::Superseded) if it has changed its principal; also if
    /// the store fails. The session is then unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// async fn latest(session: &Session) -> Result<Option<u32>, SessionError> {
    ///     session.reload().await?;
    ///     session.get("progress")
    /// }
    /// ```
    pub async fn reload(&self) -> Result<(), SessionError> {
        if self.shared().cell.is_closed() {
            return Err(SessionError::closed());
        }
        commit::reload(self.shared()).await
    }

    /// A new token is of no use if there is no response to send it with.
    fn check_response(&self) -> Result<(), SessionError> {
        match self.shared().request.has_response {
            true => Ok(()),
            false => Err(SessionError::cannot_set_cookie()),
        }
    }
}
