//! Requests as an adapter handles them, without a socket: begin, load, finish.

use std::fmt;

use http::{HeaderValue, Request, Response, header};
use integration_tests::keys;
use session_core::{CookieOptions, Key, Outcome, Session, SessionError, SessionHandle, Sessions};
use session_redis::RedisStore;

use crate::Failure;

/// The value that updates increment.
pub(crate) const SUM: Key<u64> = Key::new("sum");

/// Sessions on this store, configured alike in every process.
pub(crate) fn sessions(store: RedisStore, cookie: CookieOptions) -> Result<Sessions, Failure> {
    Ok(Sessions::builder(store)
        .signing_keys(keys())
        .cookie(cookie)
        .build()?)
}

/// One request.
pub(crate) struct Visit {
    sessions: Sessions,
    handle: SessionHandle,
}

impl Visit {
    /// Begins a request with this cookie, `name=value`, or without one.
    pub(crate) fn begin(sessions: &Sessions, cookie: Option<&str>) -> Self {
        let mut request = Request::new(());
        if let Some(cookie) = cookie {
            request.headers_mut().insert(
                header::COOKIE,
                HeaderValue::from_str(cookie).expect("a cookie of ours"),
            );
        }
        Self {
            sessions: sessions.clone(),
            handle: sessions.begin(&request),
        }
    }

    /// Loads its session.
    pub(crate) async fn load(&self) -> Result<Session, SessionError> {
        self.handle.load().await
    }

    /// Finishes the request. Returns the outcome, and the cookie that is set or removed.
    pub(crate) async fn finish(self) -> Result<(Outcome, Option<SetCookie>), SessionError> {
        let mut response = Response::new(());
        let outcome = self.sessions.finish(&self.handle, &mut response).await?;
        Ok((
            outcome,
            response
                .headers()
                .get(header::SET_COOKIE)
                .map(SetCookie::read),
        ))
    }
}

/// A `Set-Cookie` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// Sets this cookie, `name=value`.
    Set(String),
    /// Removes the cookie.
    Removed,
}

impl SetCookie {
    fn read(value: &HeaderValue) -> Self {
        let text = value.to_str().expect("ascii");
        match text.contains("Max-Age=0") {
            true => Self::Removed,
            false => Self::Set(text.split(';').next().unwrap_or_default().to_owned()),
        }
    }
}

impl fmt::Debug for SetCookie {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set(..)",
            Self::Removed => "Removed",
        })
    }
}

/// Stores a session, and returns its cookie.
pub(crate) async fn create(sessions: &Sessions) -> Result<String, Failure> {
    let visit = Visit::begin(sessions, None);
    visit.load().await?.insert(SUM, &0)?;
    match visit.finish().await? {
        (outcome, Some(SetCookie::Set(cookie))) if outcome.created => Ok(cookie),
        other => Err(format!("the outcome of a new session is {other:?}").into()),
    }
}

/// Reads the sum in a session; `None` if the cookie opens nothing.
pub(crate) async fn sum(sessions: &Sessions, cookie: &str) -> Result<Option<u64>, SessionError> {
    let session = Visit::begin(sessions, Some(cookie)).load().await?;
    if session.is_new() {
        Ok(None)
    } else {
        session.get(SUM)
    }
}
