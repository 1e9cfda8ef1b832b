//! The benchmark of this project and its peers, a workspace of its own under `bench`.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::programs;

/// The harness and the servers without peers.
const OWN_PACKAGES: [&str; 3] = [
    "--package=bench-harness",
    "--package=bench-ours",
    "--package=bench-plain",
];

/// Builds the servers in release mode and passes the arguments to the harness.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    programs::provide_for_bench(sh)?;
    let manifest = sh.current_dir().join("bench/Cargo.toml");
    // one server beside a cluster needs no peers
    let packages = if arguments.iter().any(|argument| argument == "--cluster") {
        &OWN_PACKAGES[..]
    } else {
        cmd!(
            sh,
            "npm ci --prefix bench/express --omit=dev --no-audit --no-fund"
        )
        .run()?;
        &["--workspace"]
    };
    cmd!(
        sh,
        "cargo build --release {packages...} --manifest-path {manifest}"
    )
    .run()?;
    cmd!(sh, "cargo run --release --quiet --manifest-path {manifest} --package bench-harness -- {arguments...}")
        .run()
        .context("the benchmark failed")
}
