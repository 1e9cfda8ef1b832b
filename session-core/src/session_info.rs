//! A session as others see it: what a list of somebody's sessions tells.

use std::{fmt, sync::Arc, time::SystemTime};

use serde::de::DeserializeOwned;

use crate::{
    body::{Contents, Transport},
    clock::{Millis, Now},
    error::SessionError,
    id::SessionId,
    key::AsKey,
    listing::IndexEntry,
    session,
    state::Current,
};

/// A session in a list of [`SessionsOf`](crate::SessionsOf). It holds no token.
///
/// ```
/// # use session_core::SessionInfo;
/// fn line(info: &SessionInfo) -> String {
///     let browser: Option<String> = info.get("user_agent").ok().flatten();
///     format!("{} {}", info.id(), browser.unwrap_or_default())
/// }
/// ```
#[derive(Clone)]
pub struct SessionInfo {
    id: SessionId,
    contents: Arc<Contents>,
    created_at: Millis,
    authenticated_at: Option<Millis>,
    last_seen_at: SystemTime,
    expires_at: Option<Millis>,
    transport: Transport,
}

impl SessionInfo {
    pub(crate) fn new(entry: &IndexEntry, current: Current, now: Now) -> Self {
        let elapsed = now.monotonic.saturating_sub(current.seen_at);
        let remaining = current.ttl.map(|ttl| ttl.saturating_sub(elapsed));
        Self {
            id: entry.id,
            contents: current.body.contents,
            created_at: current.body.created_at,
            authenticated_at: current.body.authenticated_at,
            last_seen_at: entry.seen_at,
            expires_at: remaining.map(|remaining| now.wall.plus(remaining)),
            transport: current.body.transport,
        }
    }

    /// Returns the id, which [`SessionsOf::end`](crate::SessionsOf::end) takes.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the principal that is logged in.
    pub fn principal(&self) -> Option<&str> {
        self.contents.principal.as_deref()
    }

    /// Returns the value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.contents.tag(name)
    }

    /// Returns when the session began.
    pub fn created_at(&self) -> SystemTime {
        self.created_at.to_system_time()
    }

    /// Returns when somebody last logged in.
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        self.authenticated_at.map(Millis::to_system_time)
    }

    /// Returns when the session was last used: its last login or due touch. A touch is due after a
    /// tenth of the idle timeout, unless [`touch_after`](crate::Builder::touch_after) says
    /// otherwise, so a session in use can be listed as seen that long ago.
    pub fn last_seen_at(&self) -> SystemTime {
        self.last_seen_at
    }

    /// Returns when the session ends unless it is used; `None` if the store keeps it for ever.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at.map(Millis::to_system_time)
    }

    /// Returns how its token travels: in a browser's cookie, or as the bearer token of an app.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the value of a name, decoded; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Decode`](crate::SessionErrorKind::Decode) if the stored value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, SessionError> {
        let value = self.contents.data.get(key.name());
        value
            .map(|value| session::decode(key.name(), &value))
            .transpose()
    }
}

impl fmt::Debug for SessionInfo {
    /// Prints neither values nor the principal, because they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionInfo")
            .field("id", &self.id)
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}
