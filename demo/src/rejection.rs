//! The two reasons for which a handler returns no response of its own.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};
use session_hyper::SessionError;

use crate::reply::Reply;

/// A request that is invalid, with the reason for the client.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    /// The supported methods, if the request's is not among them (RFC 9110 §15.5.6).
    pub(crate) allow: Option<&'static str>,
}

/// Why a handler failed.
#[derive(Debug)]
pub(crate) enum HandlerError {
    Rejected(Rejection),
    /// The session service answers it and leaves the cookie alone.
    Session(SessionError),
}

impl Rejection {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            message: message.into(),
            allow: None,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here")
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("the methods here are {allow}"),
            )
        }
    }

    pub(crate) fn empty_password() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the password is empty")
    }

    pub(crate) fn password() -> Self {
        let message = "the password cannot be stored";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The message may quote a value, which is the client's own.
    pub(crate) fn invalid_json(error: serde_json::Error) -> Self {
        let message = format!("the body is not the expected JSON: {error}");
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Sets status and `Allow` of a response that shows the message.
    pub(crate) fn respond_with(&self, mut reply: Reply) -> Reply {
        *reply.status_mut() = self.status;
        if let Some(allow) = self.allow {
            let allow = HeaderValue::from_static(allow);
            reply.headers_mut().insert(header::ALLOW, allow);
        }
        reply
    }
}

impl From<Rejection> for HandlerError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<SessionError> for HandlerError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}
