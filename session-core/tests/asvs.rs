//! The tests that `docs/ASVS.md` names exist.

use std::{collections::BTreeSet, fs, path::Path};

const DOCUMENT: &str = include_str!("../../docs/ASVS.md");

/// The requirements of chapter V7, by section: how many each has.
const REQUIREMENTS: [(u32, u32); 6] = [(1, 3), (2, 4), (3, 2), (4, 5), (5, 3), (6, 2)];

/// The rows of the tables: the cells of each.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| **"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn every_requirement_has_one_row() {
    let documented: Vec<_> = rows()
        .iter()
        .map(|cells| {
            let number = cells[0].trim_start_matches('*').split('*').next();
            number.expect("a number").to_owned()
        })
        .collect();
    let expected: Vec<_> = REQUIREMENTS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |n| format!("7.{section}.{n}")))
        .collect();
    assert_eq!(documented, expected);
    assert!(rows().iter().all(|cells| cells.len() == 4));
}

#[test]
fn every_test_that_is_named_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut checked = BTreeSet::new();
    for cells in rows() {
        let names: Vec<_> = cells[3]
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .collect();
        for name in &names {
            let (file, function) = name.split_once("::").expect("a file and a function");
            let source = fs::read_to_string(workspace.join(file));
            let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_there = source.contains(&format!("fn {function}("));
            assert!(is_there, "{}: no {function} in {file}", cells[0]);
            checked.insert(*name);
        }
    }
    assert!(checked.len() > 20, "{checked:?}");
}
