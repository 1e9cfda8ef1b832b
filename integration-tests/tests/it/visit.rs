//! One request without a socket: begin, load, change, finish.

use std::time::Duration;

use http::{Method, Request, Response, header};
use integration_tests::{Backend, keys};
use session_core::{
    Builder, Outcome, OutcomeKind, Session, SessionError, SessionHandle, SessionId, Sessions,
    Store, Touched,
    testing::{Call, TestStore},
};
use test_support::Browser;

/// A store whose calls a test can count, hold and fail.
pub(crate) type Tested = TestStore<Backend>;

/// What a handler does to a session.
pub(crate) type Act = fn(&Session) -> Result<(), SessionError>;

/// Sessions with the defaults on this store.
pub(crate) fn sessions<S: Store>(store: &TestStore<S>) -> Sessions {
    builder(store).build().expect("valid options")
}

/// Sessions on this store, to be configured.
pub(crate) fn builder<S: Store>(store: &TestStore<S>) -> Builder {
    Sessions::builder(store.clone()).signing_keys(keys())
}

/// A POST request that carries the browser's cookies, so that lost writes are errors.
pub(crate) fn request(browser: &Browser) -> Request<()> {
    let mut request = Request::builder().method(Method::POST).uri("/");
    if let Some(cookies) = browser.cookie_header() {
        request = request.header(header::COOKIE, cookies);
    }
    request.body(()).expect("a request")
}

/// Begins a request and loads its session.
pub(crate) async fn begin(sessions: &Sessions, browser: &Browser) -> (SessionHandle, Session) {
    let handle = sessions.begin(&request(browser));
    let session = handle.load().await.expect("the store works");
    (handle, session)
}

/// Finishes a request. The browser keeps the cookies of the response, or of the error response that
/// replaces it.
pub(crate) async fn finish(
    sessions: &Sessions,
    handle: &SessionHandle,
    browser: &mut Browser,
) -> Result<(Outcome, Response<()>), SessionError> {
    let mut response = Response::new(());
    let result = sessions.finish(handle, &mut response).await;
    if result.is_err() {
        let replaced = std::mem::replace(&mut response, Response::new(()));
        sessions.reject(handle, Some(replaced.extensions()), &mut response);
    }
    browser.keep(response.headers());
    Ok((result?, response))
}

/// Finishes a request that succeeds, and sums up what it did.
pub(crate) async fn outcome(
    sessions: &Sessions,
    handle: &SessionHandle,
    browser: &mut Browser,
) -> OutcomeKind {
    let (outcome, _) = finish(sessions, handle, browser).await.expect("no fault");
    outcome.kind()
}

/// Runs a whole request.
pub(crate) async fn visit<T>(
    sessions: &Sessions,
    browser: &mut Browser,
    act: impl FnOnce(&Session) -> Result<T, SessionError>,
) -> T {
    let (handle, session) = begin(sessions, browser).await;
    let value = act(&session).expect("accepted");
    let _ = outcome(sessions, &handle, browser).await;
    value
}

/// The store calls of a request of this browser.
pub(crate) async fn calls_of<S: Store>(
    sessions: &Sessions,
    store: &TestStore<S>,
    browser: &mut Browser,
    act: impl FnOnce(&Session) -> Result<(), SessionError>,
) -> Vec<Call> {
    store.take_calls();
    visit(sessions, browser, act).await;
    store.take_calls()
}

/// Makes the store keep a session for this long, as if time had passed.
pub(crate) async fn set_ttl(store: &Tested, id: SessionId, ttl: Duration) {
    let store = store.inner();
    let loaded = store.load(&id).await.expect("the store works");
    let version = loaded.expect("stored").record.version();
    let touched = store.touch(&id, version, ttl).await;
    assert!(matches!(touched, Ok(Touched::Touched(_))), "{touched:?}");
}

/// The `Set-Cookie` headers of a response.
pub(crate) fn set_cookies<B>(response: &Response<B>) -> Vec<String> {
    let all = response.headers().get_all(header::SET_COOKIE);
    all.iter()
        .map(|value| value.to_str().expect("ascii").to_owned())
        .collect()
}

/// Defines two tests for each function: on the store in memory, and on a Redis server.
macro_rules! on_every_store {
    ($($test:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(integration_tests::Backend::memory()).await;
            })*
        }

        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(integration_tests::Backend::redis().await).await;
            })*
        }
    };
}

pub(crate) use on_every_store;
