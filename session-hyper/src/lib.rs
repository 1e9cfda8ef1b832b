//! Server-side sessions for hyper, tower and axum.
//!
//! [`SessionService`] stands around a service: it puts a [`SessionHandle`] into the request, and commits the session before
//! the head of the response leaves. A request that never asks for its session costs the store nothing.
//!
//! # hyper
//!
//! ```no_run
//! # #[cfg(feature = "memory")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use http_body_util::Full;
//! use hyper::{Request, Response, body::{Bytes, Incoming}, server::conn::http1, service::service_fn};
//! use session_hyper::{Key, MemoryStore, RequestSession, SessionError, SessionService, Sessions, SigningKeys};
//!
//! const VIEWS: Key<u32> = Key::new("views");
//!
//! async fn home(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, SessionError> {
//!     let session = request.session().load().await?;
//!     let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
//!     Ok(Response::new(Full::from(format!("{views} views\n"))))
//! }
//!
//! let sessions = Sessions::builder(MemoryStore::new()).signing_keys(SigningKeys::random()?).build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     let service = SessionService::new(sessions.clone(), service_fn(home));
//!     tokio::spawn(http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service));
//! }
//! # }
//! ```
//!
//! # axum
//!
//! With the feature `axum`, [`SessionLayer`] goes onto a router and the extractors of the module `axum` into handlers.
//!
//! # Features
//!
//! | feature | effect |
//! |---|---|
//! | `memory` (default) | the in-process store, and `memory:` in [`store::connect`] |
//! | `redis` | the Redis store, and `redis:` and its kin in [`store::connect`] |
//! | `redis-tls` | Redis over TLS, `rediss:` |
//! | `tower` | [`SessionLayer`] and [`SessionService`] implement tower's traits |
//! | `axum` | extractors for axum |
//! | `metrics` | counters of outcomes, by the `metrics` facade |

#[cfg(feature = "axum")]
pub mod axum;
mod body;
mod ext;
mod future;
mod layer;
mod outcome;
mod reject;
mod service;
pub mod store;

pub use body::SessionBody;
pub use ext::RequestSession;
pub use future::SessionFuture;
pub use layer::SessionLayer;
pub use reject::{reject, status};
pub use service::SessionService;
pub use session_core::*;
#[cfg(feature = "redis")]
pub use session_redis::{RedisConfig, RedisStore};

/// The README's code, compiled.
#[cfg(all(doctest, feature = "axum", feature = "memory"))]
#[doc = include_str!("../../README.md")]
struct Readme;
