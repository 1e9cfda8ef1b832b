//! Cookies: how many are set, and which of several is used.

use http::{Request, header};
use integration_tests::keys;
use session_core::{CookieOptions, Session, Sessions};
use test_support::Browser;

use super::{COOKIE, MIN, USER, VIEWS, count};
use crate::visit::{Act, Tested, begin, finish, on_every_store, sessions, set_cookies, visit};

on_every_store! {
    a_response_sets_at_most_one_cookie_and_only_for_a_live_session
    the_live_cookie_is_found_among_planted_ones
    cookies_of_two_names_hold_two_sessions
}

async fn a_response_sets_at_most_one_cookie_and_only_for_a_live_session(store: Tested) {
    let sessions = sessions(&store);
    let acts: [Act; 6] = [
        count,
        |session| {
            session.renew()?;
            session.regenerate()?;
            count(session)
        },
        |session| {
            session.destroy()?;
            count(session)
        },
        |session| {
            count(session)?;
            session.destroy()
        },
        |session| {
            session.discard()?;
            count(session)?;
            session.set_max_age(Some(MIN))
        },
        |session| {
            count(session)?;
            session.log_in("ann")
        },
    ];
    let (mut issued, mut removed) = (0, 0);
    for stored in [false, true] {
        for (n, act) in acts.into_iter().enumerate() {
            let mut browser = Browser::new();
            if stored {
                visit(&sessions, &mut browser, count).await;
            }
            let presented = browser.cookie(COOKIE).unwrap_or_default().to_owned();
            let (handle, session) = begin(&sessions, &browser).await;
            act(&session).expect("accepted");
            let _ = session.save().await.expect("no fault");
            act(&session).expect("accepted");
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
    assert_eq!((issued, removed), (9, 1));
}

/// A sibling subdomain can plant cookies of the same name, in any order.
async fn the_live_cookie_is_found_among_planted_ones(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let live = browser.cookie(COOKIE).expect("a cookie").to_owned();
    let mut ended = Browser::new();
    visit(&sessions, &mut ended, count).await;
    let dead = ended.cookie(COOKIE).expect("a cookie").to_owned();
    visit(&sessions, &mut ended, Session::destroy).await;
    let forged = live.replace("v1.", "v1.A");
    let views = async |cookies: &[&String]| {
        let cookies = cookies.iter().map(|value| format!("{COOKIE}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let request = Request::builder().header(header::COOKIE, cookies).body(());
        let handle = sessions.begin(&request.expect("a request"));
        let session = handle.load().await.expect("no fault");
        session.get(VIEWS).expect("a number")
    };
    for order in [
        [&live, &dead, &forged],
        [&dead, &live, &forged],
        [&forged, &dead, &live],
        [&forged, &forged, &live],
    ] {
        assert_eq!(views(&order).await, Some(1));
    }
    // forged cookies cost nothing, however many there are
    let many = [vec![&forged; 100], vec![&live]].concat();
    assert_eq!(views(&many).await, Some(1));
}

async fn cookies_of_two_names_hold_two_sessions(store: Tested) {
    let named = |name: &str| {
        Sessions::builder(store.clone())
            .signing_keys(keys())
            .cookie(CookieOptions::new().name(name))
            .build()
            .expect("valid options")
    };
    let (site, admin) = (named("__Host-site"), named("__Host-admin"));
    let mut browser = Browser::new();
    visit(&site, &mut browser, count).await;
    visit(&admin, &mut browser, |s| s.insert(USER, "root")).await;
    let user = visit(&site, &mut browser, |session| session.get(USER)).await;
    assert_eq!(user, None);
    // the signature covers the name of the cookie
    let swapped = browser.cookie("__Host-admin").expect("a cookie").to_owned();
    browser.set_cookie("__Host-site", &swapped);
    assert!(begin(&site, &browser).await.1.is_new());
}
