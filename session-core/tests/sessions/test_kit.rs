//! The credentials that the tests of an application are given.

use http::{HeaderValue, Request, header};
use session_core::{
    Builder, CookieOptions, ExpressOptions, Proxy, Secure, Session, SessionError, SessionErrorKind,
    StoreErrorKind, Transports,
    testing::{Call, TestStore},
};

use crate::visit::builder;

async fn principal(sessions: &session_core::Sessions, request: Request<()>) -> Option<String> {
    let session = sessions.begin(&request).load().await.expect("no fault");
    session.principal()
}

fn with(name: header::HeaderName, value: HeaderValue) -> Request<()> {
    let request = Request::builder().header(name, value);
    request.body(()).expect("a request")
}

fn kind(result: Result<HeaderValue, SessionError>) -> Option<SessionErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_test_cookie_and_a_test_bearer_open_the_session_that_the_test_has_written() {
    let store = TestStore::default();
    let sessions = builder(&store).transports(Transports::CookieAndBearer);
    let sessions = sessions.build().expect("valid options");
    let cookie = sessions.test_cookie(|session| session.log_in("ann")).await;
    assert_eq!(store.take_calls(), [Call::Create], "the ordinary commit");
    let bearer = sessions.test_bearer(|session| session.log_in("bob")).await;
    let cookie = cookie.expect("no fault");
    assert!(cookie.is_sensitive());
    assert_eq!(
        principal(&sessions, with(header::COOKIE, cookie))
            .await
            .as_deref(),
        Some("ann")
    );
    let bearer = bearer.expect("no fault");
    assert_eq!(
        principal(&sessions, with(header::AUTHORIZATION, bearer))
            .await
            .as_deref(),
        Some("bob")
    );
}

#[tokio::test]
async fn no_option_keeps_a_test_from_its_cookie() {
    type Configure = fn(Builder) -> Builder;
    let configurations: [Configure; 6] = [
        |builder| builder.cookie(CookieOptions::new().path("/app")),
        |builder| builder.cookie(CookieOptions::new().secure(Secure::Auto)),
        |builder| builder.proxy(Proxy::Trust),
        |builder| builder.commit_if(|_| false),
        |builder| builder.express(ExpressOptions::new().rolling(true)),
        |builder| builder.transports(Transports::CookieAndBearer),
    ];
    for (number, configure) in configurations.into_iter().enumerate() {
        let store = TestStore::default();
        let sessions = configure(builder(&store)).build().expect("valid options");
        let cookie = sessions.test_cookie(|session| session.log_in("ann")).await;
        let mut request = with(header::COOKIE, cookie.expect("no fault"));
        *request.uri_mut() = "/app/page".parse().expect("a path");
        let name = principal(&sessions, request).await;
        assert_eq!(name.as_deref(), Some("ann"), "{number}");
    }
}

#[tokio::test]
async fn a_session_to_which_nothing_is_written_is_stored_too() {
    let store = TestStore::default();
    let sessions = builder(&store).build().expect("valid options");
    let cookie = sessions.test_cookie(|_| Ok(())).await.expect("no fault");
    let request = with(header::COOKIE, cookie);
    let session = sessions.begin(&request).load().await.expect("no fault");
    assert!(!session.is_new());
}

#[tokio::test]
async fn what_goes_wrong_is_an_error() {
    let store = TestStore::default();
    let sessions = builder(&store).build().expect("valid options");
    let bearer = sessions.test_bearer(|session| session.log_in("ann")).await;
    assert_eq!(kind(bearer), Some(SessionErrorKind::Config));
    let bearer_only = builder(&store).transports(Transports::Bearer);
    let bearer_only = bearer_only.build().expect("valid options");
    let cookie = bearer_only.test_cookie(|session| session.log_in("ann"));
    assert_eq!(kind(cookie.await), Some(SessionErrorKind::Config));
    let ended = sessions.test_cookie(Session::log_out).await;
    assert_eq!(kind(ended), Some(SessionErrorKind::Gone));
    let refused = sessions.test_cookie(Session::require_login).await;
    assert_eq!(kind(refused), Some(SessionErrorKind::Unauthenticated));
    store.fail(Call::Create, StoreErrorKind::Unavailable);
    let outage = sessions.test_cookie(|session| session.log_in("ann")).await;
    assert_eq!(kind(outage), Some(SessionErrorKind::Unavailable));
    assert_eq!(store.pending_faults(), 0);
}
