//! Reading what a client sent: no more than fits, no longer than is decent, and as what it says it is.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::reply::Refusal;

/// Far above the largest session, far below what hurts.
const MAX_BYTES: usize = 1024 * 1024;
/// A client that dribbles its body holds a connection, and nothing else, for this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// The fields of a submitted form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// The field of that name; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }

    /// Whether there is a field of that name: a ticked box.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }
}

/// Reads a form.
pub(crate) async fn form(request: Request<Incoming>) -> Result<Form, Refusal> {
    Ok(Form::parse(&bytes(request).await?))
}

/// Reads JSON; an empty body counts as `{}`.
pub(crate) async fn json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let body = bytes(request).await?;
    let text = if body.is_empty() { b"{}" } else { &*body };
    serde_json::from_slice(text).map_err(Refusal::bad_json)
}

/// Reads one JSON value of any kind; an empty body is none.
pub(crate) async fn json_value(request: Request<Incoming>) -> Result<serde_json::Value, Refusal> {
    serde_json::from_slice(&bytes(request).await?).map_err(Refusal::bad_json)
}

/// Whether anything follows the head of the request.
pub(crate) fn has_body(request: &Request<Incoming>) -> bool {
    !request.body().is_end_stream()
}

async fn bytes(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(
        DEADLINE,
        Limited::new(request.into_body(), MAX_BYTES).collect(),
    )
    .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 1 MiB",
        )),
        Ok(Err(_)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body is incomplete",
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = Form::parse(b"username=ann&password=correct+horse&remember=on&note=%C3%A4%26");
        assert_eq!(form.field("username"), "ann");
        assert_eq!(form.field("password"), "correct horse");
        assert_eq!(form.field("note"), "\u{e4}&");
        assert_eq!(form.field("absent"), "");
        assert!(form.has("remember") && !form.has("absent"));
    }
}
