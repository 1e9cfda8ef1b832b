//! Every integration test, in one binary.

mod adapters;
mod balanced;
mod browser;
mod express;
mod failover;
mod monitoring;
mod outages;
mod promises;
mod requests;
mod security;
mod visit;
