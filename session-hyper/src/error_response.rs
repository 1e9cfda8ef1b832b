//! The response to an error: the one table of status codes, and the response made from it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use session_core::{SessionError, SessionErrorKind};

/// Seconds after which a client may retry. An outage that lasts longer answers the retry as fast.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// The body that asks for another login of the same user.
const REAUTHENTICATE: &[u8] = br#"{"error":"reauthenticate"}"#;

/// Returns the status code for a kind of error.
///
/// [`guide::errors`](session_core::guide::errors) lists them all.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use session_hyper::{SessionErrorKind, status_code};
///
/// assert_eq!(status_code(SessionErrorKind::Unavailable), StatusCode::SERVICE_UNAVAILABLE);
/// ```
pub fn status_code(kind: SessionErrorKind) -> StatusCode {
    match kind {
        SessionErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        SessionErrorKind::NotFresh => StatusCode::FORBIDDEN,
        SessionErrorKind::Gone
        | SessionErrorKind::Superseded
        | SessionErrorKind::Conflict
        | SessionErrorKind::LimitReached => StatusCode::CONFLICT,
        // the client decides what makes its session grow
        SessionErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        SessionErrorKind::Rejected(status) => status,
        // nothing is wrong with the request, and the cookie is still good
        SessionErrorKind::Unavailable
        | SessionErrorKind::Overloaded
        | SessionErrorKind::Contention
        | SessionErrorKind::InDoubt => StatusCode::SERVICE_UNAVAILABLE,
        SessionErrorKind::Corrupt
        | SessionErrorKind::Closed
        | SessionErrorKind::Reentrant
        | SessionErrorKind::Encode
        | SessionErrorKind::Decode
        | SessionErrorKind::Entropy
        | SessionErrorKind::MissingLayer
        | SessionErrorKind::OutsidePath
        | SessionErrorKind::CannotSetCookie
        | SessionErrorKind::NoIndex
        | SessionErrorKind::Config => StatusCode::INTERNAL_SERVER_ERROR,
        // a kind that a newer session-core added
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Makes the response to an error.
///
/// It has the status of [`status_code`] with the reason phrase as text, must not be cached, and
/// asks for a retry (`Retry-After`, RFC 9110 §10.2.3) if the status is 503. The body of
/// [`NotFresh`](SessionErrorKind::NotFresh) is JSON, `{"error":"reauthenticate"}`, because a script
/// has to tell it from another 403 to ask for the password.
///
/// # Examples
///
/// The default of [`SessionLayer::on_error`](crate::SessionLayer::on_error), with a body of your
/// own:
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn layer(sessions: session_hyper::Sessions) -> session_hyper::SessionLayer {
/// use session_hyper::{SessionLayer, error_response};
///
/// SessionLayer::new(sessions)
///     .on_error(|error| error_response(error).map(|_| "Please try again.".into()))
/// # }
/// ```
pub fn error_response(error: &SessionError) -> Response<Bytes> {
    let status = status_code(error.kind());
    let (content_type, body) = match error.kind() {
        SessionErrorKind::NotFresh => ("application/json", Bytes::from_static(REAUTHENTICATE)),
        _ => {
            let text = status.canonical_reason().unwrap_or("error");
            let text = text.to_ascii_lowercase() + "\n";
            ("text/plain; charset=utf-8", Bytes::from(text))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

/// The error that a handler turned into a response, in the extensions of that response. A session
/// layer replaces the response by its own.
#[derive(Clone, Debug)]
pub(crate) struct HandlerError(pub(crate) Arc<SessionError>);

#[cfg(test)]
mod tests {
    use session_core::SessionHandle;

    use super::*;

    #[tokio::test]
    async fn an_error_of_the_service_is_a_plain_response_that_is_not_cached() {
        let error = SessionHandle::missing().load().await;
        let response = error_response(&error.expect_err("there is no layer"));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(response.body(), "internal server error\n");
    }
}
