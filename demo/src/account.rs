//! What users do with their account and with their sessions, for the pages and for the API.

use std::time::SystemTime;

use http::Request;
use session_hyper::{Session, SessionError, SessionId, SessionInfo};

use crate::{
    context::Context,
    device::{DEVICE, Device},
    users::{Credentials, Login},
};

/// One of the sessions of a user.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: SessionId,
    /// Whether it is the session of the request.
    pub(crate) current: bool,
    pub(crate) created_at: SystemTime,
    pub(crate) authenticated_at: Option<SystemTime>,
    pub(crate) last_seen_at: SystemTime,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) device: Device,
}

impl Listed {
    fn new(info: &SessionInfo, session: &Session) -> Self {
        Self {
            id: info.id(),
            current: session.id() == Some(info.id()),
            created_at: info.created_at(),
            authenticated_at: info.authenticated_at(),
            last_seen_at: info.last_seen_at(),
            expires_at: info.expires_at(),
            // the API lets a client store anything under this name
            device: info.get(DEVICE).ok().flatten().unwrap_or_default(),
        }
    }
}

/// Logs in, or counts the failure in the session.
pub(crate) async fn log_in(
    context: &Context,
    session: &Session,
    credentials: Credentials,
    device: Device,
) -> Result<Login, SessionError> {
    let login = context.users.log_in(session, credentials).await?;
    if let Login::Succeeded(_) = login {
        session.insert(DEVICE, &device)?;
    }
    Ok(login)
}

/// The device of a login.
pub(crate) fn device<B>(context: &Context, request: &Request<B>) -> Device {
    Device::of(request, &context.proxy)
}

/// Checks the password of whoever is logged in. Returns whether it is right; then the login counts
/// as fresh.
pub(crate) async fn reauthenticate(
    context: &Context,
    session: &Session,
    password: String,
) -> Result<bool, SessionError> {
    let user = session.require_login()?;
    let is_right = context.users.check(user.clone(), password).await.is_some();
    if is_right {
        session.log_in(&user)?;
    }
    Ok(is_right)
}

/// Changes the password, and ends the other sessions of the user, because one of them may be why
/// the password is changed (OWASP ASVS 5.0, 7.4.3). Returns false if it cannot be hashed.
///
/// # Errors
///
/// `NotFresh` if the login is too long ago.
pub(crate) async fn change_password(
    context: &Context,
    session: &Session,
    password: String,
) -> Result<bool, SessionError> {
    let user = session.require_fresh(context.fresh_within)?;
    if !context.users.change_password(&user, password).await {
        return Ok(false);
    }
    context.sessions.of(&user).end_others(session).await?;
    Ok(true)
}

/// The sessions of whoever is logged in, in the order of their logins.
pub(crate) async fn list(
    context: &Context,
    session: &Session,
) -> Result<Vec<Listed>, SessionError> {
    let user = session.require_login()?;
    let infos = context.sessions.of(&user).list().await?;
    Ok(infos
        .iter()
        .map(|info| Listed::new(info, session))
        .collect())
}

/// Ends a session. Returns whether it was one of the user's.
pub(crate) async fn end(
    context: &Context,
    session: &Session,
    id: &str,
) -> Result<bool, SessionError> {
    let user = session.require_login()?;
    let Ok(id) = id.parse::<SessionId>() else {
        return Ok(false);
    };
    if session.id() == Some(id) {
        // a logout, which removes the cookie too
        session.log_out()?;
        return Ok(true);
    }
    context.sessions.of(&user).end(&id).await
}

/// Ends the user's other sessions, and returns how many.
pub(crate) async fn end_others(context: &Context, session: &Session) -> Result<u64, SessionError> {
    let user = session.require_login()?;
    context.sessions.of(&user).end_others(session).await
}

/// Ends all sessions of the user, this one last: if the store fails, the user can try again.
/// Returns how many.
pub(crate) async fn end_all(context: &Context, session: &Session) -> Result<u64, SessionError> {
    let others = end_others(context, session).await?;
    session.log_out()?;
    Ok(others + 1)
}
