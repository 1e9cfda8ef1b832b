//! A request's session before anybody has asked for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderValue, request::Parts};
use tokio::sync::OnceCell;
use tracing::Instrument;

use crate::{
    SessionId,
    cookie_header::{self, CookieSpec, Values},
    error::{SessionError, SessionErrorKind},
    format::Verified,
    manager::Sessions,
    session::{Origin, Session},
    state::State,
};

/// The session of a request, not loaded yet: a copy of the cookie header, and nothing else has happened.
///
/// Clones are the same session. A request that never loads it costs the store nothing, and its response is left as it is.
#[derive(Clone)]
pub struct SessionHandle(Option<Arc<Shared>>);

struct Shared {
    begun: Begun,
    session: OnceCell<Session>,
    /// Somebody has tried to load it.
    asked: AtomicBool,
    /// The request is over.
    closed: AtomicBool,
}

/// What is known when a request begins.
pub(crate) struct Begun {
    pub(crate) sessions: Sessions,
    pub(crate) cookie: Arc<CookieSpec>,
    /// Why the options that were computed for this request cannot be used.
    pub(crate) unusable: Option<String>,
    pub(crate) in_scope: bool,
    pub(crate) headers: Vec<HeaderValue>,
    pub(crate) secure: Option<bool>,
    pub(crate) request: Option<Box<Parts>>,
}

impl SessionHandle {
    pub(crate) fn new(begun: Begun) -> Self {
        Self(Some(Arc::new(Shared {
            begun,
            session: OnceCell::new(),
            asked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })))
    }

    /// The handle of a request that no [`Sessions`] have begun. It loads nothing but an error, so that an adapter need not
    /// panic where a layer is missing.
    pub fn missing() -> Self {
        Self(None)
    }

    /// Loads the session: one round trip to the store, the first time and only where the request brought a signed cookie.
    ///
    /// A cookie that is missing, forged or names nothing gives a new, empty session under a fresh id; what the
    /// browser presented is never adopted (OWASP, strict session management).
    ///
    /// # Errors
    ///
    /// When the store fails: the session is then unknown, not empty. A later call tries again. Also when the request lies
    /// outside the cookie's path, or the generator of random bytes fails.
    pub async fn load(&self) -> Result<Session, SessionError> {
        let Some(shared) = &self.0 else {
            return Err(SessionError::new(
                SessionErrorKind::MissingLayer,
                "no session layer has seen this request",
            ));
        };
        shared.asked.store(shared.begun.in_scope, Ordering::Relaxed);
        let load = || {
            shared
                .begun
                .load()
                .instrument(tracing::debug_span!("session.load"))
        };
        let session = shared.session.get_or_try_init(load).await?;
        if shared.closed.load(Ordering::SeqCst) {
            // loaded after the response was committed: it may be read
            session.close();
        }
        Ok(session.clone())
    }

    /// The session, if it has been loaded.
    pub fn loaded(&self) -> Option<&Session> {
        self.0.as_ref().and_then(|shared| shared.session.get())
    }

    /// Ends the request's part: from now on a write is an error, also to a session that is loaded later.
    ///
    /// [`Sessions::finish`] does this first. An adapter does it where there is no response to finish.
    pub fn close(&self) {
        let Some(shared) = &self.0 else { return };
        shared.closed.store(true, Ordering::SeqCst);
        if let Some(session) = shared.session.get() {
            session.close();
        }
    }

    /// Whether it is one of these sessions.
    pub fn is_of(&self, sessions: &Sessions) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.begun.sessions.ptr_eq(sessions))
    }

    /// Whether the response may depend on the session, loaded or not.
    pub fn asked(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.asked.load(Ordering::Relaxed))
    }

    /// The name of its cookie.
    pub fn cookie_name(&self) -> Option<&str> {
        self.0.as_ref().map(|shared| shared.begun.cookie.name())
    }

    /// Whether the request lies within the cookie's path, so that it has a session at all.
    pub fn in_scope(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.begun.in_scope)
    }

    /// The id in the signed cookie, for logs. It says nothing about whether the session exists.
    pub fn presented_id(&self) -> Option<SessionId> {
        let begun = &self.0.as_ref()?.begun;
        begun
            .cookies()
            .iter()
            .find_map(|value| begun.verify(value))
            .map(|verified| verified.token.id())
    }

    /// The `Set-Cookie` that tells of a [`save`](Session::save) that succeeded during the request. It belongs on an error
    /// response too: what it tells has happened.
    pub fn settled_cookie(&self) -> Option<HeaderValue> {
        self.loaded().and_then(Session::cookie_header)
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("cookie", &self.cookie_name())
            .field("loaded", &self.loaded())
            .finish()
    }
}

impl Begun {
    async fn load(&self) -> Result<Session, SessionError> {
        if let Some(reason) = &self.unusable {
            return Err(SessionError::new(SessionErrorKind::Config, reason.as_str()));
        }
        if !self.in_scope {
            return Err(SessionError::new(
                SessionErrorKind::OutsidePath,
                "the request lies outside the session cookie's path",
            ));
        }
        let cookies = self.cookies();
        let mut origin = Origin {
            cookie: self.cookie.clone(),
            request: self.request.clone(),
            presented: !cookies.is_empty(),
            stale: false,
            presented_id: None,
            secure: self.secure,
        };
        for Verified { token, stale } in cookies.iter().filter_map(|value| self.verify(value)) {
            if let Some(stored) = self.sessions.find(&token).await? {
                origin.stale = stale;
                origin.presented_id = Some(token.id());
                return Ok(Session::new(
                    self.sessions.clone(),
                    origin,
                    State::Unmodified {
                        stored,
                        discarded: false,
                    },
                ));
            }
        }
        if origin.presented {
            tracing::debug!(
                cookie = self.cookie.name(),
                "the request's session cookie opens nothing"
            );
        }
        let fresh = self.sessions.fresh(&origin)?;
        Ok(Session::new(
            self.sessions.clone(),
            origin,
            State::Uninitialized {
                fresh,
                discarded: false,
            },
        ))
    }

    /// The values of the cookies of this name, in the order sent.
    fn cookies(&self) -> Values<'_> {
        cookie_header::values(&self.headers, self.cookie.name())
    }

    fn verify(&self, value: &str) -> Option<Verified> {
        self.sessions.verify(self.cookie.name(), value)
    }
}
