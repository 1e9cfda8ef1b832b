//! Sessions on plain hyper: a counter, a login and a logout.
//!
//! ```text
//! cargo run -p session-hyper --example hyper -- 3000
//!
//! curl -i localhost:3000/health                          # does not load the session: no cookie
//! curl -i -b jar -c jar localhost:3000/                  # 1 views by nobody, and a cookie
//! curl -i -b jar -c jar localhost:3000/                  # 2 views by nobody, and no new cookie
//! curl -i -b jar -c jar --data ann localhost:3000/login  # a new token for the same session
//! curl -i -b jar -c jar localhost:3000/                  # 3 views by ann
//! curl -i -b jar -c jar -X POST localhost:3000/logout    # the cookie is removed
//! curl -i -b jar -c jar localhost:3000/                  # 1 views by nobody
//! ```
//!
//! The cookie is `Secure`, as by default. curl and most browsers accept it from localhost over
//! plain http.

use std::{error::Error, net::Ipv4Addr};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{HeaderValue, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use session_hyper::{Key, MemoryStore, SessionRequestExt, SessionService, Sessions, SigningKeys};
use tokio::net::TcpListener;

const VIEWS: Key<u32> = Key::new("views");

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    // a key of this process alone; several instances share `SigningKeys::from_env("SESSION_KEYS")`
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = SessionService::new(sessions.clone(), service_fn(route));
        tokio::spawn(async move {
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                eprintln!("connection: {error}");
            }
        });
    }
}

/// The service answers session errors that are returned from here, an outage by 503.
async fn route(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => home(request).await,
        (&Method::POST, "/login") => log_in(request).await,
        (&Method::POST, "/logout") => log_out(request).await,
        (&Method::GET, "/health") => Ok(text(StatusCode::OK, "ok\n")),
        _ => Ok(text(StatusCode::NOT_FOUND, "not found\n")),
    }
}

async fn home(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let session = request.session().load().await?;
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    let name = session.principal().unwrap_or("nobody".into());
    Ok(text(StatusCode::OK, format!("{views} views by {name}\n")))
}

async fn log_in(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let session = request.session().load().await?;
    let name = Limited::new(request.into_body(), 64)
        .collect()
        .await?
        .to_bytes();
    let name = str::from_utf8(&name)?.trim();
    if name.is_empty() {
        return Ok(text(StatusCode::UNPROCESSABLE_ENTITY, "send a name\n"));
    }
    // a real service checks a password first
    session.log_in(name)?;
    Ok(see_home())
}

async fn log_out(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    request.session().load().await?.log_out()?;
    Ok(see_home())
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.into()));
    *response.status_mut() = status;
    response
}

fn see_home() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::SEE_OTHER, "");
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/"));
    response
}
