//! The programs that tests and the bench start: found, or installed where that is possible without asking anybody.

use std::{collections::BTreeSet, env, ffi::OsStr};

use anyhow::bail;
use xshell::{Shell, cmd};

/// A program and the Debian package it comes in.
const PROGRAMS: &[(&str, &str)] = &[
    // the demo is driven in a real browser
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    // the Redis store is tested on real servers, on free ports of the loopback interface
    ("redis-server", "redis-server"),
    ("redis-sentinel", "redis-sentinel"),
    ("redis-cli", "redis-tools"),
    // several instances are tested behind the load balancer that is deployed
    ("haproxy", "haproxy"),
    // instructions are counted by callgrind
    ("valgrind", "valgrind"),
];

/// What the bench starts.
const BENCH: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    // the peer express-session
    ("node", "nodejs"),
    ("npm", "npm"),
    // a core of its own for the server, and no process left behind
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Makes sure that every program is there that a test starts.
pub(crate) fn provide(sh: &Shell) -> anyhow::Result<()> {
    install(sh, PROGRAMS)
}

/// Makes sure that every program is there that the bench starts.
pub(crate) fn provide_for_bench(sh: &Shell) -> anyhow::Result<()> {
    install(sh, BENCH)
}

fn install(sh: &Shell, programs: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let packages = missing(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.iter().copied().collect::<Vec<_>>().join(" ");
    if !is_present("apt-get") || !is_root(sh) {
        bail!(
            "programs are needed that are not on the PATH\n\
             their Debian packages: {list}\n\
             install them and run this again; as root on Debian they are installed for you"
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
        bail!("installed {list}, but the programs of {packages:?} are still not on the PATH");
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub(crate) fn is_present(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| is_on(&path, program))
}

/// The packages of the programs that are not there.
fn missing(programs: &[(&str, &'static str)]) -> BTreeSet<&'static str> {
    programs
        .iter()
        .filter(|(program, _)| !is_present(program))
        .map(|(_, package)| *package)
        .collect()
}

fn is_on(path: &OsStr, program: &str) -> bool {
    env::split_paths(path).any(|folder| folder.join(program).is_file())
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
        let here = env::current_exe().expect("a test runs from a file");
        let (folder, name) = (
            here.parent().expect("folder"),
            here.file_name().expect("name").to_str().expect("text"),
        );
        let path = env::join_paths(["/nowhere".as_ref(), folder]).expect("a path");
        assert!(is_on(&path, name));
        assert!(!is_on(&path, "no-such-program"));
        assert!(!is_on(OsStr::new("/nowhere"), name));
    }
}
