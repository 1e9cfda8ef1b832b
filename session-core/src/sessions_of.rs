//! The sessions of a principal, or of a tag: to list and to end them.

use crate::{
    error::{SessionError, SessionErrorKind},
    id::SessionId,
    index::Index,
    label::Label,
    listing::IndexEntry,
    members,
    outcome::EndReason,
    session::Session,
    session_info::SessionInfo,
    sessions::Sessions,
};

/// The sessions of a principal ([`Sessions::of`]) or of a tag ([`Sessions::tagged`]).
///
/// No session whose login was acknowledged before a call began is missed: not by
/// [`list`](Self::list), and not by [`end_all`](Self::end_all). A login that is under way at the
/// same time is ended, or comes after. The exception is a store that lost entries of its index, by
/// eviction or in a failover: the next touch of a session lists it again.
///
/// ```
/// # use session_core::{Session, SessionError, Sessions};
/// async fn change_password(sessions: &Sessions, session: &Session) -> Result<(), SessionError> {
///     // … store the new password, then:
///     if let Some(principal) = session.principal() {
///         sessions.of(&principal).end_others(session).await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionsOf {
    sessions: Sessions,
    label: Label,
}

/// A part of a list of sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, in the order in which they logged in. There can be fewer than the limit, or
    /// none, although there are more pages, because some have ended.
    pub sessions: Vec<SessionInfo>,
    /// What to pass for the next page; `None` after the last one.
    pub next: Option<u64>,
}

impl Sessions {
    /// The sessions of a principal.
    pub fn of(&self, principal: &str) -> SessionsOf {
        SessionsOf {
            sessions: self.clone(),
            label: Label::Principal(principal.into()),
        }
    }

    /// The sessions with a tag ([`Session::set_tag`]): those of a tenant, or those that began with
    /// a session at an identity provider.
    pub fn tagged(&self, name: &str, value: &str) -> SessionsOf {
        SessionsOf {
            sessions: self.clone(),
            label: Label::Tag {
                name: name.into(),
                value: value.into(),
            },
        }
    }
}

impl SessionsOf {
    /// Returns all sessions, in the order in which they logged in. It reads one record for each.
    ///
    /// # Errors
    ///
    /// If the store fails, or does not list sessions ([`NoIndex`](SessionErrorKind::NoIndex)).
    pub async fn list(&self) -> Result<Vec<SessionInfo>, SessionError> {
        let entries = members::entries(self.sessions.config(), &self.label).await?;
        self.infos(entries).await
    }

    /// Returns up to `limit` sessions that come after an earlier page; `after` is 0 for the first
    /// page.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn page(&self, after: u64, limit: usize) -> Result<SessionPage, SessionError> {
        let index = members::index(self.sessions.config())?;
        let entries = index
            .entries(&self.label.key(), after, limit.max(1))
            .await?;
        let is_full = entries.len() >= limit.max(1);
        let next = entries.last().map(|entry| entry.sequence);
        Ok(SessionPage {
            next: next.filter(|_| is_full),
            sessions: self.infos(entries).await?,
        })
    }

    async fn infos(&self, entries: Vec<IndexEntry>) -> Result<Vec<SessionInfo>, SessionError> {
        let config = self.sessions.config();
        let living = members::living(config, &self.label, entries).await?;
        let now = config.now();
        let info = |(entry, current)| SessionInfo::new(&entry, current, now);
        Ok(living.into_iter().map(info).collect())
    }

    /// Ends all sessions, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list). Some sessions may then have been ended; call it again.
    pub async fn end_all(&self) -> Result<u64, SessionError> {
        self.end_except(None).await
    }

    /// Ends all sessions but this one, and returns how many: after a change of the password, or for
    /// a button "log out everywhere else".
    ///
    /// # Errors
    ///
    /// As [`end_all`](Self::end_all).
    pub async fn end_others(&self, session: &Session) -> Result<u64, SessionError> {
        self.end_except(session.id()).await
    }

    /// Ends a session, if it is one of these. Returns whether it was: a user must not be able to
    /// end the sessions of others.
    ///
    /// # Errors
    ///
    /// If the store fails; the session may then live on.
    pub async fn end(&self, id: &SessionId) -> Result<bool, SessionError> {
        members::index(self.sessions.config())?;
        let config = self.sessions.config();
        members::end_one(config, &self.label, id, EndReason::Revoked).await
    }

    async fn end_except(&self, kept: Option<SessionId>) -> Result<u64, SessionError> {
        let config = self.sessions.config();
        let deadline = config.clock.monotonic() + config.policy.commit_deadline;
        let (mut bound, mut ended, mut passes) = (None, 0, 0);
        loop {
            let mut entries = members::entries(config, &self.label).await?;
            // logins that come later are not waited for
            let last = entries.last().map_or(0, |entry| entry.sequence);
            let bound = *bound.get_or_insert(last);
            entries.retain(|entry| entry.sequence <= bound && Some(entry.id) != kept);
            if entries.is_empty() {
                return Ok(ended);
            }
            if passes > 0 && config.clock.monotonic() >= deadline {
                let detail = "sessions were listed again until the commit deadline";
                return Err(SessionError::new(SessionErrorKind::Contention, detail));
            }
            ended += members::end(config, &self.label, entries).await?.len() as u64;
            passes += 1;
        }
    }
}
