//! Waits for the end of a session.

use std::{future::Future, time::Duration};

use session_core::{Session, Watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The shortest time between two looks at a session that changes often.
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while the store fails.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What sessions can do on a runtime with timers.
///
/// # Examples
///
/// An event stream that closes when its user logs out, in this browser tab or on another machine:
///
/// ```
/// use session_hyper::{Session, SessionExt};
/// use tokio::sync::mpsc::{Receiver, Sender};
///
/// async fn events(session: Session, mut news: Receiver<String>, client: Sender<String>) {
///     let mut ended = std::pin::pin!(session.ended());
///     loop {
///         tokio::select! {
///             () = &mut ended => {
///                 let _ = client.send("event: ended\ndata:\n\n".to_owned()).await;
///                 return;
///             }
///             Some(item) = news.recv() => {
///                 if client.send(format!("data: {item}\n\n")).await.is_err() {
///                     return;
///                 }
///             }
///         }
///     }
/// }
/// ```
pub trait SessionExt {
    /// Waits until the session has ended: by a logout, here or on another instance, by an operator,
    /// by its timeouts, or because somebody else has logged in. A renewal of the token is no end.
    ///
    /// For [WebSockets and event streams](crate::websockets), which outlive their request: end them
    /// when this future is ready. Poll it once the response is sent, as the body of a response does:
    /// a session that begins with the request is not stored before. Waiting does not extend the
    /// session's life.
    ///
    /// A store that announces changes, such as the Redis store and the in-process store, is asked
    /// when the session begins to be watched, after each change of it, but not more often than four
    /// times per second, and when it would expire. Any other store is asked every five seconds. If
    /// the store fails, the session has not ended: it is asked again, at least every five seconds.
    fn ended(&self) -> impl Future<Output = ()> + Send + 'static;
}

impl SessionExt for Session {
    fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        wait_for_end(self.watch())
    }
}

async fn wait_for_end(mut watch: Watch) {
    let mut pause = MIN_PAUSE;
    loop {
        let looked_at = Instant::now();
        match watch.look().await {
            Ok(None) => return,
            Ok(Some(wait)) => {
                pause = MIN_PAUSE;
                // a life that was extended meanwhile is found at the next look
                let delay = timeout(wait, watch.changed()).await.unwrap_or_default();
                sleep_until((Instant::now() + delay).max(looked_at + MIN_PAUSE)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot tell whether a watched session has ended");
                sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 2);
            }
        }
    }
}
