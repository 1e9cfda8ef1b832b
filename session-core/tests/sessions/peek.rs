//! Loads that do not extend the session's life.

use std::time::Duration;

use http::{Request, Response, Uri, header};
use session_core::{
    Builder, ExpressOptions, LoadMode, MemoryStore, Session, SessionError, SessionHandle, Sessions,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, builder, visit};

const MINUTE: Duration = Duration::from_secs(60);

/// A stored session, ten minutes after its last request: a touch is due.
struct Due {
    clock: ManualClock,
    store: TestStore,
    sessions: Sessions,
    jar: Jar,
}

async fn due(configure: impl FnOnce(Builder) -> Builder) -> Due {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let builder = configure(builder(&store).clock(clock.clone()));
    let sessions = builder.build().expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    clock.advance(10 * MINUTE);
    store.take_calls();
    Due {
        clock,
        store,
        sessions,
        jar,
    }
}

impl Due {
    /// Sends a request, and returns what it asked of the store.
    async fn request(
        &self,
        uri: &str,
        act: impl AsyncFnOnce(&SessionHandle) -> Result<(), SessionError>,
    ) -> Vec<Call> {
        let request = Request::builder().uri(uri);
        let request = request.header(header::COOKIE, self.jar.header());
        let handle = self.sessions.begin(&request.body(()).expect("a request"));
        act(&handle).await.expect("no fault");
        let mut response = Response::new(());
        let _ = self.sessions.finish(&handle, &mut response).await;
        self.store.take_calls()
    }
}

async fn peek(handle: &SessionHandle) -> Result<(), SessionError> {
    handle.peek().await.map(drop)
}

async fn load(handle: &SessionHandle) -> Result<(), SessionError> {
    handle.load().await.map(drop)
}

#[tokio::test]
async fn peeking_writes_no_expiry_and_loading_does() {
    let due = due(|builder| builder).await;
    assert_eq!(due.request("/", peek).await, [Call::Load]);
    assert_eq!(due.request("/", load).await, [Call::Load, Call::Touch]);
}

#[tokio::test]
async fn no_option_makes_a_peek_write() {
    let plain = ExpressOptions::new();
    for options in [plain.resave(true), plain.rolling(true)] {
        let due = due(|builder| builder.express(options)).await;
        assert_eq!(due.request("/", peek).await, [Call::Load], "{options:?}");
        assert_eq!(due.request("/", load).await.len(), 2, "{options:?}");
    }
}

#[tokio::test]
async fn a_write_after_a_peek_extends_the_life_as_any_write_does() {
    type Act = fn(&Session) -> Result<(), SessionError>;
    let write: Act = |session| session.insert("a", &2);
    for (act, call) in [(write, Call::Save), (Session::touch, Call::Touch)] {
        let due = due(|builder| builder).await;
        let write = async |handle: &SessionHandle| act(&handle.peek().await?);
        assert_eq!(due.request("/", write).await, [Call::Load, call]);
        // the life is a full one again
        assert_eq!(due.request("/", load).await, [Call::Load]);
    }
}

#[tokio::test]
async fn a_load_by_another_handler_of_the_request_extends_the_life() {
    let due = due(|builder| builder).await;
    let both = async |handle: &SessionHandle| {
        handle.peek().await?;
        handle.load().await.map(drop)
    };
    assert_eq!(due.request("/", both).await, [Call::Load, Call::Touch]);
}

#[tokio::test]
async fn polling_does_not_keep_a_session_alive() {
    let due = due(|builder| builder).await;
    let lives = async || {
        let mut lives = false;
        due.request("/", async |handle: &SessionHandle| {
            lives = !handle.peek().await?.is_new();
            Ok(())
        })
        .await;
        lives
    };
    // ten minutes of the half hour are over
    for _ in 10..29 {
        due.clock.advance(MINUTE);
        assert!(lives().await);
    }
    due.clock.advance(MINUTE);
    assert!(!lives().await);
}

fn peeks_at_poll(builder: Builder) -> Builder {
    builder.load_mode(|request| match request.uri.path() {
        "/api/poll" => LoadMode::Peek,
        _ => LoadMode::Normal,
    })
}

#[tokio::test]
async fn the_load_mode_of_a_request_is_what_the_option_says() {
    let due = due(peeks_at_poll).await;
    assert_eq!(due.request("/api/poll", load).await, [Call::Load]);
    assert_eq!(due.request("/", load).await, [Call::Load, Call::Touch]);
}

#[tokio::test]
async fn a_handler_may_choose_another_mode_than_the_option() {
    let due = due(peeks_at_poll).await;
    let normal = async |handle: &SessionHandle| handle.load_with(LoadMode::Normal).await.map(drop);
    assert_eq!(due.request("/", peek).await, [Call::Load]);
    let calls = due.request("/api/poll", normal).await;
    assert_eq!(calls, [Call::Load, Call::Touch]);
}

#[tokio::test]
async fn the_option_sees_the_uri_that_the_browser_requested() {
    let due =
        due(|builder| peeks_at_poll(builder).original_uri(|_| Some(Uri::from_static("/api/poll"))))
            .await;
    assert_eq!(due.request("/poll", load).await, [Call::Load]);
}
