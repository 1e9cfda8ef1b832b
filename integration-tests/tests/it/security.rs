//! The security bar. `S` numbers are its requirements.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, header};
use integration_tests::{Backend, keys};
use proptest::prelude::*;
use session_core::{
    Entropy, EntropyError, Key, Loaded, MemoryStore, Outcome, Session, SessionErrorKind, Sessions,
    Store, StoreErrorKind,
    testing::{Call, ManualClock, TestStore},
};
use test_support::Browser;
use tracing_subscriber::fmt::MakeWriter;

use crate::visit::{
    begin, builder, calls_of, finish, on_every_store, request, sessions, set_cookies, visit,
};

type Tested = TestStore<Backend>;

on_every_store! {
    s1_a_failing_generator_fails_the_creation
    s2_a_token_is_random_bytes_and_a_version
    s3_s4_nothing_in_the_store_opens_a_session
    s5_a_secret_that_differs_in_any_byte_is_refused
    s6_a_chosen_id_never_becomes_a_session
    s8_s9_a_login_renews_by_itself_on_every_instance
    s23_at_most_one_cookie_and_none_for_the_dead
    s24_among_planted_cookies_the_live_one_is_found
    t17_s27_no_output_holds_a_token_a_secret_or_a_value
    s33_anonymous_traffic_creates_nothing
    s34_a_session_that_grows_too_large_is_refused
    s35_a_failing_store_never_shows_the_wrong_session
}

const USER: Key<String> = Key::new("user");
const VIEWS: Key<u32> = Key::new("views");
const COOKIE: &str = "__Host-id";
const MIN: Duration = Duration::from_secs(60);

fn count(session: &Session) {
    session
        .update(VIEWS, |views| views.unwrap_or(0) + 1)
        .expect("a number");
}

struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("no entropy today"))
    }
}

async fn s1_a_failing_generator_fails_the_creation(store: Tested) {
    let broken = builder(&store)
        .insecure_entropy(Broken)
        .build()
        .expect("legal");
    let error = broken
        .begin(&request(&Browser::new()))
        .load()
        .await
        .expect_err("no token");
    assert_eq!(error.kind(), SessionErrorKind::Entropy);

    // and of what is there already, nothing is replaced by something weaker
    let mut browser = Browser::new();
    visit(&sessions(&store), &mut browser, count).await;
    let act: [fn(&Session); 2] = [count, |session| session.renew()];
    for act in act {
        let (handle, session) = begin(&broken, &browser).await;
        assert_eq!(
            session.regenerate().expect_err("no token").kind(),
            SessionErrorKind::Entropy
        );
        act(&session);
        let error = finish(&broken, &handle, &mut browser)
            .await
            .expect_err("no version, no secret");
        assert_eq!(error.kind(), SessionErrorKind::Entropy);
    }
    assert_eq!(
        visit(&sessions(&store), &mut browser, |session| session
            .get(VIEWS))
        .await
        .expect("a number"),
        Some(1)
    );
}

async fn s2_a_token_is_random_bytes_and_a_version(store: Tested) {
    let mut browser = Browser::new();
    let token = visit(&sessions(&store), &mut browser, |session| {
        session.set_principal(Some("ann")).expect("writable");
        session.token().expect("live")
    })
    .await;
    let value = browser.cookie(COOKIE).expect("a cookie");
    let [version, named, mac] = value
        .split('.')
        .collect::<Vec<_>>()
        .try_into()
        .expect("three parts");
    assert_eq!(
        (version, named, mac.len()),
        ("v1", token.expose().as_str(), 43)
    );
    assert!(
        named.starts_with(&token.id().to_string()[..21]),
        "the id, and after it the secret"
    );
}

/// S3, S4: what the store holds is no credential.
async fn s3_s4_nothing_in_the_store_opens_a_session(store: Tested) {
    let mut browser = Browser::new();
    let sessions = sessions(&store);
    let token = visit(&sessions, &mut browser, |session| {
        session.insert(USER, "ann").expect("writable");
        session.token().expect("live")
    })
    .await;
    let dump = store.inner().dump();
    let [(key, bytes)] = dump.as_slice() else {
        panic!("one session")
    };
    let id = token.id();
    assert!(key.ends_with(id.as_str()));
    let text = token.expose();
    assert!(!contains(bytes, text.as_bytes()));
    assert!(!contains(bytes, &text.as_bytes()[22..]), "the secret half");

    // each string of the dump, and each piece of it as long as a token, presented with a valid signature even
    let mut attempts = vec![id.to_string(), format!("{id}{id}")];
    attempts.extend(bytes.windows(32).map(base64));
    attempts.extend(
        bytes
            .windows(16)
            .map(|piece| base64(&[&id.to_bytes()[..], piece].concat())),
    );
    for attempt in attempts {
        if let Ok(token) = attempt.parse() {
            assert!(sessions.open(&token).await.expect("no fault").is_none());
        }
        let mut thief = Browser::new();
        thief.set_cookie(COOKIE, &attempt);
        assert!(begin(&sessions, &thief).await.1.is_new());
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn base64(bytes: &[u8]) -> String {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<bool> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    let value =
        |six: &[bool]| six.iter().fold(0, |n, &bit| n << 1 | usize::from(bit)) << (6 - six.len());
    bits.chunks(6)
        .map(|six| char::from(SET[value(six)]))
        .collect()
}

/// S5: a wrong secret is refused wherever it differs; the comparison is `subtle`'s.
async fn s5_a_secret_that_differs_in_any_byte_is_refused(store: Tested) {
    let mut browser = Browser::new();
    let sessions = sessions(&store);
    let token = visit(&sessions, &mut browser, |session| {
        count(session);
        session.token().expect("live").expose()
    })
    .await;
    assert!(
        sessions
            .open(&token.parse().expect("a token"))
            .await
            .expect("no fault")
            .is_some()
    );
    for at in 22..43 {
        let mut wrong = token.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'Q' } else { b'A' };
        if let Ok(wrong) = String::from_utf8(wrong).expect("ascii").parse() {
            assert!(
                sessions.open(&wrong).await.expect("no fault").is_none(),
                "{at}"
            );
        }
    }
}

/// S6: strict session management, a thousand times.
async fn s6_a_chosen_id_never_becomes_a_session(store: Tested) {
    let sessions = sessions(&store);
    // tokens with a valid signature whose sessions have ended: the best that an attacker can choose
    for n in 0..1000 {
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let chosen = browser.clone();
        visit(&sessions, &mut browser, |session| session.destroy()).await;
        let mut victim = chosen.clone();
        visit(&sessions, &mut victim, |session| {
            session.insert(USER, "ann").expect("writable")
        })
        .await;
        assert_ne!(victim.cookie(COOKIE), chosen.cookie(COOKIE), "{n}");
        assert!(begin(&sessions, &chosen).await.1.is_new());
    }
    assert_eq!(store.inner().len(), 1000);
}

proptest! {
    /// S7: whatever bytes a cookie header holds, the store is not asked and nothing panics.
    #[test]
    fn s7_malformed_cookies_are_refused_before_the_store(
        value in prop_oneof![
            prop::collection::vec(0x20..=0xffu8, 0..200),
            "v1\\.[A-Za-z0-9_-]{43}\\.[A-Za-z0-9_-]{43}".prop_map(String::into_bytes),
            "(v[0-9])?\\.?[A-Za-z0-9_.=%-]{0,5000}".prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store = TestStore::default();
        let cookie = [COOKIE.as_bytes(), b"=", &value].concat();
        if let Ok(cookie) = header::HeaderValue::from_bytes(&cookie) {
            let request = Request::builder().uri("/").header(header::COOKIE, cookie).body(()).expect("a request");
            let sessions = sessions(&store);
            let handle = sessions.begin(&request);
            prop_assert!(runtime.block_on(handle.load()).expect("no store needed").is_new());
            prop_assert_eq!(handle.presented_id(), None);
            prop_assert_eq!(store.take_calls(), []);
        }
    }
}

/// S8 on every instance; S9: a principal cannot change without a renewal.
async fn s8_s9_a_login_renews_by_itself_on_every_instance(store: Tested) {
    let (one, other) = (sessions(&store), sessions(&store));
    let mut browser = Browser::new();
    visit(&one, &mut browser, count).await;
    let changes = [Some("ann"), Some("root"), None];
    for principal in changes {
        let old = browser.clone();
        visit(&one, &mut browser, |session| {
            session.set_principal(principal).expect("writable")
        })
        .await;
        assert_ne!(old.cookie(COOKIE), browser.cookie(COOKIE));
        for instance in [&one, &other] {
            assert!(
                begin(instance, &old).await.1.is_new(),
                "the old token is dead"
            );
            assert_eq!(
                begin(instance, &browser).await.1.principal().as_deref(),
                principal
            );
        }
    }
    let same = browser.clone();
    visit(&one, &mut browser, |session| {
        session.set_principal(None).expect("writable")
    })
    .await;
    assert_eq!(
        same.cookie(COOKIE),
        browser.cookie(COOKIE),
        "no change, no renewal"
    );
}

/// S12: the store's clock ends an idle session, and a key that was given too long a life is cut back.
#[tokio::test]
async fn s12_the_idle_timeout_is_the_servers() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(30 * MIN)
        .build()
        .expect("legal");
    let mut browser = Browser::new();
    let id = visit(&sessions, &mut browser, |session| {
        count(session);
        session.id().expect("live")
    })
    .await;
    store
        .inner()
        .touch(&id, 1000 * MIN)
        .await
        .map(drop)
        .expect("memory");
    assert_eq!(
        calls_of(&sessions, &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Touch]
    );
    let Some(Loaded { ttl, .. }) = store.inner().load(&id).await.expect("memory") else {
        panic!("live")
    };
    assert_eq!(ttl, Some(30 * MIN));
    clock.advance(30 * MIN);
    assert!(begin(&sessions, &browser).await.1.is_new());
}

/// S13: nothing moves the absolute timeout, by a second either way.
#[tokio::test]
async fn s13_the_absolute_timeout_is_never_extended() {
    let act: [fn(&Session); 5] = [
        |session| session.touch(),
        count,
        |session| session.renew(),
        |session| session.set_max_age(Some(10_000 * MIN)).expect("writable"),
        |session| {
            session
                .set_idle_timeout(Some(10_000 * MIN))
                .expect("writable")
        },
    ];
    for act in act {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let builder = builder(&store)
            .clock(clock.clone())
            .idle_timeout(20 * MIN)
            .absolute_timeout(100 * MIN);
        let sessions = builder.build().expect("legal");
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        for _ in 0..9 {
            clock.advance(10 * MIN);
            visit(&sessions, &mut browser, act).await;
        }
        clock.advance(10 * MIN - Duration::from_secs(1));
        assert!(
            !begin(&sessions, &browser).await.1.is_new(),
            "a second before"
        );
        visit(&sessions, &mut browser, act).await;
        clock.advance(Duration::from_secs(1));
        assert!(begin(&sessions, &browser).await.1.is_new());
    }
}

/// S20, S22: the header that goes out by default.
#[tokio::test]
async fn s20_s22_the_cookie_is_strict_by_default_and_small() {
    let (store, mut browser) = (TestStore::default(), Browser::new());
    let sessions = sessions(&store);
    let (handle, session) = begin(&sessions, &browser).await;
    count(&session);
    let (_, response) = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    let [cookie] = set_cookies(&response).try_into().expect("one cookie");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/");
    assert!(pair.len() <= 4096 && pair.starts_with("__Host-id=v1."));
    assert!(
        pair[10..]
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    );
}

/// S23.
async fn s23_at_most_one_cookie_and_none_for_the_dead(store: Tested) {
    let sessions = sessions(&store);
    let act: [fn(&Session); 5] = [
        count,
        |session| {
            session.renew();
            session.regenerate().expect("entropy");
            count(session);
        },
        |session| {
            session.destroy();
            count(session);
        },
        |session| {
            count(session);
            session.destroy();
        },
        |session| {
            session.discard();
            count(session);
            session.set_max_age(Some(MIN)).expect("writable");
        },
    ];
    for stored in [false, true] {
        for act in act {
            let mut browser = Browser::new();
            if stored {
                visit(&sessions, &mut browser, count).await;
            }
            let (handle, session) = begin(&sessions, &browser).await;
            act(&session);
            let _ = session.save().await.expect("no fault");
            act(&session);
            let (_, response) = finish(&sessions, &handle, &mut browser)
                .await
                .expect("no fault");
            assert!(set_cookies(&response).len() <= 1, "{response:?}");
            match session.token() {
                Some(token) => assert!(
                    set_cookies(&response)
                        .iter()
                        .all(|cookie| cookie.contains(&token.expose()))
                ),
                None => assert!(
                    set_cookies(&response)
                        .iter()
                        .all(|cookie| cookie.contains("Max-Age=0"))
                ),
            }
        }
    }
}

/// S24: cookies of the same name, planted by a neighbouring subdomain, in any order.
async fn s24_among_planted_cookies_the_live_one_is_found(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let live = browser.cookie(COOKIE).expect("a cookie").to_owned();
    let mut ended = Browser::new();
    visit(&sessions, &mut ended, count).await;
    let dead = ended.cookie(COOKIE).expect("a cookie").to_owned();
    visit(&sessions, &mut ended, |session| session.destroy()).await;
    let forged = live.replace("v1.", "v1.A");
    for order in [
        [&live, &dead, &forged],
        [&dead, &live, &forged],
        [&forged, &dead, &live],
        [&forged, &forged, &live],
    ] {
        let cookies = order.map(|value| format!("{COOKIE}={value}")).join("; ");
        let request = Request::builder()
            .uri("/")
            .header(header::COOKIE, cookies)
            .body(())
            .expect("a request");
        let session = sessions.begin(&request).load().await.expect("no fault");
        assert_eq!(session.get(VIEWS).expect("a number"), Some(1));
    }
    // beyond eight nobody looks
    let cookies = vec![format!("{COOKIE}={forged}"); 8].join("; ") + &format!("; {COOKIE}={live}");
    let request = Request::builder()
        .uri("/")
        .header(header::COOKIE, cookies)
        .body(())
        .expect("a request");
    assert!(
        sessions
            .begin(&request)
            .load()
            .await
            .expect("no fault")
            .is_new()
    );
}

/// S25: any access at all.
#[tokio::test]
async fn s25_every_access_makes_the_response_private() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let access: [fn(&Session); 8] = [
        |_| {},
        |session| drop(session.get(VIEWS)),
        |session| _ = session.contains(VIEWS),
        |session| drop(session.names()),
        |session| drop(session.principal()),
        |session| _ = session.id(),
        |session| _ = session.expires_at(),
        |session| _ = session.is_new(),
    ];
    for visitor in [browser.clone(), Browser::new()] {
        for access in access {
            let (handle, session) = begin(&sessions, &visitor).await;
            access(&session);
            let (_, response) = finish(&sessions, &handle, &mut visitor.clone())
                .await
                .expect("no fault");
            assert_eq!(response.headers()["vary"], "Cookie");
            assert_eq!(response.headers()["cache-control"], "private");
        }
    }
    let (handle, session) = begin(&sessions, &browser).await;
    session.renew();
    let (_, response) = finish(&sessions, &handle, &mut browser)
        .await
        .expect("no fault");
    assert_eq!(response.headers()["cache-control"], "no-store");

    // what the handler chose stays, and Vary is not said twice
    let (handle, session) = begin(&sessions, &browser).await;
    session.renew();
    let chosen = Response::builder()
        .header("cache-control", "max-age=60")
        .header("vary", "Accept, cookie");
    let mut response = chosen.body(()).expect("a response");
    let _ = sessions
        .finish(&handle, &mut response)
        .await
        .expect("no fault");
    assert_eq!(response.headers()["cache-control"], "max-age=60");
    assert_eq!(
        response
            .headers()
            .get_all("vary")
            .iter()
            .collect::<Vec<_>>(),
        ["Accept, cookie"]
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// T17, S27: everything that can be done is done, at the finest log level; then every output is searched for every secret.
async fn t17_s27_no_output_holds_a_token_a_secret_or_a_value(store: Tested) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let store = store.inner().emptied();
    let sessions = sessions(&store);
    let (mut secrets, mut printed) = (
        vec!["the signing key of all".to_owned(), "hunter2".to_owned()],
        String::new(),
    );
    let act: [fn(&Session); 7] = [
        |session| session.insert("password", "hunter2").expect("writable"),
        |session| session.renew(),
        |session| drop(session.get::<u32>("password")),
        |session| session.regenerate().expect("entropy"),
        |session| session.set_principal(Some("ann")).expect("writable"),
        |session| session.touch(),
        |session| session.destroy(),
    ];
    let mut browser = Browser::new();
    for fault in [
        None,
        Some(Call::Load),
        Some(Call::Save),
        Some(Call::Create),
        Some(Call::Destroy),
    ] {
        for act in act {
            if let Some(call) = fault {
                store.fail(call, StoreErrorKind::Unavailable);
            }
            let handle = sessions.begin(&request(&browser));
            match handle.load().await {
                Ok(session) => {
                    printed += &format!("{session:?} {:?} ", session.token());
                    act(&session);
                    secrets.extend(session.token().map(|token| token.expose()[22..].to_owned()));
                    printed += &session
                        .get::<u32>("password")
                        .map_or_else(|error| format!("{error:?} {error}"), |_| String::new());
                    match finish(&sessions, &handle, &mut browser).await {
                        Ok(_) => secrets
                            .extend(session.token().map(|token| token.expose()[22..].to_owned())),
                        Err(error) => printed += &format!("{error:?} {error} "),
                    }
                    printed += &format!("{session:?}");
                }
                Err(error) => printed += &format!("{error:?} {error} "),
            }
            printed += &format!(
                "{handle:?} {sessions:?} {:?} {:?}",
                keys(),
                store.inner().dump()
            );
            store.clear_faults();
        }
    }
    printed += &String::from_utf8(log.0.lock().expect("whole").clone()).expect("text");
    assert!(
        printed.contains("session created") && printed.contains("session replaced"),
        "the log was on"
    );
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(!printed.contains(&secret), "{secret}");
    }
}

/// S33: visitors, logouts without a session, and bad cookies.
async fn s33_anonymous_traffic_creates_nothing(store: Tested) {
    let sessions = sessions(&store);
    for n in 0..100_000u32 {
        let mut browser = Browser::new();
        if n % 3 == 1 {
            browser.set_cookie(COOKIE, "v1.bad.cookie");
        }
        visit(&sessions, &mut browser, |session| {
            if n % 3 == 2 {
                session.destroy();
            }
        })
        .await;
    }
    assert_eq!(store.take_calls(), []);
    assert!(store.inner().is_empty());
}

/// S34: before anything is written, and the session is as it was.
async fn s34_a_session_that_grows_too_large_is_refused(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        count(session);
        let error = session
            .insert("large", &"x".repeat(64 * 1024))
            .expect_err("too large");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        assert!(!session.contains("large"));
        session
            .insert("fits", &"x".repeat(63 * 1024))
            .expect("fits");
        assert!(session.insert("fits", &"y".repeat(65 * 1024)).is_err());
        assert_eq!(
            session.get::<String>("fits").expect("text"),
            Some("x".repeat(63 * 1024))
        );
        assert!(
            (0..10_000).any(|n| session.insert(&format!("{n}"), &()).is_err()),
            "many small values count too"
        );
    })
    .await;
    assert_eq!(
        visit(&sessions, &mut browser, |session| session.get(VIEWS))
            .await
            .expect("a number"),
        Some(1)
    );

    // two requests that are each within the limit, and not together
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let (handle, session) = begin(&sessions, &browser).await;
    session
        .insert("mine", &"x".repeat(40 * 1024))
        .expect("fits");
    let theirs = |session: &Session| {
        session
            .insert("theirs", &"x".repeat(40 * 1024))
            .expect("fits")
    };
    visit(&sessions, &mut browser.clone(), theirs).await;
    let error = finish(&sessions, &handle, &mut browser)
        .await
        .expect_err("too large together");
    assert_eq!(error.kind(), SessionErrorKind::TooLarge);
    visit(&sessions, &mut browser, |session| {
        assert!(session.contains("theirs") && !session.contains("mine"))
    })
    .await;
}

/// S35: many users at once, requests dropped at every await, a store that fails at random. Nobody ever sees another's data, and
/// an error is never taken for an empty session.
async fn s35_a_failing_store_never_shows_the_wrong_session(store: Tested) {
    const USERS: u32 = 50;
    const REQUESTS: u32 = 400;
    let store = store.inner().emptied().yielding();
    let sessions = sessions(&store);
    let users = (0..USERS).map(|user| {
        let (store, sessions) = (store.clone(), sessions.clone());
        tokio::spawn(async move {
            let mut browser = Browser::new();
            loop {
                let (handle, session) = match sessions.begin(&request(&browser)) {
                    handle if handle.load().await.is_ok() => {
                        (handle.clone(), handle.loaded().expect("loaded").clone())
                    }
                    _ => continue,
                };
                session.insert("owner", &user).expect("writable");
                if finish(&sessions, &handle, &mut browser).await.is_ok() {
                    break;
                }
            }
            let mut served = 0;
            for n in 0..REQUESTS {
                let faults = [Call::Load, Call::Save, Call::Touch];
                if n % 3 == 0 {
                    store.fail(faults[(n / 3 % 3) as usize], StoreErrorKind::Timeout);
                }
                let handle = sessions.begin(&request(&browser));
                match handle.load().await {
                    Ok(session) => {
                        assert_eq!(session.get::<u32>("owner").expect("a number"), Some(user));
                        count(&session);
                        let mut response = Response::new(());
                        let finish = std::pin::pin!(sessions.finish(&handle, &mut response));
                        // every fifth client hangs up on the way
                        let patience = if n % 5 == 0 {
                            n as usize % 7
                        } else {
                            usize::MAX
                        };
                        served += u32::from(matches!(polled(patience, finish).await, Some(Ok(_))));
                    }
                    Err(error) => assert_eq!(error.kind(), SessionErrorKind::Timeout),
                }
            }
            store.clear_faults();
            let views = loop {
                if let Ok(session) = sessions.begin(&request(&browser)).load().await {
                    break session.get(VIEWS).expect("a number").unwrap_or(0);
                }
            };
            assert!(
                views >= served && views <= REQUESTS,
                "{served} were told, {views} are there"
            );
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.expect("no panic");
    }
}

async fn polled<F: Future + Unpin>(mut polls: usize, mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        if polls == 0 {
            return std::task::Poll::Ready(None);
        }
        polls -= 1;
        std::pin::Pin::new(&mut future).poll(cx).map(Some)
    })
    .await
}

/// A touch that fails takes nothing away.
#[tokio::test]
async fn a_failing_touch_does_not_fail_the_request() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build().expect("legal");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    clock.advance(20 * MIN);
    store.fail(Call::Touch, StoreErrorKind::Unavailable);
    let (handle, _) = begin(&sessions, &browser).await;
    let (outcome, response) = finish(&sessions, &handle, &mut browser)
        .await
        .expect("served");
    assert_eq!(
        (outcome, set_cookies(&response)),
        (Outcome::Untouched, vec![])
    );
    assert_eq!(
        calls_of(&sessions, &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Touch],
        "and again"
    );
}

/// A whole application on shared sessions of two names.
#[tokio::test]
async fn sessions_of_two_names_are_two_sessions() {
    let store = TestStore::default();
    let named = |name: &str| {
        let cookie = session_core::CookieOptions::new().name(name);
        Sessions::builder(store.clone())
            .signing_keys(keys())
            .cookie(cookie)
            .build()
            .expect("legal")
    };
    let (site, admin) = (named("__Host-site"), named("__Host-admin"));
    let mut browser = Browser::new();
    visit(&site, &mut browser, count).await;
    visit(&admin, &mut browser, |session| {
        session.insert(USER, "root").expect("writable")
    })
    .await;
    assert_eq!(
        visit(&site, &mut browser, |session| session.get(USER))
            .await
            .expect("text"),
        None
    );
    // one name's cookie under the other name does not verify
    let swapped = browser.cookie("__Host-admin").expect("a cookie").to_owned();
    browser.set_cookie("__Host-site", &swapped);
    assert!(begin(&site, &browser).await.1.is_new());
}
