//! Reading the body of a request, within a limit on its size and on the time it takes.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::rejection::Rejection;

/// Far more than the largest session, and little memory.
const MAX_BYTES: usize = 1024 * 1024;
/// A client that sends its body slowly keeps its connection for this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// The fields of a submitted form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// The field of this name; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }

    /// Whether there is a field of this name, such as a ticked box.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }
}

/// Reads a form.
pub(crate) async fn form(request: Request<Incoming>) -> Result<Form, Rejection> {
    Ok(Form::parse(&bytes(request).await?))
}

/// Reads JSON; an empty body counts as `{}`.
pub(crate) async fn json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Rejection> {
    let body = bytes(request).await?;
    let text = if body.is_empty() { b"{}" } else { &*body };
    serde_json::from_slice(text).map_err(Rejection::invalid_json)
}

/// Reads a JSON value of any type; an empty body is an error.
pub(crate) async fn json_value(request: Request<Incoming>) -> Result<serde_json::Value, Rejection> {
    serde_json::from_slice(&bytes(request).await?).map_err(Rejection::invalid_json)
}

/// Whether the request has a body.
pub(crate) fn has_body(request: &Request<Incoming>) -> bool {
    !request.body().is_end_stream()
}

async fn bytes(request: Request<Incoming>) -> Result<Bytes, Rejection> {
    match tokio::time::timeout(
        DEADLINE,
        Limited::new(request.into_body(), MAX_BYTES).collect(),
    )
    .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Rejection::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 1 MiB",
        )),
        Ok(Err(_)) => Err(Rejection::new(
            StatusCode::BAD_REQUEST,
            "the body is incomplete",
        )),
        Err(_) => Err(Rejection::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_as_browsers_encode_it() {
        let form = Form::parse(b"username=ann&password=correct+horse&remember=on&note=%C3%A4%26");
        assert_eq!(form.field("username"), "ann");
        assert_eq!(form.field("password"), "correct horse");
        assert_eq!(form.field("note"), "\u{e4}&");
        assert_eq!(form.field("absent"), "");
        assert!(form.has("remember") && !form.has("absent"));
    }
}
