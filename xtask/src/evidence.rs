//! Whether the tests and commands exist that a page of the documentation names as its evidence.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;
use xshell::Shell;

use crate::soak::SCENARIOS;

/// The page, and its section whose names are checked.
const PAGE: &str = "docs/OPERATIONS.md";
const SECTION: &str = "## Evidence\n";

pub(crate) fn check(sh: &Shell) -> anyhow::Result<()> {
    let page = sh.read_file(PAGE)?;
    let names = names(&page).with_context(|| format!("{PAGE} has no section {SECTION:?}"))?;
    let tests = tests(sh)?;
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !exists(name, &tests))
        .copied()
        .collect();
    if !missing.is_empty() {
        bail!("{PAGE} names what does not exist: {}", missing.join(", "));
    }
    Ok(())
}

/// What stands in backticks in the section.
fn names(page: &str) -> Option<Vec<&str>> {
    let (_, section) = page.split_once(SECTION)?;
    let section = section.split("\n## ").next()?;
    Some(section.split('`').skip(1).step_by(2).collect())
}

/// Whether this is the name of a test, or a command of cargo whose scenario exists.
fn exists(name: &str, tests: &BTreeSet<String>) -> bool {
    match name.strip_prefix("cargo xtask soak ") {
        Some(scenario) => SCENARIOS.contains(&scenario.split(' ').next().unwrap_or_default()),
        None => name.starts_with("cargo ") || tests.contains(name),
    }
}

/// The names of all functions of the workspace that are tests, or called by one.
fn tests(sh: &Shell) -> anyhow::Result<BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .current_dir(sh.current_dir())
        .no_deps()
        .exec()?;
    let mut found = BTreeSet::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a folder")?;
        for part in ["src", "tests"] {
            let folder = folder.join(part);
            if folder.is_dir() {
                collect(folder.as_std_path(), &mut found)?;
            }
        }
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            found.extend(functions(&text).map(str::to_owned));
        }
    }
    Ok(())
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    let names = source.split("fn ").skip(1);
    names.filter_map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_section() {
        let page = "`other`\n## Evidence\n\n| a | `one_test`, `cargo xtask ci` |\n\n## Next\n`x`";
        assert_eq!(names(page), Some(vec!["one_test", "cargo xtask ci"]));
        assert_eq!(names("## Evidences"), None);
    }

    #[test]
    fn a_test_or_a_command_exists() {
        let source = "#[test]\nfn one_test() {}\npub(crate) async fn other<T>(_: T) {}";
        let tests: BTreeSet<_> = functions(source).map(str::to_owned).collect();
        for name in ["one_test", "other", "cargo xtask soak outage --outages 3"] {
            assert!(exists(name, &tests), "{name}");
        }
        for name in ["no_test", "one", "cargo xtask soak nothing"] {
            assert!(!exists(name, &tests), "{name}");
        }
    }
}
