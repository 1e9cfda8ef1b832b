//! One request without a socket: begin, load, do something, finish.

use std::{collections::BTreeMap, future, pin::pin, task::Poll};

use http::{HeaderMap, Method, Request, Response, header};
use session_core::{
    Builder, Outcome, Session, SessionError, SessionHandle, Sessions, SigningKeys, Store,
    testing::TestStore,
};

pub(crate) const COOKIE: &str = "__Host-id";

pub(crate) fn keys() -> SigningKeys {
    SigningKeys::new(["the signing key of all tests in this crate"]).expect("long enough")
}

pub(crate) fn builder<S: Store>(store: &TestStore<S>) -> Builder {
    Sessions::builder(store.clone()).signing_keys(keys())
}

pub(crate) fn sessions<S: Store>(store: &TestStore<S>) -> Sessions {
    builder(store).build().expect("valid options")
}

/// The cookies of a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jar(BTreeMap<String, String>);

impl Jar {
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.0.get(COOKIE).map(String::as_str)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn header(&self) -> String {
        let pairs: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    /// Takes over what a response sets and removes.
    pub(crate) fn keep(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("ASCII");
            let (name, rest) = line.split_once('=').expect("a cookie");
            let value = rest.split(';').next().expect("a value");
            if line.contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// A request in progress.
pub(crate) struct Visit {
    sessions: Sessions,
    pub(crate) handle: SessionHandle,
    pub(crate) session: Session,
}

impl Visit {
    /// Sends a request with the cookies of a browser, and loads its session.
    pub(crate) async fn begin(sessions: &Sessions, jar: &Jar, method: Method) -> Self {
        let mut request = Request::builder().method(method).uri("/");
        if jar.cookie().is_some() {
            request = request.header(header::COOKIE, jar.header());
        }
        let handle = sessions.begin(&request.body(()).expect("a request"));
        let session = handle.load().await.expect("no fault");
        Self {
            sessions: sessions.clone(),
            handle,
            session,
        }
    }

    /// Finishes the request; the browser takes over the cookies of the response, or of the error
    /// response that replaces it.
    pub(crate) async fn finish(self, jar: &mut Jar) -> Result<Outcome, SessionError> {
        self.finish_with(jar, Response::new(())).await.0
    }

    /// As [`finish`](Self::finish), with the response of the handler, and returns the one that is
    /// sent.
    pub(crate) async fn finish_with(
        self,
        jar: &mut Jar,
        mut response: Response<()>,
    ) -> (Result<Outcome, SessionError>, Response<()>) {
        let result = self.sessions.finish(&self.handle, &mut response).await;
        if result.is_err() {
            let replaced = std::mem::replace(&mut response, Response::new(()));
            self.sessions
                .reject(&self.handle, Some(replaced.extensions()), &mut response);
        }
        jar.keep(response.headers());
        (result, response)
    }
}

pub(crate) async fn get(sessions: &Sessions, jar: &Jar) -> Visit {
    Visit::begin(sessions, jar, Method::GET).await
}

pub(crate) async fn post(sessions: &Sessions, jar: &Jar) -> Visit {
    Visit::begin(sessions, jar, Method::POST).await
}

/// A whole POST request.
pub(crate) async fn visit<T>(
    sessions: &Sessions,
    jar: &mut Jar,
    act: impl FnOnce(&Session) -> Result<T, SessionError>,
) -> T {
    let visit = post(sessions, jar).await;
    let value = act(&visit.session).expect("accepted");
    let _ = visit.finish(jar).await.expect("no fault");
    value
}

/// The session cookies that a response sets or removes.
pub(crate) fn set_cookies<B>(response: &Response<B>) -> Vec<String> {
    let all = response.headers().get_all(header::SET_COOKIE);
    all.iter()
        .map(|value| value.to_str().expect("ASCII").to_owned())
        .collect()
}

/// A browser whose session holds a cart and belongs to nobody.
pub(crate) async fn anonymous(sessions: &Sessions) -> Jar {
    let mut jar = Jar::default();
    visit(sessions, &mut jar, |session| session.insert("cart", "tea")).await;
    jar
}

/// To whom the session of a browser belongs.
pub(crate) async fn principal(sessions: &Sessions, jar: &Jar) -> Option<String> {
    get(sessions, jar).await.session.principal()
}

/// Polls a future so many times and drops it.
pub(crate) async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    future::poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        Poll::Pending
    })
    .await;
}
