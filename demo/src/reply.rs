//! Responses with a complete body. None of them is cached: after a logout, the back button of the
//! browser shows nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use maud::Markup;
use serde::Serialize;

/// A response with a complete body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A page.
pub(crate) fn html(page: Markup) -> Reply {
    with_type("text/html; charset=utf-8", page.into_string())
}

/// A JSON document.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    with_type(
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

/// Success without a body.
pub(crate) fn no_content() -> Reply {
    let mut reply = Reply::default();
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

fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Full::new(body.into()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
