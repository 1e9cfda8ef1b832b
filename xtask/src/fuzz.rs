//! Coverage-guided fuzzing of what parses untrusted bytes, with the targets of the workspace under
//! `fuzz`.

use std::path::Path;

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

use crate::programs;

/// Runs one target or all of them, for so many seconds each.
///
/// New inputs are kept in `fuzz/target/corpus`; with `keep`, those that add coverage are copied to
/// the committed corpus.
pub(crate) fn run(sh: &Shell, only: Option<&str>, seconds: u64, keep: bool) -> anyhow::Result<()> {
    let targets = targets(sh)?;
    let selected = select(&targets, only)?;
    let toolchains = cmd!(sh, "rustup toolchain list").quiet().read()?;
    let nightly = nightly(&toolchains)?;
    let bin = programs::provide_cargo_fuzz(sh)?;
    // the toolchain that builds this program must not build the targets
    let _cargo = sh.push_env("CARGO", "cargo");
    let seconds = format!("-max_total_time={seconds}");
    for target in selected {
        let [found, corpus, seeds] = ["fuzz/target/corpus", "fuzz/corpus", "fuzz/seeds"]
            .map(|folder| Path::new(folder).join(target));
        for folder in [&found, &corpus, &seeds] {
            sh.create_dir(folder)?;
        }
        // libFuzzer writes to the first folder and only reads the others
        cmd!(
            sh,
            "rustup run {nightly} {bin} fuzz run {target} {found} {corpus} {seeds} -- {seconds} -print_final_stats=1"
        )
        .run()
        .with_context(|| {
            format!("{target} fails on an input in fuzz/artifacts/{target}; copy it to fuzz/seeds/{target}")
        })?;
        let before = sh.read_dir(&corpus)?.len();
        if keep {
            // only inputs that reach new code, not those that run the same code more often: the
            // corpus is committed
            cmd!(
                sh,
                "rustup run {nightly} {bin} fuzz run {target} {corpus} {found} -- -merge=1 -use_counters=0"
            )
            .run()?;
        }
        let added = sh.read_dir(&corpus)?.len() - before;
        println!("{target}: {added} inputs added to {before}");
    }
    Ok(())
}

/// The names of all targets.
fn targets(sh: &Shell) -> anyhow::Result<Vec<String>> {
    let files = sh
        .read_dir("fuzz/fuzz_targets")
        .context("no fuzz targets")?;
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str());
    Ok(names.map(str::to_owned).collect())
}

fn select<'a>(targets: &'a [String], only: Option<&str>) -> anyhow::Result<Vec<&'a str>> {
    let selected: Vec<_> = targets
        .iter()
        .map(String::as_str)
        .filter(|target| only.is_none_or(|only| only == *target))
        .collect();
    if selected.is_empty() {
        bail!("no such target: expected one of {}", targets.join(", "));
    }
    Ok(selected)
}

/// The first nightly toolchain in a list of `rustup`.
fn nightly(toolchains: &str) -> anyhow::Result<&str> {
    toolchains
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| name.starts_with("nightly"))
        .context("fuzzing needs a nightly toolchain: rustup toolchain install nightly")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_toolchain_is_found() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-2026-05-19\n";
        assert_eq!(nightly(list).expect("one"), "nightly-2026-05-19");
        assert!(nightly("stable-x86_64-unknown-linux-gnu (default)\n").is_err());
        assert!(nightly("").is_err());
    }

    #[test]
    fn one_target_or_all_are_selected() {
        let targets = ["a".to_owned(), "b".to_owned()];
        assert_eq!(select(&targets, None).expect("all"), ["a", "b"]);
        assert_eq!(select(&targets, Some("b")).expect("one"), ["b"]);
        let error = select(&targets, Some("c")).expect_err("no such target");
        assert!(error.to_string().contains("a, b"), "{error}");
        assert!(select(&[], None).is_err());
    }
}
