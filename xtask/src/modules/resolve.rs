//! Resolves paths to the files that define what they name, through imports and re-exports.

use std::{collections::BTreeSet, path::PathBuf};

use super::tree::{Definition, ModuleId, Tree};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Module(ModuleId),
    Item(PathBuf),
}

/// Names that are being looked up, to end at imports that import themselves.
type Pending = BTreeSet<(ModuleId, String)>;

/// Resolves a path as seen from a module; empty if it leads out of the crate.
pub(super) fn resolve(tree: &Tree, module: ModuleId, path: &[String]) -> BTreeSet<Target> {
    resolve_from(tree, module, path, &mut Pending::new())
}

fn resolve_from(
    tree: &Tree,
    module: ModuleId,
    path: &[String],
    pending: &mut Pending,
) -> BTreeSet<Target> {
    let mut rest = path.iter();
    let mut targets = match rest.next().map(String::as_str) {
        None => return BTreeSet::new(),
        Some("crate") => BTreeSet::from([Target::Module(0)]),
        Some("self") => BTreeSet::from([Target::Module(module)]),
        Some("super") => {
            let parent = tree.modules[module].parent.unwrap_or(0);
            let mut at = parent;
            while rest.as_slice().first().is_some_and(|name| name == "super") {
                rest.next();
                at = tree.modules[at].parent.unwrap_or(0);
            }
            BTreeSet::from([Target::Module(at)])
        }
        Some(name) => look_up(tree, module, name, pending),
    };
    for name in rest {
        targets = targets
            .into_iter()
            .flat_map(|target| match target {
                // a variant or an associated item
                Target::Item(file) => BTreeSet::from([Target::Item(file)]),
                Target::Module(id) => {
                    let found = look_up(tree, id, name, pending);
                    if found.is_empty() && !is_imported(tree, id, name) {
                        // a name that a macro makes is taken for the module's own
                        BTreeSet::from([Target::Item(tree.modules[id].file.clone())])
                    } else {
                        found
                    }
                }
            })
            .collect();
    }
    targets
}

fn is_imported(tree: &Tree, module: ModuleId, name: &str) -> bool {
    tree.modules[module].names.contains_key(name)
}

/// Finds what a name stands for in a module, through its imports.
fn look_up(tree: &Tree, module: ModuleId, name: &str, pending: &mut Pending) -> BTreeSet<Target> {
    if !pending.insert((module, name.to_owned())) {
        return BTreeSet::new();
    }
    let mut targets = BTreeSet::new();
    match tree.modules[module].names.get(name) {
        Some(definitions) => {
            for definition in definitions {
                match definition {
                    Definition::Module(id) => {
                        targets.insert(Target::Module(*id));
                    }
                    Definition::Item(file) => {
                        targets.insert(Target::Item(file.clone()));
                    }
                    Definition::Import(path) => {
                        targets.extend(resolve_from(tree, module, path, pending));
                    }
                }
            }
        }
        None => {
            for glob in &tree.modules[module].globs {
                for target in resolve_from(tree, module, glob, pending) {
                    if let Target::Module(id) = target {
                        targets.extend(look_up(tree, id, name, pending));
                    }
                }
            }
        }
    }
    pending.remove(&(module, name.to_owned()));
    targets
}
