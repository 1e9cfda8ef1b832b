//! Every test of the workspace.

use xshell::{Shell, cmd};

use crate::programs;

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    programs::provide(sh)?;
    // first, so that the summary of the many stands last
    cmd!(sh, "cargo test --workspace --all-features --doc").run()?;
    if programs::is_present("cargo-nextest") {
        cmd!(sh, "cargo nextest run --workspace --all-features --no-fail-fast").run()?;
    } else {
        cmd!(sh, "cargo test --workspace --all-features --lib --bins --tests --examples --no-fail-fast").run()?;
    }
    Ok(())
}
