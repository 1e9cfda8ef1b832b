//! The service, the layers and the extractors around sessions on a store that fails on command.

mod bearer;
#[cfg(feature = "metrics")]
mod counters;
mod ended;
#[cfg(feature = "axum")]
mod extractors;
#[cfg(feature = "axum")]
mod login_extractors;
mod service;
mod stacked_layers;
mod status_codes;
mod support;
