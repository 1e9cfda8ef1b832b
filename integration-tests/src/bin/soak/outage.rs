//! Updates while a process is killed, and while Redis is killed and started again.

use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use test_support::Redis;

use crate::{
    Failure,
    updates::{Load, Workers},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,
    /// How often Redis is killed
    #[arg(long, default_value_t = 3)]
    outages: u64,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    // every write is on disk before it is acknowledged
    let server = Redis::start_durable();
    let mut workers = Workers::start(&server.url(), &options.load).await?;
    // the updates that the other processes make between two faults, and before and after them
    let part = workers.goal_without_one() / (options.outages + 2);
    workers.wait_until(|progress| progress.acknowledged.load(Relaxed) >= part);
    workers.kill(0)?;
    for outage in 0..options.outages {
        workers.wait_until(|progress| progress.acknowledged.load(Relaxed) >= part * (outage + 2));
        server.kill();
        let noticed = workers.progress().unavailable.load(Relaxed) + 200;
        workers.wait_until(|progress| progress.unavailable.load(Relaxed) >= noticed);
        server.restart();
    }
    let totals = workers.end().await?;
    totals.print();
    totals.check()
}
