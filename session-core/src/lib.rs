//! A part of the crate.
#![allow(dead_code)]
mod any_store;
mod body;
mod clock;
mod codec;
mod config_error;
#[cfg(feature = "contract")]
pub mod contract;
mod cookie;
mod cookie_spec;
mod data;
mod entropy;
mod format;
mod id;
mod key;
#[cfg(feature = "memory")]
mod memory;
mod record;
mod secret;
mod sign;
mod store;
mod store_error;
mod timeouts;
mod token;
mod transport;
pub use any_store::*;
pub use clock::{Clock, SystemClock};
pub use config_error::*;
pub use cookie::*;
pub use entropy::*;
pub use id::*;
pub use key::*;
#[cfg(feature = "memory")]
pub use memory::*;
pub use record::*;
pub use sign::*;
pub use store::*;
pub use store_error::*;
pub use token::*;
pub use transport::*;
