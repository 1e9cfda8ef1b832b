//! One request without a socket: begin, load, change, finish.

use http::{Request, Response, header};
use integration_tests::keys;
use session_core::{
    Builder, Outcome, Session, SessionError, SessionHandle, Sessions, Store,
    testing::{Call, TestStore},
};
use test_support::Browser;

/// Sessions with the defaults on this store.
pub(crate) fn sessions<S: Store>(store: &TestStore<S>) -> Sessions {
    builder(store).build().expect("valid options")
}

/// Sessions on this store, to be configured.
pub(crate) fn builder<S: Store>(store: &TestStore<S>) -> Builder {
    Sessions::builder(store.clone()).signing_keys(keys())
}

/// A request that carries the browser's cookies.
pub(crate) fn request(browser: &Browser) -> Request<()> {
    let mut request = Request::builder().uri("/");
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

/// Finishes a request, and stores the cookies of its response in the browser.
pub(crate) async fn finish(
    sessions: &Sessions,
    handle: &SessionHandle,
    browser: &mut Browser,
) -> Result<(Outcome, Response<()>), SessionError> {
    let mut response = Response::new(());
    let outcome = sessions.finish(handle, &mut response).await?;
    browser.keep(response.headers());
    Ok((outcome, response))
}

/// Runs a whole request.
pub(crate) async fn visit<T>(
    sessions: &Sessions,
    browser: &mut Browser,
    act: impl FnOnce(&Session) -> T,
) -> T {
    let (handle, session) = begin(sessions, browser).await;
    let value = act(&session);
    let _ = finish(sessions, &handle, browser)
        .await
        .expect("the store works");
    value
}

/// The store calls of a request of this browser.
pub(crate) async fn calls_of<S: Store>(
    sessions: &Sessions,
    store: &TestStore<S>,
    browser: &mut Browser,
    act: impl FnOnce(&Session),
) -> Vec<Call> {
    store.take_calls();
    visit(sessions, browser, act).await;
    store.take_calls()
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
