//! The commands of a developer, as `cargo xtask <command>`. The gate is `cargo xtask ci`.

mod bench;
mod check;
mod compose;
mod engines;
mod evidence;
mod explore;
mod features;
mod fuzz;
mod modules;
mod mutants;
mod profile;
mod programs;
mod soak;
mod test;

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use xshell::Shell;

/// The commands of this workspace. Each prints what it runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Runs every test, and installs the programs that tests need
    Test,
    /// Checks formatting, circles between files, lock files, the tests that documentation names,
    /// lints and documentation
    Check,
    /// Tests the compose files on a Docker engine: up, a primary that is killed under load and
    /// comes back, down, and up again
    Compose {
        /// Test only these: default, sentinel, cluster
        names: Vec<String>,
    },
    /// Lints every published crate with each of its features alone, and with none
    Features,
    /// Runs interleavings of requests and faults of a store; `cargo xtask explore --help` lists the
    /// options, and `--defects` shows that it finds known defects
    #[command(disable_help_flag = true)]
    Explore {
        /// Explore copies of session-core with a known defect each, and fail if one is not found;
        /// takes about 15 minutes. Names of files in explorer/defects, without `.defect`, select
        /// some of them
        #[arg(long)]
        defects: bool,
        /// Options of the explorer, or names of defects
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzzes the parsers of untrusted bytes; needs a nightly toolchain
    Fuzz {
        /// Run only this target
        target: Option<String>,
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Copy new inputs that add coverage to the committed corpus
        #[arg(long)]
        keep: bool,
    },
    /// Prints which file of each crate refers to which other file
    Modules {
        /// Print only this crate
        name: Option<String>,
    },
    /// Counts the instructions of each kind of request and compares them with the baseline
    Profile {
        /// Write the counts to the baseline file
        #[arg(long)]
        bless: bool,
    },
    /// Tests whether the tests notice small changes of the code that decides and parses; takes an
    /// hour
    Mutants {
        /// Test only a part of the mutants, such as 0/4 or 3/4
        #[arg(long)]
        shard: Option<mutants::Shard>,
        /// Test only the mutants of this file; may be repeated
        #[arg(long)]
        file: Vec<String>,
        /// Leave out the mutants that an earlier run has caught
        #[arg(long)]
        resume: bool,
    },
    /// Measures this project beside its peers; `cargo xtask bench --help` lists the options
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs long scenarios against real Redis servers: all, or one with options such as
    /// `soak races --races 1000`
    #[command(disable_help_flag = true)]
    Soak {
        /// A scenario and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the tests of the Redis store on Redis 6.2, 7.0 and 8.2 and on Valkey 8.0
    Engines {
        /// Only these, such as `redis-6.2`
        names: Vec<String>,
    },
    /// Runs the gate: check, features, profile, explore and test
    Ci,
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let sh = Shell::new()?;
    // commands work from any folder of the workspace
    sh.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match command {
        Command::Test => test::run(&sh),
        Command::Check => check::run(&sh),
        Command::Compose { names } => compose::run(&sh, &names),
        Command::Features => features::run(&sh),
        Command::Explore {
            defects: true,
            arguments,
        } => explore::defects(&sh, &arguments),
        Command::Explore {
            defects: false,
            arguments,
        } => explore::run(&sh, &arguments),
        Command::Engines { names } => engines::run(&sh, &names),
        Command::Fuzz {
            target,
            seconds,
            keep,
        } => fuzz::run(&sh, target.as_deref(), seconds, keep),
        Command::Modules { name } => modules::run(&sh, name.as_deref()),
        Command::Mutants {
            shard,
            file: files,
            resume,
        } => {
            let selection = mutants::Selection {
                shard,
                files,
                resume,
            };
            mutants::run(&sh, &selection)
        }
        Command::Bench { arguments } => bench::run(&sh, &arguments),
        Command::Profile { bless } => profile::run(&sh, bless),
        Command::Soak { arguments } => soak::run(&sh, &arguments),
        Command::Ci => ci(&sh),
    }
}

/// Runs the gate and prints how long each step takes.
fn ci(sh: &Shell) -> anyhow::Result<()> {
    let steps: [(&str, &dyn Fn() -> anyhow::Result<()>); 5] = [
        ("check", &|| check::run(sh)),
        ("features", &|| features::run(sh)),
        ("profile", &|| profile::run(sh, false)),
        ("explore", &|| explore::run(sh, &[])),
        ("test", &|| test::run(sh)),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        let result = step();
        println!("== {name}: {} s", start.elapsed().as_secs());
        result?;
    }
    Ok(())
}
