//! Sessions on axum: extractors, a typed value, a login and a logout.
//!
//! ```text
//! cargo run -p session-hyper --example axum --features axum -- 3000
//!
//! curl -i localhost:3000/                                       # hello, stranger; no cookie
//! curl -i -b jar -c jar localhost:3000/views                    # 1 views, and a cookie
//! curl -i -b jar -c jar --data 'name=ann' localhost:3000/login  # a new token for the same session
//! curl -i -b jar -c jar localhost:3000/                         # hello, ann; 1 views so far
//! curl -i -b jar -c jar localhost:3000/views                    # 2 views
//! curl -i -b jar -c jar -X POST localhost:3000/logout           # the cookie is removed
//! curl -i -b jar -c jar localhost:3000/private                  # 401
//! ```
//!
//! The cookie is `Secure`, as by default. curl and most browsers accept it from localhost over
//! plain http.

use std::{error::Error, net::Ipv4Addr};

use axum::{
    Form, Router,
    http::StatusCode,
    response::Redirect,
    routing::{get, post},
};
use serde::Deserialize;
use session_hyper::{
    Key, MemoryStore, SessionLayer, Sessions, SigningKeys,
    axum::{Session, SessionRejection},
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
    let app = Router::new()
        .route("/", get(home))
        .route("/views", get(count_view))
        .route("/private", get(private))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(sessions));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
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

async fn private(session: Session) -> (StatusCode, String) {
    match session.principal() {
        Some(name) => (StatusCode::OK, format!("for {name} alone\n")),
        None => (StatusCode::UNAUTHORIZED, "log in first\n".into()),
    }
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
