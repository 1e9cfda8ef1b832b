//! Server-side sessions that many instances of a service share.
//!
//! A cookie names a session, a [`Store`] keeps it, and any instance serves it. This crate decides: the session model, the state machine,
//! cookies and their signatures, the stored format, and the contract of a store. It has no runtime, no socket and no
//! framework; `session-hyper` connects it to hyper, tower and axum.
//!
//! [`Sessions`] is where to start.

mod adapter;
mod answer;
mod any_store;
mod attempted;
mod body;
mod builder;
mod cell;
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
mod entropy;
mod error;
mod format;
mod forwarded;
mod handle;
mod headers;
mod id;
mod key;
mod lookup;
#[cfg(feature = "memory")]
mod memory;
mod op;
mod outcome;
mod policy;
mod record;
mod request_context;
mod request_scheme;
mod response;
mod secret;
mod session;
mod sessions;
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
mod verbs;

pub use adapter::{TryFinish, Unfinished};
pub use any_store::AnyStore;
pub use builder::Builder;
pub use clock::{Clock, SystemClock};
pub use config_error::ConfigError;
pub use cookie_options::{CookieOptions, Priority, SameSite, Secure};
pub use entropy::{Entropy, EntropyError, OsEntropy};
pub use error::{SessionError, SessionErrorKind};
pub use handle::SessionHandle;
pub use id::{ParseIdError, SessionId};
pub use key::{AsKey, Key, KeyFor};
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
pub use outcome::{EndReason, Ended, Loss, Outcome, OutcomeKind};
pub use policy::{ExpressOptions, LoadMode, OnDecodeError, OnLost, Unset};
pub use record::{Record, Version};
pub use request_scheme::{PeerAddr, Proxy, RequestScheme};
pub use session::Session;
pub use sessions::Sessions;
pub use sign::{SigningKeys, SigningKeysError};
pub use store::{Applied, Created, Destroy, Destroyed, Loaded, Saved, Store, Touched, Write};
pub use store_error::{StoreError, StoreErrorKind};
pub use token::{ParseTokenError, SessionToken};
