//! The interleavings of requests and the faults of a store, run through the real code.

use anyhow::Context;
use xshell::{Shell, cmd};

/// Builds the explorer in release mode and passes the arguments to it. Without arguments it runs
/// the part that the gate requires.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    cmd!(
        sh,
        "cargo run --release --package explorer -- {arguments...}"
    )
    .run()
    .context("the explorer failed")
}

/// Runs the explorer on copies of session-core with a defect each: those of these names, or all.
pub(crate) fn defects(sh: &Shell, names: &[String]) -> anyhow::Result<()> {
    cmd!(
        sh,
        "cargo run --release --package explorer --bin defects -- {names...}"
    )
    .run()
    .context("the exploration of the defects failed")
}
