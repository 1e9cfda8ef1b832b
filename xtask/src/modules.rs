//! The dependencies between the files of each crate, which must not form a circle.

mod graph;
mod imports;
mod macro_paths;
mod resolve;
mod tree;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use cargo_metadata::{MetadataCommand, Package, TargetKind};
use xshell::Shell;

use self::{graph::Graph, imports::References, tree::Tree};

/// Its programs and helpers are tests.
const UNCHECKED: &str = "integration-tests";

/// Prints which file refers to which, crate by crate.
pub(crate) fn run(sh: &Shell, only: Option<&str>) -> anyhow::Result<()> {
    let crates = read(sh)?;
    if let Some(only) = only
        && !crates.iter().any(|target| target.name == only)
    {
        let names: Vec<_> = crates.iter().map(|target| target.name.as_str()).collect();
        bail!("no crate {only}: expected one of {}", names.join(", "));
    }
    for target in crates
        .iter()
        .filter(|target| only.is_none_or(|only| target.name == only))
    {
        print!("{}", target.layers());
    }
    Ok(())
}

/// Fails if files of a crate depend on each other in a circle.
pub(crate) fn check(sh: &Shell) -> anyhow::Result<()> {
    let mut crates = read(sh)?;
    crates.retain(|target| target.package != UNCHECKED);
    let mut count = 0;
    for target in &crates {
        let (found, report) = target.circles();
        count += found;
        print!("{report}");
    }
    if count > 0 {
        bail!("{count} circles between files; import from a file that does not import this one");
    }
    println!("no circles between the files of {} crates", crates.len());
    Ok(())
}

/// The files of a crate and what they refer to.
struct Crate {
    package: String,
    name: String,
    /// Where the root is, from the root of the workspace; the paths of files are relative to it.
    folder: PathBuf,
    references: References,
}

impl Crate {
    fn graph(&self) -> Graph<PathBuf> {
        let edges = self
            .references
            .iter()
            .map(|(from, to)| (from.clone(), to.keys().cloned().collect()));
        Graph(edges.collect())
    }

    /// The files by layer, each with the files that it refers to.
    fn layers(&self) -> String {
        let graph = self.graph();
        let imports: usize = self.references.values().map(BTreeMap::len).sum();
        let circles = graph.circles().len();
        let mut text = format!(
            "{}: {} files, {imports} imports, {circles} circles\n",
            self.name,
            self.references.len()
        );
        for (number, files) in graph.layers().iter().enumerate() {
            text += &format!("  layer {number}\n");
            for file in files {
                let to: Vec<_> = self.references[file].keys().map(|to| name(to)).collect();
                let arrow = if to.is_empty() { "" } else { " -> " };
                text += &format!("    {}{arrow}{}\n", name(file), to.join(", "));
            }
        }
        text
    }

    /// How many circles there are, and each with the lines that make it.
    fn circles(&self) -> (usize, String) {
        let circles = self.graph().circles();
        let mut text = String::new();
        for circle in &circles {
            let names: Vec<_> = circle
                .iter()
                .chain(circle.first())
                .map(|file| name(file))
                .collect();
            text += &format!("{}: {}\n", self.name, names.join(" -> "));
            for (from, to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                let reference = &self.references[from][to];
                let file = self.folder.join(from);
                text += &format!(
                    "    {}:{}: {}\n",
                    name(&file),
                    reference.line,
                    reference.path
                );
            }
        }
        (circles.len(), text)
    }
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

/// Reads the libraries and programs of the workspace.
fn read(sh: &Shell) -> anyhow::Result<Vec<Crate>> {
    let metadata = MetadataCommand::new()
        .current_dir(sh.current_dir())
        .no_deps()
        .exec()?;
    let mut crates = Vec::new();
    for package in &metadata.packages {
        crates.append(&mut read_package(
            package,
            metadata.workspace_root.as_std_path(),
        )?);
    }
    if crates.is_empty() {
        bail!("the workspace has no crates");
    }
    Ok(crates)
}

fn read_package(package: &Package, workspace: &Path) -> anyhow::Result<Vec<Crate>> {
    let mut crates = Vec::new();
    for target in &package.targets {
        let is_library = target.kind.contains(&TargetKind::Lib);
        if !is_library && !target.kind.contains(&TargetKind::Bin) {
            continue;
        }
        let root = target.src_path.as_std_path();
        let folder = root.parent().context("a source file is in a folder")?;
        let read_file = |path: &Path| std::fs::read_to_string(folder.join(path)).ok();
        let file = root.file_name().context("a source file has a name")?;
        let tree = Tree::read(Path::new(file), &read_file)
            .with_context(|| format!("in {}", package.name))?;
        let name = if is_library {
            package.name.to_string()
        } else {
            format!("{} ({})", package.name, target.name)
        };
        crates.push(Crate {
            package: package.name.to_string(),
            name,
            folder: folder.strip_prefix(workspace).unwrap_or(folder).to_owned(),
            references: imports::references(&tree),
        });
    }
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(files: &[(&str, &str)]) -> Crate {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let tree = Tree::read(Path::new("lib.rs"), &read).expect("a crate");
        Crate {
            package: "example".to_owned(),
            name: "example".to_owned(),
            folder: PathBuf::from("src"),
            references: imports::references(&tree),
        }
    }

    #[test]
    fn a_circle_is_printed_with_its_lines() {
        let example = example(&[
            ("lib.rs", "mod a; mod b; mod c; pub use c::C;"),
            ("a.rs", "\nuse crate::b::B;\npub struct A;"),
            ("b.rs", "pub struct B;\n\nfn f(_: crate::C) {}"),
            ("c.rs", "pub struct C;\nuse super::a::A;"),
        ]);
        let (count, text) = example.circles();
        assert_eq!(count, 1);
        assert_eq!(
            text,
            "example: a.rs -> b.rs -> c.rs -> a.rs\n    \
             src/a.rs:2: crate::b::B\n    \
             src/b.rs:3: crate::C\n    \
             src/c.rs:2: super::a::A\n"
        );
    }

    #[test]
    fn layers_are_printed_from_the_bottom() {
        let example = example(&[
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "pub struct B;"),
        ]);
        assert_eq!(
            example.layers(),
            "example: 3 files, 2 imports, 0 circles\n  \
             layer 0\n    b.rs\n  layer 1\n    a.rs -> b.rs\n  layer 2\n    lib.rs -> a.rs\n"
        );
        assert_eq!(example.circles(), (0, String::new()));
    }
}
