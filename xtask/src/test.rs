//! Every test of the workspace.

use xshell::{Shell, cmd};

use crate::programs;

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    programs::provide(sh)?;
    // first, so that the summary of the many stands last; a failure here does not keep the others from being run
    let docs = cmd!(
        sh,
        "cargo test --workspace --all-features --no-fail-fast --doc"
    )
    .run();
    if programs::is_present("cargo-nextest") {
        cmd!(
            sh,
            "cargo nextest run --workspace --all-features --no-fail-fast"
        )
        .run()?;
    } else {
        cmd!(
            sh,
            "cargo test --workspace --all-features --no-fail-fast --lib --bins --tests --examples"
        )
        .run()?;
    }
    Ok(docs?)
}
