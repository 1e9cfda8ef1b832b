//! Extractors for axum.
//!
//! | argument of a handler | gives |
//! |---|---|
//! | [`Session`] | the session, loaded |
//! | `Option<Session>` | the same; `None` if the request has no session |
//! | [`SessionHandle`] | the session, not loaded |
//! | [`Authenticated`] | the session and the principal; 401 if nobody is logged in |
//! | [`Fresh<SECONDS>`](Fresh) | the same; 403 if the login is older than that |
//!
//! A handler that returns `Result<_, SessionRejection>` can use `?` on session errors.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn app() -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use session_hyper::{Key, MemoryStore, SessionLayer, Sessions, SigningKeys};
//! use session_hyper::axum::{Session, SessionRejection};
//!
//! const VIEWS: Key<u32> = Key::new("views");
//!
//! async fn home(session: Session) -> Result<String, SessionRejection> {
//!     let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
//!     Ok(format!("{views} views\n"))
//! }
//!
//! let sessions = Sessions::builder(MemoryStore::new())
//!     .signing_keys(SigningKeys::random()?)
//!     .build()?;
//! let app = Router::new().route("/", get(home)).layer(SessionLayer::new(sessions));
//! # Ok(app)
//! # }
//! ```
//!
//! The types wrap those of `session-core` and dereference to them, because an extractor must belong
//! to the crate that implements it.

mod login;
mod rejection;
mod session;

pub use login::{Authenticated, Fresh};
pub use rejection::SessionRejection;
pub use session::{Session, SessionHandle};
