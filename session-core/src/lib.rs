//! Server-side sessions that many instances of a service share.
//!
//! A cookie names a session, a [`Store`] keeps it, and any instance serves it. This crate contains
//! the session model, the decisions, the cookie and its signature, the stored format and the
//! contract of a store. It has no runtime, no socket and no framework; `session-hyper` connects it
//! to hyper, tower and axum, and is what an application depends on.
//!
//! # Example
//!
//! An adapter begins a request, hands the [`SessionHandle`] to the handler, and finishes with the
//! response. The handler loads the [`Session`] and uses it; accessors are synchronous.
//!
//! ```
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! use http::{Request, Response, header};
//! # #[cfg(feature = "memory")]
//! use session_core::{Key, MemoryStore, SessionError, SessionHandle, Sessions, SigningKeys};
//!
//! # #[cfg(feature = "memory")]
//! const VIEWS: Key<u32> = Key::new("views");
//!
//! /// A handler. A concurrent request may count as well, and neither count is lost.
//! # #[cfg(feature = "memory")]
//! async fn count(handle: &SessionHandle) -> Result<u32, SessionError> {
//!     let session = handle.load().await?;
//!     session.update(VIEWS, |views| views.unwrap_or(0) + 1)
//! }
//!
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // once, when the service starts
//! let sessions = Sessions::builder(MemoryStore::new())
//!     .signing_keys(SigningKeys::new(["at least 32 bytes that only the service knows"])?)
//!     .build()?;
//!
//! // a first request: the session is stored, and the response sets its cookie
//! let handle = sessions.begin(&Request::new(()));
//! let views = count(&handle).await?;
//! let mut response = Response::new(format!("{views} views"));
//! let outcome = sessions.finish(&handle, &mut response).await?;
//! assert!(outcome.created);
//!
//! // the next request presents the cookie, on this instance or on another one
//! let cookie = response.headers()[header::SET_COOKIE].to_str()?;
//! let cookie = cookie.split(';').next().unwrap_or_default();
//! let request = Request::builder().header(header::COOKIE, cookie).body(())?;
//! assert_eq!(count(&sessions.begin(&request)).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to go next
//!
//! * [`Session`] has every verb, with an example each; [`guide::verbs`] is the same at a glance.
//! * [`guide::renewal`] explains logins and logouts, and what they do to requests under way.
//! * [`guide::merging`] explains what happens if several requests write to one session.
//! * [`guide::cookies`] explains when a response sets or removes the cookie, and for how long.
//! * [`guide::bearer`] explains sessions of apps, whose tokens travel in the `Authorization` header.
//! * [`guide::users`] explains the sessions of a user: to list, end and limit them, and to ask for
//!   the password again.
//! * [`guide::near_cache`] explains reads without a round trip, and what they relax.
//! * [`guide::security`] lists what is protected, and what is left to the application.
//! * [`guide::testing`] shows how to test a service that uses sessions.
//! * [`guide::errors`] lists every kind of error, its status, and what to do about it.
//! * [`Builder`] lists the options, and [`CookieOptions`] those of the cookie.
//! * [`Store`] is the contract of a store, [`Index`] and [`Changes`] are what it may offer besides; `contract!` (feature `contract`) tests one.
//!
//! # Features
//!
//! | feature | effect |
//! |---|---|
//! | `memory` (default) | `MemoryStore`, a bounded store in the process |
//! | `near-cache` (default) | [`Builder::near_cache`], reads without a round trip |
//! | `contract` | `contract!`, the test suite for implementations of [`Store`] |
//! | `testing` | `testing`, a store that fails on command and a clock that is moved by hand; `Sessions::test_cookie` and `test_bearer`, the credentials of sessions for tests |

mod adapter;
mod answer;
mod any_store;
mod attempted;
mod bearer;
mod body;
mod builder;
mod cell;
mod changes;
mod clock;
mod codec;
mod commit;
mod config;
mod config_error;
mod contention;
#[cfg(feature = "contract")]
pub mod contract;
mod cookie_header;
mod cookie_options;
mod cookie_rules;
mod cookie_spec;
mod data;
mod decide;
mod draft;
mod encode;
mod entropy;
mod error;
mod event;
mod format;
mod forwarded;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod handle;
mod headers;
mod health;
mod id;
mod index;
mod indexing;
mod key;
mod label;
mod limit;
mod listing;
mod log_limit;
mod lookup;
mod members;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "near-cache")]
mod near_cache;
#[cfg(not(feature = "near-cache"))]
#[path = "no_near_cache.rs"]
mod near_cache;
mod op;
mod outcome;
mod policy;
mod presented;
mod record;
mod records;
mod replicas;
mod request_context;
mod request_scheme;
mod response;
mod secret;
mod session;
mod session_info;
mod sessions;
mod sessions_of;
mod set_cookie;
mod shared;
mod sign;
mod state;
mod store;
mod store_error;
#[cfg(feature = "testing")]
pub mod testing;
mod timeouts;
mod token;
mod transports;
mod unlisted;
mod verbs;
mod watch;
mod watchers;

pub use adapter::{TryFinish, Unfinished};
pub use any_store::AnyStore;
pub use body::Transport;
pub use builder::Builder;
pub use changes::{AnyChanges, AnyFeed, Changes, Feed, Listener, Listeners, Watched};
pub use clock::{Clock, SystemClock};
pub use config_error::ConfigError;
pub use cookie_options::{CookieOptions, Priority, SameSite, Secure};
pub use entropy::{Entropy, EntropyError, OsEntropy};
pub use error::{SessionError, SessionErrorKind};
pub use event::{SessionEvent, SessionEventKind};
pub use handle::SessionHandle;
pub use health::{Health, HealthPart, PartState};
pub use id::{ParseIdError, SessionId};
pub use index::{AnyIndex, Index};
pub use key::{AsKey, Key, KeyFor};
pub use listing::{IndexEntry, IndexKey, Listed, Listing, Nonce};
pub use log_limit::LogLimit;
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
#[cfg(feature = "near-cache")]
pub use near_cache::{NearCache, NearCacheStats};
pub use outcome::{EndReason, Ended, Loss, Outcome, OutcomeKind};
pub use policy::{ExpressOptions, LoadMode, OnDecodeError, OnLost, Unset, WhenFull};
pub use record::{Loaded, Record, Version};
pub use replicas::Replicas;
pub use request_scheme::{PeerAddr, Proxy, RequestScheme};
pub use session::Session;
pub use session_info::SessionInfo;
pub use sessions::Sessions;
pub use sessions_of::{SessionPage, SessionsOf};
pub use sign::{SigningKeys, SigningKeysError};
pub use store::{Applied, Created, Destroy, Destroyed, Saved, Store, Touched, Write};
pub use store_error::{StoreError, StoreErrorKind};
pub use timeouts::Timeouts;
pub use token::{ParseTokenError, SessionToken};
pub use transports::Transports;
pub use watch::Watch;
