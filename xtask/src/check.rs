//! Checks that do not run the code: formatting, circles between files, lock files, the tests that
//! documentation names, lints and documentation.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{evidence, modules};

/// The workspaces that the others of these checks do not reach. Their lock files list the
/// dependencies of this workspace's crates too.
const OTHER_WORKSPACES: [&str; 2] = ["bench", "fuzz"];

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    cmd!(sh, "cargo fmt --all --check").run()?;
    modules::check(sh)?;
    check_lock_files(sh)?;
    evidence::check(sh)?;
    cmd!(
        sh,
        "cargo clippy --workspace --all-targets --all-features -- -D warnings"
    )
    .run()?;
    // an argument instead of a variable of the environment, so that it is printed with the command
    let deny = r#"build.rustdocflags=["-Dwarnings"]"#;
    cmd!(
        sh,
        "cargo --config {deny} doc --workspace --no-deps --all-features"
    )
    .env_remove("RUSTDOCFLAGS")
    .run()?;
    Ok(())
}

/// Whether the lock files of the other workspaces match the manifests. Nothing is compiled.
fn check_lock_files(sh: &Shell) -> anyhow::Result<()> {
    for workspace in OTHER_WORKSPACES {
        let manifest = format!("{workspace}/Cargo.toml");
        cmd!(
            sh,
            "cargo update --workspace --locked --manifest-path {manifest}"
        )
        .run()
        .with_context(|| {
            format!(
                "{workspace}/Cargo.lock is stale: run \
                 `cargo update --workspace --manifest-path {manifest}`"
            )
        })?;
    }
    Ok(())
}
