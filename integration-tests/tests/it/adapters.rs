//! The service under hyper, tower and axum: what it answers, and when.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::Request as AxumRequest, routing::get};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use integration_tests::{App, text};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key as MetricKey, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use session_core::{
    CookieOptions, Key, Sessions, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{
    RequestSession, SessionErrorKind, SessionLayer, SessionService,
    axum::{Session, SessionHandle, SessionRejection},
};
use test_support::Browser;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::visit::{builder, sessions, set_cookies};

const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";

/// Calls a router as a server would, with a browser's cookies.
async fn call(router: &Router, browser: &mut Browser, path: &str) -> Response<String> {
    let mut request = Request::builder().uri(path);
    if let Some(cookies) = browser.cookie_header() {
        request = request.header(header::COOKIE, cookies);
    }
    let request = request.body(Body::empty()).expect("a request");
    let (head, body) = router
        .clone()
        .oneshot(request)
        .await
        .expect("infallible")
        .into_parts();
    browser.keep(&head.headers);
    let body = body.collect().await.expect("a whole body").to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

async fn count(session: Session) -> Result<String, SessionRejection> {
    Ok(session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)?
        .to_string())
}

fn router(sessions: Sessions) -> Router {
    async fn peek(session: Option<Session>) -> Result<String, SessionRejection> {
        Ok(match session {
            Some(session) => session.get(VIEWS)?.unwrap_or(0).to_string(),
            None => "no session".into(),
        })
    }
    async fn untouched(handle: SessionHandle) -> String {
        handle
            .presented_id()
            .map_or("anonymous".into(), |id| id.to_string())
    }
    async fn wrong(session: Session) -> Result<String, SessionRejection> {
        session.insert(VIEWS, &1)?;
        Ok(session.get::<String>("views")?.unwrap_or_default())
    }
    let routes = Router::new()
        .route("/count", get(count))
        .route("/peek", get(peek));
    routes
        .route("/untouched", get(untouched))
        .route("/wrong", get(wrong))
        .layer(SessionLayer::new(sessions))
}

#[tokio::test]
async fn axum_extractors_load_peek_and_leave_alone() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "0");
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.body(),
        "anonymous"
    );
    assert_eq!(store.take_calls(), []);
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "1");
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "2");
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "2");
    assert_eq!(
        store.take_calls(),
        [Call::Create, Call::Load, Call::Save, Call::Load]
    );
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.body().len(),
        22
    );
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn an_outage_is_a_503_from_every_extractor() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    call(&router, &mut browser, "/count").await;
    for path in ["/count", "/peek"] {
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = call(&router, &mut browser, path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.body(), "service unavailable\n");
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(
        call(&router, &mut browser, "/untouched").await.status(),
        StatusCode::OK
    );
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "1");
}

/// The handler's own session error is answered by the same table, and what it wrote before counts.
#[tokio::test]
async fn a_handlers_session_error_is_answered_by_the_table() {
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    let response = call(&router, &mut browser, "/wrong").await;
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal server error\n")
    );
    assert!(browser.cookie(COOKIE).is_some());
    assert_eq!(call(&router, &mut browser, "/peek").await.body(), "1");
}

#[tokio::test]
async fn the_table_can_be_replaced() {
    let store = TestStore::default();
    let layer = SessionLayer::new(sessions(&store)).on_error(|error| {
        let mut response = Response::new(format!("{:?}", error.kind()).into());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let router = Router::new().route("/", get(count)).layer(layer);
    let mut browser = Browser::new();
    call(&router, &mut browser, "/").await;
    for call_to_fail in [Call::Load, Call::Save] {
        store.fail(call_to_fail, StoreErrorKind::Refused);
        let response = call(&router, &mut browser, "/").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::IM_A_TEAPOT, "Unavailable")
        );
    }
}

/// A commit that fails takes the whole response with it: nothing of what the handler said about its body is left.
#[tokio::test]
async fn a_failed_commit_leaves_no_stale_headers_and_no_cookie() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
        let mut response = text("a page that must not be seen")?;
        *response.status_mut() = StatusCode::FOUND;
        for (name, value) in [
            (header::LOCATION, "/next"),
            (header::ETAG, "\"1\""),
            (header::CONTENT_ENCODING, "identity"),
            (header::CONTENT_LANGUAGE, "en"),
            (header::CONTENT_LENGTH, "28"),
            (header::LAST_MODIFIED, "Sat, 21 Nov 2026 00:00:00 GMT"),
            (header::ACCEPT_RANGES, "bytes"),
            (header::CACHE_CONTROL, "max-age=60"),
            (header::SET_COOKIE, "other=1"),
        ] {
            response
                .headers_mut()
                .insert(name, value.parse().expect("a value"));
        }
        Ok(response)
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(
        browser.get(app.addr(), "/").await.status(),
        StatusCode::FOUND
    );
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Refused,
    ] {
        store.fail(Call::Save, kind);
        let before = browser.clone();
        let response = browser.get(app.addr(), "/").await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n")
        );
        let mut names: Vec<_> = response
            .headers()
            .keys()
            .map(|name| name.as_str())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "cache-control",
                "content-length",
                "content-type",
                "date",
                "retry-after",
                "vary"
            ]
        );
        assert_eq!(browser.cookie_header(), before.cookie_header());
    }
}

/// hyper would drop the connection; the client gets an answer instead.
#[tokio::test]
async fn a_service_that_fails_with_a_session_error_is_answered() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.insert(VIEWS, &1)?;
        text(session.get::<String>("views")?.unwrap_or_default())
    })
    .await;
    let response = Browser::new().get(app.addr(), "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        store.take_calls(),
        [],
        "a handler that fails without a response commits nothing"
    );
}

#[tokio::test]
async fn a_missing_layer_is_a_500_that_names_the_fix() {
    let router = Router::new().route("/", get(count));
    let response = call(&router, &mut Browser::new(), "/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let error = Request::new(())
        .session()
        .load()
        .await
        .expect_err("no layer");
    assert_eq!(error.kind(), SessionErrorKind::MissingLayer);

    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    tracing::subscriber::with_default(subscriber, || drop(Request::new(()).session()));
    let line = String::from_utf8(log.0.lock().expect("whole").clone()).expect("text");
    assert!(
        line.contains("SessionLayer::new(sessions)")
            && line.contains("SessionService::new(sessions, service)"),
        "{line}"
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_eager_service_answers_an_outage_before_the_handler_runs() {
    let store = TestStore::default();
    let ran = Arc::new(Mutex::new(0));
    let app = {
        let ran = ran.clone();
        let sessions = sessions(&store);
        App::start_with(
            |service| SessionService::new(sessions, service).eager(true),
            move |request: Request<_>| {
                *ran.lock().expect("whole") += 1;
                let session = request.session();
                async move {
                    text(if session.loaded().is_some() {
                        "loaded"
                    } else {
                        "not loaded"
                    })
                }
            },
        )
        .await
    };
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "loaded");
    let mut visitor = Browser::new();
    crate::visit::visit(&sessions(&store), &mut visitor, |session| {
        session.insert(VIEWS, &1).expect("writable")
    })
    .await;
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    assert_eq!(
        visitor.get(app.addr(), "/").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(*ran.lock().expect("whole"), 1);
}

/// Two layers of one cookie name are one; of two names, two sessions.
#[tokio::test]
async fn stacked_layers_share_a_name_or_stand_apart() {
    async fn both(request: AxumRequest) -> String {
        let (inner, outer) = (
            request.session_named("__Host-b"),
            request.session_named("__Host-a"),
        );
        inner
            .load()
            .await
            .expect("works")
            .insert(VIEWS, &1)
            .expect("writable");
        outer
            .load()
            .await
            .expect("works")
            .insert(VIEWS, &2)
            .expect("writable");
        assert_eq!(request.session().cookie_name(), Some("__Host-b"));
        String::new()
    }
    let store = TestStore::default();
    let named = |name| {
        builder(&store)
            .cookie(CookieOptions::new().name(name))
            .build()
            .expect("legal")
    };
    let (a, b) = (named("__Host-a"), named("__Host-b"));
    let router = Router::new()
        .route("/", get(both))
        .layer(SessionLayer::new(b.clone()))
        .layer(SessionLayer::new(a.clone()))
        .layer(SessionLayer::new(a));
    let mut browser = Browser::new();
    let response = call(&router, &mut browser, "/").await;
    assert_eq!(set_cookies(&response).len(), 2);
    assert!(browser.cookie("__Host-a").is_some() && browser.cookie("__Host-b").is_some());
    assert_eq!(store.take_calls(), [Call::Create, Call::Create]);
}

/// A request outside of the cookie's path has no session, and says so.
#[tokio::test]
async fn outside_of_the_cookies_path_there_is_no_session() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/count"))
        .build()
        .expect("legal");
    let router = router(sessions);
    let mut browser = Browser::new();
    assert_eq!(
        call(&router, &mut browser, "/peek").await.body(),
        "no session"
    );
    assert_eq!(
        call(&router, &mut browser, "/wrong").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(call(&router, &mut browser, "/count").await.body(), "1");
}

/// A nested router has lost the prefix; the original URI tells.
#[tokio::test]
async fn under_a_nested_router_the_original_path_counts() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie(CookieOptions::new().path("/shop"))
        .original_uri(|extensions| {
            extensions
                .get::<axum::extract::OriginalUri>()
                .map(|uri| uri.0.clone())
        })
        .build()
        .expect("legal");
    let shop = Router::new()
        .route("/count", get(count))
        .layer(SessionLayer::new(sessions));
    let router = Router::new()
        .nest("/shop", shop.clone())
        .nest("/blog", shop);
    let mut browser = Browser::new();
    assert_eq!(call(&router, &mut browser, "/shop/count").await.body(), "1");
    assert_eq!(
        call(&router, &mut browser, "/blog/count").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

/// tower without a framework; and a body that is streamed long after the commit.
#[tokio::test]
async fn tower_services_and_streaming_bodies_work() {
    let store = TestStore::default();
    let service = ServiceBuilder::new()
        .layer(SessionLayer::new(sessions(&store)))
        .service(service_fn(
            |request: Request<Full<bytes::Bytes>>| async move {
                let session = request.session().load().await.expect("works");
                session.insert(VIEWS, &1).expect("writable");
                let body = Body::from_stream(futures_stream(session));
                Ok::<_, Infallible>(Response::new(body))
            },
        ));
    let response = service
        .oneshot(Request::new(Full::default()))
        .await
        .expect("infallible");
    assert_eq!(
        store.take_calls(),
        [Call::Create],
        "committed before the body is read"
    );
    assert_eq!(set_cookies(&response).len(), 1);
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a whole body")
        .to_bytes();
    assert_eq!(
        body, "1Closed",
        "the stream may read; a write is an error, not a silent loss"
    );
}

/// Two chunks, which look at the session and try to write to it.
fn futures_stream(
    session: session_core::Session,
) -> impl futures_core::Stream<Item = Result<String, Infallible>> {
    let mut chunk = 0;
    stream(move || {
        chunk += 1;
        match chunk {
            1 => Some(Ok(session
                .get(VIEWS)
                .expect("a number")
                .unwrap_or(0)
                .to_string())),
            2 => Some(Ok(format!(
                "{:?}",
                session.insert(VIEWS, &2).expect_err("late").kind()
            ))),
            _ => None,
        }
    })
}

fn stream<T>(next: impl FnMut() -> Option<T> + Unpin) -> impl futures_core::Stream<Item = T> {
    struct Next<F>(F);
    impl<T, F: FnMut() -> Option<T> + Unpin> futures_core::Stream for Next<F> {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready((self.0)())
        }
    }
    Next(next)
}

/// A handler that panics commits nothing.
#[tokio::test]
async fn a_panic_commits_nothing() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        session.insert(VIEWS, &1)?;
        if request.method() == Method::POST {
            panic!("on purpose");
        }
        text("")
    })
    .await;
    let addr = app.addr();
    let panicked =
        tokio::spawn(async move { Browser::new().send(addr, Method::POST, "/", "").await }).await;
    assert!(panicked.is_err(), "the connection ends");
    assert_eq!(store.take_calls(), []);
    assert_eq!(
        Browser::new().get(app.addr(), "/").await.status(),
        StatusCode::OK
    );
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<String>>>);

impl CounterFn for Counts {
    fn increment(&self, _: u64) {}
    fn absolute(&self, _: u64) {}
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        self.0
            .lock()
            .expect("whole")
            .push(format!("{} {}", key.name(), labels.join(" ")));
        Counter::from_arc(Arc::new(self.clone()))
    }
    fn register_gauge(&self, _: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn outcomes_are_counted() {
    let counts = Counts::default();
    let _recorder = metrics::set_default_local_recorder(&counts);
    let store = TestStore::default();
    let (router, mut browser) = (router(sessions(&store)), Browser::new());
    call(&router, &mut browser, "/count").await;
    call(&router, &mut browser, "/count").await;
    call(&router, &mut browser, "/peek").await;
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    call(&router, &mut browser, "/peek").await;
    let counts = counts.0.lock().expect("whole").clone();
    let expected = ["created", "saved", "untouched", "error Unavailable"];
    for outcome in expected {
        assert!(
            counts.contains(&format!("session_commits_total {outcome}")),
            "{outcome} in {counts:?}"
        );
    }
}

/// The option headers of a request do not matter to anybody else.
#[tokio::test]
async fn every_method_has_a_session() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        text(
            session
                .update(VIEWS, |views| views.unwrap_or(0) + 1)?
                .to_string(),
        )
    })
    .await;
    let mut browser = Browser::new();
    for (n, method) in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ]
    .into_iter()
    .enumerate()
    {
        let response = browser
            .send_with(app.addr(), method, "/any?query", "", HeaderMap::new())
            .await;
        assert_eq!(response.body(), &(n + 1).to_string());
    }
}
