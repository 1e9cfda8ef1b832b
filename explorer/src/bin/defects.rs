//! Shows that the explorer catches defects: puts each of `explorer/defects` into a copy of
//! session-core, builds it, and explores until a promise is broken.
//!
//! ```text
//! cargo xtask explore --defects [NAME…]
//! cargo run --release -p explorer --bin defects [-- NAME…]
//! ```
//!
//! A file has a title, the line `explore: users` if the parts about the sessions of a user suffice,
//! or `explore: near` if those with near caches do, and one or more replacements: `--- FILE`, the
//! text, `+++`, the new text, `===`. The text must occur exactly once in the file.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail, ensure};

/// One defect.
struct Defect {
    name: String,
    title: String,
    /// The option of the explorer that selects the parts that suffice.
    only: Option<&'static str>,
    replacements: Vec<Replacement>,
}

struct Replacement {
    file: String,
    old: String,
    new: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let wanted: Vec<String> = env::args().skip(1).collect();
    let mut defects = read_all(&root)?;
    for name in &wanted {
        let known = defects.iter().any(|defect| defect.name == *name);
        ensure!(known, "there is no defect called {name}");
    }
    defects.retain(|defect| wanted.is_empty() || wanted.contains(&defect.name));
    // all are checked before the first is built
    check(&root, &defects)?;
    let copy = root.join("target/defects/tree");
    prepare(&root, &copy)?;
    println!("| defect | found by | after histories |");
    println!("|---|---|---|");
    let mut all = true;
    for defect in &defects {
        let found = explore(&root, &copy, defect).with_context(|| defect.name.clone())?;
        all &= !found.starts_with("NOT FOUND");
        println!("| {} | {found} |", defect.title);
    }
    Ok(all)
}

/// Reads all defects, sorted by name.
fn read_all(root: &Path) -> anyhow::Result<Vec<Defect>> {
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("explorer/defects"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

/// Makes sure that each defect can be put into the present code.
fn check(root: &Path, defects: &[Defect]) -> anyhow::Result<()> {
    for defect in defects {
        for replacement in &defect.replacements {
            replacement
                .apply(root, root)
                .with_context(|| defect.name.clone())?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Defect> {
    let text = fs::read_to_string(file)?;
    let stem = file.file_stem().context("a file has a name")?;
    let mut defect = Defect {
        name: stem.to_string_lossy().into_owned(),
        title: text.lines().next().unwrap_or_default().to_owned(),
        only: match text.lines().nth(1) {
            Some("explore: users") => Some("--users"),
            Some("explore: near") => Some("--near"),
            _ => None,
        },
        replacements: Vec::new(),
    };
    let mut rest = text.as_str();
    while let Some((_, block)) = rest.split_once("\n--- ") {
        let parts = block.split_once('\n').and_then(|(file, block)| {
            let (old, block) = block.split_once("+++\n")?;
            let (new, rest) = block.split_once("===\n")?;
            Some((file, old, new, rest))
        });
        let (file, old, new, after) =
            parts.with_context(|| format!("{} has an incomplete replacement", defect.name))?;
        defect.replacements.push(Replacement {
            file: file.into(),
            old: old.into(),
            new: new.into(),
        });
        rest = after;
    }
    ensure!(
        !defect.replacements.is_empty(),
        "{} replaces nothing",
        defect.name
    );
    Ok(defect)
}

impl Replacement {
    /// Returns the file of a tree with the replacement, on top of what another tree has.
    fn apply(&self, root: &Path, current: &Path) -> anyhow::Result<String> {
        let original = fs::read_to_string(root.join(&self.file))
            .with_context(|| format!("{} cannot be read", self.file))?;
        match original.matches(&self.old).count() {
            1 => {}
            count => bail!(
                "the text occurs {count} times in {}: {}",
                self.file,
                self.old.trim()
            ),
        }
        let text = fs::read_to_string(current.join(&self.file))?;
        Ok(text.replacen(&self.old, &self.new, 1))
    }
}

/// Copies what the explorer is built from.
fn prepare(root: &Path, copy: &Path) -> anyhow::Result<()> {
    for folder in ["session-core", "explorer"] {
        synchronize(&root.join(folder), &copy.join(folder))?;
    }
    for file in ["Cargo.lock", "README.md"] {
        fs::copy(root.join(file), copy.join(file))?;
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let (before, rest) = manifest
        .split_once("members = [")
        .context("the workspace has members")?;
    let (_, after) = rest.split_once(']').context("the members end")?;
    let members = "members = [\"session-core\", \"explorer\"]";
    write(
        &copy.join("Cargo.toml"),
        &format!("{before}{members}{after}"),
    )
}

/// Makes a folder equal to another; files that are equal keep their times, so that they are not
/// built again.
fn synchronize(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            synchronize(&entry.path(), &target)?;
            continue;
        }
        let bytes = fs::read(entry.path())?;
        if fs::read(&target).ok().as_ref() != Some(&bytes) {
            fs::write(&target, bytes)?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::write(file, text)?;
    }
    Ok(())
}

/// Builds the copy with a defect and explores it. Returns what was broken, and after how many
/// histories.
fn explore(root: &Path, copy: &Path, defect: &Defect) -> anyhow::Result<String> {
    synchronize(&root.join("session-core"), &copy.join("session-core"))?;
    for replacement in &defect.replacements {
        let text = replacement.apply(root, copy)?;
        write(&copy.join(&replacement.file), &text)?;
    }
    let target = root.join("target/defects/target");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--offline",
            "--quiet",
            "-p",
            "explorer",
            "--bin",
            "explorer",
        ])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &target)
        // what is saved by a better one is lost by waiting for it
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
        .env("RUSTFLAGS", "--cap-lints=allow")
        .status()?;
    ensure!(built.success(), "it does not compile");
    let output = Command::new(target.join("release/explorer"))
        .args(["--until-failure", "--summary"])
        .args(defect.only)
        .output()?;
    let line = String::from_utf8_lossy(&output.stdout);
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_fits_the_present_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let defects = read_all(&root).expect("the defects");
        check(&root, &defects).expect("a defect that fits");
    }
}
