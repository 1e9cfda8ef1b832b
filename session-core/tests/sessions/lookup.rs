//! Finding the session of a request among its cookies.

use std::time::Duration;

use http::{Request, header};
use session_core::{
    CookieOptions, OnDecodeError, Record, Session, SessionError, SessionErrorKind, Sessions, Store,
    Version, Write,
    testing::{Call, TestStore},
};

use crate::visit::{COOKIE, Jar, builder, get, sessions, visit};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn principal(sessions: &Sessions, cookies: &str) -> Option<String> {
    let request = Request::builder()
        .header(header::COOKIE, cookies)
        .body(())
        .expect("a request");
    sessions
        .begin(&request)
        .load()
        .await
        .expect("no fault")
        .principal()
}

async fn logged_in(sessions: &Sessions) -> String {
    let mut jar = Jar::default();
    visit(sessions, &mut jar, |session| session.log_in("ann")).await;
    jar.cookie().expect("set").to_owned()
}

#[tokio::test]
async fn forged_cookies_cost_nothing_and_do_not_hide_the_right_one() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let cookie = logged_in(&sessions).await;
    store.take_calls();
    let forged = format!("{COOKIE}=v1.AAAA.AAAA; ").repeat(50);
    assert_eq!(principal(&sessions, &forged).await, None);
    assert!(store.take_calls().is_empty());
    let all = format!("{forged}{COOKIE}={cookie}");
    assert_eq!(principal(&sessions, &all).await.as_deref(), Some("ann"));
    assert_eq!(store.take_calls(), [Call::Load]);
}

#[tokio::test]
async fn at_most_two_signed_cookies_are_looked_up() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut dead = Vec::new();
    for _ in 0..8 {
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        dead.push(jar.cookie().expect("set").to_owned());
        visit(&sessions, &mut jar, |session| session.destroy()).await;
    }
    let live = logged_in(&sessions).await;
    store.take_calls();
    let all: Vec<_> = dead.iter().map(|dead| format!("{COOKIE}={dead}")).collect();
    assert_eq!(principal(&sessions, &all.join("; ")).await, None);
    assert_eq!(store.take_calls().len(), 2);
    let one = format!("{}; {}; {COOKIE}={live}", all[0], all[0]);
    assert_eq!(
        principal(&sessions, &one).await.as_deref(),
        Some("ann"),
        "a repetition is not counted"
    );
}

#[tokio::test]
async fn a_cookie_behind_unicode_whitespace_is_not_the_sessions() {
    let sessions = sessions(&TestStore::default());
    let attackers = logged_in(&sessions).await;
    for space in ["\u{a0}", "\u{85}", "\u{2000}", "\u{3000}"] {
        assert_eq!(
            principal(&sessions, &format!("{space}{COOKIE}={attackers}")).await,
            None
        );
        assert_eq!(
            principal(&sessions, &format!("{COOKIE}{space}={attackers}")).await,
            None
        );
    }
    assert_eq!(
        principal(&sessions, &format!("a=b;\t {COOKIE}={attackers}"))
            .await
            .as_deref(),
        Some("ann")
    );
}

#[tokio::test]
async fn an_id_from_elsewhere_is_never_adopted() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let ended = jar.clone();
    let id = get(&sessions, &jar).await.session.id();
    visit(&sessions, &mut jar, |session| session.destroy()).await;
    let mut again = ended;
    visit(&sessions, &mut again, |session| session.insert("a", &1)).await;
    assert_ne!(get(&sessions, &again).await.session.id(), id);
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_left_alone() {
    let store = TestStore::default();
    let lenient = sessions(&store);
    let strict = builder(&store)
        .on_decode_error(OnDecodeError::Fail)
        .build()
        .expect("valid");
    for body in [&b"garbage"[..], b"", b"\x80", &[0xff; 100]] {
        let mut jar = Jar::default();
        visit(&lenient, &mut jar, |session| session.insert("a", &1)).await;
        let id = get(&lenient, &jar).await.session.id().expect("stored");
        lenient.end(&id).await.expect("no fault");
        let garbage = Record::new(Version::from_bytes([9; 8]), body);
        let write = Write::new(&garbage, std::time::Duration::from_secs(60));
        let _ = store.inner().create(&id, write).await.expect("no fault");

        let request = Request::builder()
            .header(header::COOKIE, jar.header())
            .body(());
        let handle = strict.begin(&request.expect("a request"));
        let error = handle.load().await.expect_err("cannot be decoded");
        assert_eq!(error.kind(), SessionErrorKind::Corrupt);
        visit(&lenient, &mut jar, |session| session.insert("b", &1)).await;
        let stored = store
            .inner()
            .load(&id)
            .await
            .expect("no fault")
            .expect("still there");
        assert_eq!(stored.record, garbage);
        assert_eq!(get(&lenient, &jar).await.session.names(), ["b"]);
    }
}

/// Loads with these options for the request, and an absolute timeout of an hour.
async fn load_with_cookie(options: CookieOptions) -> Result<Session, SessionError> {
    let sessions = builder(&TestStore::default())
        .absolute_timeout(HOUR)
        .cookie_for(move |_| options.clone())
        .build()
        .expect("valid options");
    sessions.begin(&Request::new(())).load().await
}

#[tokio::test]
async fn invalid_cookie_options_of_one_request_are_an_error() {
    for (max_age, rule) in [
        (Duration::ZERO, "max_age"),
        (HOUR + SECOND, "exceeds absolute_timeout = 3600s"),
    ] {
        let options = CookieOptions::new().max_age(max_age);
        let error = load_with_cookie(options).await.expect_err("refused");
        assert_eq!(error.kind(), SessionErrorKind::Config);
        assert!(error.to_string().contains(rule), "{error}");
    }
    let longest = CookieOptions::new().max_age(HOUR);
    let session = load_with_cookie(longest).await.expect("valid options");
    assert_eq!(session.idle_timeout(), HOUR);
}
