//! Sessions whose tokens travel in the `Authorization` header.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use session_core::{
    CookieOptions, ExpressOptions, MemoryStore, RequestScheme, Secure, Session, SessionErrorKind,
    Sessions, SigningKeys, Transport, Transports,
    testing::{ManualClock, TestStore},
};

use crate::client::{Client, Sent, bearer, both, finish, forged, log_in, sent, with};

#[tokio::test]
async fn a_token_is_sent_when_it_is_new_and_an_empty_one_when_the_session_has_ended() {
    let sessions = both(&TestStore::default());
    let created = Client::default().asks();
    let created = created
        .send(&sessions, |session| session.insert("a", &1))
        .await;
    let mut client = Client::default().bearer(&bearer(&created));
    for act in [
        |_: &Session| Ok(()),
        |session: &Session| session.insert("a", &2),
        |session: &Session| session.touch(),
    ] {
        assert_eq!(sent(&client.send(&sessions, act).await), Sent::Nothing);
    }
    for act in [
        |session: &Session| session.renew(),
        |session: &Session| session.log_in("ann"),
        |session: &Session| session.regenerate(),
    ] {
        let before = client.clone();
        let token = bearer(&client.send(&sessions, act).await);
        client = Client::default().bearer(&token);
        assert!(before.begin(&sessions).await.1.is_new());
        assert!(!client.begin(&sessions).await.1.is_new());
    }
    let ended = client.send(&sessions, Session::log_out).await;
    assert_eq!(bearer(&ended), "");
    assert!(client.begin(&sessions).await.1.is_new());
    // a token that opens nothing is left alone, as a cookie is
    let again = client.send(&sessions, Session::log_out).await;
    assert_eq!(sent(&again), Sent::Nothing);
}

/// A browser has to be told how long to keep a cookie. A client that is told a token again could
/// replace that of a login by it.
#[tokio::test]
async fn a_token_that_is_not_new_is_not_sent_for_the_sake_of_a_cookie() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = with(&store, Transports::CookieAndBearer)
        .express(ExpressOptions::new().rolling(true))
        .clock(clock.clone())
        .build()
        .expect("valid options");
    for (transport, is_sent) in [(Transport::Cookie, true), (Transport::Bearer, false)] {
        let token = log_in(&sessions, "ann", transport).await;
        let client = match transport {
            Transport::Bearer => Client::default().bearer(&token),
            _ => Client::default().cookie(&token),
        };
        let remember = |session: &Session| session.set_max_age(Some(Duration::from_secs(3600)));
        let headers = client.send(&sessions, remember).await;
        assert_eq!(sent(&headers) != Sent::Nothing, is_sent, "{transport:?}");
        for act in [
            |_: &Session| Ok(()),
            |session: &Session| session.insert("a", &1),
        ] {
            // a touch is due, and the option rolling repeats the cookie
            clock.advance(Duration::from_secs(600));
            let headers = client.send(&sessions, act).await;
            assert_eq!(sent(&headers) != Sent::Nothing, is_sent, "{transport:?}");
        }
    }
}

#[tokio::test]
async fn no_cache_keeps_or_mixes_up_responses() {
    let store = TestStore::default();
    for (transports, vary) in [
        (Transports::Cookie, &["Cookie"][..]),
        (Transports::CookieAndBearer, &["Cookie", "Authorization"]),
        (Transports::Bearer, &["Authorization"]),
    ] {
        let sessions = with(&store, transports).build().expect("valid options");
        let client = Client::default().asks();
        let values = |headers: &HeaderMap, name| -> Vec<String> {
            let all = headers.get_all(name).iter();
            all.map(|value| value.to_str().expect("ASCII").to_owned())
                .collect()
        };
        let read = client.send(&sessions, |_| Ok(())).await;
        assert_eq!(values(&read, header::VARY), vary, "{transports:?}");
        assert_eq!(values(&read, header::CACHE_CONTROL), ["private"]);
        let login = client
            .send(&sessions, |session| session.log_in("ann"))
            .await;
        assert_ne!(sent(&login), Sent::Nothing);
        assert_eq!(values(&login, header::VARY), vary, "{transports:?}");
        assert_eq!(values(&login, header::CACHE_CONTROL), ["no-store"]);

        let handle = sessions.begin(&client.request());
        let untouched = finish(&sessions, &handle).await;
        assert!(untouched.is_empty(), "{untouched:?}");
    }
}

#[tokio::test]
async fn a_handlers_vary_is_completed_and_not_repeated() {
    let sessions = both(&TestStore::default());
    for (own, expected) in [
        ("accept", &["accept", "Cookie", "Authorization"][..]),
        (
            "authorization, accept",
            &["authorization, accept", "Cookie"],
        ),
        ("*", &["*"]),
    ] {
        let handle = sessions.begin(&Request::new(()));
        handle.load().await.expect("no fault");
        let mut response = Response::new(());
        let own = HeaderValue::from_str(own).expect("a header value");
        response.headers_mut().insert(header::VARY, own);
        let _ = sessions.finish(&handle, &mut response).await.expect("fine");
        let vary = response.headers().get_all(header::VARY);
        assert!(vary.iter().eq(expected.iter()), "{vary:?}");
    }
}

#[tokio::test]
async fn the_cookies_secure_option_keeps_new_tokens_off_plain_http() {
    let store = TestStore::default();
    let begin = |sessions: &Sessions, client: &Client| {
        let mut request = client.request();
        request.extensions_mut().insert(RequestScheme::Plain);
        sessions.begin(&request)
    };
    let sessions = both(&store);
    let handle = begin(&sessions, &Client::default().asks());
    let session = handle.load().await.expect("no fault");
    session.log_in("ann").expect("accepted");
    let result = sessions.finish(&handle, &mut Response::new(())).await;
    let kind = result.expect_err("cannot be sent").kind();
    assert_eq!(kind, SessionErrorKind::CannotSetCookie);
    assert!(store.inner().is_empty());

    // the end of a session needs no secrecy
    let token = log_in(&sessions, "ann", Transport::Bearer).await;
    let handle = begin(&sessions, &Client::default().bearer(&token));
    let session = handle.load().await.expect("no fault");
    session.log_out().expect("open");
    assert_eq!(bearer(&finish(&sessions, &handle).await), "");

    let insecure = with(&store, Transports::Bearer)
        .cookie(CookieOptions::new().secure(Secure::Never))
        .build()
        .expect("valid options");
    let handle = begin(&insecure, &Client::default());
    let session = handle.load().await.expect("no fault");
    session.log_in("ann").expect("accepted");
    assert_ne!(bearer(&finish(&insecure, &handle).await), "");
}

#[tokio::test]
async fn a_token_of_an_old_key_is_signed_again() {
    const OLD: &str = "the signing key of all tests in this crate";
    const NEW: &str = "the next signing key of all tests in this crate";
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let with_keys = |keys: &[&str]| {
        with(&store, Transports::CookieAndBearer)
            .signing_keys(SigningKeys::new(keys).expect("long keys"))
            .clock(clock.clone())
            .build()
            .expect("valid options")
    };
    let token = log_in(&with_keys(&[OLD]), "ann", Transport::Bearer).await;
    let client = Client::default().bearer(&token);
    let sessions = with_keys(&[NEW, OLD]);
    assert_eq!(
        sent(&client.send(&sessions, |_| Ok(())).await),
        Sent::Nothing
    );
    // a touch is due
    clock.advance(Duration::from_secs(600));
    let again = bearer(&client.send(&sessions, |_| Ok(())).await);
    assert_ne!(again, token);
    // but not over plain http
    let mut request = client.request();
    request.extensions_mut().insert(RequestScheme::Plain);
    let handle = sessions.begin(&request);
    let session = handle.load().await.expect("no fault");
    session.insert("a", &1).expect("open");
    assert_eq!(sent(&finish(&sessions, &handle).await), Sent::Nothing);
    let client = Client::default().bearer(&again);
    let principal = client.principal(&with_keys(&[NEW])).await;
    assert_eq!(principal.as_deref(), Some("ann"));
}

#[tokio::test]
async fn an_error_response_carries_the_token_of_an_early_save() {
    let sessions = both(&TestStore::default());
    let (handle, session) = Client::default().asks().begin(&sessions).await;
    session.log_in("ann").expect("accepted");
    let _ = session.save().await.expect("no fault");
    let mut response = Response::new(());
    sessions.reject(&handle, None, &mut response);
    let token = bearer(response.headers());
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let client = Client::default().bearer(&token);
    assert_eq!(client.principal(&sessions).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn an_unauthorized_error_response_names_the_scheme_if_it_is_accepted() {
    for (transports, expected) in [
        (Transports::Cookie, None),
        (Transports::CookieAndBearer, Some("Bearer")),
        (Transports::Bearer, Some("Bearer")),
    ] {
        let builder = with(&TestStore::default(), transports);
        let sessions = builder.build().expect("valid options");
        let (handle, _) = Client::default().begin(&sessions).await;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        sessions.reject(&handle, None, &mut response);
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.map(|value| value.to_str().expect("ASCII"));
        assert_eq!(challenge, expected, "{transports:?}");
    }
}

#[tokio::test]
async fn two_logins_with_one_token_leave_two_tokens_that_work() {
    let sessions = both(&TestStore::default());
    let anonymous = Client::default().asks();
    let headers = anonymous.send(&sessions, |session| session.insert("cart", "tea"));
    let client = Client::default().bearer(&bearer(&headers.await));
    let mut handles = Vec::new();
    for _ in 0..2 {
        let (handle, session) = client.begin(&sessions).await;
        session.log_in("ann").expect("accepted");
        handles.push(handle);
    }
    for handle in handles {
        let token = bearer(&finish(&sessions, &handle).await);
        let (_, session) = Client::default().bearer(&token).begin(&sessions).await;
        assert_eq!(session.principal().as_deref(), Some("ann"));
        assert!(session.contains("cart"));
    }
}

#[tokio::test]
async fn a_session_that_is_opened_by_its_token_is_of_the_transport_it_began_with() {
    let sessions = both(&TestStore::default());
    for transport in [Transport::Cookie, Transport::Bearer] {
        let text = log_in(&sessions, "ann", transport).await;
        let client = match transport {
            Transport::Bearer => Client::default().bearer(&text),
            _ => Client::default().cookie(&text),
        };
        let token = client.begin(&sessions).await.1.token().expect("live");
        let opened = sessions.open(&token).await.expect("no fault");
        assert_eq!(opened.expect("live").transport(), transport);
    }
}

#[tokio::test]
async fn the_id_for_logs_is_that_of_the_token_that_decides() {
    let sessions = both(&TestStore::default());
    let cookie = log_in(&sessions, "ann", Transport::Cookie).await;
    let token = log_in(&sessions, "bob", Transport::Bearer).await;
    let client = Client::default().cookie(&cookie).bearer(&token);
    let (handle, session) = client.begin(&sessions).await;
    assert_eq!(session.principal().as_deref(), Some("bob"));
    assert_eq!(handle.presented_id(), session.id());
    let client = Client::default().cookie(&cookie).bearer(&forged(&token));
    let handle = sessions.begin(&client.request());
    assert_eq!(handle.presented_id(), None);
}

/// A script that gets an older response from its cache would take over an older token.
#[tokio::test]
async fn a_response_with_a_token_for_a_script_is_not_stored() {
    let sessions = both(&TestStore::default());
    for (asks, expected) in [(true, "no-store"), (false, "private, max-age=600")] {
        let client = match asks {
            true => Client::default().asks(),
            false => Client::default(),
        };
        let (handle, session) = client.begin(&sessions).await;
        session.insert("a", &1).expect("a write");
        let mut response = Response::new(());
        let kept = HeaderValue::from_static("private, max-age=600");
        response.headers_mut().insert(header::CACHE_CONTROL, kept);
        let _ = sessions
            .finish(&handle, &mut response)
            .await
            .expect("no fault");
        assert_eq!(response.headers()[header::CACHE_CONTROL], expected);
    }
}
