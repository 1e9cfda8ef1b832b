//! Which cookies are accepted, and which are set.

use http::{Response, StatusCode};
use integration_tests::{App, text};
use session_core::{
    ExpressOptions, Session, Sessions, SigningKeys,
    testing::{Call, TestStore},
};
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::{COOKIE, MIN, count, counted, principal};
use crate::visit::{
    Tested, begin, builder, calls_of, finish, on_every_store, sessions, set_cookies, set_ttl, visit,
};

on_every_store! {
    a_foreign_cookie_is_never_adopted
    a_login_is_committed_even_if_the_handler_answers_500
    a_cookie_is_removed_with_the_attributes_it_was_set_with
    signing_keys_are_rotated_without_a_logout
    a_rolling_cookie_is_not_set_with_a_token_that_a_login_has_replaced
}

async fn a_foreign_cookie_is_never_adopted(store: Tested) {
    let ours = sessions(&store);
    let mut ended = Browser::new();
    visit(&ours, &mut ended, count).await;
    visit(&ours, &mut ended.clone(), Session::destroy).await;

    let other_keys =
        SigningKeys::new(["the signing key of another application"]).expect("long enough");
    let theirs = Sessions::builder(TestStore::default())
        .signing_keys(other_keys)
        .build()
        .expect("valid options");
    let mut foreign = Browser::new();
    visit(&theirs, &mut foreign, count).await;

    let mut arbitrary = Browser::new();
    arbitrary.set_cookie(
        COOKIE,
        "v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAA",
    );

    for (mut browser, expected) in [
        (ended, vec![Call::Load, Call::Create]),
        (foreign, vec![Call::Create]),
        (arbitrary, vec![Call::Create]),
    ] {
        let presented = browser.cookie(COOKIE).expect("a cookie").to_owned();
        store.take_calls();
        let (handle, session) = begin(&ours, &browser).await;
        assert!(session.is_new());
        assert_ne!(handle.presented_id(), session.id());
        count(&session).expect("writable");
        let _ = finish(&ours, &handle, &mut browser)
            .await
            .expect("no fault");
        assert_ne!(browser.cookie(COOKIE), Some(presented.as_str()));
        assert_eq!(store.take_calls(), expected);
    }
}

async fn a_login_is_committed_even_if_the_handler_answers_500(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        if request.uri().path() == "/login" {
            session.log_in("ann")?;
            let mut response = text("oops")?;
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        count(&session)?;
        text(session.principal().unwrap_or("anonymous".into()))
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "anonymous");
    assert_eq!(browser.get(app.addr(), "/login").await.status(), 500);
    assert_eq!(browser.get(app.addr(), "/").await.body(), "ann");
}

async fn a_cookie_is_removed_with_the_attributes_it_was_set_with(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => session.destroy()?,
            _ => drop(count(&session)?),
        }
        text("")
    })
    .await;
    let mut browser = Browser::new();
    let attributes = |response: &Response<String>| {
        let [cookie] = set_cookies(response).try_into().expect("one cookie");
        let mut parts: Vec<_> = cookie.split("; ").map(str::to_owned).collect();
        assert!(parts.remove(0).starts_with("__Host-id="));
        parts.retain(|part| !part.starts_with("Max-Age=") && !part.starts_with("Expires="));
        parts
    };
    let set = attributes(&browser.get(app.addr(), "/").await);
    assert_eq!(set, ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"]);
    assert!(browser.cookie(COOKIE).is_some());
    assert_eq!(attributes(&browser.get(app.addr(), "/logout").await), set);
    assert_eq!(browser.cookie(COOKIE), None);
}

/// The cookie of a user is signed again when a touch is due. That of a visitor is not, because a
/// concurrent login might just have replaced it.
async fn signing_keys_are_rotated_without_a_logout(store: Tested) {
    const OLD: &str = "an old signing key, 32 bytes or more";
    const NEW: &str = "a new signing key, of 32 bytes or more";
    let with = |keys: &[&str]| {
        Sessions::builder(store.clone())
            .signing_keys(SigningKeys::new(keys).expect("long enough"))
            .build()
            .expect("valid options")
    };
    let (before, both, after) = (with(&[OLD]), with(&[NEW, OLD]), with(&[NEW]));
    let (mut user, mut visitor) = (Browser::new(), Browser::new());
    visit(&before, &mut user, |session| session.log_in("ann")).await;
    visit(&before, &mut visitor, count).await;
    let old_cookie = user.cookie(COOKIE).expect("a cookie").to_owned();
    assert_eq!(
        calls_of(&both, &store, &mut user, |_| Ok(())).await,
        [Call::Load]
    );
    assert_eq!(user.cookie(COOKIE), Some(&*old_cookie), "no touch is due");

    for browser in [&mut user, &mut visitor] {
        let id = begin(&both, browser).await.1.id().expect("stored");
        set_ttl(&store, id, 20 * MIN).await;
        assert_eq!(
            calls_of(&both, &store, browser, |_| Ok(())).await,
            [Call::Load, Call::Touch]
        );
    }
    assert_eq!(principal(&after, &user).await.as_deref(), Some("ann"));
    assert_eq!(counted(&both, &mut visitor).await, Some(1));
    assert_eq!(counted(&after, &mut visitor).await, None);
    let mut late = Browser::new();
    late.set_cookie(COOKIE, &old_cookie);
    assert_eq!(principal(&before, &late).await.as_deref(), Some("ann"));
    assert_eq!(
        principal(&after, &late).await,
        None,
        "the old key is removed"
    );
}

/// A slow request extends the life of the session, and overlaps a login.
async fn a_rolling_cookie_is_not_set_with_a_token_that_a_login_has_replaced(store: Tested) {
    for resave in [false, true] {
        let sessions = builder(&store)
            .express(ExpressOptions::new().rolling(true).resave(resave))
            .build()
            .expect("valid options");
        let mut browser = Browser::new();
        visit(&sessions, &mut browser, count).await;
        let id = begin(&sessions, &browser).await.1.id().expect("stored");
        set_ttl(&store, id, 20 * MIN).await;
        let mut reading = browser.clone();
        let before = reading.cookie(COOKIE).map(str::to_owned);
        let (alone, _) = begin(&sessions, &reading).await;
        let (slow, _) = begin(&sessions, &browser).await;
        let (_, response) = finish(&sessions, &alone, &mut reading)
            .await
            .expect("no fault");
        assert_eq!(set_cookies(&response).len(), 1, "a touch was due");
        assert_eq!(reading.cookie(COOKIE).map(str::to_owned), before);

        visit(&sessions, &mut browser, |session| session.log_in("ann")).await;
        let (_, response) = finish(&sessions, &slow, &mut browser)
            .await
            .expect("no fault");
        assert!(set_cookies(&response).is_empty(), "resave: {resave}");
        assert_eq!(principal(&sessions, &browser).await.as_deref(), Some("ann"));
    }
}
