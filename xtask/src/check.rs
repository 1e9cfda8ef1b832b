//! Checks that do not run the code: formatting, circles between files, lints and documentation.

use xshell::{Shell, cmd};

use crate::modules;

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    cmd!(sh, "cargo fmt --all --check").run()?;
    modules::check(sh)?;
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
