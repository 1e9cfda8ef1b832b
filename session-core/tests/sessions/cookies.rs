//! When a response sets or removes the cookie.

use std::time::Duration;

use http::{Request, Response, header};
use session_core::{
    CookieOptions, ExpressOptions, MemoryStore, Sessions, SigningKeys,
    testing::{ManualClock, TestStore},
};

use crate::visit::{Jar, builder, get, post, sessions, set_cookies, visit};

const DAY: Duration = Duration::from_secs(86_400);

/// Sends a request, and returns the cookies that its response sets or removes.
async fn cookies_of(
    sessions: &Sessions,
    jar: &mut Jar,
    act: impl FnOnce(&session_core::Session),
) -> Vec<String> {
    let request = post(sessions, jar).await;
    act(&request.session);
    let (result, response) = request.finish_with(jar, Response::new(())).await;
    let _ = result.expect("no fault");
    set_cookies(&response)
}

#[tokio::test]
async fn a_cookie_is_set_when_its_token_is_new_and_not_again() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    let created = cookies_of(&sessions, &mut jar, |s| s.insert("a", &1).expect("open")).await;
    assert_eq!(created.len(), 1);
    for act in [
        |_: &session_core::Session| {},
        |session: &session_core::Session| session.insert("a", &2).expect("open"),
        |session: &session_core::Session| session.touch().expect("open"),
    ] {
        assert!(cookies_of(&sessions, &mut jar, act).await.is_empty());
    }
    for act in [
        |session: &session_core::Session| session.renew().expect("open"),
        |session: &session_core::Session| session.log_in("ann").expect("open"),
        |session: &session_core::Session| session.regenerate().expect("open"),
    ] {
        assert_eq!(cookies_of(&sessions, &mut jar, act).await.len(), 1);
    }
    let removed = cookies_of(&sessions, &mut jar, |s| s.destroy().expect("open")).await;
    assert_eq!(removed.len(), 1);
    assert!(removed[0].contains("Max-Age=0"));
}

#[tokio::test]
async fn a_cookie_is_removed_only_by_the_request_that_ends_its_session() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let without_cookie = cookies_of(&sessions, &mut jar, |s| s.destroy().expect("open")).await;
    assert!(without_cookie.is_empty());

    jar.set("__Host-id", "forged");
    assert!(
        cookies_of(&sessions, &mut jar, |s| s.destroy().expect("open"))
            .await
            .is_empty()
    );

    let mut jar = Jar::default();
    let _ = cookies_of(&sessions, &mut jar, |s| s.insert("a", &1).expect("open")).await;
    let ended = jar.clone();
    let _ = cookies_of(&sessions, &mut jar, |s| s.destroy().expect("open")).await;
    let mut unknown = ended.clone();
    assert!(
        cookies_of(&sessions, &mut unknown, |s| s.destroy().expect("open"))
            .await
            .is_empty()
    );
    assert_eq!(unknown, ended, "it may have a newer cookie on the way");
}

#[tokio::test]
async fn a_session_that_is_created_and_ended_by_one_request_leaves_no_cookie() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    let request = post(&sessions, &jar).await;
    let _ = request.session.save().await.expect("no fault");
    request.session.destroy().expect("open");
    let (result, response) = request.finish_with(&mut jar, Response::new(())).await;
    let _ = result.expect("no fault");
    assert!(set_cookies(&response).is_empty());
}

#[tokio::test]
async fn saving_an_unmodified_session_does_not_hand_out_a_token_that_a_login_replaced() {
    for options in [CookieOptions::new(), CookieOptions::new().max_age(DAY)] {
        for rolling in [false, true] {
            let sessions = builder(&TestStore::default())
                .cookie(options.clone())
                .absolute_timeout(30 * DAY)
                .express(ExpressOptions::new().rolling(rolling))
                .build()
                .expect("valid options");
            let mut jar = Jar::default();
            visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
            let slow = get(&sessions, &jar).await;
            visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
            let _ = slow.session.save().await.expect("nothing to write");
            let before = jar.clone();
            let _ = slow.finish(&mut jar).await.expect("no fault");
            assert_eq!(before, jar);
        }
    }
}

#[tokio::test]
async fn a_cookie_of_an_early_save_is_not_sent_after_its_token_was_replaced() {
    let sessions = builder(&TestStore::default())
        .cookie(CookieOptions::new().max_age(DAY))
        .absolute_timeout(30 * DAY)
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let slow = post(&sessions, &jar).await;
    slow.session.insert("b", &1).expect("a write");
    let _ = slow.session.save().await.expect("no fault");
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let before = jar.clone();
    let _ = slow.finish(&mut jar).await;
    assert_eq!(before, jar);
}

#[tokio::test]
async fn a_persistent_cookie_lasts_for_the_absolute_timeout_and_does_not_slide() {
    let clock = ManualClock::default();
    let sessions = builder(&TestStore::new(MemoryStore::with_clock(clock.clone())))
        .clock(clock.clone())
        .cookie(CookieOptions::new().max_age(7 * DAY))
        .absolute_timeout(30 * DAY)
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    let set = cookies_of(&sessions, &mut jar, |s| s.insert("a", &1).expect("open")).await;
    assert!(set[0].contains("Max-Age=2592000"), "{set:?}");
    clock.advance(5 * DAY);
    let again = cookies_of(&sessions, &mut jar, |s| s.insert("a", &2).expect("open")).await;
    assert!(again.is_empty());
    let renewed = cookies_of(&sessions, &mut jar, |s| s.renew().expect("open")).await;
    assert!(
        renewed[0].contains(&format!("Max-Age={}", 25 * 86_400)),
        "{renewed:?}"
    );
}

#[tokio::test]
async fn a_handler_that_changes_its_cookie_sends_it() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let before = jar.clone();
    let set = cookies_of(&sessions, &mut jar, |s| {
        s.set_max_age(Some(DAY)).expect("open")
    })
    .await;
    assert!(set[0].contains("Max-Age="), "{set:?}");
    let set = cookies_of(&sessions, &mut jar, |s| {
        s.set_cookie(|cookie| cookie.same_site(session_core::SameSite::Strict))
            .expect("valid");
    })
    .await;
    assert!(set[0].contains("SameSite=Strict"), "{set:?}");
    assert_eq!(before, jar, "the token stays");
}

#[tokio::test]
async fn a_cookie_is_sent_again_if_the_browser_has_to_keep_it_for_another_time() {
    type Act = fn(&session_core::Session) -> Result<(), session_core::SessionError>;
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let steps: [(&str, Act, usize); 6] = [
        (
            "the browser does not know the timeout",
            |session| session.set_absolute_timeout(Some(DAY)),
            0,
        ),
        (
            "it is kept",
            |session| session.set_persistent(Some(true)),
            1,
        ),
        ("as before", |session| session.set_persistent(Some(true)), 0),
        (
            "for longer",
            |session| session.set_absolute_timeout(Some(2 * DAY)),
            1,
        ),
        ("another change", |session| session.insert("a", &2), 0),
        (
            "until the browser is closed",
            |session| session.set_persistent(Some(false)),
            1,
        ),
    ];
    for (step, act, expected) in steps {
        let sent = cookies_of(&sessions, &mut jar, |session| act(session).expect("open")).await;
        assert_eq!(sent.len(), expected, "{step}: {sent:?}");
    }
}

#[tokio::test]
async fn a_removed_cookie_has_the_attributes_of_its_session() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    let set = cookies_of(&sessions, &mut jar, |session| {
        session.insert("a", &1).expect("open");
        session
            .set_cookie(|cookie| cookie.partitioned(true))
            .expect("valid");
    })
    .await;
    assert!(set[0].contains("Partitioned"), "{set:?}");
    let removed = cookies_of(&sessions, &mut jar, |s| s.destroy().expect("open")).await;
    assert!(removed[0].contains("Partitioned"), "{removed:?}");
    assert_eq!(jar.cookie(), None);
}

#[tokio::test]
async fn rolling_sends_the_cookie_with_a_due_touch_only() {
    const MINUTE: Duration = Duration::from_secs(60);
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .express(ExpressOptions::new().rolling(true))
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    assert!(cookies_of(&sessions, &mut jar, |_| {}).await.is_empty());
    clock.advance(4 * MINUTE);
    assert_eq!(cookies_of(&sessions, &mut jar, |_| {}).await.len(), 1);
    assert!(cookies_of(&sessions, &mut jar, |_| {}).await.is_empty());
}

#[tokio::test]
async fn rolling_sends_the_cookie_with_a_write_if_a_touch_is_due() {
    const MINUTE: Duration = Duration::from_secs(60);
    for rolling in [true, false] {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let sessions = builder(&store)
            .clock(clock.clone())
            .express(ExpressOptions::new().rolling(rolling))
            .build()
            .expect("valid options");
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &0)).await;
        for (value, wait, is_due) in [(1, MINUTE, false), (2, 4 * MINUTE, true)] {
            clock.advance(wait);
            let sent = cookies_of(&sessions, &mut jar, |session| {
                session.insert("a", &value).expect("open");
            })
            .await;
            assert_eq!(sent.len(), usize::from(rolling && is_due), "{rolling}");
        }
    }
}

#[tokio::test]
async fn the_cookie_of_a_logged_in_session_moves_to_the_newest_key() {
    const MINUTE: Duration = Duration::from_secs(60);
    let old = "the old signing key of this test, long";
    let new = "the new signing key of this test, long";
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let with = |keys: &[&str]| {
        builder(&store)
            .clock(clock.clone())
            .signing_keys(SigningKeys::new(keys).expect("long enough"))
            .build()
            .expect("valid options")
    };
    let (before, both, after) = (with(&[old]), with(&[new, old]), with(&[new]));
    let (mut user, mut anonymous) = (Jar::default(), Jar::default());
    visit(&before, &mut user, |session| session.log_in("ann")).await;
    visit(&before, &mut anonymous, |session| session.insert("a", &1)).await;
    assert!(
        cookies_of(&both, &mut user, |_| {}).await.is_empty(),
        "no touch is due"
    );
    clock.advance(4 * MINUTE);
    assert_eq!(cookies_of(&both, &mut user, |_| {}).await.len(), 1);
    assert!(cookies_of(&both, &mut anonymous, |_| {}).await.is_empty());
    assert_eq!(
        get(&after, &user).await.session.principal().as_deref(),
        Some("ann")
    );
    assert!(get(&after, &anonymous).await.session.is_new());
}

#[tokio::test]
async fn a_write_moves_the_cookie_of_a_logged_in_session_to_the_newest_key() {
    let old = "the old signing key of this test, long";
    let new = "the new signing key of this test, long";
    let store = TestStore::default();
    let with = |keys: &[&str]| {
        builder(&store)
            .signing_keys(SigningKeys::new(keys).expect("long enough"))
            .build()
            .expect("valid options")
    };
    let (before, both) = (with(&[old]), with(&[new, old]));
    let (mut user, mut anonymous) = (Jar::default(), Jar::default());
    visit(&before, &mut user, |session| session.log_in("ann")).await;
    visit(&before, &mut anonymous, |session| session.insert("a", &0)).await;
    for (jar, expected) in [(&mut user, [1, 0]), (&mut anonymous, [0, 0])] {
        for (value, expected) in (1..).zip(expected) {
            let sent = cookies_of(&both, jar, |session| {
                session.insert("a", &value).expect("open");
            })
            .await;
            assert_eq!(sent.len(), expected, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_response_that_carries_a_token_is_kept_out_of_shared_caches() {
    let sessions = sessions(&TestStore::default());
    for (handler, expected) in [
        (None, "no-store"),
        (Some("public, max-age=60"), "no-store"),
        (Some("max-age=60"), "no-store"),
        (Some("private, max-age=60"), "private, max-age=60"),
        (Some("no-store"), "no-store"),
    ] {
        let mut jar = Jar::default();
        let request = post(&sessions, &jar).await;
        request.session.insert("a", &1).expect("a write");
        let mut response = Response::new(());
        if let Some(value) = handler {
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, value.parse().expect("a value"));
        }
        let (result, response) = request.finish_with(&mut jar, response).await;
        let _ = result.expect("no fault");
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            expected,
            "{handler:?}"
        );
        assert_eq!(response.headers()[header::VARY], "Cookie");
        assert_eq!(set_cookies(&response).len(), 1);
    }
}

#[tokio::test]
async fn an_error_response_keeps_the_cookies_of_inner_layers() {
    let inner = sessions(&TestStore::default());
    let outer_store = TestStore::default();
    let outer = builder(&outer_store)
        .cookie(CookieOptions::new().name("__Host-outer"))
        .build()
        .expect("valid options");
    let outside = post(&outer, &Jar::default()).await;
    let inside = inner.begin(&Request::new(())).nested();
    let session = inside.load().await.expect("no fault");
    session.log_in("ann").expect("open");
    outside.session.insert("a", &1).expect("a write");
    let mut response = Response::new(());
    let _ = inner
        .finish(&inside, &mut response)
        .await
        .expect("no fault");
    outer_store.fail(
        session_core::testing::Call::Create,
        session_core::StoreErrorKind::Unavailable,
    );
    let _ = outer
        .finish(&outside.handle, &mut response)
        .await
        .expect_err("the fault");
    let mut error = Response::new(());
    outer.reject(&outside.handle, Some(response.extensions()), &mut error);
    let cookies = set_cookies(&error);
    assert_eq!(cookies.len(), 1);
    assert!(cookies[0].starts_with("__Host-id=v1."), "{cookies:?}");
    assert_eq!(error.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_secure_cookie_is_not_promised_to_a_request_over_plain_http() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let begin = || {
        let mut request = http::Request::new(());
        request
            .extensions_mut()
            .insert(session_core::RequestScheme::Plain);
        sessions.begin(&request)
    };
    let handle = begin();
    handle
        .load()
        .await
        .expect("no fault")
        .insert("a", &1)
        .expect("a write");
    let mut response = Response::new(());
    let _ = sessions
        .finish(&handle, &mut response)
        .await
        .expect("not stored");
    assert!(set_cookies(&response).is_empty());
    for act in [
        |session: &session_core::Session| session.log_in("ann"),
        session_core::Session::regenerate,
    ] {
        let handle = begin();
        act(&handle.load().await.expect("no fault")).expect("noted");
        let error = sessions
            .finish(&handle, &mut response)
            .await
            .expect_err("cannot be sent");
        assert_eq!(
            error.kind(),
            session_core::SessionErrorKind::CannotSetCookie
        );
    }
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_login_over_plain_http_with_an_old_token_fails_before_it_joins_a_session() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let mut request = Request::new(());
    let cookie = old.header().parse().expect("a header");
    request.headers_mut().insert(header::COOKIE, cookie);
    request
        .extensions_mut()
        .insert(session_core::RequestScheme::Plain);
    let session = sessions.begin(&request).load().await.expect("no fault");
    session.log_in("ann").expect("noted");
    store.take_calls();
    let error = session.save().await.expect_err("cannot be sent");
    assert_eq!(
        error.kind(),
        session_core::SessionErrorKind::CannotSetCookie
    );
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn a_secure_cookie_is_not_sent_again_over_plain_http() {
    for scheme in [None, Some(session_core::RequestScheme::Plain)] {
        let sessions = sessions(&TestStore::default());
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        let mut request = Request::new(());
        let cookie = jar.header().parse().expect("a header");
        request.headers_mut().insert(header::COOKIE, cookie);
        if let Some(scheme) = scheme {
            request.extensions_mut().insert(scheme);
        }
        let handle = sessions.begin(&request);
        let session = handle.load().await.expect("no fault");
        session.set_persistent(Some(true)).expect("open");
        let mut response = Response::new(());
        let outcome = sessions.finish(&handle, &mut response).await;
        assert!(outcome.expect("no fault").saved);
        let sent = set_cookies(&response);
        assert_eq!(sent.len(), usize::from(scheme.is_none()), "{sent:?}");
    }
}
