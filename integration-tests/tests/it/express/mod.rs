//! The behaviour of express-session, which many sites rely on: what is the same here, and what
//! differs on purpose.
//!
//! One module for each part of it. The store calls of every kind of request under every setting are
//! in [`matrix`]. Behaviour that only Node has (prototypes, callbacks, events of a store) has no
//! counterpart, and what types rule out (an id that is not text, a store without `touch`) has no
//! test.
//!
//! The differences, each with a test:
//!
//! | express-session | here |
//! |---|---|
//! | accepts missing and empty secrets, and fails each request | [`options::a_missing_or_empty_key_is_refused_by_build`] |
//! | does not sign again with the first key | [`options::the_first_key_signs_all_keys_verify_and_old_signatures_of_users_are_replaced`] |
//! | overwrites a session if `genid` repeats its id | [`options::an_id_that_is_taken_is_generated_again`] |
//! | lets sessions that share a store share `genid` and the cookie | [`options::a_store_can_be_shared_by_several_configurations`] |
//! | validates cookie options when a response is sent | [`options::unusable_cookie_options_are_refused_by_build`] |
//! | ignores the inner of two stacked sessions | [`gate::several_named_sessions_live_side_by_side`] |
//! | serves requests without a session while the store is disconnected | [`gate::an_outage_is_an_error_and_never_an_empty_session`] |
//! | matches the cookie path as a prefix of text | [`gate::only_requests_below_the_cookie_path_have_a_session`] |
//! | examines the first cookie of the name alone | [`reading::every_cookie_of_the_name_is_tried`] |
//! | loads the session before the handler runs | [`loading::a_session_is_loaded_when_the_handler_asks_for_it`] |
//! | answers 500 for a record that it cannot read, until it expires | [`loading::a_record_that_cannot_be_decoded_starts_a_new_session_or_fails_as_configured`] |
//! | does not store a change of the cookie alone | [`changes::a_change_of_the_cookie_is_a_change`] |
//! | throws in `res.end` for a value that JSON cannot represent | [`changes::a_value_that_cannot_be_encoded_is_a_typed_error`] |
//! | destroys the session of a response without one, under `unset: 'destroy'` | [`object::only_the_handler_unsets_a_session`] |
//! | leaves the cookie of a destroyed session in the browser | [`methods::destroy_removes_the_record_and_the_cookie`] |
//! | switches to the new session if the old one cannot be destroyed | [`methods::a_regenerate_that_cannot_end_the_old_session_sets_no_cookie`] |
//! | stores a session without a cookie that opens it, by an explicit `save` | [`methods::an_explicit_save_sets_the_cookie`] |
//! | sets a persistent cookie again with each change, but not with each touch | [`methods::a_persistent_cookie_is_not_set_again_while_the_session_is_used`] |
//! | gives a persistent cookie the idle timeout | [`attributes::a_persistent_cookie_lasts_until_the_absolute_timeout`] |
//! | sets a rolling cookie with every response | [`set_cookie::a_rolling_cookie_is_set_when_a_touch_is_due`] |
//! | turns an absolute expiry into a sliding one | [`attributes::an_absolute_deadline_does_not_slide`] |
//! | keeps the cookie attributes that a session was created with | [`attributes::a_session_can_override_attributes_of_its_cookie`] |
//! | stores a session whose `Secure` cookie it cannot set | [`secure::a_session_whose_cookie_cannot_be_set_is_not_stored`] |
//! | sends the head before the session is stored | [`ordering::the_response_head_is_sent_after_the_session_is_stored`] |
//! | answers 200 if the session could not be stored | [`errors::a_failed_commit_is_a_503_without_a_cookie`] |
//! | keeps the changes of one of two concurrent requests | [`concurrency::concurrent_changes_are_both_kept`] |
//! | stores a destroyed session again, by a slow request | [`concurrency::a_slow_write_does_not_bring_an_ended_session_back`] |

mod attributes;
mod changes;
mod concurrency;
mod errors;
mod gate;
mod loading;
mod matrix;
mod methods;
mod object;
mod options;
mod ordering;
mod reading;
mod secure;
mod set_cookie;
mod store;

use std::{
    collections::BTreeMap,
    error::Error,
    future::Future,
    io::Read,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration_tests::{App, Reply, keys, text};
use session_core::{
    Builder, ConfigError, CookieOptions, EntropyError, ExpressOptions, Key, Loaded, MemoryStore,
    OnDecodeError, Outcome, OutcomeKind, ParseIdError, PeerAddr, Priority, Proxy, Record,
    RequestScheme, SameSite, Secure, Session, SessionError, SessionErrorKind, SessionHandle,
    SessionId, Sessions, SigningKeys, SigningKeysError, Store, StoreErrorKind, Unset, Version,
    Write,
    testing::{Call, ManualClock, TestStore},
};
use session_hyper::{SessionBody, SessionRequestExt, SessionService};
use test_support::Browser;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::{ServiceExt, service_fn};

type TestResult = Result<(), Box<dyn Error>>;
/// What a handler does with its session.
type Change = fn(&Session) -> Result<(), SessionError>;

const VALUE: Key<u32> = Key::new("value");
const OTHER: Key<u32> = Key::new("other");
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
/// The absolute timeout that a session has by default.
const ABSOLUTE: Duration = Duration::from_secs(12 * 3600);
const KEY_A: &str = "signing key A, at least 32 bytes long";
const KEY_B: &str = "signing key B, at least 32 bytes long";

/// Sessions with a clock and a store that records.
struct Site {
    store: TestStore,
    clock: ManualClock,
    sessions: Sessions,
}

/// The response and the outcome of a request.
#[derive(Debug)]
struct Answer {
    response: Response<()>,
    outcome: Outcome,
}

impl Site {
    /// A site with an idle timeout of an hour, and these options.
    fn new(options: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let sessions = Self::sessions(&store, &clock, options);
        Self {
            store,
            clock,
            sessions,
        }
    }

    /// Another site on the same store, configured differently.
    fn beside(&self, options: impl FnOnce(Builder) -> Builder) -> Self {
        let sessions = Self::sessions(&self.store, &self.clock, options);
        Self {
            store: self.store.clone(),
            clock: self.clock.clone(),
            sessions,
        }
    }

    fn sessions(
        store: &TestStore,
        clock: &ManualClock,
        options: impl FnOnce(Builder) -> Builder,
    ) -> Sessions {
        let builder = Sessions::builder(store.clone())
            .signing_keys(keys())
            .clock(clock.clone())
            .idle_timeout(HOUR);
        options(builder).build().expect("valid options")
    }

    /// One request that loads its session, up to the headers of its response.
    async fn visit(
        &self,
        request: Request<()>,
        handler: impl AsyncFnOnce(Session) -> Result<(), SessionError>,
    ) -> Result<Answer, SessionError> {
        let handle = self.sessions.begin(&request);
        handler(handle.load().await?).await?;
        self.finish(&handle).await
    }

    async fn finish(&self, handle: &SessionHandle) -> Result<Answer, SessionError> {
        let mut response = Response::new(());
        let outcome = self.sessions.finish(handle, &mut response).await?;
        Ok(Answer { response, outcome })
    }

    /// Begins a request and loads its session, to be finished later.
    async fn open(&self, request: Request<()>) -> Result<(SessionHandle, Session), SessionError> {
        let handle = self.sessions.begin(&request);
        let session = handle.load().await?;
        Ok((handle, session))
    }

    /// Stores a session with `VALUE` = 1 and returns its cookie.
    async fn begin(&self) -> Result<String, SessionError> {
        let answer = self
            .visit(get(None), async |session| session.insert(VALUE, &1))
            .await?;
        self.store.take_calls();
        Ok(answer.pair())
    }

    /// The id that a cookie names, if it is signed.
    fn id(&self, pair: &str) -> Option<SessionId> {
        self.sessions.begin(&get(pair)).presented_id()
    }

    /// The record that a cookie opens.
    async fn stored(&self, pair: &str) -> Option<Loaded> {
        self.store
            .inner()
            .load(&self.id(pair).expect("signed"))
            .await
            .expect("memory")
    }

    /// A value of the session that a cookie opens; `None` also if it opens none.
    async fn value(&self, pair: &str, key: Key<u32>) -> Result<Option<u32>, SessionError> {
        let (_, session) = self.open(get(pair)).await?;
        session.get(key)
    }
}

impl Answer {
    fn kind(&self) -> OutcomeKind {
        self.outcome.kind()
    }

    fn set_cookies(&self) -> Vec<&str> {
        set_cookies(self.response.headers())
    }

    /// The one cookie that is set.
    #[track_caller]
    fn cookie(&self) -> Cookie<'_> {
        let set = self.set_cookies();
        assert_eq!(set.len(), 1, "{set:?}");
        Cookie::parse(set[0]).expect("a cookie")
    }

    /// The cookie as a browser sends it back.
    #[track_caller]
    fn pair(&self) -> String {
        self.cookie().stripped().to_string()
    }

    #[track_caller]
    fn max_age(&self) -> Option<u64> {
        self.cookie()
            .max_age()
            .map(|age| age.whole_seconds().unsigned_abs())
    }
}

fn set_cookies(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|set| set.to_str().expect("ascii"))
        .collect()
}

/// A request for `/` with this cookie header.
fn get<'c>(cookie: impl Into<Option<&'c str>>) -> Request<()> {
    get_at("/", cookie)
}

fn get_at<'c>(uri: &str, cookie: impl Into<Option<&'c str>>) -> Request<()> {
    let mut request = Request::builder().uri(uri).body(()).expect("a request");
    if let Some(cookie) = cookie.into() {
        request.headers_mut().insert(
            header::COOKIE,
            HeaderValue::from_str(cookie).expect("a header"),
        );
    }
    request
}

fn over(mut request: Request<()>, scheme: RequestScheme) -> Request<()> {
    request.extensions_mut().insert(scheme);
    request
}

fn rolling() -> ExpressOptions {
    ExpressOptions::new().rolling(true)
}

fn plain_cookie() -> CookieOptions {
    CookieOptions::new().name("id")
}

/// One request through the service, without a socket.
async fn serve<F>(
    sessions: &Sessions,
    request: Request<()>,
    handler: impl Fn(Request<()>) -> F + Clone + Send + 'static,
) -> Response<SessionBody<()>>
where
    F: Future<Output = Result<Response<()>, SessionError>> + Send + 'static,
{
    let service = SessionService::new(sessions.clone(), service_fn(handler));
    service
        .oneshot(request)
        .await
        .expect("session errors are answered")
}

/// A handler that writes.
async fn write(request: Request<()>) -> Result<Response<()>, SessionError> {
    let session = request.session().load().await?;
    session.update(VALUE, |value| value.unwrap_or(0) + 1)?;
    Ok(Response::new(()))
}

fn kind<T: std::fmt::Debug>(result: Result<T, SessionError>) -> SessionErrorKind {
    result.expect_err("an error").kind()
}
