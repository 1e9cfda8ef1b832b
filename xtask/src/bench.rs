//! The benchmark of this project and its peers, a workspace of its own under `bench`.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::programs;

/// Builds every server in release mode and passes the arguments to the harness.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    programs::provide_for_bench(sh)?;
    cmd!(
        sh,
        "npm ci --prefix bench/express --omit=dev --no-audit --no-fund"
    )
    .run()?;
    let manifest = sh.current_dir().join("bench/Cargo.toml");
    cmd!(
        sh,
        "cargo build --release --workspace --manifest-path {manifest}"
    )
    .run()?;
    cmd!(sh, "cargo run --release --quiet --manifest-path {manifest} --package bench-harness -- {arguments...}")
        .run()
        .context("the benchmark failed")
}
