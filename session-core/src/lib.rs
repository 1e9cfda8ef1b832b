//! Server-side sessions that many instances of a service share.
//!
//! A cookie names a session, a [`Store`] holds it, and any instance serves it. This crate is the part that decides: the session
//! model, the state machine, cookies and their signatures, the wire format, and the contract of a store. It has no runtime, no
//! socket and no framework; `session-hyper` puts it into hyper, tower and axum.
//!
//! Four promises:
//!
//! 1. **No lost update.** Two requests that write to one session at once both keep their writes.
//! 2. **Logout is final.** No slow request, retry, touch or rotation brings an ended session back.
//! 3. **An outage is never an answer.** A store that fails makes a typed error, never an empty session.
//! 4. **Untouched is free**, a read is one round trip, a write is one more.
//!
//! [`Sessions`] is where to start.

mod builder;
mod clock;
mod codec;
mod commit;
#[cfg(feature = "contract")]
pub mod contract;
mod cookie;
mod cookie_header;
mod data;
mod error;
mod format;
mod handle;
mod id;
mod key;
mod manager;
#[cfg(feature = "memory")]
mod memory;
mod op;
mod plan;
mod policy;
mod record;
mod session;
mod sign;
mod state;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod timeouts;
mod token;
mod transport;

pub use builder::Builder;
pub use clock::{Clock, SystemClock};
pub use commit::Outcome;
pub use cookie::{CookieOptions, Priority, SameSite, Secure};
pub use error::{ConfigError, SessionError, SessionErrorKind};
pub use handle::SessionHandle;
pub use id::{ParseIdError, SessionId};
pub use key::{AsKey, Key, KeyFor};
pub use manager::{Finished, Sessions, Unsettled};
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
pub use policy::{OnGone, Undecodable, Unset};
pub use record::{RecordBytes, Version};
pub use session::Session;
pub use sign::{SigningKeys, SigningKeysError};
pub use store::{
    AnyStore, Created, Destroyed, Loaded, Saved, Store, StoreError, StoreErrorKind, Touched,
};
pub use token::{Entropy, EntropyError, OsEntropy, ParseTokenError, SecretHash, SessionToken};
pub use transport::{PeerAddr, Proxy, Transport};
