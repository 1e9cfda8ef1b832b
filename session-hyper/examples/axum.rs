//! Sessions on axum: extractors, a typed value, a login and a logout, and tests of all that.
//!
//! ```text
//! cargo run -p session-hyper --example axum --features axum -- 3000
//!
//! curl -i localhost:3000/                                       # hello, stranger; no cookie
//! curl -i -b jar -c jar localhost:3000/views                    # 1 views, and a cookie
//! curl -i -b jar -c jar --data 'name=ann' localhost:3000/login  # a new token for the same session
//! curl -i -b jar -c jar localhost:3000/                         # hello, ann; 1 views so far
//! curl -i -b jar -c jar localhost:3000/views                    # 2 views
//! curl -i -b jar -c jar -X DELETE localhost:3000/account        # 403 if the login is 5 minutes old
//! curl -i -b jar -c jar -X POST localhost:3000/logout           # the cookie is removed
//! curl -i -b jar -c jar localhost:3000/account                  # 401
//!
//! cargo test -p session-hyper --example axum --features axum
//! ```
//!
//! The cookie is `Secure`, as by default. curl and most browsers accept it from localhost over
//! plain http.

use std::{error::Error, net::Ipv4Addr};

use axum::{
    Form, Router,
    response::Redirect,
    routing::{get, post},
};
use serde::Deserialize;
use session_hyper::{
    Key, MemoryStore, SessionLayer, Sessions, SigningKeys,
    axum::{Authenticated, Fresh, Session, SessionRejection},
};
use tokio::net::TcpListener;

const VIEWS: Key<u32> = Key::new("views");

#[derive(Deserialize)]
struct Login {
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    // a key of this process alone; several instances share `SigningKeys::from_env("SESSION_KEYS")`
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(sessions)).await?;
    Ok(())
}

fn app(sessions: Sessions) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/views", get(count_view))
        .route("/account", get(account).delete(delete_account))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(sessions))
}

/// A visitor who is not logged in has a session too: new, empty, and not stored until something is
/// written to it.
async fn home(session: Session) -> Result<String, SessionRejection> {
    let Some(name) = session.principal() else {
        return Ok("hello, stranger\n".into());
    };
    let views = session.get(VIEWS)?.unwrap_or(0);
    Ok(format!("hello, {name}; {views} views so far\n"))
}

/// The function is called again after a concurrent write, so that both requests count.
async fn count_view(session: Session) -> Result<String, SessionRejection> {
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(format!("{views} views\n"))
}

/// 401 for visitors who are not logged in.
async fn account(user: Authenticated) -> String {
    format!("account of {}\n", user.principal)
}

/// 403 for users who logged in more than five minutes ago: they have to log in again.
async fn delete_account(Fresh(user): Fresh<300>) -> Result<String, SessionRejection> {
    user.log_out()?;
    Ok(format!("deleted the account of {}\n", user.principal))
}

/// A real service checks a password first.
async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, SessionRejection> {
    session.log_in(&login.name)?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, SessionRejection> {
    session.log_out()?;
    Ok(Redirect::to("/"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        body::Body,
        http::{Method, Request, StatusCode, header},
    };
    use http_body_util::BodyExt;
    use session_hyper::testing::ManualClock;
    use tower::ServiceExt;

    use super::*;

    struct Test {
        clock: ManualClock,
        sessions: Sessions,
    }

    impl Test {
        fn new() -> Self {
            let clock = ManualClock::default();
            let sessions = Sessions::builder(MemoryStore::with_clock(clock.clone()))
                .signing_keys(SigningKeys::random().expect("entropy"))
                .clock(clock.clone())
                .build()
                .expect("valid options");
            Self { clock, sessions }
        }

        /// Sends a request as the user `ann`, whose session counts two views.
        async fn as_ann(&self, method: Method, path: &str) -> (StatusCode, String) {
            let begin = |session: &session_hyper::Session| {
                session.insert(VIEWS, &2)?;
                session.log_in("ann")
            };
            let cookie = self.sessions.test_cookie(begin).await.expect("no fault");
            let request = Request::builder().method(method).uri(path);
            self.send(request.header(header::COOKIE, cookie)).await
        }

        async fn send(&self, request: axum::http::request::Builder) -> (StatusCode, String) {
            let request = request.body(Body::empty()).expect("a request");
            let response = app(self.sessions.clone()).oneshot(request).await;
            let (head, body) = response.expect("infallible").into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let text = String::from_utf8(body.to_vec()).expect("text");
            (head.status, text)
        }
    }

    #[tokio::test]
    async fn a_user_is_greeted_by_name_and_a_stranger_is_not() {
        let test = Test::new();
        let (_, greeting) = test.as_ann(Method::GET, "/").await;
        assert_eq!(greeting, "hello, ann; 2 views so far\n");
        let (_, greeting) = test.send(Request::get("/")).await;
        assert_eq!(greeting, "hello, stranger\n");
    }

    #[tokio::test]
    async fn the_account_is_for_users_alone() {
        let test = Test::new();
        let (_, account) = test.as_ann(Method::GET, "/account").await;
        assert_eq!(account, "account of ann\n");
        let (status, _) = test.send(Request::get("/account")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn deleting_the_account_needs_a_recent_login() {
        let test = Test::new();
        let log_in = async || {
            let cookie = test.sessions.test_cookie(|session| session.log_in("ann"));
            let cookie = cookie.await.expect("no fault");
            Request::delete("/account").header(header::COOKIE, cookie)
        };
        let request = log_in().await;
        test.clock.advance(Duration::from_secs(300));
        let (status, body) = test.send(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(body, r#"{"error":"reauthenticate"}"#);
        let (status, _) = test.send(log_in().await).await;
        assert_eq!(status, StatusCode::OK);
    }
}
