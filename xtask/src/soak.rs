//! Long scenarios against real Redis servers.

use xshell::{Shell, cmd};

use crate::programs;

/// With their default counts they take minutes in all.
pub(crate) const SCENARIOS: [&str; 12] = [
    "updates",
    "outage",
    "races",
    "recovery",
    "failover",
    "isolation",
    "overload",
    "users",
    "revocation",
    "coherence",
    "sizing",
    "tracking",
];

/// Runs one scenario with its options, or all of them.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    programs::provide(sh)?;
    let all = SCENARIOS.map(|scenario| vec![scenario.to_owned()]);
    let runs = if arguments.is_empty() {
        &all[..]
    } else {
        &[arguments.to_vec()]
    };
    for arguments in runs {
        cmd!(
            sh,
            "cargo run --release --package integration-tests --bin soak -- {arguments...}"
        )
        .run()?;
    }
    Ok(())
}
