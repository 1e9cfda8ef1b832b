//! What a session can be found by, beside its principal.

use std::sync::Arc;

use super::Session;
use crate::{error::SessionError, op::Op, verbs::Verb};

impl Session {
    /// Returns the value of a tag.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn tenant(session: &Session) -> Option<String> {
    ///     session.tag("tenant")
    /// }
    /// ```
    pub fn tag(&self, name: &str) -> Option<String> {
        self.shared()
            .cell
            .read(|state| Some(state.contents()?.tag(name)?.to_owned()))
    }

    /// Sets a tag, by which [`Sessions::tagged`](crate::Sessions::tagged) finds the session: a
    /// tenant, or the session at an identity provider that a back-channel logout names. A tag has
    /// one value.
    ///
    /// Setting it lists the session, also if the tag has this value already, so that an attempt
    /// that failed can be repeated. It is a write, so set tags at the login rather than in each
    /// request.
    ///
    /// # Errors
    ///
    /// If the session would exceed the size limit, has ended, or is closed. The session is then
    /// unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn log_in_by_oidc(session: &Session, sub: &str, sid: &str) -> Result<(), SessionError> {
    ///     session.log_in(sub)?;
    ///     session.set_tag("sid", sid)
    /// }
    /// ```
    pub fn set_tag(&self, name: &str, value: &str) -> Result<(), SessionError> {
        let (name, value) = (Arc::from(name), Arc::from(value));
        self.call(Verb::Write(Op::SetTag(name, Some(value))))
    }

    /// Removes a tag.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn leave_tenant(session: &Session) -> Result<(), SessionError> {
    ///     session.remove_tag("tenant")
    /// }
    /// ```
    pub fn remove_tag(&self, name: &str) -> Result<(), SessionError> {
        self.call(Verb::Write(Op::SetTag(Arc::from(name), None)))
    }
}
