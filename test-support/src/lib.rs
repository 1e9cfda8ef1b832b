//! The harness that the workspace's tests share: real servers on free ports of the loopback
//! interface, a proxy that injects network faults, and clients.
//!
//! | module | starts |
//! |---|---|
//! | [`redis`], [`sentinel`], [`cluster`] | Redis servers: alone, behind sentinels, in a cluster |
//! | [`authority`], [`tls`] | Redis servers that speak TLS, under a certificate authority made for the test |
//! | [`fake_redis`] | a server that greets like Redis and then gives scripted replies |
//! | [`proxy`] | a TCP proxy that cuts, stalls, delays or loses what passes |
//! | [`link`] | a TCP link with a round trip and a bandwidth |
//! | [`namespace`], [`place`] | a network namespace, with a link that drops packets on command; servers on either side |
//! | [`balancer`] | haproxy with the deployed configuration |
//! | [`demo`] | instances of the demo site |
//! | [`chromedriver`] | a driver for headless Chromium |
//! | [`browser`] | nothing: an HTTP client that keeps cookies |
//! | [`recorder`] | nothing: it keeps what code reports through the `metrics` facade |
//! | [`meter`] | nothing: it measures what a Redis server receives |
//!
//! Every value ends what it started when it is dropped, also if a test panics. The crate knows no
//! other crate of the workspace, so that the tests of each of them can use it.

pub mod authority;
pub mod balancer;
pub mod browser;
pub mod chromedriver;
pub mod cluster;
pub mod demo;
pub mod event_stream;
pub mod fake_redis;
pub mod link;
pub mod meter;
pub mod namespace;
pub mod place;
pub mod port;
pub mod process;
pub mod program;
pub mod proxy;
pub mod recorder;
pub mod redis;
pub mod sentinel;
pub mod shared;
pub mod tls;
pub mod wait;

pub use balancer::Balancer;
pub use browser::Browser;
pub use chromedriver::ChromeDriver;
pub use cluster::Cluster;
pub use demo::Demo;
pub use event_stream::EventStream;
pub use fake_redis::FakeRedis;
pub use link::Link;
pub use meter::Meter;
pub use namespace::Namespace;
pub use place::Place;
pub use proxy::{Fault, Proxy};
pub use redis::Redis;
pub use sentinel::Sentinels;
pub use shared::Shared;
pub use wait::{eventually, wait_until};
