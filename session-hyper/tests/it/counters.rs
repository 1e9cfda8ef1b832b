//! The counter of outcomes and errors.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Method, Request, Response};
use hyper::service::{Service, service_fn};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key as MetricKey, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use session_core::{
    Key, SessionError, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{SessionRequestExt, SessionService};

use crate::support::{request, sessions, set_cookies};

const VIEWS: Key<u32> = Key::new("views");

/// Keeps the value of every counter, by its name and the values of its labels.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<String, Arc<Value>>>>);

#[derive(Default)]
struct Value(AtomicU64);

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &MetricKey, _: &Metadata<'_>) -> Counter {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        let mut counters = self.0.lock().expect("not poisoned");
        Counter::from_arc(counters.entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &MetricKey, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &MetricKey, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Counters {
    fn values(&self) -> Vec<(String, u64)> {
        let counters = self.0.lock().expect("not poisoned");
        counters
            .iter()
            .map(|(name, value)| (name.clone(), value.0.load(Ordering::Relaxed)))
            .collect()
    }
}

/// PUT writes, POST logs in, DELETE logs out, GET reads.
async fn handle(request: Request<String>) -> Result<Response<String>, SessionError> {
    let session = request.session().load().await?;
    match *request.method() {
        Method::PUT => drop(session.update(VIEWS, |views| views.unwrap_or(0) + 1)?),
        Method::POST => session.log_in("ann")?,
        Method::DELETE => session.destroy()?,
        _ => {}
    }
    Ok(Response::new(String::new()))
}

#[tokio::test]
async fn every_request_is_counted_by_its_outcome_or_by_the_kind_of_its_error() {
    let counters = Counters::default();
    let _recorder = metrics::set_default_local_recorder(&counters);
    let store = TestStore::default();
    let service = SessionService::new(sessions(&store), service_fn(handle));
    let mut cookies = Vec::new();
    for method in ["PUT", "PUT", "GET", "POST", "fail", "DELETE", "GET"] {
        let mut request = request(&cookies);
        *request.method_mut() = match method {
            "fail" => {
                store.fail(Call::Load, StoreErrorKind::Overloaded);
                Method::GET
            }
            method => method.parse().expect("a method"),
        };
        let response = service.call(request).await.expect("answered");
        let set = set_cookies(response.headers());
        if !set.is_empty() {
            cookies = set;
        }
    }
    let expected = [
        ("session_commits_total outcome=created", 1),
        ("session_commits_total outcome=destroyed", 1),
        ("session_commits_total outcome=error kind=overloaded", 1),
        ("session_commits_total outcome=logged_in", 1),
        ("session_commits_total outcome=saved", 1),
        ("session_commits_total outcome=untouched", 2),
    ];
    assert_eq!(
        counters.values(),
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}

/// A request that fails in an extractor has an effect on its session only if the handler ran.
#[cfg(feature = "axum")]
#[tokio::test]
async fn a_request_that_fails_in_an_extractor_is_counted_once_and_a_commit_before_an_error_too() {
    use axum::{Router, body::Body, routing::get};
    use session_hyper::{
        SessionLayer,
        axum::{Session, SessionRejection},
    };
    use tower::ServiceExt;

    async fn read(session: Session) -> String {
        session.names().join(" ")
    }
    async fn log_in_and_fail(session: Session) -> Result<String, SessionRejection> {
        session.log_in("ann")?;
        session.insert(VIEWS, &1)?;
        Ok(session.get::<String>("views")?.unwrap_or_default())
    }
    let counters = Counters::default();
    let _recorder = metrics::set_default_local_recorder(&counters);
    let store = TestStore::default();
    let router = Router::new()
        .route("/read", get(read))
        .route("/fail", get(log_in_and_fail))
        .layer(SessionLayer::new(sessions(&store)));
    let mut cookies = Vec::new();
    for path in ["/fail", "/read"] {
        let (mut head, _) = request(&cookies).into_parts();
        head.uri = path.parse().expect("a path");
        if path == "/read" {
            store.fail(Call::Load, StoreErrorKind::Unavailable);
        }
        let request = Request::from_parts(head, Body::empty());
        let response = router.clone().oneshot(request).await.expect("infallible");
        assert!(response.status().is_server_error(), "{path}");
        cookies = set_cookies(response.headers());
    }
    assert_eq!(store.pending_faults(), 0);
    let expected = [
        ("session_commits_total outcome=error kind=decode", 1),
        ("session_commits_total outcome=error kind=unavailable", 1),
        ("session_commits_total outcome=logged_in", 1),
    ];
    assert_eq!(
        counters.values(),
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}
