//! Tools for tests, behind the feature `testing`: a store whose operations fail, wait and are
//! counted on command, and a clock that is moved by hand. The feature also adds
//! [`Sessions::test_cookie`](crate::Sessions::test_cookie) and
//! [`Sessions::test_bearer`](crate::Sessions::test_bearer), the credentials of a session that a
//! test has written to.
//!
//! They serve the tests of an application as well as those of this workspace: what does a page
//! answer while the store is unavailable, and what happens if two requests write at the same time?
//! [`guide::testing`](crate::guide::testing) shows how to test a service.
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, Response, header};
//! use session_core::{
//!     MemoryStore, SessionErrorKind, Sessions, SigningKeys, StoreErrorKind,
//!     testing::{Call, ManualClock, TestStore},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::default();
//! let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
//! let sessions = Sessions::builder(store.clone())
//!     .signing_keys(SigningKeys::new(["a signing key of at least 32 bytes"])?)
//!     .idle_timeout(Duration::from_secs(1800))
//!     .clock(clock.clone())
//!     .build()?;
//!
//! // a first request stores a session
//! let handle = sessions.begin(&Request::new(()));
//! handle.load().await?.insert("cart", "tea")?;
//! let mut response = Response::new(());
//! let _ = sessions.finish(&handle, &mut response).await?;
//! assert_eq!(store.take_calls(), [Call::Create]);
//! let cookie = &response.headers()[header::SET_COOKIE];
//! let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
//! let request = Request::builder().header(header::COOKIE, cookie).body(())?;
//!
//! // an outage is an error, and not an empty session
//! store.fail(Call::Load, StoreErrorKind::Unavailable);
//! let error = sessions.begin(&request).load().await.unwrap_err();
//! assert_eq!(error.kind(), SessionErrorKind::Unavailable);
//!
//! // half an hour without a request ends the session
//! assert!(!sessions.begin(&request).load().await?.is_new());
//! clock.advance(Duration::from_secs(1800));
//! assert!(sessions.begin(&request).load().await?.is_new());
//! # Ok(())
//! # }
//! ```

mod clock;
mod credentials;
mod relay;
mod store;

pub use clock::ManualClock;
pub use store::{Call, Gate, TestStore};
