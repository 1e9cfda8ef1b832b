//! Measures this project beside its peers: one server at a time, between two runs of plain hyper.
//!
//! Started by `cargo xtask bench`, which builds the servers first. What is counted (commands, round
//! trips, bytes) is exact and stands in tables of its own; what is timed is told as a ratio to
//! plain hyper, because the speed of a machine drifts.

mod chart;
mod cluster;
mod cluster_report;
mod counts;
mod http;
mod load;
mod machine;
mod near;
mod options;
mod process;
mod redis;
mod report;
mod results;
mod scenarios;
mod servers;
mod timed;

use std::{fs, path::Path};

use clap::Parser;

use crate::{machine::Machine, options::Options, results::Results};

/// Where this workspace lies.
const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn main() -> anyhow::Result<()> {
    let options = Options::parse().settled();
    let folder = Path::new(BENCH).join("target");
    fs::create_dir_all(&folder)?;
    if options.report {
        return report::publish(&published()?);
    }
    let machine = Machine::find()?;
    machine.pin_harness()?;
    if options.cluster {
        let clustered = cluster::run(&machine, &options)?;
        println!("{}", cluster_report::table(&clustered));
        if options.publish {
            let mut results = published()?;
            results.cluster = Some(clustered);
            publish(&results)?;
        }
        return Ok(());
    }
    let mut results = Results::new(&machine, &options)?;
    let keep = |results: &Results| -> anyhow::Result<()> {
        Ok(fs::write(
            folder.join("results.json"),
            serde_json::to_string_pretty(results)?,
        )?)
    };
    if !options.skip_counts {
        counts::run(&machine, &options, &mut results)?;
        results.near = Some(near::run(&machine, &options)?);
        keep(&results)?;
    }
    // kept after every server, so that a run cut short is not lost
    timed::run(&machine, &options, &mut results, keep)?;
    if !options.skip_scenarios {
        scenarios::run(&machine, &options, &mut results)?;
        keep(&results)?;
        results.cluster = Some(cluster::run(&machine, &options)?);
        keep(&results)?;
    }
    println!("{}", report::tables(&results));
    fs::write(folder.join("bench.svg"), chart::draw(&results))?;
    println!("written: {}", folder.join("results.json").display());
    if options.publish {
        publish(&results)?;
    }
    Ok(())
}

/// The results that were published last.
fn published() -> anyhow::Result<Results> {
    let text = fs::read_to_string(Path::new(BENCH).join("results.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn publish(results: &Results) -> anyhow::Result<()> {
    fs::write(
        Path::new(BENCH).join("results.json"),
        serde_json::to_string_pretty(results)? + "\n",
    )?;
    report::publish(results)
}
