//! What the integration tests are made of: an application over real sockets, a browser's view of its cookies, a clock that is
//! moved by hand, and a store that counts, fails and waits when told to. Public API only.

mod app;
mod backend;
mod balancer;
mod browser;
mod clock;
mod demos;
mod proxy;
mod redis;
mod store;

pub use app::{App, Reply, keys, text};
pub use backend::Backend;
pub use balancer::Balancer;
pub use browser::Browser;
pub use clock::ManualClock;
pub use demos::Demo;
pub use proxy::{Fault, Proxy};
pub use redis::{Cluster, Redis, Sentinels, program, wait};
pub use store::{Call, Gate, TestStore};
