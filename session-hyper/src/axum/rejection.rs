//! A session error as a response.

use std::{error::Error, fmt, sync::Arc};

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use session_core::SessionError;

use crate::error_response::{HandlerError, error_response};

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
