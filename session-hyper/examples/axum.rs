//! Sessions under axum: extractors, a typed value, login with a renewed token, logout.
//!
//! ```text
//! cargo run -p session-hyper --example axum --features axum -- 3000
//!
//! curl -i localhost:3000/                                           # hello, whoever you are; no cookie
//! curl -i -b jar -c jar localhost:3000/views                        # 1 views, and a cookie
//! curl -i -b jar -c jar --data 'name=ann' localhost:3000/login      # a new token for the same session
//! curl -i -b jar -c jar localhost:3000/                             # hello, ann; 1 views so far
//! curl -i -b jar -c jar localhost:3000/views                        # 2 views
//! curl -i -b jar -c jar --request POST localhost:3000/logout        # the cookie is removed
//! curl -i -b jar -c jar localhost:3000/private                      # 401
//! ```
//!
//! The cookie is always `Secure`. curl and most browsers take it from localhost over plain http all the same.

use std::{error::Error, net::Ipv4Addr};

use axum::{
    Form, Router,
    http::StatusCode,
    response::Redirect,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use session_hyper::{
    Key, MemoryStore, SessionLayer, Sessions, SigningKeys,
    axum::{Session, SessionRejection},
};
use tokio::net::TcpListener;

const USER: Key<User> = Key::new("user");
const VIEWS: Key<u32> = Key::new("views");

/// Who has logged in, as the session keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
}

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
    let app = Router::new()
        .route("/", get(home))
        .route("/views", get(views))
        .route("/private", get(private))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(sessions));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// `None` where a request has no session at all, as on a route without the layer. A visitor who is merely unknown has
/// one: new, empty, and stored nowhere until something is written.
async fn home(session: Option<Session>) -> Result<String, SessionRejection> {
    let Some(session) = session else {
        return Ok("hello\n".into());
    };
    let Some(user) = session.get(USER)? else {
        return Ok("hello, whoever you are\n".into());
    };
    let views = session.get(VIEWS)?.unwrap_or(0);
    Ok(format!("hello, {}; {views} views so far\n", user.name))
}

/// The function runs again where another request counted meanwhile, so that both count.
async fn views(session: Session) -> Result<String, SessionRejection> {
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(format!("{views} views\n"))
}

async fn private(session: Session) -> Result<(StatusCode, String), SessionRejection> {
    Ok(match session.get(USER)? {
        Some(user) => (StatusCode::OK, format!("for {} alone\n", user.name)),
        None => (StatusCode::UNAUTHORIZED, "log in first\n".into()),
    })
}

/// A real service checks a password before anything else here.
async fn login(session: Session, Form(login): Form<Login>) -> Result<Redirect, SessionRejection> {
    // the token from before the login opens nothing after it
    session.renew();
    session.insert(USER, &User { name: login.name })?;
    Ok(Redirect::to("/"))
}

async fn logout(session: Session) -> Redirect {
    session.destroy();
    Redirect::to("/")
}
