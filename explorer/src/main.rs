//! Explores session-core from the command line.

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use explorer::{Case, Explorer, Script, Situation, Verb};

#[derive(Parser)]
enum Command {
    /// Runs one history and prints it
    Replay { case: Case, path: Option<String> },
    /// Explores one case
    Case { case: Case },
    /// All pairs
    Pairs { len: usize },
}

fn main() -> ExitCode {
    let mut explorer = Explorer::default();
    match Command::parse() {
        Command::Replay { case, path } => {
            let path = path.unwrap_or_default();
            let path: Vec<usize> = path
                .split('.')
                .filter_map(|part| part.parse().ok())
                .collect();
            println!("{}", explorer.timeline(&case, &path));
        }
        Command::Case { case } => {
            let explored = explorer.explore(&case, u64::MAX);
            println!("{} histories", explored.histories);
            if let Some(failure) = explored.failure {
                println!(
                    "{}\n{failure}",
                    explorer.timeline(&failure.case, &failure.path)
                );
                return ExitCode::FAILURE;
            }
        }
        Command::Pairs { len } => {
            let scripts = Script::all(Verb::COMMON, len);
            let start = Instant::now();
            let (mut histories, mut cases, mut failures) = (0, 0, 0);
            for situation in [Situation::Anonymous, Situation::LoggedIn, Situation::Nobody] {
                for (index, one) in scripts.iter().enumerate() {
                    for other in &scripts[..=index] {
                        let case = Case::new(situation, [one.clone(), other.clone()]);
                        let explored = explorer.explore(&case, u64::MAX);
                        histories += explored.histories;
                        cases += 1;
                        if let Some(failure) = explored.failure {
                            failures += 1;
                            println!("{failure}");
                            if failures > 30 {
                                return ExitCode::FAILURE;
                            }
                        }
                    }
                }
            }
            println!(
                "{cases} cases, {histories} histories, {:?}",
                start.elapsed()
            );
        }
    }
    ExitCode::SUCCESS
}
