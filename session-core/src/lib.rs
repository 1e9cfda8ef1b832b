//! A part of the crate.
#![allow(dead_code)]
mod any_store;
mod body;
mod clock;
mod codec;
mod config_error;
#[cfg(feature = "contract")]
pub mod contract;
mod cookie_header;
mod cookie_options;
mod cookie_rules;
mod cookie_spec;
mod data;
mod entropy;
mod format;
mod forwarded;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod key;
#[cfg(feature = "memory")]
mod memory;
mod record;
mod request_scheme;
mod secret;
mod set_cookie;
mod sign;
mod store;
mod store_error;
mod timeouts;
mod token;
pub use any_store::*;
pub use clock::{Clock, SystemClock};
pub use config_error::*;
pub use cookie_options::*;
pub use entropy::*;
pub use id::*;
pub use key::*;
#[cfg(feature = "memory")]
pub use memory::*;
pub use record::*;
pub use request_scheme::*;
pub use sign::*;
pub use store::*;
pub use store_error::*;
pub use token::*;
