//! Instructions per request, counted by callgrind and compared with a committed baseline.
//!
//! Instruction counts do not depend on the load of the machine, so a change of a few per cent is
//! visible. They do depend on the compiler: a baseline of another compiler is printed and not
//! enforced.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

use crate::programs;

const BASELINE: &str = "xtask/profile-baseline.txt";
const KINDS: [&str; 17] = [
    "anonymous",
    "untouched",
    "load",
    "read",
    "touch",
    "write",
    "renew",
    "create",
    "login",
    "logout",
    "near-read",
    "redis-load",
    "redis-read",
    "redis-touch",
    "redis-write",
    "redis-login",
    "redis-logout",
];
/// How much more a request may cost than in the baseline, in per cent.
const TOLERANCE: f64 = 3.0;
/// Each kind is counted for two numbers of requests; the difference excludes start-up.
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
    let (baseline_compiler, baseline) = parse(&sh.read_file(BASELINE)?)?;
    println!(
        "{:<14}{:>14}{:>14}{:>9}",
        "request", "instructions", "baseline", "change"
    );
    let (mut worse, mut missing) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let now = counts[kind];
        let Some(&before) = baseline.get(kind) else {
            println!("{kind:<14}{now:>14}");
            missing.push(kind);
            continue;
        };
        let change = (now as f64 / before as f64 - 1.0) * 100.0;
        println!("{kind:<14}{now:>14}{before:>14}{change:>8.1}%");
        if change > TOLERANCE {
            worse.push(kind);
        }
    }
    if bless {
        let mut text = format!(
            "# instructions per request, written by `cargo xtask profile --bless`\ncompiler {compiler}\n"
        );
        for kind in KINDS {
            writeln!(text, "{kind} {}", counts[kind])?;
        }
        sh.write_file(BASELINE, text)?;
    } else if !missing.is_empty() {
        bail!(
            "not in {BASELINE}: {}; run `cargo xtask profile --bless`",
            missing.join(", ")
        );
    } else if baseline_compiler != compiler {
        println!("the baseline is from {baseline_compiler} and this is {compiler}: not enforced");
    } else if !worse.is_empty() {
        bail!(
            "more than {TOLERANCE} % worse than {BASELINE}: {}; fix it, or explain it in the commit and run `cargo xtask profile --bless`",
            worse.join(", ")
        );
    }
    Ok(())
}

/// Instructions per request of this kind.
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
            .context("callgrind printed no count")?;
        *total = line.1.trim().parse().context("invalid count")?;
    }
    Ok((total[1] - total[0]) / (TIMES[1] - TIMES[0]))
}

/// Parses a baseline into the compiler and the count of each kind.
fn parse(text: &str) -> anyhow::Result<(String, BTreeMap<String, u64>)> {
    let mut compiler = String::new();
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("compiler", version)) => compiler = version.to_owned(),
            Some((kind, count)) => {
                let count = count
                    .parse()
                    .with_context(|| format!("invalid count in {BASELINE}: {line:?}"))?;
                counts.insert(kind.to_owned(), count);
            }
            None => bail!("invalid line in {BASELINE}: {line:?}"),
        }
    }
    Ok((compiler, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_parsed() {
        let (compiler, counts) =
            parse("# why\ncompiler rustc 1.2.3\nread 100\n").expect("a baseline");
        assert_eq!((compiler.as_str(), counts["read"]), ("rustc 1.2.3", 100));
        assert!(parse("read many").is_err());
        assert!(parse("read").is_err());
    }
}
