//! The same session as JSON, for programs.
//!
//! | request | does |
//! |---|---|
//! | `GET /api/session` | tells everything but the token; looking creates nothing |
//! | `PUT /api/session/{name}` | sets a value, any JSON |
//! | `DELETE /api/session/{name}` | removes it |
//! | `POST /api/session/{name}/add` | adds `{"by": n}` to a whole number, 1 unless given |
//! | `POST /api/login` | `{"username", "password", "remember"}` |
//! | `POST /api/logout` | destroys |
//! | `POST /api/renew`, `POST /api/regenerate` | do what they say and tell the id |
//! | `POST /api/unset` | what `--unset` says |
//!
//! Errors are `{"error": "..."}`.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use session_hyper::{RequestSession, Session, SessionError, SessionErrorKind};

use crate::{
    body,
    reply::{self, Failure, Refusal, Reply},
    server::Context,
    users::Credentials,
};

/// Whether a path is one of the API's.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Answers a request to the API. A session error is left to the session service.
pub(crate) async fn answer(context: Context, request: Request<Incoming>) -> Result<Reply, SessionError> {
    match route(&context, request).await {
        Ok(reply) => Ok(reply),
        Err(Failure::Refused(refusal)) => {
            Ok(refusal.reply(|refusal| reply::json(&json!({ "error": refusal.message }))))
        }
        Err(Failure::Session(error)) => Err(error),
    }
}

/// The answer to a session that fails; the cookie and when to try again are the library's word.
pub(crate) fn fault(error: &SessionError) -> Response<Bytes> {
    let mut response = session_hyper::reject(error);
    // here the client chooses what is stored, so that its type and its size are not faults of the service
    match error.kind() {
        SessionErrorKind::Decode => *response.status_mut() = StatusCode::CONFLICT,
        SessionErrorKind::TooLarge => *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE,
        _ => {}
    }
    *response.body_mut() = json!({ "error": error.to_string() }).to_string().into();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    reply::refuse_forged(&request, true)?;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    match (segments.as_slice(), &method) {
        (["session"], &Method::GET | &Method::HEAD) => tell(context, &request.session().load().await?),
        (["session"], _) => Err(Refusal::method("GET, HEAD").into()),
        (["session", name], method) => {
            let name = decode(name)?;
            match *method {
                Method::PUT => put(&name, request).await,
                Method::DELETE => {
                    request.session().load().await?.remove::<IgnoredAny>(&name)?;
                    Ok(reply::no_content())
                }
                _ => Err(Refusal::method("PUT, DELETE").into()),
            }
        }
        (["session", name, "add"], &Method::POST) => add(&decode(name)?, request).await,
        (["login"], &Method::POST) => log_in(context, request).await,
        ([verb @ ("logout" | "renew" | "regenerate" | "unset")], &Method::POST) => {
            lifecycle(verb, &request.session().load().await?)
        }
        (["session", _, "add"] | ["login" | "logout" | "renew" | "regenerate" | "unset"], _) => {
            Err(Refusal::method("POST").into())
        }
        _ => Err(Refusal::not_found().into()),
    }
}

/// Everything about a session but its token.
#[derive(Serialize)]
struct Facts<'a> {
    id: Option<String>,
    is_new: bool,
    created_at: Option<String>,
    expires_in_s: Option<u64>,
    instance: &'a str,
    data: BTreeMap<String, Value>,
}

fn tell(context: &Context, session: &Session) -> Result<Reply, Failure> {
    let mut data = BTreeMap::new();
    for name in session.names() {
        let value = session.get(&name)?.unwrap_or_default();
        data.insert(name, value);
    }
    let left = session.expires_at().and_then(|at| at.duration_since(SystemTime::now()).ok());
    Ok(reply::json(&Facts {
        id: session.id().map(|id| id.to_string()),
        is_new: session.is_new(),
        created_at: session.created_at().map(|at| humantime::format_rfc3339_millis(at).to_string()),
        expires_in_s: left.map(|left| left.as_secs()),
        instance: &context.instance,
        data,
    }))
}

async fn put(name: &str, request: Request<Incoming>) -> Result<Reply, Failure> {
    let session = request.session().load().await?;
    session.insert(name, &body::json_value(request).await?)?;
    Ok(reply::no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(default = "one")]
    by: i64,
}

fn one() -> i64 {
    1
}

/// Adds to a whole number, and stops at its limits. Additions at once all count; the value told is then behind the stored one.
async fn add(name: &str, request: Request<Incoming>) -> Result<Reply, Failure> {
    let session = request.session().load().await?;
    let Add { by } = body::json(request).await?;
    let value = session.update(name, move |value: Option<i64>| value.unwrap_or(0).saturating_add(by))?;
    Ok(reply::json(&json!({ "value": value })))
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
    #[serde(default)]
    remember: bool,
}

async fn log_in(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    let session = request.session().load().await?;
    let Login { username, password, remember } = body::json(request).await?;
    match context.users.log_in(&session, Credentials { username, password, remember }).await? {
        Some(user) => Ok(reply::json(&json!({ "username": user }))),
        None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong name or password").into()),
    }
}

fn lifecycle(verb: &str, session: &Session) -> Result<Reply, Failure> {
    match verb {
        "logout" => session.destroy(),
        "unset" => session.unset(),
        "regenerate" => session.regenerate()?,
        _ => session.renew(),
    }
    match (verb, session.id()) {
        ("renew" | "regenerate", Some(id)) => Ok(reply::json(&json!({ "id": id.to_string() }))),
        _ => Ok(reply::no_content()),
    }
}

/// The name of a value, as it stands in a path.
fn decode(segment: &str) -> Result<String, Refusal> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(name) if !name.is_empty() => Ok(name.into_owned()),
        Ok(_) => Err(Refusal::not_found()),
        Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the name is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_decoded_once() {
        for (segment, expected) in
            [("plain", "plain"), ("a%20b", "a b"), ("a%2Fb", "a/b"), ("%C3%A4", "\u{e4}"), ("%2541", "%41")]
        {
            assert_eq!(decode(segment).expect(segment), expected);
        }
        assert_eq!(decode("%FF").expect_err("not UTF-8").status, StatusCode::BAD_REQUEST);
        assert_eq!(decode("").expect_err("no name").status, StatusCode::NOT_FOUND);
    }
}
