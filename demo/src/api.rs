//! The session as JSON, for programs.
//!
//! | request | effect |
//! |---|---|
//! | `GET /api/session` | returns the session without its token; it does not create one |
//! | `GET /api/session/events` | sends the event `ended` when the session of the user has ended; keeps no session alive |
//! | `PUT /api/session/{name}` | sets a value, any JSON |
//! | `DELETE /api/session/{name}` | removes a value |
//! | `POST /api/session/{name}/add` | adds `{"by": n}` to an integer; 1 if there is no body |
//! | `POST /api/login` | `{"username", "password", "remember"}` |
//! | `POST /api/logout` | ends the session |
//! | `GET /api/sessions` | lists the sessions of the user |
//! | `DELETE /api/sessions/{id}` | ends one of them |
//! | `POST /api/logout-others` | ends the others; returns how many |
//! | `POST /api/logout-everywhere` | ends all of them; returns how many |
//! | `POST /api/reauthenticate` | `{"password"}` of the user, which makes the login fresh |
//! | `POST /api/password` | `{"password"}`, the new one, if the login is fresh; ends the other sessions |
//! | `POST /api/renew` | replaces the token; returns the id |
//! | `POST /api/regenerate` | begins a session with a new id; returns it |
//! | `POST /api/unset` | what the option `--unset` says |
//!
//! Errors are `{"error": "..."}`. Requests about a user are answered with 401 if nobody is logged in.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use session_hyper::{Session, SessionError, SessionErrorKind, SessionRequestExt, error_response};

use crate::{
    account,
    account_api::{self, ended, timestamp},
    body,
    context::Context,
    csrf::{self, Audience},
    device::DEVICE,
    events,
    rejection::{HandlerError, Rejection},
    reply::{self, Reply},
};

/// Whether a path belongs to the API.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Responds to a request to the API. A session error is returned to the session service, unless the
/// client caused it.
pub(crate) async fn respond(
    context: Context,
    request: Request<Incoming>,
) -> Result<Reply, SessionError> {
    let rejection = match route(&context, request).await {
        Ok(reply) => return Ok(reply),
        Err(HandlerError::Rejected(rejection)) => rejection,
        Err(HandlerError::Session(error)) => client_error(&error).ok_or(error)?,
    };
    let body = json!({ "error": rejection.message });
    Ok(rejection.respond_with(reply::json(&body)))
}

/// Makes the response to a session error.
pub(crate) fn session_error(error: &SessionError) -> Response<Bytes> {
    let mut response = error_response(error);
    let mut message = match error.kind() {
        // what a program looks for to ask for the password
        SessionErrorKind::NotFresh => "reauthenticate".into(),
        _ => error.to_string().into(),
    };
    // also at the commit: changes are applied again to what a concurrent request stored
    if let Some(rejection) = client_error(error) {
        *response.status_mut() = rejection.status;
        message = rejection.message;
    }
    *response.body_mut() = json!({ "error": message }).to_string().into();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Session errors that the client caused, because the API lets it choose what is stored.
fn client_error(error: &SessionError) -> Option<Rejection> {
    match error.kind() {
        SessionErrorKind::Decode => Some(Rejection::new(
            StatusCode::CONFLICT,
            "the stored value has another type",
        )),
        SessionErrorKind::TooLarge => Some(Rejection::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            error.to_string(),
        )),
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Show,
    Events,
    Put(String),
    Delete(String),
    Add(String),
    LogIn,
    LogOut,
    LogOutOthers,
    LogOutEverywhere,
    Reauthenticate,
    ChangePassword,
    ListSessions,
    EndSession(String),
    Renew,
    Regenerate,
    Unset,
}

impl Route {
    fn of(method: &Method, path: &str) -> Result<Self, Rejection> {
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let post = |route| {
            if *method == Method::POST {
                Ok(route)
            } else {
                Err(Rejection::method("POST"))
            }
        };
        match segments[..] {
            ["session"] => match *method {
                Method::GET | Method::HEAD => Ok(Self::Show),
                _ => Err(Rejection::method("GET, HEAD")),
            },
            ["session", "events"] if *method == Method::GET || *method == Method::HEAD => {
                Ok(Self::Events)
            }
            ["session", name] => match (decode(name)?, method) {
                (name, &Method::PUT) => Ok(Self::Put(name)),
                (name, &Method::DELETE) => Ok(Self::Delete(name)),
                _ => Err(Rejection::method("PUT, DELETE")),
            },
            ["session", name, "add"] => post(Self::Add(decode(name)?)),
            ["sessions"] => match *method {
                Method::GET | Method::HEAD => Ok(Self::ListSessions),
                _ => Err(Rejection::method("GET, HEAD")),
            },
            ["sessions", id] => match *method {
                Method::DELETE => Ok(Self::EndSession(decode(id)?)),
                _ => Err(Rejection::method("DELETE")),
            },
            ["login"] => post(Self::LogIn),
            ["logout"] => post(Self::LogOut),
            ["logout-others"] => post(Self::LogOutOthers),
            ["logout-everywhere"] => post(Self::LogOutEverywhere),
            ["reauthenticate"] => post(Self::Reauthenticate),
            ["password"] => post(Self::ChangePassword),
            ["renew"] => post(Self::Renew),
            ["regenerate"] => post(Self::Regenerate),
            ["unset"] => post(Self::Unset),
            _ => Err(Rejection::not_found()),
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, HandlerError> {
    let route = Route::of(request.method(), request.uri().path())?;
    csrf::check(&request, Audience::Programs)?;
    // before the body is read, so that an outage is answered at once
    let handle = request.session();
    let session = match route {
        // a page that is open but not used does not keep its session alive
        Route::Events => handle.peek().await?,
        _ => handle.load().await?,
    };
    match route {
        Route::Events => {
            session.require_login()?;
            let body = events::body(&session, context.shutdown.clone());
            return Ok(reply::events(body));
        }
        Route::Show => return show(context, &session),
        Route::Put(name) => session.insert(&name, &body::json_value(request).await?)?,
        Route::Delete(name) => drop(session.remove::<IgnoredAny>(&name)?),
        Route::Add(name) => return add(&session, &name, request).await,
        Route::LogIn => return account_api::log_in(context, &session, request).await,
        Route::Reauthenticate => {
            return account_api::reauthenticate(context, &session, request).await;
        }
        Route::ChangePassword => {
            return account_api::change_password(context, &session, request).await;
        }
        Route::ListSessions => return account_api::list(context, &session).await,
        Route::EndSession(id) => return account_api::end(context, &session, &id).await,
        Route::LogOutOthers => return Ok(ended(account::end_others(context, &session).await?)),
        Route::LogOutEverywhere => return Ok(ended(account::end_all(context, &session).await?)),
        Route::LogOut => session.log_out()?,
        Route::Unset => session.unset()?,
        Route::Renew => {
            session.renew()?;
            return Ok(id_of(&session));
        }
        Route::Regenerate => {
            session.regenerate()?;
            return Ok(id_of(&session));
        }
    }
    Ok(reply::no_content())
}

/// A session without its token.
#[derive(Serialize)]
struct Shown<'a> {
    id: Option<String>,
    is_new: bool,
    principal: Option<String>,
    created_at: Option<String>,
    expires_in_s: Option<u64>,
    instance: &'a str,
    data: BTreeMap<String, Value>,
}

fn show(context: &Context, session: &Session) -> Result<Reply, HandlerError> {
    let mut data = BTreeMap::new();
    for name in session.names() {
        if name == DEVICE.name() {
            continue;
        }
        let value = session.get(&name)?.unwrap_or_default();
        data.insert(name, value);
    }
    let expires_in = session
        .expires_at()
        .and_then(|at| at.duration_since(SystemTime::now()).ok());
    Ok(reply::json(&Shown {
        id: session.id().map(|id| id.to_string()),
        is_new: session.is_new(),
        principal: session.principal(),
        created_at: session.created_at().map(timestamp),
        expires_in_s: expires_in.map(|expires_in| expires_in.as_secs()),
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

/// Adds to an integer, which stops at its limits. Concurrent additions all count; the returned
/// value is the one before they are merged.
async fn add(
    session: &Session,
    name: &str,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    let Add { by } = body::json(request).await?;
    let value = session.update(name, move |value: Option<i64>| {
        value.unwrap_or(0).saturating_add(by)
    })?;
    Ok(reply::json(&json!({ "value": value })))
}

fn id_of(session: &Session) -> Reply {
    reply::json(&json!({ "id": session.id().map(|id| id.to_string()) }))
}

/// Decodes the name of a value from a path.
fn decode(segment: &str) -> Result<String, Rejection> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(name) if !name.is_empty() => Ok(name.into_owned()),
        Ok(_) => Err(Rejection::not_found()),
        Err(_) => Err(Rejection::new(
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
    fn an_unknown_path_or_method_is_rejected() {
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
            let rejection = Route::of(&method, path).expect_err(path);
            assert_eq!(
                (rejection.status, rejection.allow),
                (status, allow),
                "{method} {path}"
            );
        }
    }
}
