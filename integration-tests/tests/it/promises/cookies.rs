//! Which cookies are accepted, and which are set.

use http::{Response, StatusCode};
use integration_tests::{App, text};
use session_core::{
    Sessions, SigningKeys,
    testing::{Call, TestStore},
};
use session_hyper::RequestSession;
use test_support::Browser;

use super::{COOKIE, Tested, USER, count, counted};
use crate::visit::{begin, calls_of, finish, on_every_store, sessions, set_cookies, visit};

on_every_store! {
    a_foreign_cookie_is_never_adopted
    a_login_is_committed_even_if_the_handler_answers_500
    a_cookie_is_removed_with_the_attributes_it_was_set_with
    signing_keys_are_rotated_without_a_logout
}

async fn a_foreign_cookie_is_never_adopted(store: Tested) {
    let ours = sessions(&store);
    let mut ended = Browser::new();
    visit(&ours, &mut ended, count).await;
    let ended_id = visit(&ours, &mut ended.clone(), |session| {
        session.destroy();
        session.id()
    })
    .await;
    assert_eq!(ended_id, None);

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
        count(&session);
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
            session.renew();
            session.insert(USER, "ann")?;
            let mut response = text("oops")?;
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        count(&session);
        text(session.get(USER)?.unwrap_or("anonymous".into()))
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
            "/logout" => session.destroy(),
            _ => _ = count(&session),
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

async fn signing_keys_are_rotated_without_a_logout(store: Tested) {
    const OLD: &str = "an old signing key, 32 bytes or more";
    const NEW: &str = "a new signing key, of 32 bytes or more";
    let store = store.inner().emptied();
    let with = |keys: &[&str]| {
        Sessions::builder(store.clone())
            .signing_keys(SigningKeys::new(keys).expect("long enough"))
            .build()
            .expect("valid options")
    };
    let mut browser = Browser::new();
    visit(&with(&[OLD]), &mut browser, count).await;
    let old_cookie = browser.cookie(COOKIE).map(str::to_owned);
    assert_eq!(
        calls_of(&with(&[NEW, OLD]), &store, &mut browser, |_| {}).await,
        [Call::Load, Call::Save],
        "a save proves that the token is current"
    );
    assert_ne!(browser.cookie(COOKIE).map(str::to_owned), old_cookie);
    assert_eq!(counted(&with(&[NEW]), &mut browser).await, Some(1));
    let mut late = Browser::new();
    late.set_cookie(COOKIE, &old_cookie.expect("a cookie"));
    assert_eq!(
        counted(&with(&[NEW]), &mut late).await,
        None,
        "the old key is removed"
    );
}
