//! The programs that commands start: found, or installed if that is possible without asking.

use std::{collections::BTreeSet, env, ffi::OsStr, path::PathBuf};

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

/// A program and the Debian package it comes in.
const PROGRAMS: &[(&str, &str)] = &[
    // the demo is tested in a real browser
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    // the Redis store is tested with real servers on loopback
    ("redis-server", "redis-server"),
    ("redis-sentinel", "redis-sentinel"),
    ("redis-cli", "redis-tools"),
    // several instances are tested behind the load balancer of the deployment
    ("haproxy", "haproxy"),
    // instructions are counted by callgrind
    ("valgrind", "valgrind"),
];

/// The programs that the bench starts.
const BENCH: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    // express-session is one of the peers
    ("node", "nodejs"),
    ("npm", "npm"),
    // the server gets a core of its own and ends with the harness
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Installs the programs that tests start, if they are missing.
pub(crate) fn provide(sh: &Shell) -> anyhow::Result<()> {
    install(sh, PROGRAMS)
}

/// Installs the programs that the bench starts, if they are missing.
pub(crate) fn provide_for_bench(sh: &Shell) -> anyhow::Result<()> {
    install(sh, BENCH)
}

/// The folder of subcommands of cargo that are not on the PATH.
const TOOLS: &str = "target/tools";

/// The program of `cargo mutants`.
pub(crate) fn provide_cargo_mutants(sh: &Shell) -> anyhow::Result<PathBuf> {
    provide_cargo_tool(sh, "cargo-mutants", "27.1.0")
}

/// The program of `cargo fuzz`.
pub(crate) fn provide_cargo_fuzz(sh: &Shell) -> anyhow::Result<PathBuf> {
    provide_cargo_tool(sh, "cargo-fuzz", "0.13.2")
}

/// Finds a subcommand of cargo, or installs it from crates.io under `target`.
fn provide_cargo_tool(sh: &Shell, name: &str, version: &str) -> anyhow::Result<PathBuf> {
    if let Some(program) = env::var_os("PATH").and_then(|path| find_on(&path, name)) {
        return Ok(program);
    }
    let root = sh.current_dir().join(TOOLS);
    let program = root.join("bin").join(name);
    if !program.is_file() {
        cmd!(
            sh,
            "cargo install --locked --root {root} --version {version} {name}"
        )
        .run()
        .with_context(|| format!("cannot install {name}"))?;
    }
    Ok(program)
}

fn install(sh: &Shell, programs: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let packages = missing(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.iter().copied().collect::<Vec<_>>().join(" ");
    if !is_present("apt-get") || !is_root(sh) {
        bail!(
            "missing programs, in the Debian packages {list}: install them and run this again\n\
             (on Debian, root gets them installed)"
        );
    }
    cmd!(sh, "apt-get update").run()?;
    let install = cmd!(
        sh,
        "apt-get install -y --no-install-recommends {packages...}"
    );
    install.env("DEBIAN_FRONTEND", "noninteractive").run()?;
    let packages = missing(programs);
    if !packages.is_empty() {
        bail!("installed {list}, but the programs of {packages:?} are not on the PATH");
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub(crate) fn is_present(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| find_on(&path, program).is_some())
}

/// The packages of the programs that are not on the PATH.
fn missing(programs: &[(&str, &'static str)]) -> BTreeSet<&'static str> {
    programs
        .iter()
        .filter(|(program, _)| !is_present(program))
        .map(|(_, package)| *package)
        .collect()
}

fn find_on(path: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|id| id == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_any_folder_of_the_path() {
        let test = env::current_exe().expect("a test runs from a file");
        let name = test
            .file_name()
            .and_then(OsStr::to_str)
            .expect("a name of letters");
        let folder = test.parent().expect("a file is in a folder");
        let path = env::join_paths(["/nowhere".as_ref(), folder]).expect("a path");
        assert_eq!(find_on(&path, name).as_ref(), Some(&test));
        assert_eq!(find_on(&path, "no-such-program"), None);
        assert_eq!(find_on(OsStr::new("/nowhere"), name), None);
    }
}
