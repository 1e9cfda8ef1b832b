//! Explores session-core from the command line.

use std::{process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use explorer::{
    Case, Effort, Explorer, Flaw, FlawedStore, ManualClock, MapStore, NEAR, Position, Report,
    USERS, deep, gate, triples,
};

/// Explores the interleavings of requests on the real code of session-core. Without options it runs
/// what the gate runs.
#[derive(Parser)]
#[command(
    after_help = "cargo xtask explore --defects [NAME]... explores copies of session-core \
                        with a known defect each."
)]
struct Options {
    /// Explore all cases instead of a selection
    #[arg(long)]
    deep: bool,
    /// Where a deep exploration begins: the position that another one has printed
    #[arg(long, value_parser = position, default_value = "0:0")]
    from: Position,
    /// Which part of a deep exploration this is, as 1/4
    #[arg(long, value_parser = shard, default_value = "1/1")]
    shard: (usize, usize),
    /// Explore random histories of three requests
    #[arg(long)]
    triples: bool,
    /// Chooses the triples
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this time
    #[arg(long)]
    minutes: Option<f64>,
    /// Show for each rule of the store contract that a store breaks which promise is broken, and
    /// how soon that is found
    #[arg(long)]
    flaws: bool,
    /// Explore only the parts about the sessions of a user
    #[arg(long)]
    users: bool,
    /// Explore only the parts with near caches
    #[arg(long, conflicts_with = "users")]
    near: bool,
    /// How many threads explore
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// End at the first history that breaks a promise
    #[arg(long)]
    until_failure: bool,
    /// Print one line: what is broken, and after how many histories
    #[arg(long)]
    summary: bool,
    /// Explore this case alone, such as `anonymous,faults=1: log_in(ann) save | write`
    #[arg(long)]
    case: Option<Case>,
    /// Run this history of the case and print it: the choices, as `0.2.1`
    #[arg(long, requires = "case")]
    replay: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let mut explorer = Explorer::default();
    if let Some(case) = &options.case {
        return match &options.replay {
            Some(path) => {
                let path = path.split('.').filter(|part| !part.is_empty());
                let path: Vec<usize> = path.map(str::parse).collect::<Result<_, _>>()?;
                print!("{}", explorer.timeline(case, &path));
                Ok(true)
            }
            None => {
                let explored = explorer.explore(case, u64::MAX);
                println!("{} histories", explored.histories);
                if let Some(failure) = &explored.failure {
                    print!("{}", explorer.timeline(case, &failure.path));
                    println!("{failure}");
                }
                Ok(explored.failure.is_none())
            }
        };
    }
    let effort = Effort {
        threads: options.threads,
        stop_at_failure: options.until_failure,
        limit: options
            .minutes
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        only: match (options.users, options.near) {
            (true, _) => Some(USERS),
            (_, true) => Some(NEAR),
            (false, false) => None,
        },
    };
    if options.flaws {
        return Ok(flaws(effort));
    }
    let make: explorer::MakeStore<MapStore> = Arc::new(MapStore::new);
    let report = if options.triples {
        triples(&make, effort, options.seed, usize::MAX)
    } else if options.deep {
        deep(&make, effort, options.from, options.shard, &mut |line| {
            println!("{line}");
        })
    } else {
        gate(&make, effort)
    };
    if options.summary {
        let found = report.failures.values().next();
        let found = found.map(|(_, failure)| failure.violations[0].to_string());
        let found = found.as_deref().unwrap_or("NOT FOUND");
        println!("{found} | {}", report.histories());
    } else {
        print(&mut explorer, &report);
    }
    Ok(report.failures.is_empty())
}

/// Whether every flaw is found.
fn flaws(effort: Effort) -> bool {
    let effort = Effort {
        stop_at_failure: true,
        ..effort
    };
    let mut all = true;
    for flaw in Flaw::ALL {
        let make = |clock: &ManualClock| FlawedStore::new(MapStore::new(clock), *flaw);
        let effort = Effort {
            only: flaw.is_of_index().then_some(USERS).or(effort.only),
            ..effort
        };
        let report = gate(&(Arc::new(make) as explorer::MakeStore<_>), effort);
        let found = report.failures.values().next();
        let found = found.map(|(_, failure)| failure.violations[0].to_string());
        all &= found.is_some();
        println!(
            "{:<46} {:>9} {}",
            flaw.to_string(),
            report.histories(),
            found.as_deref().unwrap_or("NOT FOUND")
        );
    }
    all
}

fn print(explorer: &mut Explorer, report: &Report) {
    for (count, failure) in report.failures.values() {
        println!("{}", explorer.timeline(&failure.case, &failure.path));
        println!("{failure}\n{count} cases fail like this\n");
    }
    println!(
        "{:<26} {:>9} {:>11} {:>9}",
        "", "cases", "histories", "seconds"
    );
    for (name, totals) in &report.parts {
        println!(
            "{name:<26} {:>9} {:>11} {:>9.1}",
            totals.cases,
            totals.histories,
            totals.elapsed.as_secs_f64()
        );
    }
    println!("{} histories", report.histories());
    if let Some(next) = report.next {
        println!("go on with --deep --from {next}");
    }
}

fn position(text: &str) -> anyhow::Result<Position> {
    let (section, index) = text
        .split_once(':')
        .context("a position is two numbers, as 3:100")?;
    Ok(Position {
        section: section.parse()?,
        index: index.parse()?,
    })
}

fn shard(text: &str) -> anyhow::Result<(usize, usize)> {
    let (shard, of) = text
        .split_once('/')
        .context("a shard is two numbers, as 1/4")?;
    let (shard, of) = (usize::from_str(shard)?, usize::from_str(of)?);
    anyhow::ensure!(
        (1..=of).contains(&shard),
        "there is no shard {shard} of {of}"
    );
    Ok((shard - 1, of))
}
