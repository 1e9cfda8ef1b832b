//! The list of mutants that survive for a reason.

use std::{collections::BTreeMap, fmt};

use anyhow::bail;
use serde::Deserialize;

/// Identifies a mutant by its change and its source line, because line numbers move.
///
/// A line can have several mutants with the same change, as `a == b && c == d` has. Each needs an
/// entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `file: change`.
    pub(super) mutant: String,
    /// The line that is changed, trimmed.
    pub(super) source: String,
}

impl fmt::Display for Key {
    /// As it stands in the list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let string = |text: &str| toml::Value::String(text.to_owned());
        write!(
            f,
            "mutant = {}\nsource = {}",
            string(&self.mutant),
            string(&self.source)
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    accepted: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    mutant: String,
    source: String,
    reason: String,
}

/// How many survivors of each key have a reason.
#[derive(Debug)]
pub(super) struct Accepted(BTreeMap<Key, usize>);

/// How the survivors differ from the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) without_reason: Vec<Key>,
    pub(super) without_survivor: Vec<Key>,
}

impl Accepted {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let list: List = toml::from_str(text)?;
        let mut accepted = BTreeMap::new();
        for entry in list.accepted {
            if entry.reason.trim().is_empty() {
                bail!("no reason: {}", entry.mutant);
            }
            let key = Key {
                mutant: entry.mutant,
                source: entry.source,
            };
            *accepted.entry(key).or_default() += 1;
        }
        Ok(Self(accepted))
    }

    /// Compares the list with the survivors of a run; mutants that the run left out may have
    /// survived or not.
    pub(super) fn compare(&self, survivors: &[Key], untested: &[Key]) -> Verdict {
        let mut open = self.0.clone();
        let mut without_reason = Vec::new();
        for survivor in survivors {
            if !take(&mut open, survivor) {
                without_reason.push(survivor.clone());
            }
        }
        for mutant in untested {
            take(&mut open, mutant);
        }
        let without_survivor = open
            .into_iter()
            .flat_map(|(key, count)| std::iter::repeat_n(key, count))
            .collect();
        Verdict {
            without_reason,
            without_survivor,
        }
    }
}

/// Uses up one entry of the list.
fn take(open: &mut BTreeMap<Key, usize>, key: &Key) -> bool {
    match open.get_mut(key) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            mutant: format!("{name}.rs: replace == with !="),
            source: "if a == \"b\" {".to_owned(),
        }
    }

    /// Names stand for keys.
    #[track_caller]
    fn assert_verdict(
        accepted: &[&str],
        survivors: &[&str],
        untested: &[&str],
        (without_reason, without_survivor): (&[&str], &[&str]),
    ) {
        let list: String = accepted
            .iter()
            .map(|name| format!("[[accepted]]\n{}\nreason = \"because\"\n", key(name)))
            .collect();
        let keys = |names: &[&str]| names.iter().map(|name| key(name)).collect::<Vec<_>>();
        let verdict = Accepted::parse(&list)
            .expect("a list")
            .compare(&keys(survivors), &keys(untested));
        let expected = Verdict {
            without_reason: keys(without_reason),
            without_survivor: keys(without_survivor),
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_survivor_needs_a_reason_and_a_reason_a_survivor() {
        assert_verdict(&[], &[], &[], (&[], &[]));
        assert_verdict(&["a"], &["a"], &[], (&[], &[]));
        assert_verdict(&["a"], &["b"], &[], (&["b"], &["a"]));
    }

    #[test]
    fn a_reason_is_for_one_survivor_only() {
        assert_verdict(&["a"], &["a", "a"], &[], (&["a"], &[]));
        assert_verdict(&["a", "a"], &["a"], &[], (&[], &["a"]));
    }

    #[test]
    fn a_reason_for_a_mutant_that_was_not_tested_stands() {
        assert_verdict(&["a", "b"], &["b"], &["a"], (&[], &[]));
        assert_verdict(&["a", "a"], &["a"], &["a"], (&[], &[]));
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        let list = format!("[[accepted]]\n{}\nreason = \" \"", key("a"));
        let error = Accepted::parse(&list).expect_err("no reason");
        assert!(error.to_string().contains("a.rs"), "{error}");
        assert!(Accepted::parse("[[accepted]]\nmutant = \"a\"").is_err());
    }
}
