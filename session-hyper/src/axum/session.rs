//! Extractors of the session, whoever it belongs to.

use std::{convert::Infallible, ops::Deref};

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use session_core::SessionErrorKind;

use super::rejection::SessionRejection;
use crate::ext::{self, SessionRequestExt};

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
