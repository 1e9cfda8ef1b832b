//! The stream of server-sent events that says when the session of a page has ended.

use std::{convert::Infallible, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::Frame;
use http_body_util::StreamBody;
use session_hyper::{Session, SessionExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The body of a stream of events.
pub(crate) type EventBody = StreamBody<Pin<Box<dyn Stream<Item = EventFrame> + Send>>>;

type EventFrame = Result<Frame<Bytes>, Infallible>;

/// How often to send something, so that no proxy takes an open stream for a dead one. It is also
/// how long a browser that has vanished without a word goes unnoticed, more or less.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A comment, which browsers ignore.
const COMMENT: &str = ":\n\n";
/// A browser dispatches no event without a line of data.
const ENDED: &str = "event: ended\ndata:\n\n";

/// A stream that sends `ended` when the session has ended, and then closes. When the server shuts
/// down it closes without an event, and the browser connects again.
pub(crate) fn body(session: &Session, shutdown: CancellationToken) -> EventBody {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = Box::pin(session.ended());
    let open = Some((ended, heartbeat, shutdown));
    let frames = stream::unfold(open, |open| async {
        let (mut ended, mut heartbeat, shutdown) = open?;
        tokio::select! {
            () = &mut ended => Some((frame(ENDED), None)),
            () = shutdown.cancelled() => None,
            _ = heartbeat.tick() => Some((frame(COMMENT), Some((ended, heartbeat, shutdown)))),
        }
    });
    StreamBody::new(Box::pin(frames))
}

fn frame(text: &'static str) -> EventFrame {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use session_hyper::{MemoryStore, Sessions, SigningKeys};

    use super::*;

    /// A session in which ann is logged in, and its stream.
    async fn start(shutdown: CancellationToken) -> (Sessions, Session, EventBody) {
        let sessions = Sessions::builder(MemoryStore::new())
            .signing_keys(SigningKeys::random().expect("entropy"))
            .build()
            .expect("valid options");
        let session = sessions.begin(&Request::new(())).load().await;
        let session = session.expect("no fault");
        session.log_in("ann").expect("accepted");
        let _ = session.save().await.expect("no fault");
        let body = body(&session, shutdown);
        (sessions, session, body)
    }

    /// The next thing that is sent; `None` if the stream is closed.
    async fn next(body: &mut EventBody) -> Option<Bytes> {
        let frame = body.frame().await?;
        let Ok(frame) = frame;
        Some(frame.into_data().expect("data"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_does_not_end_the_stream_and_a_logout_does() {
        let (sessions, session, mut body) = start(CancellationToken::new()).await;
        assert_eq!(next(&mut body).await.as_deref(), Some(COMMENT.as_bytes()));
        session.renew().expect("accepted");
        let _ = session.save().await.expect("no fault");
        for _ in 0..3 {
            assert_eq!(next(&mut body).await.as_deref(), Some(COMMENT.as_bytes()));
        }
        let id = session.id().expect("it lives");
        sessions.end(&id).await.expect("no fault");
        assert_eq!(next(&mut body).await.as_deref(), Some(ENDED.as_bytes()));
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_closes_the_stream_without_an_event() {
        let shutdown = CancellationToken::new();
        let (_, _session, mut body) = start(shutdown.clone()).await;
        assert_eq!(next(&mut body).await.as_deref(), Some(COMMENT.as_bytes()));
        shutdown.cancel();
        assert_eq!(next(&mut body).await, None);
    }
}
