//! The programs that tests start: where they are, and which Debian package brings them.

use std::{env, path::PathBuf};

/// Each program that this crate starts, with its Debian package.
const PACKAGES: [(&str, &str); 5] = [
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("haproxy", "haproxy"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];

/// Returns the path of a program.
///
/// # Panics
///
/// If the program is not on the `PATH`. The message names its Debian package.
#[track_caller]
pub fn path_of(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        let package = PACKAGES.iter().find(|(name, _)| *name == program);
        panic!(
            "{program} is not on the PATH: install the Debian package {}, or run `cargo xtask test`, which installs it",
            package.map_or(program, |(_, package)| package)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found() {
        assert!(path_of("sh").ends_with("sh"));
    }

    #[test]
    #[should_panic(expected = "install the Debian package no-such-program")]
    fn a_missing_program_panics_with_its_package() {
        path_of("no-such-program");
    }
}
