//! express-session's behaviour, row by row: what is the same here, and what is better. E numbers are its rows; the golden matrix
//! (E136–E159) is in [`express_matrix`](crate::express_matrix).
//!
//! Where each row is shown. *Matrix* is `express_matrix::every_case_under_every_setting`; *unit* is a test in session-core, with
//! its file; *by type* means that the opposite does not compile or has no place in the API; *n/a* is an artefact of Node; *interop*
//! belongs to the format that shares live sessions with express-session, which is to follow; *open* does not hold yet.
//!
//! | row | shown by |
//! |---|---|
//! | E1 | n/a |
//! | E2 | `the_cookie_has_the_configured_name`, `unusable_cookie_options_are_refused_when_built` |
//! | E3 | `a_missing_or_empty_secret_is_refused_when_built` |
//! | E4 | n/a |
//! | E5 | `a_missing_or_empty_secret_is_refused_when_built` |
//! | E6 | `a_key_is_text_or_bytes` |
//! | E7, E8, E9 | `the_first_key_signs_all_verify_and_an_old_signature_is_replaced` |
//! | E10 | `a_missing_or_empty_secret_is_refused_when_built` |
//! | E11 | by type: `id_source` takes a function |
//! | E12 | `ids_are_random_and_need_no_encoding`; unit `a_million_tokens_are_distinct_and_their_bits_are_balanced` (token.rs) |
//! | E13 | `the_id_source_sees_the_request_for_new_and_for_regenerated_sessions` |
//! | E14 | `ids_are_random_and_need_no_encoding`; by type: an id is 22 characters of base64url |
//! | E15, E16 | `only_an_id_is_an_id`; by type: `SessionId`. An id source is not asynchronous |
//! | E17 | `an_id_source_that_fails_is_the_same_error_everywhere` |
//! | E18 | `an_id_that_is_taken_is_asked_for_again_and_never_overwritten` |
//! | E19, E20, E21, E22 | `by_default_only_what_was_written_is_stored`; E22 by type: `Unset` |
//! | E23 | by type: `Proxy` |
//! | E24 | by type: the store is an argument, so nobody runs on memory unasked |
//! | E25 | n/a |
//! | E26 | `a_store_can_be_shared_by_several_configurations` |
//! | E27 | by type: `Store::touch` |
//! | E28 | `cookie_options_can_be_computed_from_the_request`; open: no `max_age` does not undo a configured one |
//! | E29 | the same, and `unusable_computed_cookie_options_are_a_typed_error` |
//! | E30 | `auto_is_resolved_in_computed_cookie_options_too` |
//! | E31 | `unusable_cookie_options_are_refused_when_built`; unit `illegal_combinations_are_refused_and_named` (cookie.rs) |
//! | E32 | `several_named_sessions_live_side_by_side` |
//! | E33, E34 | `an_outage_is_an_error_and_never_an_empty_session` |
//! | E35, E36 | `only_requests_below_the_cookie_path_have_a_session`; unit `paths_match_by_segments` (cookie_header.rs) |
//! | E37 | `the_cookie_path_is_held_against_the_uri_that_the_browser_asked_for` |
//! | E38 | `only_requests_below_the_cookie_path_have_a_session` |
//! | E39 | n/a |
//! | E40 | `only_requests_below_the_cookie_path_have_a_session`; by type: a request never shows its store |
//! | E41 | `every_method_and_every_status_commits` |
//! | E42 | `the_cookie_is_found_however_it_is_written`; unit `any_header_is_harmless` (cookie_header.rs) |
//! | E43 | `each_cookie_of_the_name_is_tried` |
//! | E44, E45, E46, E47 | `a_cookie_that_is_not_signed_is_no_cookie`; E45 unit `every_changed_character_is_refused` (format.rs) |
//! | E48 | `the_cookie_is_found_however_it_is_written` |
//! | E49 | `a_cookie_that_opens_nothing_can_be_removed`; open after a write that was taken back |
//! | E50 | by type: `Mac::verify_slice` and `subtle::ConstantTimeEq` are the only comparisons |
//! | E51 | n/a |
//! | E52, E53 | `a_session_is_loaded_when_it_is_asked_for` |
//! | E54 | `an_id_that_is_not_stored_is_never_adopted` |
//! | E55 | `an_expired_session_is_a_new_one` |
//! | E56 | `an_outage_is_an_error_and_never_an_empty_session` |
//! | E57 | n/a |
//! | E58 | `a_record_that_cannot_be_read_is_answered_by_policy` |
//! | E59 | `a_record_needs_no_data`; the JSON form is interop |
//! | E60 | interop; here `the_absolute_timeout_holds_whatever_the_store_says` |
//! | E61 | `a_load_that_hangs_can_be_given_up`; the deadline is a store's own (session-redis) |
//! | E62, E63, E64 | `what_differs_is_a_change_and_nothing_else_is` |
//! | E65 | `a_change_of_the_cookie_is_a_change`, matrix |
//! | E66 | `regenerate_begins_an_empty_session_and_renew_keeps_it`, matrix |
//! | E67 | `a_value_that_cannot_be_encoded_is_a_typed_error` |
//! | E68 | `no_name_is_reserved` |
//! | E69 | `destroy_ends_the_session_and_its_cookie`; by type: `Session::id` only reads |
//! | E70 | `no_name_is_reserved` |
//! | E71 | n/a |
//! | E72 | `unset_keeps_or_destroys`, matrix |
//! | E73 | `unset_keeps_or_destroys`, `the_response_waits_until_the_session_is_destroyed`, matrix |
//! | E74 | `unset_keeps_or_destroys`, matrix |
//! | E75 | `only_a_word_of_the_handler_destroys` |
//! | E76 | `destroy_ends_the_session_and_its_cookie` |
//! | E77 | matrix |
//! | E78 | `a_destroy_that_fails_is_reported` |
//! | E79 | matrix |
//! | E80 | `the_response_waits_until_the_session_is_destroyed` |
//! | E81 | `destroy_ends_the_session_and_its_cookie`; unit `removal_carries_the_attributes_of_the_cookie_it_removes` (cookie_header.rs) |
//! | E82 | `regenerate_begins_an_empty_session_and_renew_keeps_it` |
//! | E83 | `regenerate_fails_closed` |
//! | E84 | `a_record_needs_no_data`, matrix |
//! | E85 | matrix |
//! | E86 | n/a |
//! | E87 | `reload_reads_the_session_anew` |
//! | E88 | `reloading_a_session_that_has_ended_is_an_error` |
//! | E89 | both of these |
//! | E90 | `save_writes_now_and_the_end_writes_the_rest` |
//! | E91 | the same, matrix; open with `resave` |
//! | E92 | `save_gives_full_life` |
//! | E93 | `an_explicit_save_sends_its_cookie`, matrix |
//! | E94 | `touch_gives_full_life`, matrix; open: `max_age` shows it after the commit only |
//! | E95 | `cookie_and_store_expire_together`, matrix; open where the cookie goes out without a touch, or long after a save |
//! | E96 | `the_cookie_is_safe_by_default` |
//! | E97 | by type: `CookieOptions` |
//! | E98 | `max_age_is_what_is_left_and_original_max_age_the_whole` |
//! | E99 | `a_persistent_cookie_says_when_it_expires`; by type: a `Duration` |
//! | E100 | `unusable_cookie_options_are_refused_when_built`; unit `what_cannot_work_is_refused_when_built` (builder.rs) |
//! | E101 | `max_age_is_what_is_left_and_original_max_age_the_whole`, `the_lifetime_does_not_drift` |
//! | E102 | `the_lifetime_does_not_drift` |
//! | E103 | `an_absolute_deadline_does_not_slide` |
//! | E104 | `no_lifetime_left_ends_the_session` |
//! | E105 | `a_lifetime_can_be_taken_back` |
//! | E106 | `max_age_is_what_is_left_and_original_max_age_the_whole` |
//! | E107 | `attributes_are_written_as_configured` |
//! | E108 | `no_lifetime_left_ends_the_session` |
//! | E109 | `a_very_long_lifetime_works`; unit `a_lifetime_is_written_both_ways_and_capped_at_400_days` (cookie_header.rs) |
//! | E110, E111 | `a_session_may_differ_from_the_configuration` |
//! | E112 | interop |
//! | E113 | n/a |
//! | E114, E115, E116, E117 | `the_proxy_option_says_who_is_believed_about_tls`; unit `the_proxy_option_says_whom_to_believe` (transport.rs) |
//! | E118 | `what_cannot_be_addressed_is_not_stored` |
//! | E119 | `auto_secure_is_decided_for_each_response_and_never_downgrades` |
//! | E120 | `auto_same_site_is_none_only_where_the_cookie_is_secure`, `unusable_cookie_options_are_refused_when_built` |
//! | E121, E122 | `a_change_after_the_head_is_an_error_and_is_dropped`, matrix |
//! | E123, E124, E125, E126 | `a_browser_session_cookie_is_sent_once_and_a_rolling_one_always`, matrix; E126 open where `resave` meets a conflict |
//! | E127 | `a_change_after_the_head_is_an_error_and_is_dropped` |
//! | E128 | `other_cookies_of_the_response_are_kept` |
//! | E129 | `unusable_cookie_options_are_refused_when_built`, `unusable_computed_cookie_options_are_a_typed_error` |
//! | E130 | `a_persistent_cookie_says_when_it_expires`, `the_session_is_stored_before_the_body_is_asked_for`; open as E95 |
//! | E131 | `the_cookie_is_safe_by_default`, `attributes_are_written_as_configured`, `a_persistent_cookie_says_when_it_expires` |
//! | E132 | `attributes_are_written_as_configured`, `unusable_cookie_options_are_refused_when_built` |
//! | E133 | `caches_are_told_that_the_response_is_personal`, `destroy_ends_the_session_and_its_cookie` |
//! | E134 | `parallel_first_requests_begin_a_session_each` |
//! | E135–E157 | matrix; E145 also `express_matrix::touches_are_throttled_unless_every_one_is_asked_for` |
//! | E158 | by type: `Store::touch` |
//! | E159 | matrix, `an_emptied_session_lives_on` |
//! | E160 | `the_head_leaves_when_the_store_has_the_session`, `the_session_is_stored_before_the_body_is_asked_for` |
//! | E161, E162 | `the_head_leaves_when_the_store_has_the_session` |
//! | E163, E164, E165 | n/a |
//! | E166 | `sessions_work_over_http_2` |
//! | E167 | `a_request_that_is_cancelled_leaves_the_session_whole` |
//! | E168, E169 | n/a |
//! | E170 | `a_commit_that_fails_is_not_a_success` |
//! | E171 | `a_touch_that_fails_is_logged_only` |
//! | E172 | `a_destroy_that_fails_is_reported` |
//! | E173 | `a_record_that_cannot_be_read_is_answered_by_policy`; unit `any_bytes_are_a_record_or_refused` (codec.rs) |
//! | E174 | `overlapping_changes_are_both_kept` |
//! | E175, E176 | `overlapping_reads_are_harmless` |
//! | E177 | `a_slow_writer_revives_nothing` |
//! | E178 | by type: `Store`; the suite of `contract!` |
//! | E179 | `a_session_can_be_opened_outside_of_a_request` |
//! | E180 | `each_request_has_a_copy_of_its_own` |
//! | E181 | `an_expired_session_is_a_new_one`; unit `a_full_store_forgets_the_oldest_and_takes_the_newest` (memory.rs) |
//! | E182 | `a_touch_leaves_the_data_alone`; `contract::touch_moves_the_expiry_and_nothing_else` |
//! | E183 | n/a |

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
use integration_tests::{App, Browser, Call, ManualClock, Reply, TestStore, keys, text};
use session_core::{
    Builder, ConfigError, CookieOptions, Created, EntropyError, Key, Loaded, MemoryStore, Outcome, ParseIdError,
    PeerAddr, Priority, Proxy, RecordBytes, SameSite, Secure, Session, SessionError, SessionErrorKind, SessionHandle,
    SessionId, SessionToken, Sessions, SigningKeys, SigningKeysError, Store, StoreErrorKind, Transport, Undecodable,
    Unset,
};
use session_hyper::{RequestSession, SessionBody, SessionService};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::{ServiceExt, service_fn};

type TestResult = Result<(), Box<dyn Error>>;
/// What a handler does with its session.
type Change = fn(&Session) -> Result<(), SessionError>;

const VALUE: Key<u32> = Key::new("value");
const OTHER: Key<u32> = Key::new("other");
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const KEY_A: &str = "signing key A, at least 32 bytes long";
const KEY_B: &str = "signing key B, at least 32 bytes long";

// ---- a site without a socket ----

/// Sessions with a clock and a store that records.
struct Site {
    store: TestStore,
    clock: ManualClock,
    sessions: Sessions,
}

/// What a request came to.
#[derive(Debug)]
struct Answer {
    response: Response<()>,
    outcome: Outcome,
}

impl Site {
    /// An idle timeout of an hour; the rest as said.
    fn new(options: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let sessions = Self::sessions(&store, &clock, options);
        Self { store, clock, sessions }
    }

    /// Another site on the same store, configured differently.
    fn beside(&self, options: impl FnOnce(Builder) -> Builder) -> Self {
        let sessions = Self::sessions(&self.store, &self.clock, options);
        Self { store: self.store.clone(), clock: self.clock.clone(), sessions }
    }

    fn sessions(store: &TestStore, clock: &ManualClock, options: impl FnOnce(Builder) -> Builder) -> Sessions {
        let builder = Sessions::builder(store.clone()).signing_keys(keys()).clock(clock.clone()).idle_timeout(HOUR);
        options(builder).build().expect("legal options")
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

    /// Stores a session with `VALUE` = 1 and gives its cookie.
    async fn begin(&self) -> Result<String, SessionError> {
        let answer = self.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
        self.store.take_calls();
        Ok(answer.pair())
    }

    /// The id that a cookie names, if it is signed.
    fn id(&self, pair: &str) -> Option<SessionId> {
        self.sessions.begin(&get(pair)).presented_id()
    }

    /// What the store holds for a cookie.
    async fn stored(&self, pair: &str) -> Option<Loaded> {
        self.store.inner().load(&self.id(pair).expect("signed")).await.expect("memory")
    }

    /// A value of the session that a cookie opens; `None` also where it opens none.
    async fn value(&self, pair: &str, key: Key<u32>) -> Result<Option<u32>, SessionError> {
        let (_, session) = self.open(get(pair)).await?;
        session.get(key)
    }
}

impl Answer {
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
        self.cookie().max_age().map(|age| age.whole_seconds().unsigned_abs())
    }
}

fn set_cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(header::SET_COOKIE).iter().map(|set| set.to_str().expect("ascii")).collect()
}

/// A request for `/` with this cookie header.
fn get<'c>(cookie: impl Into<Option<&'c str>>) -> Request<()> {
    get_at("/", cookie)
}

fn get_at<'c>(uri: &str, cookie: impl Into<Option<&'c str>>) -> Request<()> {
    let mut request = Request::builder().uri(uri).body(()).expect("a request");
    if let Some(cookie) = cookie.into() {
        request.headers_mut().insert(header::COOKIE, HeaderValue::from_str(cookie).expect("a header"));
    }
    request
}

fn over(mut request: Request<()>, transport: Transport) -> Request<()> {
    request.extensions_mut().insert(transport);
    request
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
    service.oneshot(request).await.expect("session errors are answered")
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

// ---- 1.1 options ----

/// E2: there is no alias, and an empty name is refused rather than replaced.
#[tokio::test]
async fn the_cookie_has_the_configured_name() -> TestResult {
    assert_eq!(Site::new(|b| b).sessions.cookie_name(), "__Host-id");
    let site = Site::new(|b| b.cookie(CookieOptions::new().name("connect.sid")));
    assert_eq!(site.sessions.cookie_name(), "connect.sid");
    assert!(site.begin().await?.starts_with("connect.sid=v1."));
    Ok(())
}

/// E3, E5, E10: also one key among several.
#[test]
fn a_missing_or_empty_secret_is_refused_when_built() {
    let unsigned = Sessions::builder(MemoryStore::new()).build();
    assert!(matches!(unsigned, Err(ConfigError::NoSigningKeys)));
    assert_eq!(SigningKeys::new::<&str>([]).err(), Some(SigningKeysError::Empty));
    assert_eq!(SigningKeys::new([""]).err(), Some(SigningKeysError::TooShort { found: 0 }));
    assert_eq!(SigningKeys::new([KEY_A, ""]).err(), Some(SigningKeysError::TooShort { found: 0 }));
}

/// E6
#[tokio::test]
async fn a_key_is_text_or_bytes() -> TestResult {
    let text = Site::new(|b| b.signing_keys(SigningKeys::new([KEY_A]).expect("key")));
    let bytes = text.beside(|b| b.signing_keys(SigningKeys::new([KEY_A.as_bytes().to_vec()]).expect("key")));
    let cookie = text.begin().await?;
    assert_eq!(bytes.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// E7, E8, E9
#[tokio::test]
async fn the_first_key_signs_all_verify_and_an_old_signature_is_replaced() -> TestResult {
    let old = Site::new(|b| b.signing_keys(SigningKeys::new([KEY_A]).expect("key")));
    let both = old.beside(|b| b.signing_keys(SigningKeys::new([KEY_B, KEY_A]).expect("keys")));
    let new = old.beside(|b| b.signing_keys(SigningKeys::new([KEY_B]).expect("key")));

    let cookie = old.begin().await?;
    assert_eq!(new.value(&cookie, VALUE).await?, None);
    let read = both.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(read.outcome, Outcome::Untouched);
    let replaced = read.pair();
    assert_eq!(new.value(&replaced, VALUE).await?, Some(1), "signed by the first key");
    let again = both.visit(get(&*replaced), async |_| Ok(())).await?;
    assert!(again.set_cookies().is_empty(), "replaced once");
    Ok(())
}

/// E12, E14: 128 random bits name the session and 128 more open it; no character needs encoding.
#[tokio::test]
async fn ids_are_random_and_need_no_encoding() -> TestResult {
    let site = Site::new(|b| b);
    let (one, two) = (site.begin().await?, site.begin().await?);
    let id = site.id(&one).expect("signed");
    assert_ne!(Some(id), site.id(&two));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    assert!(id.as_str().len() == 22 && plain(id.as_str()));
    let (_, value) = one.split_once('=').expect("a pair");
    assert_eq!(
        value.split('.').map(|part| (part.len(), plain(part))).collect::<Vec<_>>(),
        [(2, true), (43, true), (43, true)]
    );
    Ok(())
}

/// E13
#[tokio::test]
async fn the_id_source_sees_the_request_for_new_and_for_regenerated_sessions() -> TestResult {
    let (paths, next) = (Arc::new(Mutex::new(vec![])), AtomicU8::new(1));
    let seen = paths.clone();
    let site = Site::new(|b| {
        b.id_source(move |request| {
            seen.lock().expect("not poisoned").push(request.uri.path().to_owned());
            Ok(SessionId::from_bytes([next.fetch_add(1, Ordering::SeqCst); 16]))
        })
    });
    let first = site.visit(get_at("/new", None), async |session| session.insert(VALUE, &1)).await?.pair();
    assert_eq!(site.id(&first), Some(SessionId::from_bytes([1; 16])));
    site.visit(get_at("/read", &*first), async |_| Ok(())).await?;
    let second = site.visit(get_at("/login", &*first), async |session| session.regenerate()).await?.pair();
    assert_eq!(site.id(&second), Some(SessionId::from_bytes([2; 16])));
    assert_eq!(*paths.lock().expect("not poisoned"), ["/new", "/login"]);
    Ok(())
}

/// E15, E16: what is no id cannot be named one.
#[test]
fn only_an_id_is_an_id() {
    for text in ["", "7", "undefined", "id with spaces; and more", "AAAAAAAAAAAAAAAAAAAAA"]
        .map(|text| text.parse::<SessionId>())
    {
        let _: ParseIdError = text.expect_err("no id");
    }
}

/// E17: without a cookie, after a look into the store, and in `regenerate`.
#[tokio::test]
async fn an_id_source_that_fails_is_the_same_error_everywhere() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let gone = site.begin().await?;
    site.sessions.revoke(&site.id(&gone).expect("signed")).await?;
    let failing = site.beside(|b| b.id_source(|_| Err(EntropyError::new("no ids today"))));
    assert_eq!(kind(failing.open(get(None)).await), SessionErrorKind::Entropy);
    assert_eq!(kind(failing.open(get(&*gone)).await), SessionErrorKind::Entropy);
    let (_, session) = failing.open(get(&*cookie)).await?;
    assert_eq!(kind(session.regenerate()), SessionErrorKind::Entropy);
    assert_eq!(session.get(VALUE)?, Some(1), "the session is as it was");
    Ok(())
}

/// E18
#[tokio::test]
async fn an_id_that_is_taken_is_asked_for_again_and_never_overwritten() -> TestResult {
    let next = AtomicU8::new(0);
    let site = Site::new(|b| {
        // 0, 0, 0, 1: two collisions
        b.id_source(move |_| Ok(SessionId::from_bytes([next.fetch_add(1, Ordering::SeqCst) / 3; 16])))
    });
    let first = site.begin().await?;
    let answer = site.visit(get(None), async |session| session.insert(VALUE, &2)).await?;
    assert_eq!(site.store.take_calls(), [Call::Create, Call::Create, Call::Create]);
    assert_eq!(site.id(&answer.pair()), Some(SessionId::from_bytes([1; 16])));
    assert_eq!(site.value(&first, VALUE).await?, Some(1));

    let stuck = site.beside(|b| b.id_source(|_| Ok(SessionId::from_bytes([0; 16]))));
    let answer = stuck.visit(get(None), async |session| session.insert(VALUE, &3)).await;
    assert_eq!(kind(answer), SessionErrorKind::Entropy);
    assert_eq!(site.value(&first, VALUE).await?, Some(1));
    Ok(())
}

/// E19, E20, E21, E22: `resave`, `saveUninitialized` and `rolling` are off, `unset` keeps.
#[tokio::test]
async fn by_default_only_what_was_written_is_stored() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |_| Ok(())).await?;
    assert!(site.store.take_calls().is_empty() && answer.set_cookies().is_empty());
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert!(answer.set_cookies().is_empty());
    site.visit(get(&*cookie), async |session| {
        session.unset();
        Ok(())
    })
    .await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    assert_eq!(Unset::default(), Unset::Discard);
    Ok(())
}

/// E26: two configurations on one store keep their own id source, cookie and proxy.
#[tokio::test]
async fn a_store_can_be_shared_by_several_configurations() -> TestResult {
    let one = Site::new(|b| b.cookie(plain_cookie().path("/one")).id_source(|_| Ok(SessionId::from_bytes([1; 16]))));
    let two = one.beside(|b| b.cookie(plain_cookie().path("/two")).id_source(|_| Ok(SessionId::from_bytes([2; 16]))));
    for (site, path, id) in [(&one, "/one", 1), (&two, "/two", 2)] {
        let answer = site.visit(get_at(path, None), async |session| session.insert(VALUE, &1)).await?;
        assert_eq!(site.id(&answer.pair()), Some(SessionId::from_bytes([id; 16])));
        assert_eq!(answer.cookie().path(), Some(path));
    }
    Ok(())
}

/// E28, E29: asked once for each request, and applied to the session that begins with it.
#[tokio::test]
async fn cookie_options_can_be_computed_from_the_request() -> TestResult {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let site = Site::new(|b| {
        b.cookie_for(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            let remember = request.uri.query() == Some("remember");
            CookieOptions::new().max_age(remember.then_some(30 * 24 * HOUR)).same_site(SameSite::Strict)
        })
        .absolute_timeout(None)
    });
    let answer = site.visit(get_at("/?remember", None), async |session| session.insert(VALUE, &1)).await?;
    assert_eq!(answer.max_age(), Some(30 * 24 * 3600));
    assert_eq!(answer.cookie().same_site(), Some(cookie::SameSite::Strict));
    assert_eq!(asked.swap(0, Ordering::SeqCst), 1, "for a new visitor");

    let cookie = answer.pair();
    let answer = site.visit(get(&*cookie), async |session| session.insert(VALUE, &2)).await?;
    assert_eq!(answer.max_age(), Some(30 * 24 * 3600), "the session keeps the lifetime it began with");
    assert_eq!(asked.swap(0, Ordering::SeqCst), 1, "for a loaded session");

    let answer = site.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
    assert_eq!(answer.max_age(), None);
    Ok(())
}

/// E29, E129: options that cannot be used are an error of the request, before anything is stored.
#[tokio::test]
async fn unusable_computed_cookie_options_are_a_typed_error() -> TestResult {
    let site = Site::new(|b| b.cookie_for(|_| CookieOptions::new().name("__Host-id").path("/below")));
    assert_eq!(kind(site.open(get_at("/below", None)).await), SessionErrorKind::Config);
    assert!(site.store.take_calls().is_empty());
    let response = serve(&site.sessions, get_at("/below", None), write).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}

/// E30
#[tokio::test]
async fn auto_is_resolved_in_computed_cookie_options_too() -> TestResult {
    let site = Site::new(|b| b.cookie_for(|_| plain_cookie().secure(Secure::Auto).same_site(SameSite::Auto)));
    let tls = site.visit(over(get(None), Transport::Tls), async |session| session.insert(VALUE, &1)).await?;
    assert_eq!((tls.cookie().secure(), tls.cookie().same_site()), (Some(true), Some(cookie::SameSite::None)));
    let plain = site.visit(over(get(None), Transport::Plain), async |session| session.insert(VALUE, &1)).await?;
    assert_eq!((plain.cookie().secure(), plain.cookie().same_site()), (None, Some(cookie::SameSite::Lax)));
    Ok(())
}

/// E2, E31, E100, E120, E129, E132: every cookie that could not be written, or that a browser would refuse.
#[test]
fn unusable_cookie_options_are_refused_when_built() {
    let options = CookieOptions::new;
    for illegal in [
        options().name(""),
        options().name("a b"),
        options().path("below"),
        options().path("/a;b"),
        options().domain("exa mple.com"),
        options().max_age(Duration::ZERO),
        options().max_age(2 * HOUR),
        options().name("id").secure(Secure::Never).same_site(SameSite::None),
    ] {
        let shown = format!("{illegal:?}");
        let built =
            Sessions::builder(MemoryStore::new()).signing_keys(keys()).idle_timeout(HOUR).cookie(illegal).build();
        assert!(built.is_err(), "{shown}");
    }
}

// ---- 1.2 which requests have a session ----

/// E32: stacked services act both when their cookies differ; of two with one name only the outer acts.
#[tokio::test]
async fn several_named_sessions_live_side_by_side() -> TestResult {
    let user = Site::new(|b| b.cookie(plain_cookie().name("user")));
    let cart = Site::new(|b| b.cookie(plain_cookie().name("cart")));
    let handler = service_fn(|request: Request<()>| async move {
        request.session_named("user").load().await?.insert(VALUE, &1)?;
        request.session_named("cart").load().await?.insert(VALUE, &2)?;
        Ok::<_, SessionError>(Response::new(()))
    });
    let service = SessionService::new(cart.sessions.clone(), handler);
    let response = SessionService::new(user.sessions.clone(), service).oneshot(get(None)).await?;
    let names: Vec<_> = set_cookies(response.headers()).into_iter().map(|set| set.split('=').next()).collect();
    assert_eq!(names, [Some("cart"), Some("user")]);

    let inner = Site::new(|b| b.cookie(plain_cookie().name("user")));
    user.store.take_calls();
    let service = SessionService::new(inner.sessions.clone(), service_fn(write));
    let response = SessionService::new(user.sessions.clone(), service).oneshot(get(None)).await?;
    assert_eq!(set_cookies(response.headers()).len(), 1);
    assert_eq!((user.store.take_calls(), inner.store.take_calls()), (vec![Call::Create], vec![]));
    Ok(())
}

/// E33, E34, E56: an outage is an error, for the handler to answer in its own way; the cookie stays, and the next try works.
#[tokio::test]
async fn an_outage_is_an_error_and_never_an_empty_session() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Load, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?;
        panic!("the handler goes no further")
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(response.headers()).is_empty());

    // degraded by choice: the handler answers without its session
    site.store.fail(Call::Load, StoreErrorKind::Timeout);
    let handle = site.sessions.begin(&get(&*cookie));
    assert_eq!(kind(handle.load().await), SessionErrorKind::Timeout);
    let answer = site.finish(&handle).await?;
    assert_eq!((answer.outcome, answer.response.headers().len()), (Outcome::Untouched, 0));

    // and the store is asked again as soon as somebody wants to know
    assert_eq!(handle.load().await?.get(VALUE)?, Some(1));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// E35, E36, E38, E40: RFC 6265 §5.1.4. Outside of the path nothing is parsed, asked or set.
#[tokio::test]
async fn only_requests_below_the_cookie_path_have_a_session() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie().path("/foo")).save_uninitialized(true));
    let cookie = site.visit(get_at("/foo", None), async |session| session.insert(VALUE, &1)).await?.pair();
    site.store.take_calls();
    for inside in ["/foo", "/foo/", "/foo/bar", "/foo?a=/", "http://example.com/foo/bar?q"] {
        assert!(site.open(get_at(inside, &*cookie)).await.is_ok(), "{inside}");
        assert_eq!(site.store.take_calls(), [Call::Load], "{inside}");
    }
    for outside in ["/", "/foobar", "/Foo", "//foo", "/%66oo", "/?/foo", "http://foo/bar", "*"] {
        let handle = site.sessions.begin(&get_at(outside, &*cookie));
        assert!(!handle.in_scope(), "{outside}");
        assert_eq!(kind(handle.load().await), SessionErrorKind::OutsidePath, "{outside}");
        let answer = site.finish(&handle).await?;
        assert_eq!(answer.response.headers().len(), 0, "{outside}");
        assert!(site.store.take_calls().is_empty(), "{outside}");
    }
    let root = Site::new(|b| b);
    assert!(root.sessions.begin(&get_at("http://example.com", None)).in_scope(), "an empty path is /");
    assert!(!root.sessions.begin(&get_at("*", None)).in_scope());
    Ok(())
}

/// E37
#[test]
fn the_cookie_path_is_held_against_the_uri_that_the_browser_asked_for() {
    #[derive(Clone)]
    struct Original(Uri);
    let site = Site::new(|b| {
        b.cookie(plain_cookie().path("/foo/bar"))
            .original_uri(|extensions| Some(extensions.get::<Original>()?.0.clone()))
    });
    let stripped = |original: &'static str, rest: &str| {
        let mut request = get_at(rest, None);
        request.extensions_mut().insert(Original(Uri::from_static(original)));
        site.sessions.begin(&request).in_scope()
    };
    assert!(stripped("/foo/bar", "/bar"));
    assert!(!stripped("/foo/foo/bar", "/foo/bar"));
}

/// E41: failed logins are counted on an error page. `commit_if` narrows that where somebody wants it.
#[tokio::test]
async fn every_method_and_every_status_commits() -> TestResult {
    let site = Site::new(|b| b);
    let careful = site.beside(|b| b.commit_if(|status| !status.is_server_error()));
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for status in [200, 204, 302, 304, 404, 500, 503] {
            for (site, commits) in [(&site, true), (&careful, status < 500)] {
                let mut request = get(None);
                *request.method_mut() = method.clone();
                let (handle, session) = site.open(request).await?;
                session.insert(VALUE, &1)?;
                let mut response = Response::builder().status(status).body(())?;
                let outcome = site.sessions.finish(&handle, &mut response).await?;
                assert_eq!(outcome == Outcome::Created, commits, "{method} {status}");
                assert_eq!(set_cookies(response.headers()).len(), usize::from(commits), "{method} {status}");
            }
        }
    }
    Ok(())
}

// ---- 1.3 reading the cookie ----

/// E42, E48: as browsers, proxies and other libraries write it.
#[tokio::test]
async fn the_cookie_is_found_however_it_is_written() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let cookie = site.begin().await?;
    let (_, value) = cookie.split_once('=').expect("a pair");
    for header in [
        format!("id={value}"),
        format!("a=b;id={value};c"),
        format!(" ;; garbage; =;\tid \t=  {value} ; x=%zz"),
        format!("id=\"{value}\""),
        format!("id={}", value.replace('.', "%2E")),
        format!("id={}", value.replace('.', "%2e")),
    ] {
        assert_eq!(site.value(&header, VALUE).await?, Some(1), "{header:?}");
    }
    for header in
        [format!("ID={value}"), format!("i%64={value}"), value.to_owned(), format!("id={value}%"), "=;=%".into()]
    {
        assert_eq!(site.value(&header, VALUE).await?, None, "{header:?}");
    }
    // several fields, as HTTP/2 may send them (RFC 9113 §8.2.3)
    let mut request = get("other=1");
    request.headers_mut().append(header::COOKIE, HeaderValue::from_str(&cookie)?);
    assert_eq!(site.open(request).await?.1.get(VALUE)?, Some(1));
    Ok(())
}

/// E43
#[tokio::test]
async fn each_cookie_of_the_name_is_tried() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let (good, ended) = (site.begin().await?, site.begin().await?);
    site.sessions.revoke(&site.id(&ended).expect("signed")).await?;
    for header in [format!("id=planted; {good}"), format!("id=s:x.y; id=; {good}; id=z"), format!("{ended}; {good}")] {
        assert_eq!(site.value(&header, VALUE).await?, Some(1), "{header}");
    }
    Ok(())
}

/// E44, E45, E46, E47: no store call, a new id.
#[tokio::test]
async fn a_cookie_that_is_not_signed_is_no_cookie() -> TestResult {
    const SIGNED: &str = "0123456789abcdef0123456789abcdef";
    let site = Site::new(|b| b.cookie(plain_cookie()).signing_keys(SigningKeys::new([SIGNED]).expect("key")));
    let cookie = site.begin().await?;
    let (token, mac) = cookie.strip_prefix("id=v1.").and_then(|value| value.split_once('.')).expect("v1.token.mac");
    let presented = site.id(&cookie);
    for forged in [
        token.to_owned(),
        format!("{token}.{mac}"),
        format!("s:{token}.{mac}"),
        format!("j:{token}.{mac}"),
        format!("v2.{token}.{mac}"),
        format!("v1.{token}"),
        format!("v1.{token}."),
        format!("v1.{token}.{mac}="),
        format!("v1.{token}.{}", &mac[..42]),
        format!("v1.{token}.{}", "A".repeat(43)),
        format!("v1.{token}.x.{mac}"),
        format!("v1..{mac}"),
        String::new(),
        // rightly signed by that key, and no token
        "v1.x.IClHotivoojFgDx8u_fMnl_AvApK-jLCTWifHl7oqX8".into(),
    ] {
        let (_, session) = site.open(get(&*format!("id={forged}"))).await?;
        assert!(session.is_new() && session.id() != presented, "{forged}");
        assert_eq!(site.store.take_calls(), [], "{forged}");
    }
    Ok(())
}

/// E49: off by default, because a response that races with a login would remove the new cookie.
#[tokio::test]
async fn a_cookie_that_opens_nothing_can_be_removed() -> TestResult {
    let site = Site::new(|b| b);
    let ended = site.begin().await?;
    site.sessions.revoke(&site.id(&ended).expect("signed")).await?;
    let tidy = site.beside(|b| b.remove_rejected_cookie(true));
    for cookie in ["__Host-id=forged", &ended] {
        assert!(site.visit(get(cookie), async |_| Ok(())).await?.set_cookies().is_empty());
        let answer = tidy.visit(get(cookie), async |_| Ok(())).await?;
        assert_eq!((answer.max_age(), answer.cookie().value()), (Some(0), ""));
        let answer = tidy.visit(get(cookie), async |session| session.insert(VALUE, &1)).await?;
        assert_ne!(answer.max_age(), Some(0), "replaced, not removed");
    }
    assert!(tidy.visit(get(None), async |_| Ok(())).await?.set_cookies().is_empty());
    Ok(())
}

// ---- 1.4 generating and loading ----

/// E52, E53: the store is asked when somebody wants the session, and not for one that cannot be there.
#[tokio::test]
async fn a_session_is_loaded_when_it_is_asked_for() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let handle = site.sessions.begin(&get(&*cookie));
    let answer = site.finish(&handle).await?;
    assert_eq!((answer.outcome, answer.response.headers().len()), (Outcome::Untouched, 0));
    assert_eq!(site.store.take_calls(), []);

    let (handle, session) = site.open(get(&*cookie)).await?;
    assert_eq!((session.get(VALUE)?, session.is_new()), (Some(1), false));
    handle.load().await?;
    assert_eq!(site.store.take_calls(), [Call::Load], "once");

    let ((_, one), (_, two)) = (site.open(get(None)).await?, site.open(get(None)).await?);
    assert_ne!(one.id(), two.id());
    assert_eq!(site.store.take_calls(), []);

    let eager =
        SessionService::new(site.sessions.clone(), service_fn(|_| async { Ok::<_, SessionError>(Response::new(())) }));
    eager.eager(true).oneshot(get(&*cookie)).await?;
    assert_eq!(site.store.take_calls(), [Call::Load]);
    Ok(())
}

/// E54: signed or not, an id that names nothing is never taken over.
#[tokio::test]
async fn an_id_that_is_not_stored_is_never_adopted() -> TestResult {
    let site = Site::new(|b| b);
    let planted = site.begin().await?;
    site.sessions.revoke(&site.id(&planted).expect("signed")).await?;
    let answer = site.visit(get(&*planted), async |session| session.insert(VALUE, &7)).await?;
    assert_eq!(answer.outcome, Outcome::Created);
    assert_ne!(site.id(&answer.pair()), site.id(&planted));
    assert!(site.stored(&planted).await.is_none());
    Ok(())
}

/// E55, E181: to the millisecond, at which it is over.
#[tokio::test]
async fn an_expired_session_is_a_new_one() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    site.clock.advance(Duration::from_millis(1));
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(session.is_new() && session.id() != site.id(&cookie));
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

/// E58: by default the request starts fresh and the record is left alone; or the request fails.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_answered_by_policy() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let id = site.id(&cookie).expect("signed");
    let strict = site.beside(|b| b.undecodable(Undecodable::Fail));
    for garbage in [&b""[..], b"null", b"{\"cookie\":null}", &[1; 60]] {
        site.store.inner().destroy(&id).await?;
        let garbage = RecordBytes::new(garbage.to_vec());
        assert_eq!(site.store.inner().create(&id, &garbage, HOUR).await?, Created::Created);
        assert_eq!(kind(strict.open(get(&*cookie)).await), SessionErrorKind::Corrupt);
        let answer = site.visit(get(&*cookie), async |session| session.insert(VALUE, &7)).await?;
        assert_ne!(site.id(&answer.pair()), Some(id));
        assert_eq!(site.stored(&cookie).await.expect("left alone").record, garbage);
    }
    Ok(())
}

/// E59, E84: an empty session is one.
#[tokio::test]
async fn a_record_needs_no_data() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.visit(get(None), async |session| session.regenerate()).await?.pair();
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(!session.is_new() && session.names().is_empty());
    Ok(())
}

/// E60: a store that forgets to expire cannot stretch the absolute timeout.
#[tokio::test]
async fn the_absolute_timeout_holds_whatever_the_store_says() -> TestResult {
    let clock = ManualClock::default();
    let store = TestStore::default(); // by the system's clock, which does not move here
    let sessions =
        Sessions::builder(store.clone()).signing_keys(keys()).clock(clock.clone()).absolute_timeout(HOUR).build()?;
    let site = Site { store, clock, sessions };
    let cookie = site.begin().await?;
    site.clock.advance(HOUR - SECOND);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    site.clock.advance(SECOND);
    assert!(site.stored(&cookie).await.is_some(), "the store still has it");
    assert_eq!(site.value(&cookie, VALUE).await?, None);
    Ok(())
}

/// E61: a caller that has waited enough drops the load, and nothing is stuck. Stores on a network have deadlines of their own.
#[tokio::test]
async fn a_load_that_hangs_can_be_given_up() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let handle = site.sessions.begin(&get(&*cookie));
    let gate = site.store.hold(Call::Load);
    tokio::select! {
        biased;
        _ = handle.load() => panic!("held"),
        () = gate.arrived() => {}
    }
    assert!(handle.loaded().is_none());
    assert_eq!(handle.load().await?.get(VALUE)?, Some(1));
    Ok(())
}

// ---- 1.5 change detection ----

/// E62, E63, E64: nested changes and a value called `cookie` are seen; equal, reverted and reordered ones are none.
#[tokio::test]
async fn what_differs_is_a_change_and_nothing_else_is() -> TestResult {
    type Nested = BTreeMap<String, BTreeMap<String, u32>>;
    fn nested(n: u32) -> Nested {
        BTreeMap::from([("a".to_owned(), BTreeMap::from([("cookie".to_owned(), n)]))])
    }
    let site = Site::new(|b| b);
    let begun = async |session: Session| {
        session.insert("nested", &nested(1))?;
        session.insert("cookie", "crumbs")?;
        session.insert(VALUE, &1)
    };
    let cookie = site.visit(get(None), begun).await?.pair();
    let changes: [(bool, Change); 9] = [
        (true, |s| s.insert("nested", &nested(2))),
        (true, |s| s.insert("cookie", "none")),
        (true, |s| s.insert("new", &())),
        (true, |s| s.remove(VALUE).map(drop)),
        (false, |s| s.insert("nested", &nested(1))),
        (false, |s| s.update(VALUE, |value| value.unwrap_or_default()).map(drop)),
        (false, |s| s.insert(VALUE, &2).and_then(|()| s.insert(VALUE, &1))),
        (false, |s| s.remove(VALUE).and_then(|_| s.insert(VALUE, &1))),
        (false, |s| s.remove::<u32>("absent").map(drop)),
    ];
    for (n, (expected, change)) in changes.into_iter().enumerate() {
        let (handle, session) = site.open(get(&*cookie)).await?;
        change(&session)?;
        assert_eq!(session.is_modified(), expected, "change {n}");
        session.discard();
        site.finish(&handle).await?;
        site.store.take_calls();
        if !expected {
            site.visit(get(&*cookie), async |session| change(&session)).await?;
            assert_eq!(site.store.take_calls(), [Call::Load], "change {n}");
        }
    }
    Ok(())
}

/// E65: a lifetime or an attribute of the cookie alone.
#[tokio::test]
async fn a_change_of_the_cookie_is_a_change() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |session| session.set_max_age(Some(48 * HOUR))).await?;
    assert_eq!((answer.outcome, answer.max_age()), (Outcome::Saved, Some(48 * 3600)));
    assert_eq!(site.stored(&cookie).await.expect("stored").ttl, Some(48 * HOUR));
    let cookie = site.begin().await?;
    let answer =
        site.visit(get(&*cookie), async |session| session.set_cookie(|cookie| cookie.http_only(false))).await?;
    assert_eq!((answer.outcome, answer.cookie().http_only()), (Outcome::Saved, None));
    Ok(())
}

/// E67: an error of the call that brought the value, before any head is sent; the session is as it was.
#[tokio::test]
async fn a_value_that_cannot_be_encoded_is_a_typed_error() -> TestResult {
    struct Circular;
    impl serde::Serialize for Circular {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("a circle"))
        }
    }
    let site = Site::new(|b| b.max_bytes(100));
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |session| {
        assert_eq!(kind(session.insert("circular", &Circular)), SessionErrorKind::Encode);
        assert_eq!(kind(session.insert("large", &"x".repeat(100))), SessionErrorKind::TooLarge);
        assert!(!session.is_modified());
        // what JSON bends is kept
        session.insert("nan", &f64::NAN)?;
        assert!(session.get::<f64>("nan")?.is_some_and(f64::is_nan));
        assert_eq!(kind(session.get::<u32>("nan")), SessionErrorKind::Decode);
        session.discard();
        Ok(())
    });
    assert_eq!(answer.await?.outcome, Outcome::Untouched);
    Ok(())
}

// ---- 1.6 the session object ----

/// E68, E70: the names are the application's, all of them.
#[tokio::test]
async fn no_name_is_reserved() -> TestResult {
    let site = Site::new(|b| b);
    let mut names = ["id", "req", "cookie", "save", "reload", "destroy", "constructor", "toString", "__proto__", ""];
    let cookie =
        site.visit(get(None), async |session| names.iter().try_for_each(|name| session.insert(*name, name))).await?;
    let (handle, session) = site.open(get(&*cookie.pair())).await?;
    names.sort_unstable();
    assert_eq!(session.names(), names);
    for name in names {
        assert_eq!(session.get::<String>(name)?.as_deref(), Some(name));
    }
    assert!(!session.is_modified());
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Untouched);
    Ok(())
}

/// E72, E73, E74 by value; the calls are in the matrix.
#[tokio::test]
async fn unset_keeps_or_destroys() -> TestResult {
    let write_and_unset = async |session: Session| {
        session.insert(VALUE, &2)?;
        session.unset();
        Ok(())
    };
    let keep = Site::new(|b| b.save_uninitialized(true).rolling(true));
    let cookie = keep.begin().await?;
    let answer = keep.visit(get(&*cookie), write_and_unset).await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(keep.value(&cookie, VALUE).await?, Some(1));

    let destroy = keep.beside(|b| b.unset(Unset::Destroy));
    let answer = destroy.visit(get(&*cookie), write_and_unset).await?;
    assert_eq!(answer.outcome, Outcome::Destroyed);
    assert!(keep.stored(&cookie).await.is_none());
    destroy.store.take_calls();
    let answer = destroy.visit(get(None), write_and_unset).await?;
    assert!(answer.set_cookies().is_empty() && destroy.store.take_calls().is_empty());
    Ok(())
}

/// E75: with `unset` = destroy, an outage or an answer given before the session was there destroys nothing.
#[tokio::test]
async fn only_a_word_of_the_handler_destroys() -> TestResult {
    let site = Site::new(|b| b.unset(Unset::Destroy));
    let cookie = site.begin().await?;
    site.store.fail(Call::Load, StoreErrorKind::Unavailable);
    let handle = site.sessions.begin(&get(&*cookie));
    assert_eq!(kind(handle.load().await), SessionErrorKind::Unavailable);
    site.finish(&handle).await?;
    serve(&site.sessions, get(&*cookie), |_| async { Ok(Response::new(())) }).await;
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

// ---- 1.7 methods ----

/// E69, E76, E81: gone for the handler at once, for the store at the commit, for the browser with the response.
#[tokio::test]
async fn destroy_ends_the_session_and_its_cookie() -> TestResult {
    let options = CookieOptions::new().path("/app").domain("example.com").same_site(SameSite::Strict);
    let site = Site::new(|b| b.cookie(options));
    let set = site.visit(get_at("/app", None), async |session| session.insert(VALUE, &1)).await?;
    let cookie = set.pair();
    let answer = site.visit(get_at("/app", &*cookie), async |session| {
        session.destroy();
        assert_eq!((session.id(), session.get(VALUE)?), (None, None));
        Ok(())
    });
    let answer = answer.await?;
    assert_eq!(answer.outcome, Outcome::Destroyed);
    let (set, removal) = (set.cookie(), answer.cookie());
    assert_eq!((removal.value(), removal.max_age()), ("", Some(cookie::time::Duration::ZERO)));
    assert_eq!((removal.name(), removal.path(), removal.domain()), (set.name(), set.path(), set.domain()));
    assert_eq!((removal.secure(), removal.same_site()), (set.secure(), set.same_site()));
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

/// E78, E172: a logout that may not have happened is an error, and can be tried again.
#[tokio::test]
async fn a_destroy_that_fails_is_reported() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?.destroy();
        Ok(Response::new(()))
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(response.headers()).is_empty(), "the browser keeps what it needs to try again");
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));

    site.store.fail(Call::Destroy, StoreErrorKind::Timeout);
    let answer = site.visit(get(&*cookie), async |session| {
        session.destroy();
        assert_eq!(kind(session.save().await), SessionErrorKind::Timeout);
        assert_eq!(session.save().await?, Outcome::Destroyed);
        Ok(())
    });
    assert_eq!(answer.await?.max_age(), Some(0));
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

/// E73, E80: nobody need wait for `destroy`, the commit does.
#[tokio::test]
async fn the_response_waits_until_the_session_is_destroyed() -> TestResult {
    for unset in [false, true] {
        let site = Site::new(|b| b.unset(Unset::Destroy));
        let cookie = site.begin().await?;
        let (handle, session) = site.open(get(&*cookie)).await?;
        if unset {
            session.unset()
        } else {
            session.destroy()
        }
        let gate = site.store.hold(Call::Destroy);
        let finished = {
            let sessions = site.sessions.clone();
            tokio::spawn(async move { sessions.finish(&handle, &mut Response::new(())).await })
        };
        gate.arrived().await;
        assert!(!finished.is_finished());
        gate.open();
        assert_eq!(finished.await??, Outcome::Destroyed);
    }
    Ok(())
}

/// E82, E66: a new id, no data, the options of today; `renew` is the variant that keeps session and data.
#[tokio::test]
async fn regenerate_begins_an_empty_session_and_renew_keeps_it() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| session.set_max_age(Some(48 * HOUR))).await?;
    let answer = site.visit(get(&*cookie), async |session| {
        session.regenerate()?;
        assert!(session.is_new() && session.is_modified() && session.names().is_empty());
        assert_eq!(session.original_max_age(), None);
        Ok(())
    });
    let answer = answer.await?;
    assert_eq!(answer.max_age(), None);
    assert_ne!(site.id(&answer.pair()), site.id(&cookie));
    assert!(site.stored(&cookie).await.is_none());

    let before = site.begin().await?;
    let after = site
        .visit(get(&*before), async |session| {
            session.renew();
            Ok(())
        })
        .await?
        .pair();
    assert_eq!(site.id(&after), site.id(&before), "the same session");
    assert_eq!(site.value(&after, VALUE).await?, Some(1));
    assert_eq!(site.value(&before, VALUE).await?, None, "under a new secret");
    Ok(())
}

/// E83: the new token is not handed out while the old one still opens the old session.
#[tokio::test]
async fn regenerate_fails_closed() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?.regenerate()?;
        Ok(Response::new(()))
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(response.headers()).is_empty());
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));

    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let answer = site.visit(get(&*cookie), async |session| {
        session.regenerate()?;
        assert_eq!(kind(session.save().await), SessionErrorKind::Unavailable);
        assert_eq!(session.save().await?, Outcome::Created);
        Ok(())
    });
    let new = answer.await?.pair();
    assert!(site.stored(&new).await.is_some() && site.stored(&cookie).await.is_none());
    Ok(())
}

/// E87, E89: what others wrote is seen and is no change; what was written here is lost.
#[tokio::test]
async fn reload_reads_the_session_anew() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &7)?;
    site.visit(get(&*cookie), async |session| session.insert(OTHER, &2)).await?;
    session.reload().await?;
    assert_eq!((session.get(VALUE)?, session.get(OTHER)?), (Some(1), Some(2)));
    assert!(!session.is_modified());
    site.store.take_calls();
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Untouched);
    assert_eq!(site.store.take_calls(), []);
    Ok(())
}

/// E88, E89: however often it fails.
#[tokio::test]
async fn reloading_a_session_that_has_ended_is_an_error() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(OTHER, &2)?;
    site.sessions.revoke(&site.id(&cookie).expect("signed")).await?;
    for _ in 0..100 {
        assert_eq!(kind(session.reload().await), SessionErrorKind::Gone);
    }
    assert_eq!((session.get(VALUE)?, session.get(OTHER)?), (Some(1), Some(2)), "as it was");
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Gone);
    let (_, new) = site.open(get(None)).await?;
    assert_eq!(kind(new.reload().await), SessionErrorKind::Gone);
    Ok(())
}

/// E90, E91: now, and not again unless there is more.
#[tokio::test]
async fn save_writes_now_and_the_end_writes_the_rest() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &2)?;
    assert_eq!(session.save().await?, Outcome::Saved);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(2), "before the end");
    site.store.take_calls();
    session.insert(VALUE, &2)?;
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Untouched);
    assert_eq!(site.store.take_calls(), []);

    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &3)?;
    let _ = session.save().await?;
    session.insert(VALUE, &4)?;
    site.store.take_calls();
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Saved);
    assert_eq!(site.store.take_calls(), [Call::Save]);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(4));
    Ok(())
}

/// E92: a saved session has its full life, whether anything had changed or not.
#[tokio::test]
async fn save_gives_full_life() -> TestResult {
    for change in [false, true] {
        let site = Site::new(|b| b);
        let cookie = site.begin().await?;
        site.clock.advance(HOUR - SECOND);
        let (_, session) = site.open(get(&*cookie)).await?;
        if change {
            session.insert(VALUE, &2)?;
        }
        let _ = session.save().await?;
        assert_eq!(site.stored(&cookie).await.expect("alive").ttl, Some(HOUR));
    }
    Ok(())
}

/// E93: what an explicit save stores, the browser can name.
#[tokio::test]
async fn an_explicit_save_sends_its_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |session| session.save().await.map(drop)).await?;
    assert!(site.stored(&answer.pair()).await.is_some());
    Ok(())
}

/// E94
#[tokio::test]
async fn touch_gives_full_life() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.clock.advance(SECOND);
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(answer.outcome, Outcome::Untouched, "not due yet");
    let answer = site
        .visit(get(&*cookie), async |session| {
            session.touch();
            Ok(())
        })
        .await?;
    assert_eq!(answer.outcome, Outcome::Touched);
    assert_eq!(site.stored(&cookie).await.expect("alive").ttl, Some(HOUR));
    Ok(())
}

/// E95: when the life in the store is extended, the browser's copy is too.
#[tokio::test]
async fn cookie_and_store_expire_together() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    for (wait, touched) in [(HOUR / 20, false), (HOUR / 10, true), (HOUR / 20, false), (HOUR / 2, true)] {
        site.clock.advance(wait);
        let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
        assert_eq!(answer.outcome == Outcome::Touched, touched);
        assert_eq!(answer.set_cookies().len(), usize::from(touched));
        if touched {
            let ttl = site.stored(&cookie).await.expect("alive").ttl.map(|ttl| ttl.as_secs());
            assert_eq!(answer.max_age(), ttl);
        }
    }
    Ok(())
}

// ---- 1.8 the cookie object ----

/// E96, E131: `HttpOnly`, `Secure`, `SameSite=Lax`, and the prefix that holds them.
#[tokio::test]
async fn the_cookie_is_safe_by_default() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
    let (_, attributes) = answer.set_cookies()[0].split_once("; ").expect("attributes");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    assert!(answer.pair().starts_with("__Host-id="));
    Ok(())
}

/// E98, E101, E106: the time left by the store's word, and the whole of it as configured, exactly.
#[tokio::test]
async fn max_age_is_what_is_left_and_original_max_age_the_whole() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    for seconds in [0, 1, 10] {
        site.clock.advance(Duration::from_secs(seconds));
        let (_, session) = site.open(get(&*cookie)).await?;
        assert_eq!(session.max_age(), site.stored(&cookie).await.expect("alive").ttl);
        assert_eq!(session.original_max_age(), Some(HOUR));
    }
    let browser_session = site.beside(|b| b);
    let (_, session) = browser_session.open(get(None)).await?;
    assert_eq!((session.max_age(), session.original_max_age()), (None, None));
    session.set_max_age(Some(2 * HOUR))?;
    assert_eq!((session.max_age(), session.original_max_age()), (Some(2 * HOUR), Some(2 * HOUR)));
    Ok(())
}

/// E99, E130, E131: `Max-Age` and `Expires`, from the one deadline that the store has too.
#[tokio::test]
async fn a_persistent_cookie_says_when_it_expires() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)).rolling(true).touch_after(Duration::ZERO));
    let mut cookie = site.begin().await?;
    for write in [true, false, true, false] {
        site.clock.advance(Duration::from_millis(1500));
        let answer = site
            .visit(get(&*cookie), async |session| if write { session.update(VALUE, |_| 2).map(drop) } else { Ok(()) });
        let answer = answer.await?;
        let ttl = site.stored(&cookie).await.expect("alive").ttl.expect("a time to live");
        assert_eq!(ttl, HOUR);
        assert_eq!(answer.max_age(), Some(ttl.as_secs()));
        let expires_at = session_core::Clock::now(&site.clock) + ttl;
        let expires = answer.cookie().expires_datetime().expect("a date").unix_timestamp().unsigned_abs();
        assert_eq!(expires, expires_at.duration_since(UNIX_EPOCH)?.as_secs(), "truncated to the second");
        let text = answer.set_cookies()[0].split("Expires=").nth(1).expect("a date").split(';').next().expect("a date");
        assert!(text.len() == 29 && text.ends_with(" GMT") && text.as_bytes()[3] == b',', "{text}");
        cookie = answer.pair();
    }
    Ok(())
}

/// E102, E101: the lifetime is a fact of the record, not a difference of two clocks.
#[tokio::test]
async fn the_lifetime_does_not_drift() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| session.set_max_age(Some(Duration::from_millis(60_001)))).await?;
    for n in 0..500 {
        site.clock.advance(Duration::from_millis(7));
        site.visit(get(&*cookie), async |session| session.insert(VALUE, &n)).await?;
        let (_, session) = site.open(get(&*cookie)).await?;
        assert_eq!(session.original_max_age(), Some(Duration::from_millis(60_001)));
    }
    Ok(())
}

/// E103: a deadline is one, however busy the session is; the idle timeout stays what it was.
#[tokio::test]
async fn an_absolute_deadline_does_not_slide() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let deadline = session_core::Clock::now(&site.clock) + 2 * HOUR;
    site.visit(get(&*cookie), async |session| session.set_expires_at(deadline)).await?;
    for (minutes, left) in [(30, 3600), (60, 3600), (90, 1800), (110, 600)] {
        site.clock.advance(
            deadline.duration_since(session_core::Clock::now(&site.clock))? + Duration::from_secs(minutes * 60)
                - 2 * HOUR,
        );
        let answer = site.visit(get(&*cookie), async |session| {
            assert_eq!(session.idle_timeout(), HOUR);
            session.update(VALUE, |value| value.unwrap_or(0) + 1).map(drop)
        });
        assert_eq!(answer.await?.max_age(), Some(left), "after {minutes} minutes");
    }
    site.clock.advance(Duration::from_secs(600));
    assert_eq!(site.value(&cookie, VALUE).await?, None);
    Ok(())
}

/// E104, E108: a lifetime that is over ends the session, and the cookie with it.
#[tokio::test]
async fn no_lifetime_left_ends_the_session() -> TestResult {
    let site = Site::new(|b| b);
    let changes: [Change; 3] = [
        |s| s.set_max_age(Some(Duration::ZERO)),
        |s| s.set_expires_at(UNIX_EPOCH),
        |s| s.set_absolute_timeout(Some(Duration::ZERO)),
    ];
    for change in changes {
        let cookie = site.begin().await?;
        let answer = site.visit(get(&*cookie), async |session| change(&session)).await?;
        assert_eq!((answer.outcome, answer.max_age()), (Outcome::Destroyed, Some(0)));
        assert!(answer.set_cookies()[0].contains("Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
        assert!(site.stored(&cookie).await.is_none());
        site.store.take_calls();
        let answer =
            site.visit(get(None), async |session| session.insert(VALUE, &1).and_then(|()| change(&session))).await?;
        assert!(
            answer.set_cookies().is_empty() && site.store.take_calls().is_empty(),
            "nothing to store, nothing to remove"
        );
    }
    Ok(())
}

/// E105, E125: made a cookie of the browser session, it is told once.
#[tokio::test]
async fn a_lifetime_can_be_taken_back() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |session| session.set_max_age(None)).await?;
    assert_eq!((answer.max_age(), answer.cookie().expires()), (None, None));
    for n in 2..5 {
        let answer = site.visit(get(&*cookie), async |session| session.insert(VALUE, &n)).await?;
        assert_eq!((answer.outcome, answer.set_cookies().len()), (Outcome::Saved, 0));
    }
    Ok(())
}

/// E107, E131, E132: every attribute as given.
#[tokio::test]
async fn attributes_are_written_as_configured() -> TestResult {
    let options = CookieOptions::new().name("sid").path("/admin").domain(".example.com").http_only(false);
    let options = options.same_site(SameSite::None).partitioned(true).priority(Priority::High).max_age(HOUR);
    let site = Site::new(|b| b.cookie(options));
    let answer = site.visit(get_at("/admin", None), async |session| session.insert(VALUE, &1)).await?;
    let (_, attributes) = answer.set_cookies()[0].split_once("; ").expect("attributes");
    let mut attributes: Vec<_> =
        attributes.split("; ").filter(|attribute| !attribute.starts_with("Expires=")).collect();
    attributes.sort_unstable();
    let expected = [
        "Domain=example.com",
        "Max-Age=3600",
        "Partitioned",
        "Path=/admin",
        "Priority=High",
        "SameSite=None",
        "Secure",
    ];
    assert_eq!(attributes, expected);
    for (priority, text) in [(Priority::Low, "Priority=Low"), (Priority::Medium, "Priority=Medium")] {
        let site = Site::new(|b| b.cookie(CookieOptions::new().priority(priority)));
        let answer = site.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
        assert!(answer.set_cookies()[0].ends_with(text));
    }
    for (same_site, written) in [(Some(SameSite::Strict), Some(cookie::SameSite::Strict)), (None, None)] {
        let site = Site::new(|b| b.cookie(CookieOptions::new().same_site(same_site)));
        let answer = site.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
        assert_eq!(answer.cookie().same_site(), written);
    }
    Ok(())
}

/// E109: any length of time can be stored and written.
#[tokio::test]
async fn a_very_long_lifetime_works() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    for (max_age, written) in [(Duration::from_millis(3_000_000_000), 3_000_000), (Duration::MAX, 400 * 24 * 3600)] {
        let cookie = site.begin().await?;
        let answer = site.visit(get(&*cookie), async |session| session.set_max_age(Some(max_age))).await?;
        assert_eq!(answer.max_age(), Some(written), "browsers grant 400 days");
        assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    }
    Ok(())
}

/// E110, E111: this response has them, later ones keep them, and for the rest the configuration of today holds.
#[tokio::test]
async fn a_session_may_differ_from_the_configuration() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let own = site.begin().await?;
    let answer = site.visit(get(&*own), async |session| session.set_cookie(|cookie| cookie.http_only(false))).await?;
    assert_eq!(answer.cookie().http_only(), None);
    let answer = site.visit(get(&*own), async |session| session.set_cookie(|cookie| cookie.path("/elsewhere"))).await;
    assert_eq!(kind(answer), SessionErrorKind::Config);

    let today = CookieOptions::new().max_age(2 * HOUR).same_site(SameSite::Strict);
    let site = site.beside(|b| b.cookie(today).idle_timeout(2 * HOUR));
    for (cookie, http_only) in [(cookie, Some(true)), (own, None)] {
        let answer = site.visit(get(&*cookie), async |session| session.insert(VALUE, &2)).await?;
        assert_eq!(answer.max_age(), Some(2 * 3600));
        assert_eq!(answer.cookie().same_site(), Some(cookie::SameSite::Strict));
        assert_eq!(answer.cookie().http_only(), http_only);
    }
    Ok(())
}

// ---- 1.9 secure, proxy, auto ----

/// E114, E115, E116, E117: whom each setting of `proxy` believes, as `secure` = auto shows it.
#[tokio::test]
async fn the_proxy_option_says_who_is_believed_about_tls() -> TestResult {
    use Transport::{ForwardedTls, Plain, Tls};
    let (proxy, stranger): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let listed = Proxy::TrustPeers(vec![proxy]);
    let https = ("x-forwarded-proto", "https");
    let forwarded = ("forwarded", "for=192.0.2.1;proto=https");
    let cases = [
        (Proxy::Ignore, Tls, proxy, None, true),
        (Proxy::Trust, Tls, proxy, None, true),
        (listed.clone(), Tls, stranger, None, true),
        (Proxy::Trust, Plain, proxy, Some(https), true),
        (Proxy::Trust, Plain, proxy, Some(("x-forwarded-proto", " HTTPS ,http")), true),
        (Proxy::Trust, Plain, proxy, Some(("x-forwarded-proto", "http,https")), false),
        (Proxy::Trust, Plain, proxy, Some(("x-forwarded-proto", "https;x")), false),
        (Proxy::Trust, Plain, proxy, Some(("x-forwarded-proto", "wss")), false),
        (Proxy::Trust, Plain, proxy, Some(forwarded), true),
        (Proxy::Trust, Plain, proxy, None, false),
        (listed.clone(), Plain, proxy, Some(https), true),
        (listed.clone(), Plain, proxy, Some(forwarded), true),
        (listed, Plain, stranger, Some(https), false),
        (Proxy::Ignore, Plain, proxy, Some(https), false),
        (Proxy::Ignore, ForwardedTls, proxy, Some(https), false),
        (Proxy::Unspecified, Plain, proxy, Some(https), false),
        (Proxy::Unspecified, ForwardedTls, proxy, None, true),
    ];
    for (option, transport, peer, header, secure) in cases {
        let shown = format!("{option:?} {transport:?} {peer} {header:?}");
        let site = Site::new(|b| b.proxy(option).cookie(plain_cookie().secure(Secure::Auto)));
        let mut request = over(get(None), transport);
        request.extensions_mut().insert(PeerAddr(peer));
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let answer = site.visit(request, async |session| session.insert(VALUE, &1)).await?;
        assert_eq!(answer.cookie().secure(), secure.then_some(true), "{shown}");
    }
    Ok(())
}

/// E118: nothing is stored that no browser could name; the old session ends all the same.
#[tokio::test]
async fn what_cannot_be_addressed_is_not_stored() -> TestResult {
    let site = Site::new(|b| b.save_uninitialized(true));
    let plain = |cookie: Option<&str>| over(get(cookie), Transport::Plain);
    let writes: [Change; 3] = [|_| Ok(()), |session| session.insert(VALUE, &1), |session| session.regenerate()];
    for write in writes {
        let answer = site.visit(plain(None), async |session| write(&session)).await?;
        assert!(answer.set_cookies().is_empty() && site.store.take_calls().is_empty());
        let answer = site.visit(plain(None), async |session| {
            write(&session)?;
            session.save().await.map(drop)
        });
        assert!(answer.await?.set_cookies().is_empty() && site.store.take_calls().is_empty());
    }
    let cookie = site.begin().await?;
    let answer = site.visit(plain(Some(&cookie)), async |session| session.regenerate()).await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(site.store.take_calls(), [Call::Load, Call::Destroy]);
    Ok(())
}

/// E119: for each response, and never back from TLS.
#[tokio::test]
async fn auto_secure_is_decided_for_each_response_and_never_downgrades() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie().secure(Secure::Auto)).rolling(true));
    let write = async |session: Session| session.insert(VALUE, &1);
    let read = async |_| Ok(());
    let begun_plain = site.visit(over(get(None), Transport::Plain), write).await?;
    assert_eq!(begun_plain.cookie().secure(), None);
    let later = site.visit(over(get(&*begun_plain.pair()), Transport::Tls), read).await?;
    assert_eq!(later.cookie().secure(), Some(true));

    let begun_tls = site.visit(over(get(None), Transport::Tls), write).await?;
    assert_eq!(begun_tls.cookie().secure(), Some(true));
    let later = site.visit(over(get(&*begun_tls.pair()), Transport::Plain), read).await?;
    assert!(later.set_cookies().is_empty());
    Ok(())
}

/// E120
#[tokio::test]
async fn auto_same_site_is_none_only_where_the_cookie_is_secure() -> TestResult {
    use cookie::SameSite::{Lax, None as Cross};
    for (secure, transport, expected) in [
        (Secure::Auto, Transport::Tls, Some((Some(true), Some(Cross)))),
        (Secure::Auto, Transport::Plain, Some((None, Some(Lax)))),
        (Secure::Never, Transport::Tls, Some((None, Some(Lax)))),
        (Secure::Never, Transport::Plain, Some((None, Some(Lax)))),
        (Secure::Always, Transport::Tls, Some((Some(true), Some(Cross)))),
        (Secure::Always, Transport::Plain, None),
    ] {
        let site = Site::new(|b| b.cookie(plain_cookie().secure(secure).same_site(SameSite::Auto)));
        let answer = site.visit(over(get(None), transport), async |session| session.insert(VALUE, &1)).await?;
        let seen = answer.set_cookies().first().map(|_| (answer.cookie().secure(), answer.cookie().same_site()));
        assert_eq!(seen, expected, "{secure:?} {transport:?}");
    }
    Ok(())
}

// ---- 1.10 when the cookie is sent ----

/// E121, E122, E127: from the session as it is when the head is made; afterwards it is closed.
#[tokio::test]
async fn a_change_after_the_head_is_an_error_and_is_dropped() -> TestResult {
    let site = Site::new(|b| b);
    let (handle, session) = site.open(get(None)).await?;
    let answer = site.finish(&handle).await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(kind(session.insert(VALUE, &1)), SessionErrorKind::Closed);
    assert_eq!(kind(session.regenerate()), SessionErrorKind::Closed);
    assert_eq!(kind(session.save().await), SessionErrorKind::Closed);
    assert_eq!(site.finish(&handle).await?.outcome, Outcome::Untouched);
    assert_eq!(site.store.take_calls(), []);

    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    site.finish(&handle).await?;
    session.destroy();
    site.finish(&handle).await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// E123, E124, E125, E126 over several requests; every setting is in the matrix.
#[tokio::test]
async fn a_browser_session_cookie_is_sent_once_and_a_rolling_one_always() -> TestResult {
    for rolling in [false, true] {
        let site = Site::new(|b| b.rolling(rolling));
        assert!(site.visit(get(None), async |_| Ok(())).await?.set_cookies().is_empty(), "nothing to name yet");
        let cookie = site.begin().await?;
        for n in 0..4 {
            let answer =
                site.visit(get(&*cookie), async |session| if n % 2 == 0 { session.insert(VALUE, &n) } else { Ok(()) });
            assert_eq!(answer.await?.set_cookies().len(), usize::from(rolling));
        }
    }
    Ok(())
}

/// E128: what the handler set stays, also under the same name; ours is the last.
#[tokio::test]
async fn other_cookies_of_the_response_are_kept() -> TestResult {
    let site = Site::new(|b| b.cookie(plain_cookie()));
    let response = serve(&site.sessions, get(None), |request| async move {
        request.session().load().await?.insert(VALUE, &1)?;
        let response = Response::builder().header(header::SET_COOKIE, "a=1").header(header::SET_COOKIE, "id=mine");
        Ok(response.body(()).expect("a response"))
    });
    let response = response.await;
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies[..2], ["a=1", "id=mine"]);
    assert!(cookies.len() == 3 && cookies[2].starts_with("id=v1."));
    Ok(())
}

/// E133: the removal is in `destroy_ends_the_session_and_its_cookie`.
#[tokio::test]
async fn caches_are_told_that_the_response_is_personal() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |_| Ok(())).await?;
    assert_eq!(answer.response.headers()[header::VARY], "Cookie");
    let answer = site.visit(get(None), async |session| session.insert(VALUE, &1)).await?;
    assert_eq!(answer.response.headers()[header::VARY], "Cookie");
    assert_eq!(answer.response.headers()[header::CACHE_CONTROL], "no-store");

    let (handle, session) = site.open(get(None)).await?;
    session.insert(VALUE, &1)?;
    let own = Response::builder().header(header::CACHE_CONTROL, "max-age=5").header(header::VARY, "accept, cookie");
    let mut response = own.body(())?;
    let _ = site.sessions.finish(&handle, &mut response).await?;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "max-age=5", "the handler's word");
    assert_eq!(response.headers().get_all(header::VARY).iter().count(), 1);
    Ok(())
}

/// E134: only those that write.
#[tokio::test]
async fn parallel_first_requests_begin_a_session_each() -> TestResult {
    let site = Site::new(|b| b);
    let mut open = vec![];
    for _ in 0..3 {
        open.push(site.open(get(None)).await?);
    }
    open[0].1.insert(VALUE, &1)?;
    open[2].1.insert(VALUE, &3)?;
    let mut cookies = vec![];
    for (handle, _) in &open {
        cookies.extend(site.finish(handle).await?.set_cookies().into_iter().map(str::to_owned));
    }
    assert_eq!(cookies.len(), 2);
    assert_eq!(site.store.take_calls(), [Call::Create, Call::Create]);
    Ok(())
}

/// E159 by value: an empty session stays stored and alive.
#[tokio::test]
async fn an_emptied_session_lives_on() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| session.remove(VALUE).map(drop)).await?;
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(!session.is_new() && session.names().is_empty());
    Ok(())
}

// ---- 1.12 response end and save ordering ----

/// E160, E161, E162: over a socket, not a byte of a redirect leaves before the store has the session.
#[tokio::test]
async fn the_head_leaves_when_the_store_has_the_session() -> TestResult {
    let store = TestStore::default();
    let sessions = Sessions::builder(store.clone()).signing_keys(keys()).build()?;
    for (status, body) in [(302, "moved"), (200, "text"), (204, ""), (304, "")] {
        let app = App::start(sessions.clone(), move |request| async move {
            request.session().load().await?.insert(VALUE, &1)?;
            let response = Response::builder().status(status).header(header::LOCATION, "/next");
            let reply: Reply = Ok(response.body(Full::from(body)).expect("a response"));
            reply
        });
        let app = app.await;
        let gate = store.hold(Call::Create);
        let mut stream = TcpStream::connect(app.addr()).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n").await?;
        gate.arrived().await;
        let mut stream = stream.into_std()?;
        let mut head = vec![];
        let early = stream.read(&mut [0; 1]).expect_err("not a byte");
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock, "{status}");
        let before = store.inner().dump().len();
        gate.open();
        let mut stream = TcpStream::from_std(stream)?;
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut head).await?;
        let head = String::from_utf8(head)?;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains("set-cookie: __Host-id=v1."),
            "{head}"
        );
        assert_eq!(store.inner().dump().len(), before + 1);
    }
    Ok(())
}

/// E130, E160: the commit waits for the head alone, not for a body that takes its time.
#[tokio::test]
async fn the_session_is_stored_before_the_body_is_asked_for() -> TestResult {
    let site = Site::new(|b| b);
    let response = serve(&site.sessions, get(None), write).await;
    let answer = Answer { outcome: Outcome::Created, response: response.map(drop) };
    assert!(site.stored(&answer.pair()).await.is_some());
    Ok(())
}

/// E166
#[tokio::test]
async fn sessions_work_over_http_2() -> TestResult {
    let store = TestStore::default();
    let sessions = Sessions::builder(store.clone()).signing_keys(keys()).build()?;
    let app = App::start(sessions, |request| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => session.destroy(),
            _ => drop(session.update(VALUE, |value| value.unwrap_or(0) + 1)?),
        }
        text(session.get(VALUE)?.unwrap_or(0).to_string())
    });
    let app = app.await;
    let stream = TokioIo::new(TcpStream::connect(app.addr()).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    let mut browser = Browser::new();
    for (path, expected) in [("/", "1"), ("/", "2"), ("/logout", "0"), ("/", "1")] {
        let mut request =
            Request::builder().uri(format!("http://{}{path}", app.addr())).body(Full::<Bytes>::default())?;
        if let Some(cookies) = browser.cookie_header() {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_str(&cookies)?);
        }
        let (head, body) = sender.send_request(request).await?.into_parts();
        browser.keep(&head.headers);
        assert_eq!(body.collect().await?.to_bytes(), expected);
    }
    connection.abort();
    use Call::{Create, Destroy, Load, Save};
    assert_eq!(store.take_calls(), [Create, Load, Save, Load, Destroy, Create]);
    Ok(())
}

/// E167: a handler that is dropped commits nothing; a commit that is dropped leaves the old record or the new one.
#[tokio::test]
async fn a_request_that_is_cancelled_leaves_the_session_whole() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    {
        let (_handle, session) = site.open(get(&*cookie)).await?;
        session.insert(VALUE, &2)?;
        session.insert(OTHER, &2)?;
    }
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert_eq!((site.value(&cookie, VALUE).await?, site.value(&cookie, OTHER).await?), (Some(1), None));

    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &3)?;
    session.insert(OTHER, &3)?;
    let gate = site.store.hold(Call::Save);
    tokio::select! {
        biased;
        _ = site.finish(&handle) => panic!("held"),
        () = gate.arrived() => {}
    }
    let seen = (site.value(&cookie, VALUE).await?, site.value(&cookie, OTHER).await?);
    assert!([(Some(1), None), (Some(3), Some(3))].contains(&seen), "{seen:?}");
    site.visit(get(&*cookie), async |session| session.insert(VALUE, &4)).await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(4));
    Ok(())
}

// ---- 1.13 errors at the end ----

/// E170: the answer is an error, without the cookie of a session that is not stored.
#[tokio::test]
async fn a_commit_that_fails_is_not_a_success() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    for (call, request) in [(Call::Create, get(None)), (Call::Save, get(&*cookie))] {
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Timeout, StoreErrorKind::Refused] {
            site.store.fail(call, kind);
            let response = serve(&site.sessions, request.clone(), write).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{call:?} {kind:?}");
            assert!(set_cookies(response.headers()).is_empty());
        }
    }
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// E171: the request was served on what the store said; only the longer life is lost, and the cookie does not claim it.
#[tokio::test]
async fn a_touch_that_fails_is_logged_only() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)).touch_after(Duration::ZERO));
    let cookie = site.begin().await?;
    site.clock.advance(SECOND);
    site.store.fail(Call::Touch, StoreErrorKind::Unavailable);
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!((answer.outcome, answer.set_cookies().len()), (Outcome::Untouched, 0));
    assert_eq!(site.store.take_calls(), [Call::Load, Call::Touch]);
    Ok(())
}

// ---- 1.14 concurrency ----

/// E174: other names are merged, and counters count every request.
#[tokio::test]
async fn overlapping_changes_are_both_kept() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (first, one) = site.open(get(&*cookie)).await?;
    let (second, two) = site.open(get(&*cookie)).await?;
    one.insert(OTHER, &1)?;
    one.update(VALUE, |value| value.unwrap_or(0) + 1)?;
    two.insert("third", &1)?;
    two.update(VALUE, |value| value.unwrap_or(0) + 1)?;
    site.finish(&second).await?;
    site.finish(&first).await?;
    let (_, session) = site.open(get(&*cookie)).await?;
    assert_eq!(session.names(), ["other", "third", "value"]);
    assert_eq!(session.get(VALUE)?, Some(3));
    Ok(())
}

/// E175, E176: one that only read erases nothing and brings nothing back, with `resave` and without, by save and by touch.
#[tokio::test]
async fn overlapping_reads_are_harmless() -> TestResult {
    for (resave, writes) in [(false, Call::Touch), (true, Call::Save)] {
        let site = Site::new(|b| b.resave(resave).touch_after(Duration::ZERO));
        let cookie = site.begin().await?;
        site.clock.advance(SECOND);
        let (reading, _) = site.open(get(&*cookie)).await?;
        site.visit(get(&*cookie), async |session| session.insert(VALUE, &2)).await?;
        site.store.take_calls();
        site.finish(&reading).await?;
        assert_eq!(site.store.take_calls(), [writes]);
        assert_eq!(site.value(&cookie, VALUE).await?, Some(2));

        let (reading, _) = site.open(get(&*cookie)).await?;
        site.clock.advance(SECOND);
        site.visit(get(&*cookie), async |session| {
            session.destroy();
            Ok(())
        })
        .await?;
        site.store.take_calls();
        let answer = site.finish(&reading).await?;
        assert_eq!(site.store.take_calls(), [writes]);
        assert_eq!((answer.outcome, answer.set_cookies().len()), (Outcome::Gone, 0));
        assert!(site.stored(&cookie).await.is_none());
    }
    Ok(())
}

/// E177: neither a logout nor a login is undone by a slow request.
#[tokio::test]
async fn a_slow_writer_revives_nothing() -> TestResult {
    let site = Site::new(|b| b);
    let ends: [Change; 2] = [
        |s| {
            s.destroy();
            Ok(())
        },
        |s| s.regenerate(),
    ];
    for end in ends {
        let cookie = site.begin().await?;
        let (slow, session) = site.open(get(&*cookie)).await?;
        site.visit(get(&*cookie), async |session| end(&session)).await?;
        session.insert(VALUE, &2)?;
        assert_eq!(session.save().await?, Outcome::Gone);
        assert_eq!(kind(session.insert(VALUE, &3)), SessionErrorKind::Gone);
        let answer = site.finish(&slow).await?;
        assert_eq!((answer.outcome, answer.set_cookies().len()), (Outcome::Gone, 0));
        assert!(site.stored(&cookie).await.is_none());
        assert_eq!(site.value(&cookie, VALUE).await?, None);
    }
    Ok(())
}

// ---- 1.15 store protocol ----

/// E179: by the token, for sockets and jobs.
#[tokio::test]
async fn a_session_can_be_opened_outside_of_a_request() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let token = site.open(get(&*cookie)).await?.1.token().expect("alive");
    let session = site.sessions.open(&token).await?.expect("stored");
    session.insert(VALUE, &2)?;
    assert_eq!(session.save().await?, Outcome::Saved);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(2));
    site.sessions.revoke(&token.id()).await?;
    assert!(site.sessions.open(&token).await?.is_none());
    let stranger: SessionToken = "A".repeat(43).parse()?;
    assert!(site.sessions.open(&stranger).await?.is_none());
    Ok(())
}

/// E180
#[tokio::test]
async fn each_request_has_a_copy_of_its_own() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let ((_, one), (_, two)) = (site.open(get(&*cookie)).await?, site.open(get(&*cookie)).await?);
    one.insert(VALUE, &2)?;
    assert_eq!((one.get(VALUE)?, two.get(VALUE)?), (Some(2), Some(1)));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// E182: of what another request has written meanwhile, a touch moves the expiry and nothing else.
#[tokio::test]
async fn a_touch_leaves_the_data_alone() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (reading, session) = site.open(get(&*cookie)).await?;
    session.touch();
    site.visit(get(&*cookie), async |session| session.insert(VALUE, &2)).await?;
    let before = site.stored(&cookie).await.expect("stored");
    site.clock.advance(HOUR / 2);
    site.finish(&reading).await?;
    let after = site.stored(&cookie).await.expect("stored");
    assert_eq!((after.record, after.ttl), (before.record, Some(HOUR)));
    Ok(())
}
