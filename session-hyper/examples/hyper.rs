//! Sessions on plain hyper: a counter, a login and a logout, for browsers and for apps.
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
//!
//! # an app asks for a bearer token when it logs in, and presents it from then on
//! curl -i -H 'Session-Transport: bearer' --data bob localhost:3000/login
//! curl -i -H 'Authorization: Bearer b1.…' localhost:3000/
//!
//! cargo test -p session-hyper --example hyper
//! ```
//!
//! The cookie is `Secure`, as by default. curl and most browsers accept it from localhost over
//! plain http.

use std::{error::Error, net::Ipv4Addr};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{HeaderValue, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use session_hyper::{
    Key, MemoryStore, SessionRequestExt, SessionService, Sessions, SigningKeys, Transports,
};
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
        .transports(Transports::CookieAndBearer)
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
async fn route<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => home(request).await,
        (&Method::POST, "/login") => log_in(request).await,
        (&Method::POST, "/logout") => log_out(request).await,
        (&Method::GET, "/health") => Ok(text(StatusCode::OK, "ok\n")),
        _ => Ok(text(StatusCode::NOT_FOUND, "not found\n")),
    }
}

async fn home<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError> {
    let session = request.session().load().await?;
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    let name = session.principal().unwrap_or("nobody".into());
    Ok(text(StatusCode::OK, format!("{views} views by {name}\n")))
}

async fn log_in<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
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

async fn log_out<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError> {
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

#[cfg(test)]
mod tests {
    use hyper::{
        header::{AUTHORIZATION, COOKIE, HeaderName},
        service::Service,
    };

    use super::*;

    fn sessions() -> Sessions {
        Sessions::builder(MemoryStore::new())
            .signing_keys(SigningKeys::random().expect("entropy"))
            .transports(Transports::CookieAndBearer)
            .build()
            .expect("valid options")
    }

    /// Sends a request for the start page, and returns what it says.
    async fn home_with(sessions: &Sessions, name: HeaderName, value: HeaderValue) -> String {
        let service = SessionService::new(sessions.clone(), service_fn(route::<Full<Bytes>>));
        let request = Request::get("/").header(name, value);
        let request = request.body(Full::default()).expect("a request");
        let response = service.call(request).await.expect("answered");
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_browser_and_an_app_are_greeted_by_name() {
        let sessions = sessions();
        let cookie = sessions.test_cookie(|session| {
            session.insert(VIEWS, &6)?;
            session.log_in("ann")
        });
        let cookie = cookie.await.expect("no fault");
        let bearer = sessions.test_bearer(|session| session.log_in("bob"));
        let bearer = bearer.await.expect("no fault");
        assert_eq!(
            home_with(&sessions, COOKIE, cookie).await,
            "7 views by ann\n"
        );
        assert_eq!(
            home_with(&sessions, AUTHORIZATION, bearer).await,
            "1 views by bob\n"
        );
    }
}
