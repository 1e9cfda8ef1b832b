//! Which answer each kind of error is: the one table, and the response made of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use session_core::{SessionError, SessionErrorKind};

/// Makes a response of an error. Replaces [`reject`] in a service or layer.
pub(crate) type OnError = Arc<dyn Fn(&SessionError) -> Response<Bytes> + Send + Sync>;

/// The status that tells a client of this kind of error.
pub fn status(kind: SessionErrorKind) -> StatusCode {
    match kind {
        // try again: nothing is wrong with the request, and the cookie is still good
        SessionErrorKind::Unavailable
        | SessionErrorKind::Timeout
        | SessionErrorKind::Contention => StatusCode::SERVICE_UNAVAILABLE,
        SessionErrorKind::Conflict => StatusCode::CONFLICT,
        // what a client sends is what makes a session grow
        SessionErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        SessionErrorKind::Gone => StatusCode::UNAUTHORIZED,
        SessionErrorKind::Rejected(status) => status,
        // a fault of the service, not of the request
        SessionErrorKind::Corrupt
        | SessionErrorKind::Closed
        | SessionErrorKind::Encode
        | SessionErrorKind::Decode
        | SessionErrorKind::Entropy
        | SessionErrorKind::MissingLayer
        | SessionErrorKind::OutsidePath
        | SessionErrorKind::Config => StatusCode::INTERNAL_SERVER_ERROR,
        // a kind that a newer session-core knows
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to an error: the status with its name as text, not to be cached, and `Retry-After` where trying again helps.
pub fn reject(error: &SessionError) -> Response<Bytes> {
    let status = status(error.kind());
    let text = status
        .canonical_reason()
        .unwrap_or("error")
        .to_ascii_lowercase();
    let mut response = Response::new(Bytes::from(text + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error that a handler has made a response of, left in its extensions so that the service can answer it by its own table.
#[derive(Clone, Debug)]
pub(crate) struct Rejected(pub(crate) Arc<SessionError>);
