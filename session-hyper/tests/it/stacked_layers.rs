//! Several session layers around one service.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::service::{Service, service_fn};
use session_core::{
    CookieOptions, Key, SessionError, Sessions, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{SessionRequestExt, SessionService};

use crate::support::{builder, request, sessions, set_cookies};

const VIEWS: Key<u32> = Key::new("views");

fn named(store: &TestStore, name: &str) -> Sessions {
    let options = CookieOptions::new().name(name);
    builder(store)
        .cookie(options)
        .build()
        .expect("valid options")
}

/// Counts a view in the session of each layer, and logs in to the one of the inner layer.
async fn count_and_log_in(request: Request<String>) -> Result<Response<String>, SessionError> {
    let outer = request.session_named("__Host-outer").load().await?;
    outer.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    let inner = request.session_named("__Host-inner").load().await?;
    let before = inner.principal().unwrap_or_default();
    inner.log_in("ann")?;
    Ok(Response::new(before))
}

#[tokio::test]
async fn a_failed_commit_of_the_outer_layer_keeps_the_cookie_of_the_inner_layer() {
    let (outer_store, inner_store) = (TestStore::default(), TestStore::default());
    let outer = named(&outer_store, "__Host-outer");
    let inner = named(&inner_store, "__Host-inner");
    let service = SessionService::new(inner, service_fn(count_and_log_in));
    let service = SessionService::new(outer, service);

    let response = service.call(request(&[])).await.expect("answered");
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies.len(), 2, "{cookies:?}");

    outer_store.fail(Call::Save, StoreErrorKind::Unavailable);
    let response = service.call(request(&cookies)).await.expect("answered");
    assert_eq!(outer_store.pending_faults(), 0);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let renewed = set_cookies(response.headers());
    assert_eq!(renewed.len(), 1, "{renewed:?}");
    assert!(renewed[0].starts_with("__Host-inner="), "{renewed:?}");
    assert!(
        !cookies.contains(&renewed[0]),
        "the login renewed the token"
    );

    let response = service.call(request(&renewed)).await.expect("answered");
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "ann", "the kept cookie opens the session");
}

/// A router between the layers strips a prefix, so that the second layer would compute another
/// name.
#[tokio::test]
async fn the_same_sessions_layered_twice_are_one_session_with_one_cookie() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .cookie_for(|parts| {
            CookieOptions::new().name(match parts.uri.path() {
                "/shop" => "__Host-shop",
                _ => "__Host-other",
            })
        })
        .build()
        .expect("valid options");
    let count = service_fn(async |request: Request<String>| {
        let session = request.session().load().await?;
        let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
        Ok::<_, SessionError>(Response::new(views.to_string()))
    });
    let inner = SessionService::new(sessions.clone(), count);
    let strip_prefix = service_fn(move |mut request: Request<String>| {
        *request.uri_mut() = "/".parse().expect("a path");
        inner.call(request)
    });
    let service = SessionService::new(sessions, strip_prefix);
    let in_shop = |cookies: &[String]| {
        let mut request = request(cookies);
        *request.uri_mut() = "/shop".parse().expect("a path");
        service.call(request)
    };

    let response = in_shop(&[]).await.expect("answered");
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(cookies[0].starts_with("__Host-shop="), "{cookies:?}");
    let response = in_shop(&cookies).await.expect("answered");
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "2");
    assert_eq!(store.take_calls(), [Call::Create, Call::Load, Call::Save]);
}

#[tokio::test]
async fn the_session_of_a_request_is_that_of_the_innermost_layer() {
    let store = TestStore::default();
    let (a, b) = (named(&store, "__Host-a"), named(&store, "__Host-b"));
    let cookie_name = service_fn(async |request: Request<String>| {
        let session = request.session();
        let name = session.cookie_name().unwrap_or_default().to_owned();
        Ok::<_, SessionError>(Response::new(name))
    });
    let inner_b = SessionService::new(a.clone(), SessionService::new(b, cookie_name));
    let inner_a = SessionService::new(a.clone(), cookie_name);
    let b_in_a = inner_b.call(request(&[])).await.expect("answered");
    let body = b_in_a.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "__Host-b");

    let b = named(&store, "__Host-b");
    let a_in_b_in_a = SessionService::new(a, SessionService::new(b, inner_a));
    let response = a_in_b_in_a.call(request(&[])).await.expect("answered");
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "__Host-a");
}

#[tokio::test]
async fn of_two_layers_with_one_cookie_name_the_outer_one_counts() {
    let (outer_store, inner_store) = (TestStore::default(), TestStore::default());
    let service = service_fn(async |request: Request<String>| {
        request.session().load().await?.insert(VIEWS, &1)?;
        Ok::<_, SessionError>(Response::new(String::new()))
    });
    let service = SessionService::new(sessions(&inner_store), service);
    let service = SessionService::new(sessions(&outer_store), service);
    let response = service.call(request(&[])).await.expect("answered");
    assert_eq!(set_cookies(response.headers()).len(), 1);
    assert_eq!(outer_store.take_calls(), [Call::Create]);
    assert_eq!(inner_store.take_calls(), []);
}
