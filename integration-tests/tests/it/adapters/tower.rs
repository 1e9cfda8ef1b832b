//! The layer under tower alone, around a body that is streamed.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use ::axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use session_core::{Session, testing::Call};
use session_hyper::{SessionLayer, SessionRequestExt};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::VIEWS;
use crate::visit::{Tested, on_every_store, sessions, set_cookies};

on_every_store! {
    the_session_is_committed_before_a_streaming_body_and_closed_for_it
}

async fn the_session_is_committed_before_a_streaming_body_and_closed_for_it(store: Tested) {
    let service = ServiceBuilder::new()
        .layer(SessionLayer::new(sessions(&store)))
        .service(service_fn(|request: Request<Full<Bytes>>| async move {
            let session = request.session().load().await.expect("works");
            session.insert(VIEWS, &1).expect("writable");
            let body = Body::from_stream(Chunks { session, sent: 0 });
            Ok::<_, Infallible>(Response::new(body))
        }));
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
struct Chunks {
    session: Session,
    sent: u32,
}

impl futures_core::Stream for Chunks {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.sent += 1;
        let chunk = match self.sent {
            1 => format!(
                "{}",
                self.session.get(VIEWS).expect("a number").unwrap_or(0)
            ),
            2 => {
                let error = self.session.insert(VIEWS, &2).expect_err("late");
                format!("{:?}", error.kind())
            }
            _ => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(chunk)))
    }
}
