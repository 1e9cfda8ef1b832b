//! What each kind of request costs in instructions, counted by callgrind and held against a baseline.
//!
//! Instructions do not depend on the machine's load, so a change of a few per cent shows. They do depend on the compiler: a baseline of
//! another compiler is reported and not enforced.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

use crate::programs;

const BASELINE: &str = "xtask/profile-baseline.txt";
const KINDS: [&str; 7] = [
    "anonymous",
    "untouched",
    "load",
    "read",
    "write",
    "renew",
    "create",
];
/// How much more a request may cost before it is an error, in per cent.
const TOLERANCE: f64 = 3.0;
/// Two counts of requests; the difference leaves start-up out.
const TIMES: [u64; 2] = [200, 1200];

pub(crate) fn run(sh: &Shell, bless: bool) -> anyhow::Result<()> {
    programs::provide(sh)?;
    cmd!(
        sh,
        "cargo build --release --package integration-tests --bin profile"
    )
    .run()?;
    let compiler = cmd!(sh, "rustc --version").read()?;
    let counts = KINDS
        .into_iter()
        .map(|kind| Ok((kind.to_owned(), count(sh, kind)?)))
        .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    if bless {
        let mut text = format!(
            "# instructions for each kind of request, by `cargo xtask profile --bless`\ncompiler {compiler}\n"
        );
        for kind in KINDS {
            writeln!(text, "{kind} {}", counts[kind])?;
        }
        sh.write_file(BASELINE, text)?;
    }
    let (baseline_compiler, baseline) = read(&sh.read_file(BASELINE)?)?;
    println!(
        "{:<12}{:>14}{:>14}{:>9}",
        "request", "instructions", "baseline", "change"
    );
    let mut worse = Vec::new();
    for kind in KINDS {
        let (now, before) = (
            counts[kind],
            *baseline
                .get(kind)
                .with_context(|| format!("{kind} is not in {BASELINE}"))?,
        );
        let change = (now as f64 / before as f64 - 1.0) * 100.0;
        println!("{kind:<12}{now:>14}{before:>14}{change:>8.1}%");
        if change > TOLERANCE {
            worse.push(kind);
        }
    }
    if baseline_compiler != compiler {
        println!("the baseline is of {baseline_compiler}, this is {compiler}: not enforced");
    } else if !worse.is_empty() {
        bail!(
            "more than {TOLERANCE} % worse: {}; mend it, or say why and run `cargo xtask profile --bless`",
            worse.join(", ")
        );
    }
    Ok(())
}

/// Instructions for one request of this kind.
fn count(sh: &Shell, kind: &str) -> anyhow::Result<u64> {
    let mut total = [0; 2];
    for (times, total) in TIMES.into_iter().zip(&mut total) {
        let times = times.to_string();
        let program = "target/release/profile";
        let run = cmd!(
            sh,
            "valgrind --tool=callgrind --callgrind-out-file=/dev/null {program} {kind} {times}"
        );
        let report = run.quiet().ignore_stdout().read_stderr()?;
        let line = report
            .lines()
            .find_map(|line| line.split_once("Collected :"))
            .context("no count from callgrind")?;
        *total = line.1.trim().parse().context("a count")?;
    }
    Ok((total[1] - total[0]) / (TIMES[1] - TIMES[0]))
}

/// Reads a baseline: the compiler, and the count of each kind.
fn read(text: &str) -> anyhow::Result<(String, BTreeMap<String, u64>)> {
    let mut compiler = String::new();
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("compiler", version)) => compiler = version.to_owned(),
            Some((kind, count)) => {
                counts.insert(
                    kind.to_owned(),
                    count.parse().with_context(|| line.to_owned())?,
                );
            }
            None => bail!("a line of {BASELINE} that says nothing: {line:?}"),
        }
    }
    Ok((compiler, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read() {
        let (compiler, counts) =
            read("# why\ncompiler rustc 1.2.3\nread 100\n").expect("a baseline");
        assert_eq!((compiler.as_str(), counts["read"]), ("rustc 1.2.3", 100));
        assert!(read("read many").is_err());
        assert!(read("read").is_err());
    }
}
