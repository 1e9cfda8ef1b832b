//! Responses, and the two ways in which a request comes to nothing: it is refused, or its session fails.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use maud::Markup;
use serde::Serialize;
use session_hyper::SessionError;

use crate::{
    body,
    csrf::{self, Forged},
};

/// A response whose body is at hand.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A request that is not served, by its own fault.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    /// The methods that there are, where the one asked for is not among them (RFC 9110 §15.5.6).
    pub(crate) allow: Option<&'static str>,
}

/// Why a handler has no response of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// Left to the session service, which answers it and leaves the cookie alone.
    Session(SessionError),
}

impl Refusal {
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
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow} here"))
        }
    }

    /// The place and kind of the mistake; serde's words may quote a value, but it is the client's own.
    pub(crate) fn bad_json(error: serde_json::Error) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not the JSON expected here: {error}"),
        )
    }

    /// The answer, with its body in the words of whoever was asked.
    pub(crate) fn reply(&self, body: impl FnOnce(&Self) -> Reply) -> Reply {
        let mut reply = body(self);
        *reply.status_mut() = self.status;
        if let Some(allow) = self.allow {
            reply
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        reply
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// Refuses a request that another site may have made the browser send.
pub(crate) fn refuse_forged(request: &Request<Incoming>, programs: bool) -> Result<(), Refusal> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let checked = csrf::check(&csrf::Incoming {
        method,
        uri,
        headers,
        has_body: body::has_body(request),
        programs,
    });
    checked.map_err(|forged| {
        let message = match (forged, programs) {
            (Forged::CrossSite, _) => "the request comes from another site",
            (Forged::Unknown, true) => "send JSON, with content-type: application/json",
            (Forged::Unknown, false) => {
                "the request does not tell which site it comes from; programs use the JSON API"
            }
        };
        tracing::info!(?forged, "refused as possibly forged");
        Refusal::new(StatusCode::FORBIDDEN, message)
    })
}

/// A page, which the browser is not to show again without asking: the back button after a logout finds nothing.
pub(crate) fn html(page: Markup) -> Reply {
    with_type("text/html; charset=utf-8", page.into_string())
}

/// JSON, not to be kept for the same reason.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    with_type(
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

/// Done, and nothing to tell.
pub(crate) fn no_content() -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Where to look after a form was handled, so that a reload does not send it twice.
pub(crate) fn see_other(location: &'static str) -> Reply {
    let mut reply = no_content();
    *reply.status_mut() = StatusCode::SEE_OTHER;
    reply
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(location));
    reply
}

fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Full::new(body.into()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
