//! Every command a developer needs, as `cargo xtask <command>`. The gate runs the same ones.

mod bench;
mod check;
mod features;
mod modules;
mod mutants;
mod profile;
mod programs;
mod soak;
mod test;

use std::process::ExitCode;

use clap::Parser;
use xshell::Shell;

/// The commands of this workspace. Each prints what it runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Finds or installs the programs that tests need, and runs every test
    Test,
    /// Formatting, lints and documentation, with warnings denied
    Check,
    /// Lints every published crate with each of its features alone, and with none
    Features,
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
    /// Tests whether the tests notice small changes of the code that decides and parses; takes an hour
    Mutants {
        /// Test only a part of the mutants, such as 0/4 or 3/4
        #[arg(long)]
        shard: Option<mutants::Shard>,
        /// Test only the mutants of this file
        #[arg(long)]
        file: Option<String>,
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
    /// Long runs against real Redis servers: all of them, or one with its options, as in `soak races --races 1000`
    #[command(disable_help_flag = true)]
    Soak {
        /// A scenario and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Everything: check, features, profile and test
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
    // the place of this file decides, so that the command works from any folder
    sh.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match command {
        Command::Test => test::run(&sh),
        Command::Check => check::run(&sh),
        Command::Features => features::run(&sh),
        Command::Modules { name } => modules::run(&sh, name.as_deref()),
        Command::Mutants {
            shard,
            file,
            resume,
        } => {
            let selection = mutants::Selection {
                shard,
                file,
                resume,
            };
            mutants::run(&sh, &selection)
        }
        Command::Bench { arguments } => bench::run(&sh, &arguments),
        Command::Profile { bless } => profile::run(&sh, bless),
        Command::Soak { arguments } => soak::run(&sh, &arguments),
        Command::Ci => {
            check::run(&sh)?;
            features::run(&sh)?;
            profile::run(&sh, false)?;
            test::run(&sh)
        }
    }
}
