//! Every integration test, in one binary.

mod express;
mod express_matrix;
mod promises;
mod visit;
