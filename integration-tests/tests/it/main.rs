//! Every integration test, in one binary.

mod adapters;
mod browser;
mod express;
mod express_matrix;
mod promises;
mod security;
mod visit;
