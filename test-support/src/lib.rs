//! The harness that the workspace's tests share: real servers on free ports of the loopback interface, and clients for them.
//!
//! Everything that is started here ends when its value is dropped, also when a test panics.

mod balancer;
mod browser;
mod demo;
mod proxy;
mod redis;

pub use balancer::Balancer;
pub use browser::Browser;
pub use demo::Demo;
pub use proxy::{Fault, Proxy};
pub use redis::{Cluster, Redis, Sentinels, program, wait};
