//! Cookies: their attributes, how many are set, and which of several is used.

use http::{Request, Response, header};
use integration_tests::keys;
use session_core::{Session, Sessions, testing::TestStore};
use test_support::Browser;

use super::{COOKIE, MIN, Tested, USER, VIEWS, count};
use crate::visit::{begin, finish, on_every_store, sessions, set_cookies, visit};

on_every_store! {
    a_response_sets_at_most_one_cookie_and_only_for_a_live_session
    the_live_cookie_is_found_among_planted_ones
}

#[tokio::test]
async fn the_default_cookie_has_strict_attributes_and_is_small() {
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

async fn a_response_sets_at_most_one_cookie_and_only_for_a_live_session(store: Tested) {
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
    let (mut issued, mut removed) = (0, 0);
    for stored in [false, true] {
        for (n, act) in act.into_iter().enumerate() {
            let mut browser = Browser::new();
            if stored {
                visit(&sessions, &mut browser, count).await;
            }
            let presented = browser.cookie(COOKIE).unwrap_or_default().to_owned();
            let (handle, session) = begin(&sessions, &browser).await;
            act(&session);
            let _ = session.save().await.expect("no fault");
            act(&session);
            let (_, response) = finish(&sessions, &handle, &mut browser)
                .await
                .expect("no fault");
            let cookies = set_cookies(&response);
            let token = session.token().map(|token| token.expose());
            let case = format!("change {n}, stored: {stored}: {cookies:?}");
            match (&token, &cookies[..]) {
                // a new token, or another lifetime of the cookie
                (Some(token), [cookie]) => {
                    assert!(cookie.contains(token), "{case}");
                    issued += 1;
                }
                (Some(token), []) => assert!(presented.contains(token), "{case}"),
                (None, [cookie]) => {
                    assert!(stored && cookie.contains("Max-Age=0"), "{case}");
                    removed += 1;
                }
                (None, []) => assert!(!stored, "{case}"),
                (_, _) => panic!("more than one cookie: {case}"),
            }
        }
    }
    assert_eq!((issued, removed), (7, 1));
}

/// A neighbouring subdomain can plant cookies of the same name, in any order.
async fn the_live_cookie_is_found_among_planted_ones(store: Tested) {
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
    // at most eight are examined
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

#[tokio::test]
async fn every_access_makes_the_response_private() {
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

    // headers of the handler are kept, and `Vary` is not repeated
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

#[tokio::test]
async fn cookies_of_two_names_hold_two_sessions() {
    let store = TestStore::default();
    let named = |name: &str| {
        let cookie = session_core::CookieOptions::new().name(name);
        Sessions::builder(store.clone())
            .signing_keys(keys())
            .cookie(cookie)
            .build()
            .expect("valid options")
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
    // the signature covers the name of the cookie
    let swapped = browser.cookie("__Host-admin").expect("a cookie").to_owned();
    browser.set_cookie("__Host-site", &swapped);
    assert!(begin(&site, &browser).await.1.is_new());
}
