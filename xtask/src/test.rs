//! The tests of the workspace.

use xshell::{Shell, cmd};

use crate::programs;

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    programs::provide(sh)?;
    // before the others, so that their summary comes last; all tests run even if these fail
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
