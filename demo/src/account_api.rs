//! The requests of the API about the user and about the user's sessions.

use std::time::SystemTime;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use session_hyper::Session;

use crate::{
    account::{self, Listed},
    body,
    context::Context,
    rejection::{HandlerError, Rejection},
    reply::{self, Reply},
    users::{Credentials, Login},
};

#[derive(Deserialize)]
struct LoginBody {
    username: String,
    password: String,
    #[serde(default)]
    remember: bool,
}

#[derive(Deserialize)]
struct PasswordBody {
    password: String,
}

/// A session in the list of a user's sessions.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    current: bool,
    created_at: String,
    authenticated_at: Option<String>,
    last_seen_at: String,
    expires_in_s: Option<u64>,
    user_agent: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn new(listed: &'a Listed) -> Self {
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        Self {
            id: listed.id.to_string(),
            current: listed.current,
            created_at: timestamp(listed.created_at),
            authenticated_at: listed.authenticated_at.map(timestamp),
            last_seen_at: timestamp(listed.last_seen_at),
            expires_in_s: listed.expires_at.map(|at| left(at).as_secs()),
            user_agent: listed.device.user_agent.as_deref(),
        }
    }
}

/// Formats a time as RFC 3339, with milliseconds.
pub(crate) fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

pub(crate) async fn log_in(
    context: &Context,
    session: &Session,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    let device = account::device(context, &request);
    let LoginBody {
        username,
        password,
        remember,
    } = body::json(request).await?;
    let credentials = Credentials {
        username,
        password,
        remember,
    };
    match account::log_in(context, session, credentials, device).await? {
        Login::Succeeded(user) => Ok(reply::json(&json!({ "username": user }))),
        Login::Failed { .. } => {
            Err(Rejection::new(StatusCode::UNAUTHORIZED, "wrong name or password").into())
        }
    }
}

pub(crate) async fn reauthenticate(
    context: &Context,
    session: &Session,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    session.require_login()?;
    let PasswordBody { password } = body::json(request).await?;
    match account::reauthenticate(context, session, password).await? {
        true => Ok(reply::no_content()),
        false => Err(Rejection::new(StatusCode::UNAUTHORIZED, "wrong password").into()),
    }
}

pub(crate) async fn change_password(
    context: &Context,
    session: &Session,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    session.require_fresh(context.fresh_within)?;
    let PasswordBody { password } = body::json(request).await?;
    if password.is_empty() {
        return Err(Rejection::empty_password().into());
    }
    match account::change_password(context, session, password).await? {
        true => Ok(reply::no_content()),
        false => Err(Rejection::password().into()),
    }
}

pub(crate) async fn list(context: &Context, session: &Session) -> Result<Reply, HandlerError> {
    let sessions = account::list(context, session).await?;
    let shown: Vec<_> = sessions.iter().map(Shown::new).collect();
    Ok(reply::json(&shown))
}

pub(crate) async fn end(
    context: &Context,
    session: &Session,
    id: &str,
) -> Result<Reply, HandlerError> {
    match account::end(context, session, id).await? {
        true => Ok(reply::no_content()),
        false => Err(Rejection::not_found().into()),
    }
}

/// How many sessions were ended.
pub(crate) fn ended(count: u64) -> Reply {
    reply::json(&json!({ "ended": count }))
}
