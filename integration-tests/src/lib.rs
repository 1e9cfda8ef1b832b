//! What the integration tests are made of: an application over real sockets, a clock that is moved by hand, and a store that
//! counts, fails and waits when told to. Public API only.

mod app;
mod backend;
mod clock;
mod store;

pub use app::{App, Reply, keys, text};
pub use backend::Backend;
pub use clock::ManualClock;
pub use store::{Call, Gate, TestStore};
