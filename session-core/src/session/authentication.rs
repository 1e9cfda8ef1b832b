//! Who is logged in, and how recently: checks that a handler makes before it goes on.

use std::time::Duration;

use super::Session;
use crate::error::{SessionError, SessionErrorKind};

impl Session {
    /// Returns the principal that is logged in, or an error that is answered with 401.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](SessionErrorKind::Unauthenticated) if nobody is logged in.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn account(session: &Session) -> Result<String, SessionError> {
    ///     let name = session.require_login()?;
    ///     Ok(format!("account of {name}"))
    /// }
    /// ```
    pub fn require_login(&self) -> Result<String, SessionError> {
        self.principal().ok_or_else(unauthenticated)
    }

    /// Whether somebody is logged in and authenticated less than `age` ago.
    ///
    /// The time of the login is the wall clock of the instance that stored it, and is compared with
    /// that of this instance. A login that lies in the future counts as just now, as everywhere in
    /// this crate, so instances should agree on the time within a few seconds.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// use std::time::Duration;
    ///
    /// fn asks_for_password(session: &Session) -> bool {
    ///     !session.fresh_within(Duration::from_secs(300))
    /// }
    /// ```
    pub fn fresh_within(&self, age: Duration) -> bool {
        let now = self.shared().config.now().wall;
        self.shared().cell.read(|state| {
            let principal = state
                .contents()
                .and_then(|contents| contents.principal.as_ref());
            let authenticated_at = principal.and(state.authenticated_at());
            authenticated_at.is_some_and(|at| now.since(at) < age)
        })
    }

    /// Returns the principal that authenticated less than `age` ago, or an error that is answered
    /// with 401 or 403. For operations that ask for the password again (OWASP ASVS 5.0, 7.5.1 and
    /// 7.5.3).
    ///
    /// The user authenticates again by another [`log_in`](Self::log_in) as the same principal.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](SessionErrorKind::Unauthenticated) if nobody is logged in,
    /// [`NotFresh`](SessionErrorKind::NotFresh) if the login is older.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// use std::time::Duration;
    ///
    /// fn change_email(session: &Session, email: &str) -> Result<(), SessionError> {
    ///     let name = session.require_fresh(Duration::from_secs(300))?;
    ///     // … change the address of this user …
    /// #   let _ = (name, email);
    ///     Ok(())
    /// }
    /// ```
    pub fn require_fresh(&self, age: Duration) -> Result<String, SessionError> {
        let principal = self.require_login()?;
        match self.fresh_within(age) {
            true => Ok(principal),
            false => Err(SessionError::new(
                SessionErrorKind::NotFresh,
                format!("last login is more than {age:?} ago"),
            )),
        }
    }
}

fn unauthenticated() -> SessionError {
    SessionError::new(SessionErrorKind::Unauthenticated, "nobody is logged in")
}
