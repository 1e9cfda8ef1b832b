//! Extractors for axum.
//!
//! | argument of a handler | gives |
//! |---|---|
//! | [`Session`] | the session, loaded |
//! | `Option<Session>` | the same; `None` if the request has no session |
//! | [`SessionHandle`] | the session, not loaded |
//! | [`Authenticated`] | the session and the principal; 401 if nobody is logged in |
//! | [`Fresh<SECONDS>`](Fresh) | the same; 403 if the login is older than that |
//!
//! A handler that returns `Result<_, SessionRejection>` can use `?` on session errors.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn app() -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use session_hyper::{Key, MemoryStore, SessionLayer, Sessions, SigningKeys};
//! use session_hyper::axum::{Session, SessionRejection};
//!
//! const VIEWS: Key<u32> = Key::new("views");
//!
//! async fn home(session: Session) -> Result<String, SessionRejection> {
//!     let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
//!     Ok(format!("{views} views\n"))
//! }
//!
//! let sessions = Sessions::builder(MemoryStore::new())
//!     .signing_keys(SigningKeys::random()?)
//!     .build()?;
//! let app = Router::new().route("/", get(home)).layer(SessionLayer::new(sessions));
//! # Ok(app)
//! # }
//! ```
//!
//! The types wrap those of `session-core` and dereference to them, because an extractor must belong
//! to the crate that implements it.

mod login;

use std::{convert::Infallible, error::Error, fmt, ops::Deref, sync::Arc};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use session_core::{SessionError, SessionErrorKind};

use crate::{
    error_response::{HandlerError, error_response},
    ext::{self, SessionRequestExt},
};

pub use login::{Authenticated, Fresh};

/// Extracts the request's session and loads it. If the store is unavailable, the handler does not
/// run.
///
/// `Option<Session>` is `None` if the request has no session, because it is outside of the cookie's
/// path or no session layer has processed it. It does not tell whether somebody is logged in, and
/// an outage is an error there too.
///
/// # Examples
///
/// ```
/// use session_hyper::axum::Session;
///
/// async fn greeting(session: Session) -> String {
///     match session.principal() {
///         Some(name) => format!("hello, {name}"),
///         None => "hello, stranger".into(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Session(pub session_core::Session);

impl Deref for Session {
    type Target = session_core::Session;

    fn deref(&self) -> &session_core::Session {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SessionRejection> {
        Ok(Self(parts.session().load().await?))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = SessionRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Option<Self>, SessionRejection> {
        let Some(handle) = ext::get(&parts.extensions, None) else {
            return Ok(None);
        };
        match handle.load().await {
            Ok(session) => Ok(Some(Self(session))),
            Err(error) if error.kind() == SessionErrorKind::OutsidePath => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Extracts the request's session without loading it.
///
/// # Examples
///
/// A cached page is served without a call to the session store:
///
/// ```
/// use session_hyper::axum::{SessionHandle, SessionRejection};
///
/// # fn cached() -> Option<String> { None }
/// async fn page(handle: SessionHandle) -> Result<String, SessionRejection> {
///     if let Some(page) = cached() {
///         return Ok(page);
///     }
///     let session = handle.load().await?;
///     Ok(format!("{} values", session.names().len()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct SessionHandle(pub session_core::SessionHandle);

impl Deref for SessionHandle {
    type Target = session_core::SessionHandle;

    fn deref(&self) -> &session_core::SessionHandle {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for SessionHandle {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.session()))
    }
}

/// A [`SessionError`] as a response: what the extractors reject with, and what `?` turns a session
/// error into.
///
/// Under a [`SessionLayer`](crate::SessionLayer), the layer's `on_error` makes the response. The
/// session is committed as with any other response.
///
/// # Examples
///
/// ```
/// use session_hyper::axum::{Session, SessionRejection};
///
/// async fn log_out(session: Session) -> Result<&'static str, SessionRejection> {
///     session.log_out()?;
///     Ok("logged out")
/// }
/// ```
pub struct SessionRejection(Arc<SessionError>);

impl SessionRejection {
    /// Returns the error.
    pub fn error(&self) -> &SessionError {
        &self.0
    }
}

impl From<SessionError> for SessionRejection {
    fn from(error: SessionError) -> Self {
        Self(Arc::new(error))
    }
}

impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        let mut response = error_response(&self.0).map(Body::from);
        response.extensions_mut().insert(HandlerError(self.0));
        response
    }
}

impl fmt::Debug for SessionRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionRejection").field(&self.0).finish()
    }
}

impl fmt::Display for SessionRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SessionRejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
