//! Server-side sessions for hyper, tower and axum.
//!
//! [`SessionService`] wraps a service: it puts a [`SessionHandle`] into each request, and commits
//! the session before the head of the response is sent. A request that does not load its session
//! makes no call to the store.
//!
//! # hyper
//!
//! ```no_run
//! # #[cfg(feature = "memory")]
//! # mod example {
//! use http_body_util::Full;
//! use hyper::{
//!     Request, Response,
//!     body::{Bytes, Incoming},
//!     server::conn::http1,
//!     service::service_fn,
//! };
//! use hyper_util::rt::TokioIo;
//! use session_hyper::{
//!     Key, MemoryStore, SessionError, SessionRequestExt, SessionService, Sessions, SigningKeys,
//! };
//! use tokio::net::TcpListener;
//!
//! const VIEWS: Key<u32> = Key::new("views");
//!
//! async fn home(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, SessionError> {
//!     let session = request.session().load().await?;
//!     let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
//!     Ok(Response::new(Full::from(format!("{views} views\n"))))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sessions = Sessions::builder(MemoryStore::new())
//!         .signing_keys(SigningKeys::from_env("SESSION_KEYS")?)
//!         .build()?;
//!     let listener = TcpListener::bind("127.0.0.1:3000").await?;
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         let service = SessionService::new(sessions.clone(), service_fn(home));
//!         tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
//!     }
//! }
//! # }
//! ```
//!
//! A handler that fails with a [`SessionError`], as such or in a `Box<dyn Error + Send + Sync>`, is
//! answered by [`error_response`]: an outage of the store is a 503, and the cookie stays.
//!
//! # tower
//!
//! With the feature `tower`, [`SessionLayer`] is a layer and [`SessionService`] a service:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "tower"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, header};
//! use session_hyper::{
//!     MemoryStore, SessionError, SessionLayer, SessionRequestExt, Sessions, SigningKeys,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! async fn log_in(request: Request<String>) -> Result<Response<String>, SessionError> {
//!     let session = request.session().load().await?;
//!     // a real service checks a password first
//!     session.log_in(request.body())?;
//!     Ok(Response::new("logged in".into()))
//! }
//!
//! let sessions = Sessions::builder(MemoryStore::new())
//!     .signing_keys(SigningKeys::random()?)
//!     .build()?;
//! let service = ServiceBuilder::new()
//!     .layer(SessionLayer::new(sessions))
//!     .service(service_fn(log_in));
//!
//! let response = service.oneshot(Request::new("ann".into())).await?;
//! assert!(response.headers().contains_key(header::SET_COOKIE));
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "memory", feature = "tower")))]
//! # fn main() {}
//! ```
//!
//! # axum
//!
//! With the feature `axum`, [`SessionLayer`] goes onto a router, outside of the routes that use
//! sessions. `Session` as an argument of a handler loads the session; `?` on a session error works
//! in handlers that return `SessionRejection`:
//!
//! ```no_run
//! # #[cfg(all(feature = "memory", feature = "axum"))]
//! # mod example {
//! use axum::{Form, Router, response::Redirect, routing::{get, post}};
//! use serde::Deserialize;
//! use session_hyper::axum::{Session, SessionRejection};
//! use session_hyper::{MemoryStore, SessionLayer, Sessions, SigningKeys};
//! use tokio::net::TcpListener;
//!
//! #[derive(Deserialize)]
//! struct Credentials {
//!     name: String,
//!     password: String,
//! }
//!
//! # fn password_is_right(login: &Credentials) -> bool { login.password == "correct horse" }
//! async fn home(session: Session) -> String {
//!     format!("Hello, {}\n", session.principal().unwrap_or("stranger".into()))
//! }
//!
//! async fn log_in(
//!     session: Session,
//!     Form(credentials): Form<Credentials>,
//! ) -> Result<Redirect, SessionRejection> {
//!     if password_is_right(&credentials) {
//!         session.log_in(&credentials.name)?;
//!     }
//!     Ok(Redirect::to("/"))
//! }
//!
//! async fn log_out(session: Session) -> Result<Redirect, SessionRejection> {
//!     session.log_out()?;
//!     Ok(Redirect::to("/"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sessions = Sessions::builder(MemoryStore::new())
//!         .signing_keys(SigningKeys::from_env("SESSION_KEYS")?)
//!         .build()?;
//!     let app = Router::new()
//!         .route("/", get(home))
//!         .route("/login", post(log_in))
//!         .route("/logout", post(log_out))
//!         .layer(SessionLayer::new(sessions));
//!     let listener = TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! # }
//! ```
//!
//! # Where to go next
//!
//! * [`Session`] has every operation on a session, with an example for each.
//! * [`Builder`] lists the options of [`Sessions`]. A service or layer has one of its own,
//!   `on_error`, which makes the responses to errors.
//! * [`store::connect`] chooses the store by a URL; [`Store`] is the contract for a store of your
//!   own.
//! * [`guide`] explains renewal, merging, cookies, bearer sessions, security and testing, and lists
//!   verbs and errors.
//! * [`websockets`] explains how to end WebSockets and event streams with their session.
//! * [`migrating`] is for users of express-session and tower-sessions.
//!
//! # Features
//!
//! | feature | effect |
//! |---|---|
//! | `memory` (default) | the in-process store, and `memory:` in [`store::connect`] |
//! | `redis` | the Redis store, and `redis:`, `redis+unix:`, `redis+sentinel:` and `redis+cluster:` in [`store::connect`] |
//! | `redis-tls` | Redis over TLS, `rediss:` |
//! | `tower` | [`SessionLayer`] and [`SessionService`] implement tower's traits |
//! | `axum` | the extractors of the module `axum` |
//! | `testing` | the test kit for applications: [`guide::testing`] |
//! | `metrics` | counts outcomes and errors, and observes the Redis store, with the `metrics` facade |
//!
//! The counter is `session_commits_total`. Its label `outcome` is [`OutcomeKind::as_str`] or
//! `error`; an error has a label `kind`, which is [`SessionErrorKind::as_str`]. A request that is
//! answered with a session error is counted as an error, and by its outcome only if its commit
//! changed something. The Redis store has metrics of its own, which the
//! documentation of session-redis lists.

#[cfg(feature = "axum")]
pub mod axum;
mod body;
mod ended;
mod error_response;
mod ext;
mod future;
mod in_flight;
mod layer;
pub mod migrating;
mod options;
mod report;
mod service;
pub mod store;

#[doc = include_str!("../docs/websockets.md")]
pub mod websockets {}

pub use body::SessionBody;
pub use ended::SessionExt;
pub use error_response::{error_response, status_code};
pub use ext::SessionRequestExt;
pub use future::SessionFuture;
pub use layer::SessionLayer;
pub use service::SessionService;
pub use session_core::*;
#[cfg(feature = "redis")]
pub use session_redis::{RedisConfig, RedisStore};

/// The README's code, compiled.
#[cfg(all(doctest, feature = "axum", feature = "memory"))]
#[doc = include_str!("../../README.md")]
struct Readme;
