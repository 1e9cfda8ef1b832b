//! Requests as an adapter makes them, without a socket: begin, load, finish.

use std::fmt;

use http::{HeaderValue, Request, Response, header};
use integration_tests::keys;
use session_core::{CookieOptions, Key, Outcome, Session, SessionError, SessionHandle, Sessions};
use session_redis::RedisStore;

use crate::Failure;

/// What updates add to.
pub(crate) const SUM: Key<u64> = Key::new("sum");

/// Sessions in this store, the same in every process.
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
    /// Begins a request that brings this cookie, `name=value`, or none.
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

    /// Ends it. Answers what became of the session, and what the browser is told.
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

/// What the browser is told about its cookie.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// To send this, `name=value`.
    Set(String),
    /// To send it no more.
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

/// Makes a session, and answers its cookie.
pub(crate) async fn create(sessions: &Sessions) -> Result<String, Failure> {
    let visit = Visit::begin(sessions, None);
    visit.load().await?.insert(SUM, &0)?;
    match visit.finish().await? {
        (Outcome::Created, Some(SetCookie::Set(cookie))) => Ok(cookie),
        other => Err(format!("a new session came to {other:?}").into()),
    }
}

/// Reads the sum in a session; `None` where the cookie opens nothing.
pub(crate) async fn sum(sessions: &Sessions, cookie: &str) -> Result<Option<u64>, SessionError> {
    let session = Visit::begin(sessions, Some(cookie)).load().await?;
    if session.is_new() {
        Ok(None)
    } else {
        session.get(SUM)
    }
}
