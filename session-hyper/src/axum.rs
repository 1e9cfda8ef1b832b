//! Extractors for axum.
//!
//! ```no_run
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
//! let sessions = Sessions::builder(MemoryStore::new()).signing_keys(SigningKeys::random()?).build()?;
//! let app = Router::new().route("/", get(home)).layer(SessionLayer::new(sessions));
//! # Ok(app)
//! # }
//! ```
//!
//! The types wrap those of `session-core` and dereference to them, because an extractor must belong to the crate that
//! implements it.

use std::{convert::Infallible, fmt, ops::Deref, sync::Arc};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use session_core::{SessionError, SessionErrorKind};

use crate::{
    ext::{self, RequestSession},
    reject::{self, Rejected},
};

/// Loads the request's session. An outage is answered before the handler runs.
///
/// `Option<Session>` is `None` where the request has no session: outside of the cookie's path, or without a layer. An outage
/// is an error there too.
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
        let Some(handle) = ext::present(&parts.extensions, None) else {
            return Ok(None);
        };
        match handle.load().await {
            Ok(session) => Ok(Some(Self(session))),
            Err(error) if error.kind() == SessionErrorKind::OutsidePath => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Gives the request's session without loading it.
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

/// A [`SessionError`] as a response: what extractors reject with, and what `?` in a handler turns session errors into.
///
/// Under a [`SessionLayer`](crate::SessionLayer) it is answered by the layer's `on_error`.
pub struct SessionRejection(Arc<SessionError>);

impl SessionRejection {
    /// The error.
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
        let mut response = reject::reject(&self.0).map(Body::from);
        response.extensions_mut().insert(Rejected(self.0));
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

impl std::error::Error for SessionRejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
