//! What the integration tests share beyond `test-support`, because it is made of the crates under
//! test: an application over real sockets, the store that a test runs on, and what is logged.
//! Public API only.

mod app;
mod backend;
mod log;

pub use app::{App, KEY, Reply, keys, text};
pub use backend::Backend;
pub use log::LogBuffer;
