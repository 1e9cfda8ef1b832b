//! What the integration tests share beyond `test-support`, because it is made of the crates under test: an application over real
//! sockets, and the store that a test runs on. Public API only.

mod app;
mod backend;

pub use app::{App, Reply, keys, text};
pub use backend::Backend;
