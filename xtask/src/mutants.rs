//! Mutation testing: each small change to the decisions, the cookie parsers and the codecs must
//! make a test fail.
//!
//! `.cargo/mutants.toml` says which files are mutated and which tests run. A mutant that no test
//! notices needs a reason in `mutants-accepted.toml`. What a run has found is kept in
//! `target/mutants`, so that an interrupted run can be resumed.

mod accepted;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, bail};
use serde::Deserialize;
use xshell::{Shell, cmd};

use self::accepted::{Accepted, Key};
use crate::programs;

const ACCEPTED: &str = "mutants-accepted.toml";
const FOLDER: &str = "target/mutants";
/// The mutants that earlier runs have caught, each with its source line: after an edit the same
/// name may be that of another one.
const CAUGHT: &str = "target/mutants/caught.txt";

/// Which mutants are tested.
pub(crate) struct Selection {
    /// Every `count`th mutant, beginning with number `index`.
    pub(crate) shard: Option<Shard>,
    /// Only the mutants of files whose path ends like one of these, if there are any.
    pub(crate) files: Vec<String>,
    /// Whether the mutants that an earlier run has caught are left out.
    pub(crate) resume: bool,
}

/// A part of the mutants, written as `index/count` and counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    index: usize,
    count: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)))
            .filter(|(index, count)| index < count)
            .map(|(index, count)| Self { index, count })
            .ok_or_else(|| format!("expected index/count such as 0/4 or 3/4, found {text:?}"))
    }
}

/// A mutant as `cargo mutants --list --json` describes it.
#[derive(Clone, Debug, Deserialize)]
struct Mutant {
    /// `file:line:column: change`.
    name: String,
    file: String,
    span: Span,
}

#[derive(Clone, Debug, Deserialize)]
struct Span {
    start: Position,
}

#[derive(Clone, Debug, Deserialize)]
struct Position {
    line: usize,
}

impl Mutant {
    /// What identifies it after the lines of its file have moved.
    fn key(&self, sh: &Shell) -> anyhow::Result<Key> {
        let change = self.name.splitn(4, ':').nth(3).unwrap_or(&self.name);
        Ok(Key {
            mutant: format!("{}:{change}", self.file),
            source: self.source(sh)?,
        })
    }

    /// The line that is changed, trimmed.
    fn source(&self, sh: &Shell) -> anyhow::Result<String> {
        let text = sh.read_file(&self.file)?;
        let source = text.lines().nth(self.span.start.line.saturating_sub(1));
        Ok(source.unwrap_or_default().trim().to_owned())
    }
}

pub(crate) fn run(sh: &Shell, selection: &Selection) -> anyhow::Result<()> {
    let bin = programs::provide_cargo_mutants(sh)?;
    let accepted = Accepted::parse(&sh.read_file(ACCEPTED)?).context(ACCEPTED)?;
    let all = list(sh, &bin)?;
    let selected: Vec<_> = select(&all, selection);
    if selected.is_empty() {
        bail!("no mutants selected");
    }
    sh.create_dir(FOLDER)?;
    let mut caught = read_caught(sh, &all)?;
    // an interrupted run has left its results there
    caught.append(&mut results(sh, &CAUGHT_LISTS)?);
    if !selection.resume {
        caught.retain(|name| selected.iter().all(|mutant| mutant.name != *name));
    }
    write_caught(sh, &all, &caught)?;
    let todo: Vec<_> = selected
        .iter()
        .filter(|mutant| !caught.contains(&mutant.name))
        .collect();
    println!(
        "{} mutants, {} selected, {} caught before",
        all.len(),
        selected.len(),
        selected.len() - todo.len()
    );
    let mut missed = BTreeSet::new();
    if !todo.is_empty() {
        test(sh, &bin, &all, &todo)?;
        caught.append(&mut results(sh, &CAUGHT_LISTS)?);
        write_caught(sh, &all, &caught)?;
        missed = results(sh, &["missed.txt"])?;
    }
    report(sh, &all, &selected, &caught, &missed, &accepted)
}

/// The tests of stores wait for expiries and exercise other files. The first failure ends the
/// others, some of which may wait for a request that the mutant does not send.
const NEXTEST_ARGUMENTS: [&str; 2] = [
    "--filterset=not test(/^(contract|memory)::/)",
    "--max-fail=1:immediate",
];
const CARGO_TEST_ARGUMENTS: [&str; 3] = ["--", "--skip=contract::", "--skip=memory::"];

/// The lists of `cargo mutants` whose mutants need no test: noticed by a test, not compiled, or
/// never finished.
const CAUGHT_LISTS: [&str; 3] = ["caught.txt", "unviable.txt", "timeout.txt"];

fn list(sh: &Shell, bin: &Path) -> anyhow::Result<Vec<Mutant>> {
    let list = cmd!(sh, "{bin} mutants --list --json").quiet().read()?;
    serde_json::from_str(&list).context("unexpected output of cargo mutants --list --json")
}

fn select<'a>(all: &'a [Mutant], selection: &Selection) -> Vec<&'a Mutant> {
    all.iter()
        .filter(|mutant| {
            let path = Path::new(&mutant.file);
            selection.files.is_empty() || selection.files.iter().any(|file| path.ends_with(file))
        })
        .enumerate()
        .filter(|(number, _)| {
            let shard = selection.shard;
            shard.is_none_or(|shard| number % shard.count == shard.index)
        })
        .map(|(_, mutant)| mutant)
        .collect()
}

/// Runs the tests on these mutants.
fn test(sh: &Shell, bin: &Path, all: &[Mutant], todo: &[&&Mutant]) -> anyhow::Result<()> {
    // `--iterate` leaves out the names in this list, and is the only filter that covers all kinds
    // of mutants
    let todo: BTreeSet<_> = todo.iter().map(|mutant| mutant.name.as_str()).collect();
    let skipped = all
        .iter()
        .map(|mutant| mutant.name.clone())
        .filter(|name| !todo.contains(name.as_str()))
        .collect();
    sh.remove_path(results_folder())?;
    write_lines(sh, results_folder().join("previously_caught.txt"), &skipped)?;
    // artifacts of dependencies are kept between runs, but those of the last mutant must not pass
    // for unmutated ones
    let target = sh.current_dir().join(FOLDER).join("build");
    let _target = sh.push_env("CARGO_TARGET_DIR", &target);
    cmd!(sh, "cargo clean --package session-core").run()?;
    let (tool, arguments) = if programs::is_present("cargo-nextest") {
        ("nextest", NEXTEST_ARGUMENTS.as_slice())
    } else {
        ("cargo", CARGO_TEST_ARGUMENTS.as_slice())
    };
    let arguments = arguments
        .iter()
        .map(|arg| format!("--cargo-test-arg={arg}"));
    let command = cmd!(
        sh,
        "{bin} mutants --iterate --jobs 1 --test-tool {tool} --colors never --output {FOLDER}"
    )
    .args(arguments);
    println!("$ {command}");
    // the tests are slow without optimization, and nobody debugs a mutant
    let status = process::Command::from(command)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("CARGO_INCREMENTAL", "1")
        // a failure is enough, the smallest input that causes it is of no interest
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .status()?;
    match status.code() {
        // all caught, some missed, some timed out
        Some(0 | 2 | 3) => Ok(()),
        Some(4) => bail!("tests fail without a mutation"),
        _ => bail!("cargo mutants failed: {status}; `--resume` goes on from here"),
    }
}

/// Where `cargo mutants` writes the results of a run.
fn results_folder() -> PathBuf {
    Path::new(FOLDER).join("mutants.out")
}

/// The names in these lists of the last run.
fn results(sh: &Shell, lists: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for list in lists {
        names.append(&mut lines(sh, results_folder().join(list))?);
    }
    Ok(names)
}

/// The names of the mutants that earlier runs have caught.
fn read_caught(sh: &Shell, all: &[Mutant]) -> anyhow::Result<BTreeSet<String>> {
    let caught = lines(sh, CAUGHT)?;
    let mut names = BTreeSet::new();
    for mutant in all {
        if caught.contains(&caught_line(sh, mutant)?) {
            names.insert(mutant.name.clone());
        }
    }
    Ok(names)
}

fn write_caught(sh: &Shell, all: &[Mutant], names: &BTreeSet<String>) -> anyhow::Result<()> {
    let caught = all.iter().filter(|mutant| names.contains(&mutant.name));
    let lines = caught.map(|mutant| caught_line(sh, mutant));
    write_lines(sh, CAUGHT, &lines.collect::<anyhow::Result<_>>()?)
}

fn caught_line(sh: &Shell, mutant: &Mutant) -> anyhow::Result<String> {
    Ok(format!("{}\t{}", mutant.name, mutant.source(sh)?))
}

fn lines(sh: &Shell, file: impl AsRef<Path>) -> anyhow::Result<BTreeSet<String>> {
    if !sh.path_exists(&file) {
        return Ok(BTreeSet::new());
    }
    Ok(sh.read_file(file)?.lines().map(str::to_owned).collect())
}

fn write_lines(sh: &Shell, file: impl AsRef<Path>, lines: &BTreeSet<String>) -> anyhow::Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Ok(sh.write_file(file, text)?)
}

/// Compares the survivors with the list of accepted ones.
fn report(
    sh: &Shell,
    all: &[Mutant],
    selected: &[&Mutant],
    caught: &BTreeSet<String>,
    missed: &BTreeSet<String>,
    accepted: &Accepted,
) -> anyhow::Result<()> {
    let keys = |mutants: &mut dyn Iterator<Item = &Mutant>| {
        mutants
            .map(|mutant| mutant.key(sh))
            .collect::<anyhow::Result<Vec<_>>>()
    };
    let tested = |mutant: &Mutant| caught.contains(&mutant.name) || missed.contains(&mutant.name);
    let untested = keys(&mut all.iter().filter(|mutant| !tested(mutant)))?;
    let survivors = keys(&mut all.iter().filter(|mutant| missed.contains(&mutant.name)))?;
    let not_run = selected.iter().filter(|mutant| !tested(mutant)).count();
    let verdict = accepted.compare(&survivors, &untested);
    println!(
        "{} mutants: {} caught, {} survived, {} of them accepted",
        selected.len(),
        selected.len() - survivors.len() - not_run,
        survivors.len(),
        survivors.len() - verdict.without_reason.len()
    );
    for survivor in &verdict.without_reason {
        println!("\n[[accepted]]\n{survivor}\nreason = \"\"");
    }
    for key in &verdict.without_survivor {
        println!("\nno survivor in {ACCEPTED}:\n{key}");
    }
    if not_run > 0 {
        bail!("{not_run} mutants were not tested; `--resume` goes on from here");
    }
    if !verdict.without_reason.is_empty() {
        bail!("survivors without a reason: write a test, or a reason in {ACCEPTED}");
    }
    if !verdict.without_survivor.is_empty() {
        bail!("reasons without a survivor: remove them from {ACCEPTED}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(file: &str, line: usize) -> Mutant {
        Mutant {
            name: format!("{file}:{line}:1: replace a with b in f"),
            file: file.to_owned(),
            span: Span {
                start: Position { line },
            },
        }
    }

    #[track_caller]
    fn assert_selected(shard: Option<&str>, files: &[&str], expected: &[usize]) {
        let all: Vec<_> = (1..=4)
            .map(|line| mutant("core/src/a.rs", line))
            .chain((5..=6).map(|line| mutant("core/src/ba.rs", line)))
            .collect();
        let selection = Selection {
            shard: shard.map(|shard| shard.parse().expect("a shard")),
            files: files.iter().map(|&file| file.to_owned()).collect(),
            resume: false,
        };
        let lines: Vec<_> = select(&all, &selection)
            .iter()
            .map(|mutant| mutant.span.start.line)
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_caught_mutant_is_known_by_its_name_and_its_source_line() {
        let sh = Shell::new().expect("a shell");
        let folder = sh.create_temp_dir().expect("a folder");
        sh.change_dir(folder.path());
        sh.create_dir(FOLDER).expect("a folder");
        let all = [mutant("a.rs", 1), mutant("a.rs", 2)];
        let name = |at: usize| BTreeSet::from([all[at].name.clone()]);
        sh.write_file("a.rs", "one\ntwo\n").expect("written");
        write_caught(&sh, &all, &name(1)).expect("written");
        assert_eq!(read_caught(&sh, &all).expect("read"), name(1));
        sh.write_file("a.rs", "one\n  two\n").expect("written");
        assert_eq!(read_caught(&sh, &all).expect("read"), name(1));
        sh.write_file("a.rs", "two\none\n").expect("written");
        assert_eq!(read_caught(&sh, &all).expect("read"), BTreeSet::new());
    }

    #[test]
    fn shards_divide_the_selected_mutants() {
        assert_selected(None, &[], &[1, 2, 3, 4, 5, 6]);
        assert_selected(Some("0/4"), &[], &[1, 5]);
        assert_selected(Some("3/4"), &[], &[4]);
        assert_selected(Some("1/2"), &["a.rs"], &[2, 4]);
    }

    #[test]
    fn a_file_is_selected_by_the_end_of_its_path() {
        assert_selected(None, &["a.rs"], &[1, 2, 3, 4]);
        assert_selected(None, &["core/src/ba.rs"], &[5, 6]);
        assert_selected(None, &["a.rs", "ba.rs"], &[1, 2, 3, 4, 5, 6]);
        assert_selected(None, &["c.rs"], &[]);
    }

    #[test]
    fn a_shard_is_less_than_their_number() {
        for text in ["4/4", "0/0", "1", "a/b", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
