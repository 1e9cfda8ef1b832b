//! What a client gets from a wrapped service, and what becomes of the session.

use std::{error::Error, fmt, future, pin::pin, sync::Arc, sync::Mutex};

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::{Service, service_fn};
use session_core::{
    Key, Session, SessionError, SessionErrorKind, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{SessionRequestExt, SessionService, error_response, status_code};

use crate::support::{request, sessions, set_cookies};

const VIEWS: Key<u32> = Key::new("views");

async fn count(request: Request<String>) -> Result<Response<String>, SessionError> {
    let session = request.session().load().await?;
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(Response::new(views.to_string()))
}

/// A handler that writes and then fails.
async fn write_and_fail<E: From<SessionError>>(
    request: Request<String>,
) -> Result<Response<String>, E> {
    let session = request.session().load().await?;
    session.insert(VIEWS, &1)?;
    let _: Option<String> = session.get("views")?;
    unreachable!("a number is not a string")
}

#[tokio::test]
async fn a_session_is_committed_before_the_response_is_returned() {
    let store = TestStore::default();
    let service = SessionService::new(sessions(&store), service_fn(count));
    let first = service.call(request(&[])).await.expect("answered");
    assert_eq!(store.take_calls(), [Call::Create]);
    let cookies = set_cookies(first.headers());
    assert_eq!(cookies.len(), 1);
    let second = service.call(request(&cookies)).await.expect("answered");
    assert_eq!(store.take_calls(), [Call::Load, Call::Save]);
    let body = second.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "2");
}

#[tokio::test]
async fn a_request_that_does_not_load_its_session_makes_no_call_to_the_store() {
    let store = TestStore::default();
    let service = service_fn(|_: Request<String>| {
        future::ready(Ok::<_, SessionError>(Response::new(String::new())))
    });
    let service = SessionService::new(sessions(&store), service);
    let response = service.call(request(&[])).await.expect("answered");
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn an_outage_is_a_503_that_asks_for_a_retry_and_leaves_the_cookie() {
    let store = TestStore::default();
    let service = SessionService::new(sessions(&store), service_fn(count));
    let response = service.call(request(&[])).await.expect("answered");
    let cookies = set_cookies(response.headers());
    for call in [Call::Load, Call::Save] {
        store.fail(call, StoreErrorKind::Unavailable);
        let response = service.call(request(&cookies)).await.expect("answered");
        assert_eq!(store.pending_faults(), 0);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[header::VARY], "Cookie");
        assert_eq!(set_cookies(response.headers()), [""; 0]);
    }
}

#[tokio::test]
async fn an_error_response_carries_the_cookie_of_an_early_save() {
    let store = TestStore::default();
    let service = service_fn(async |request: Request<String>| {
        let session = request.session().load().await?;
        session.insert(VIEWS, &1)?;
        let _ = session.save().await?;
        Err::<Response<String>, SessionError>(session.get::<String>("views").expect_err("a number"))
    });
    let service = SessionService::new(sessions(&store), service);
    let response = service.call(request(&[])).await.expect("answered");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(set_cookies(response.headers()).len(), 1);
}

#[tokio::test]
async fn a_session_error_of_the_service_is_answered_and_nothing_is_committed() {
    let store = TestStore::default();
    let plain = SessionService::new(sessions(&store), service_fn(write_and_fail::<SessionError>));
    let boxed = SessionService::new(
        sessions(&store),
        service_fn(write_and_fail::<Box<dyn Error + Send + Sync>>),
    );
    let plain = plain.call(request(&[])).await.expect("answered");
    let boxed = boxed.call(request(&[])).await.expect("answered");
    for response in [plain, boxed] {
        let expected = status_code(SessionErrorKind::Decode);
        assert_eq!(response.status(), expected);
        assert_eq!(set_cookies(response.headers()), [""; 0]);
    }
    assert_eq!(store.take_calls(), []);
}

#[derive(Debug, PartialEq)]
struct OtherError;

impl fmt::Display for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another error")
    }
}

impl Error for OtherError {}

impl From<SessionError> for OtherError {
    fn from(_: SessionError) -> Self {
        Self
    }
}

#[tokio::test]
async fn another_error_of_the_service_is_returned_and_nothing_is_committed() {
    let store = TestStore::default();
    let service = service_fn(write_and_fail::<OtherError>);
    let service = SessionService::new(sessions(&store), service);
    let error = service.call(request(&[])).await.expect_err("not answered");
    assert_eq!(error, OtherError);
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn on_error_makes_the_responses_to_errors() {
    let store = TestStore::default();
    store.fail(Call::Create, StoreErrorKind::Overloaded);
    let service = SessionService::new(sessions(&store), service_fn(count));
    let service = service.on_error(|error| {
        let mut response = error_response(error);
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.map(|_| format!("{:?}", error.kind()).into())
    });
    let response = service.call(request(&[])).await.expect("answered");
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "Overloaded");
}

/// A failed commit replaces the whole response, so none of the headers that describe the handler's
/// body is left.
#[tokio::test]
async fn a_failed_commit_keeps_no_header_of_the_handlers_response() {
    let store = TestStore::default();
    store.fail(Call::Create, StoreErrorKind::Refused);
    let service = service_fn(async |request: Request<String>| {
        let mut response = count(request).await?;
        for name in [header::ETAG, header::LOCATION, header::CONTENT_ENCODING] {
            let value = "of the handler".parse().expect("a value");
            response.headers_mut().insert(name, value);
        }
        Ok::<_, SessionError>(response)
    });
    let service = SessionService::new(sessions(&store), service);
    let response = service.call(request(&[])).await.expect("answered");
    let mut names: Vec<_> = response
        .headers()
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    let expected = ["cache-control", "content-type", "retry-after", "vary"];
    assert_eq!(names, expected);
}

/// Runs a handler that keeps its session and never responds.
fn never_responding(
    store: &TestStore,
) -> (impl Service<Request<String>>, Arc<Mutex<Option<Session>>>) {
    let kept = Arc::new(Mutex::new(None));
    let service = {
        let kept = kept.clone();
        service_fn(move |request: Request<String>| {
            let kept = kept.clone();
            async move {
                let session = request.session().load().await?;
                *kept.lock().expect("not poisoned") = Some(session);
                future::pending::<Result<Response<String>, SessionError>>().await
            }
        })
    };
    (SessionService::new(sessions(store), service), kept)
}

#[tokio::test]
async fn a_cancelled_request_closes_its_session_and_commits_nothing() {
    let store = TestStore::default();
    let (service, kept) = never_responding(&store);
    {
        let mut call = pin!(service.call(request(&[])));
        let polled = future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        let session = kept.lock().expect("not poisoned").clone().expect("loaded");
        session
            .insert(VIEWS, &1)
            .expect("the request is in progress");
    }
    let session = kept.lock().expect("not poisoned").take().expect("loaded");
    let error = session.insert(VIEWS, &2).expect_err("the request is over");
    assert_eq!(error.kind(), SessionErrorKind::Closed);
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn without_a_layer_loading_is_an_error() {
    let error = request(&[]).session().load().await;
    let error = error.expect_err("no layer has processed the request");
    assert_eq!(error.kind(), SessionErrorKind::MissingLayer);
}
