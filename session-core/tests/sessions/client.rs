//! A client that is no browser: it sends the headers it is told to.

use http::{HeaderMap, Request, Response, header};
use session_core::{
    Builder, Session, SessionError, SessionHandle, Sessions, Transport, Transports,
    testing::TestStore,
};

use crate::visit::{COOKIE, builder};

const SESSION_TOKEN: &str = "session-token";

/// The headers of a client.
#[derive(Clone, Default)]
pub(crate) struct Client(HeaderMap);

impl Client {
    pub(crate) fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.0.append(name, value.parse().expect("a header value"));
        self
    }

    pub(crate) fn cookie(self, value: &str) -> Self {
        self.with(header::COOKIE, &format!("{COOKIE}={value}"))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Asks for a bearer session.
    pub(crate) fn asks(self) -> Self {
        let name = header::HeaderName::from_static("session-transport");
        self.with(name, "bearer")
    }

    pub(crate) fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.headers_mut() = self.0.clone();
        request
    }

    pub(crate) async fn begin(&self, sessions: &Sessions) -> (SessionHandle, Session) {
        let handle = sessions.begin(&self.request());
        let session = handle.load().await.expect("no fault");
        (handle, session)
    }

    /// Sends a whole request, and returns the headers of its response.
    pub(crate) async fn send(
        &self,
        sessions: &Sessions,
        act: impl FnOnce(&Session) -> Result<(), SessionError>,
    ) -> HeaderMap {
        let (handle, session) = self.begin(sessions).await;
        act(&session).expect("accepted");
        finish(sessions, &handle).await
    }

    pub(crate) async fn principal(&self, sessions: &Sessions) -> Option<String> {
        self.begin(sessions).await.1.principal()
    }
}

pub(crate) async fn finish(sessions: &Sessions, handle: &SessionHandle) -> HeaderMap {
    let mut response = Response::new(());
    let result = sessions.finish(handle, &mut response).await;
    let _ = result.expect("no fault");
    response.headers().clone()
}

/// What a response tells the client about its token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Nothing,
    Cookie(String),
    Bearer(String),
}

#[track_caller]
pub(crate) fn sent(headers: &HeaderMap) -> Sent {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let first = values.next();
        assert_eq!(values.next(), None, "more than one {name}");
        first.map(|value| value.to_str().expect("ASCII").to_owned())
    };
    match (one("set-cookie"), one(SESSION_TOKEN)) {
        (None, None) => Sent::Nothing,
        (Some(line), None) => {
            let value = line.strip_prefix(COOKIE).expect("the cookie of sessions");
            let value = value[1..].split(';').next().expect("a value");
            Sent::Cookie(value.to_owned())
        }
        (None, Some(token)) => Sent::Bearer(token),
        (Some(_), Some(_)) => panic!("a token on each transport: {headers:?}"),
    }
}

#[track_caller]
pub(crate) fn bearer(headers: &HeaderMap) -> String {
    match sent(headers) {
        Sent::Bearer(token) => token,
        other => panic!("no bearer token: {other:?}"),
    }
}

pub(crate) fn with(store: &TestStore, transports: Transports) -> Builder {
    builder(store).transports(transports)
}

pub(crate) fn both(store: &TestStore) -> Sessions {
    let sessions = with(store, Transports::CookieAndBearer).build();
    sessions.expect("valid options")
}

/// Logs somebody in with a client that presents nothing, and returns the token.
pub(crate) async fn log_in(sessions: &Sessions, name: &str, transport: Transport) -> String {
    let client = match transport {
        Transport::Bearer => Client::default().asks(),
        _ => Client::default(),
    };
    let headers = client.send(sessions, |session| session.log_in(name)).await;
    match sent(&headers) {
        Sent::Cookie(token) if transport == Transport::Cookie => token,
        Sent::Bearer(token) if transport == Transport::Bearer => token,
        other => panic!("{transport:?}: {other:?}"),
    }
}

/// The same text with another MAC.
pub(crate) fn forged(text: &str) -> String {
    let last = if text.ends_with('A') { 'E' } else { 'A' };
    format!("{}{last}", &text[..text.len() - 1])
}
