//! The layer under tower: stacked, without a framework, and around streaming bodies.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Request as AxumRequest, routing::get};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use session_core::{
    CookieOptions,
    testing::{Call, TestStore},
};
use session_hyper::{RequestSession, SessionLayer};
use test_support::Browser;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{VIEWS, call};
use crate::visit::{builder, sessions, set_cookies};

#[tokio::test]
async fn stacked_layers_of_one_name_are_one_and_of_two_names_are_two() {
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
            .expect("valid options")
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

/// Under tower alone, without a framework.
#[tokio::test]
async fn the_session_is_committed_before_a_streaming_body_and_closed_for_it() {
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

/// Two chunks: what the session contains, and the error of a write to it.
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
