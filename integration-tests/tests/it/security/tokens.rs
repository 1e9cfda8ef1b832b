//! Tokens: how they are made, and what opens a session.

use http::{Request, header};
use proptest::prelude::*;
use session_core::{Entropy, EntropyError, Session, SessionErrorKind, testing::TestStore};
use test_support::Browser;

use super::{COOKIE, USER, VIEWS, count};
use crate::visit::{Act, Tested, begin, builder, finish, on_every_store, request, sessions, visit};

on_every_store! {
    a_failing_generator_fails_the_request
    a_cookie_is_a_version_a_token_and_a_signature
    nothing_in_the_store_opens_a_session
    a_secret_that_differs_in_any_byte_is_refused
    an_id_chosen_by_a_client_never_becomes_a_session
}

struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("out of entropy"))
    }
}

async fn a_failing_generator_fails_the_request(store: Tested) {
    let broken = builder(&store)
        .insecure_entropy(Broken)
        .build()
        .expect("valid options");
    let error = broken
        .begin(&request(&Browser::new()))
        .load()
        .await
        .expect_err("no token");
    assert_eq!(error.kind(), SessionErrorKind::Entropy);

    // a stored session is not renewed with a weaker token either
    let mut browser = Browser::new();
    visit(&sessions(&store), &mut browser, count).await;
    let acts: [Act; 3] = [count, Session::renew, |session| session.log_in("ann")];
    for act in acts {
        let (handle, session) = begin(&broken, &browser).await;
        let error = session.regenerate().expect_err("no token");
        assert_eq!(error.kind(), SessionErrorKind::Entropy);
        act(&session).expect("accepted");
        let error = finish(&broken, &handle, &mut browser)
            .await
            .expect_err("no new version or secret");
        assert_eq!(error.kind(), SessionErrorKind::Entropy);
    }
    let session = begin(&sessions(&store), &browser).await.1;
    assert_eq!(session.get(VIEWS).expect("a number"), Some(1));
    assert_eq!(session.principal(), None);
}

async fn a_cookie_is_a_version_a_token_and_a_signature(store: Tested) {
    let mut browser = Browser::new();
    let token = visit(&sessions(&store), &mut browser, |session| {
        session.insert(USER, "ann")?;
        Ok(session.token().expect("live"))
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
        "the id comes before the secret"
    );
}

async fn nothing_in_the_store_opens_a_session(store: Tested) {
    let mut browser = Browser::new();
    let sessions = sessions(&store);
    let token = visit(&sessions, &mut browser, |session| {
        session.insert(USER, "ann")?;
        Ok(session.token().expect("live"))
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
    assert!(!contains(bytes, &text.as_bytes()[22..]), "the secret");

    // the id, and every piece of the record that is as long as a token or a secret
    let mut attempts = vec![id.to_string(), format!("{id}{id}")];
    attempts.extend(bytes.windows(32).map(base64));
    attempts.extend(
        bytes
            .windows(16)
            .map(|piece| base64(&[&id.to_bytes()[..], piece].concat())),
    );
    let mut tokens = 0;
    for attempt in attempts {
        if let Ok(token) = attempt.parse() {
            tokens += 1;
            assert!(sessions.open(&token).await.expect("no fault").is_none());
        }
        let mut thief = Browser::new();
        thief.set_cookie(COOKIE, &attempt);
        assert!(begin(&sessions, &thief).await.1.is_new());
    }
    assert!(
        tokens > bytes.len(),
        "{tokens} attempts had the form of a token"
    );
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

async fn a_secret_that_differs_in_any_byte_is_refused(store: Tested) {
    let mut browser = Browser::new();
    let sessions = sessions(&store);
    let token = visit(&sessions, &mut browser, |session| {
        count(session)?;
        Ok(session.token().expect("live").expose())
    })
    .await;
    assert!(
        sessions
            .open(&token.parse().expect("a token"))
            .await
            .expect("no fault")
            .is_some()
    );
    let mut refused = 0;
    for at in 22..43 {
        let mut wrong = token.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'Q' } else { b'A' };
        if let Ok(wrong) = String::from_utf8(wrong).expect("ascii").parse() {
            assert!(
                sessions.open(&wrong).await.expect("no fault").is_none(),
                "{at}"
            );
            refused += 1;
        }
    }
    // a last character with bits that no token has does not parse
    assert!(refused >= 20, "{refused} of 21 were tokens");
}

/// Strict session management in the sense of OWASP.
async fn an_id_chosen_by_a_client_never_becomes_a_session(store: Tested) {
    let sessions = sessions(&store);
    // an attacker can choose no better than signed tokens whose sessions have ended
    for n in 0..1000 {
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let chosen = browser.clone();
        visit(&sessions, &mut browser, Session::destroy).await;
        let mut victim = chosen.clone();
        visit(&sessions, &mut victim, |s| s.insert(USER, "ann")).await;
        assert_ne!(victim.cookie(COOKIE), chosen.cookie(COOKIE), "{n}");
        assert!(begin(&sessions, &chosen).await.1.is_new());
    }
    assert_eq!(store.inner().len(), 1000);
}

proptest! {
    #[test]
    fn malformed_cookies_are_refused_without_a_store_call(
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
            let request = Request::builder().header(header::COOKIE, cookie).body(());
            let request = request.expect("a request");
            let sessions = sessions(&store);
            let handle = sessions.begin(&request);
            prop_assert!(runtime.block_on(handle.load()).expect("no store needed").is_new());
            prop_assert_eq!(handle.presented_id(), None);
            prop_assert_eq!(store.take_calls(), []);
        }
    }
}
