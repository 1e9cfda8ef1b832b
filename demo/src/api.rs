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
    users::{Credentials, Login},
};

/// Whether a path is one of the API's.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Answers a request to the API. A session error is left to the session service, unless it is the client's mistake.
pub(crate) async fn answer(
    context: Context,
    request: Request<Incoming>,
) -> Result<Reply, SessionError> {
    let refusal = match route(&context, request).await {
        Ok(reply) => return Ok(reply),
        Err(Failure::Refused(refusal)) => refusal,
        Err(Failure::Session(error)) => mistake(&error).ok_or(error)?,
    };
    Ok(refusal.reply(|refusal| reply::json(&json!({ "error": refusal.message }))))
}

/// The answer to a session that fails; the cookie and when to try again are the library's word.
pub(crate) fn fault(error: &SessionError) -> Response<Bytes> {
    let mut response = session_hyper::reject(error);
    let mut message = error.to_string().into();
    // what a value became meanwhile shows when changes are made again on what others wrote
    if let Some(mistake) = mistake(error) {
        *response.status_mut() = mistake.status;
        message = mistake.message;
    }
    *response.body_mut() = json!({ "error": message }).to_string().into();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Session errors that are no fault of the service, because here the client chooses what is stored.
fn mistake(error: &SessionError) -> Option<Refusal> {
    match error.kind() {
        SessionErrorKind::Decode => Some(Refusal::new(
            StatusCode::CONFLICT,
            "the value there is of another kind",
        )),
        SessionErrorKind::TooLarge => Some(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            error.to_string(),
        )),
        _ => None,
    }
}

/// What there is to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Tell,
    Put(String),
    Delete(String),
    Add(String),
    LogIn,
    LogOut,
    Renew,
    Regenerate,
    Unset,
}

impl Route {
    fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let post = |route| {
            if *method == Method::POST {
                Ok(route)
            } else {
                Err(Refusal::method("POST"))
            }
        };
        match segments[..] {
            ["session"] => match *method {
                Method::GET | Method::HEAD => Ok(Self::Tell),
                _ => Err(Refusal::method("GET, HEAD")),
            },
            ["session", name] => match (decode(name)?, method) {
                (name, &Method::PUT) => Ok(Self::Put(name)),
                (name, &Method::DELETE) => Ok(Self::Delete(name)),
                _ => Err(Refusal::method("PUT, DELETE")),
            },
            ["session", name, "add"] => post(Self::Add(decode(name)?)),
            ["login"] => post(Self::LogIn),
            ["logout"] => post(Self::LogOut),
            ["renew"] => post(Self::Renew),
            ["regenerate"] => post(Self::Regenerate),
            ["unset"] => post(Self::Unset),
            _ => Err(Refusal::not_found()),
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    let route = Route::of(request.method(), request.uri().path())?;
    reply::refuse_forged(&request, true)?;
    // before the body is read: an outage is answered at once
    let session = request.session().load().await?;
    match route {
        Route::Tell => return tell(context, &session),
        Route::Put(name) => session.insert(&name, &body::json_value(request).await?)?,
        Route::Delete(name) => drop(session.remove::<IgnoredAny>(&name)?),
        Route::Add(name) => return add(&session, &name, request).await,
        Route::LogIn => return log_in(context, &session, request).await,
        Route::LogOut => session.destroy(),
        Route::Unset => session.unset(),
        Route::Renew => {
            session.renew();
            return Ok(named(&session));
        }
        Route::Regenerate => {
            session.regenerate()?;
            return Ok(named(&session));
        }
    }
    Ok(reply::no_content())
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
    let left = session
        .expires_at()
        .and_then(|at| at.duration_since(SystemTime::now()).ok());
    Ok(reply::json(&Facts {
        id: session.id().map(|id| id.to_string()),
        is_new: session.is_new(),
        created_at: session
            .created_at()
            .map(|at| humantime::format_rfc3339_millis(at).to_string()),
        expires_in_s: left.map(|left| left.as_secs()),
        instance: &context.instance,
        data,
    }))
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
async fn add(session: &Session, name: &str, request: Request<Incoming>) -> Result<Reply, Failure> {
    let Add { by } = body::json(request).await?;
    let value = session.update(name, move |value: Option<i64>| {
        value.unwrap_or(0).saturating_add(by)
    })?;
    Ok(reply::json(&json!({ "value": value })))
}

#[derive(Deserialize)]
struct LoginBody {
    username: String,
    password: String,
    #[serde(default)]
    remember: bool,
}

async fn log_in(
    context: &Context,
    session: &Session,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let LoginBody {
        username,
        password,
        remember,
    } = body::json(request).await?;
    match context
        .users
        .log_in(
            session,
            Credentials {
                username,
                password,
                remember,
            },
        )
        .await?
    {
        Login::Right(user) => Ok(reply::json(&json!({ "username": user }))),
        Login::Wrong { .. } => {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong name or password").into())
        }
        Login::Ended => {
            Err(Refusal::new(StatusCode::CONFLICT, "the session has ended meanwhile").into())
        }
    }
}

fn named(session: &Session) -> Reply {
    reply::json(&json!({ "id": session.id().map(|id| id.to_string()) }))
}

/// The name of a value, as it stands in a path.
fn decode(segment: &str) -> Result<String, Refusal> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(name) if !name.is_empty() => Ok(name.into_owned()),
        Ok(_) => Err(Refusal::not_found()),
        Err(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the name is not UTF-8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_decoded_once() {
        for (segment, expected) in [
            ("plain", "plain"),
            ("a%20b", "a b"),
            ("a%2Fb", "a/b"),
            ("%C3%A4", "\u{e4}"),
            ("%2541", "%41"),
            ("add", "add"),
        ] {
            let route = Route::of(&Method::PUT, &format!("/api/session/{segment}"));
            assert_eq!(route.expect(segment), Route::Put(expected.into()));
        }
        assert_eq!(
            Route::of(&Method::POST, "/api/session/a%2Fb/add").expect("route"),
            Route::Add("a/b".into())
        );
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (method, path, status, allow) in [
            (
                Method::PUT,
                "/api/session/%FF",
                StatusCode::BAD_REQUEST,
                None,
            ),
            (Method::PUT, "/api/session/", StatusCode::NOT_FOUND, None),
            (Method::GET, "/api", StatusCode::NOT_FOUND, None),
            (Method::GET, "/api/session/a/b", StatusCode::NOT_FOUND, None),
            (
                Method::POST,
                "/api/session",
                StatusCode::METHOD_NOT_ALLOWED,
                Some("GET, HEAD"),
            ),
            (
                Method::GET,
                "/api/session/a",
                StatusCode::METHOD_NOT_ALLOWED,
                Some("PUT, DELETE"),
            ),
            (
                Method::PUT,
                "/api/session/a/add",
                StatusCode::METHOD_NOT_ALLOWED,
                Some("POST"),
            ),
            (
                Method::GET,
                "/api/login",
                StatusCode::METHOD_NOT_ALLOWED,
                Some("POST"),
            ),
        ] {
            let refusal = Route::of(&method, path).expect_err(path);
            assert_eq!(
                (refusal.status, refusal.allow),
                (status, allow),
                "{method} {path}"
            );
        }
    }
}
