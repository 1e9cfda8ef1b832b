//! What can be said about the code without running it.

use xshell::{Shell, cmd};

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    cmd!(sh, "cargo fmt --all --check").run()?;
    cmd!(
        sh,
        "cargo clippy --workspace --all-targets --all-features -- -D warnings"
    )
    .run()?;
    // as an argument and not in the environment, so that it is printed with the command
    let deny = r#"build.rustdocflags=["-Dwarnings"]"#;
    cmd!(
        sh,
        "cargo --config {deny} doc --workspace --no-deps --all-features"
    )
    .env_remove("RUSTDOCFLAGS")
    .run()?;
    Ok(())
}
