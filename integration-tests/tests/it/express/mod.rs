//! express-session's behaviour, row by row: what is the same here, and what is better. E numbers are its rows; the golden matrix
//! (E136–E159) is in [`express_matrix`](crate::express_matrix).
//!
//! Where each row is shown. *Matrix* is `express_matrix::every_case_under_every_setting`; *unit* is a test in session-core, with
//! its file; *by type* means that the opposite does not compile or has no place in the API; *n/a* is an artefact of Node; *interop*
//! belongs to the format that shares live sessions with express-session, which is to follow.
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
//! | E28 | `cookie_options_can_be_computed_from_the_request` |
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
//! | E49 | `a_cookie_that_opens_nothing_can_be_removed` |
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
//! | E91 | the same, matrix |
//! | E92 | `save_gives_full_life` |
//! | E93 | `an_explicit_save_sends_its_cookie`, matrix |
//! | E94 | `touch_gives_full_life`, matrix |
//! | E95 | `cookie_and_store_expire_together`, matrix |
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
//! | E123, E124, E125, E126 | `a_browser_session_cookie_is_sent_once_and_a_rolling_one_always`, `rolling_with_resave_under_conflict`, matrix |
//! | E127 | `a_change_after_the_head_is_an_error_and_is_dropped` |
//! | E128 | `other_cookies_of_the_response_are_kept` |
//! | E129 | `unusable_cookie_options_are_refused_when_built`, `unusable_computed_cookie_options_are_a_typed_error` |
//! | E130 | `a_persistent_cookie_says_when_it_expires`, `the_session_is_stored_before_the_body_is_asked_for` |
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
    Builder, ConfigError, CookieOptions, Created, EntropyError, Key, Loaded, MemoryStore, Outcome,
    ParseIdError, PeerAddr, Priority, Proxy, RecordBytes, SameSite, Secure, Session, SessionError,
    SessionErrorKind, SessionHandle, SessionId, SessionToken, Sessions, SigningKeys,
    SigningKeysError, Store, StoreErrorKind, Transport, Undecodable, Unset,
    testing::{Call, ManualClock, TestStore},
};
use session_hyper::{RequestSession, SessionBody, SessionService};
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
const KEY_A: &str = "signing key A, at least 32 bytes long";
const KEY_B: &str = "signing key B, at least 32 bytes long";

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

    /// What the store holds for a cookie.
    async fn stored(&self, pair: &str) -> Option<Loaded> {
        self.store
            .inner()
            .load(&self.id(pair).expect("signed"))
            .await
            .expect("memory")
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
