//! Responses. None with a session is cached: after a logout, the back button of the browser shows
//! nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use maud::Markup;
use serde::Serialize;

use crate::events::EventBody;

/// A response with a complete body, or with a stream of events.
pub(crate) type Reply = Response<ReplyBody>;

/// The body of a response.
pub(crate) type ReplyBody = Either<Full<Bytes>, EventBody>;

/// A complete body.
pub(crate) fn full(body: impl Into<Bytes>) -> ReplyBody {
    Either::Left(Full::new(body.into()))
}

/// A page.
pub(crate) fn html(page: Markup) -> Reply {
    with_headers(full(page.into_string()), "text/html; charset=utf-8")
}

/// A JSON document.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    let body = full(serde_json::to_vec(value).unwrap_or_default());
    with_headers(body, "application/json")
}

/// A stream of server-sent events.
pub(crate) fn events(body: EventBody) -> Reply {
    with_headers(Either::Right(body), "text/event-stream")
}

/// Success without a body.
pub(crate) fn no_content() -> Reply {
    let mut reply = Reply::new(full(""));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let no_store = HeaderValue::from_static("no-store");
    reply.headers_mut().insert(header::CACHE_CONTROL, no_store);
    reply
}

/// A redirect after a form, so that a reload does not send the form again.
pub(crate) fn see_other(location: &'static str) -> Reply {
    let mut reply = no_content();
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_static(location);
    reply.headers_mut().insert(header::LOCATION, location);
    reply
}

fn with_headers(body: ReplyBody, content_type: &'static str) -> Reply {
    let mut reply = Reply::new(body);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
