//! Updates, while one process is killed and Redis is killed and started again.

use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use test_support::Redis;

use crate::{
    Failure,
    updates::{Crowd, Load},
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
    let mut crowd = Crowd::start(&server.url(), &options.load).await?;
    // what the others will have done, with room before, between and after
    let part = crowd.goal_without_one() / (options.outages + 2);
    crowd.wait(|progress| progress.acknowledged.load(Relaxed) >= part);
    crowd.kill(0)?;
    for outage in 0..options.outages {
        crowd.wait(|progress| progress.acknowledged.load(Relaxed) >= part * (outage + 2));
        server.kill();
        let noticed = crowd.progress().away.load(Relaxed) + 200;
        crowd.wait(|progress| progress.away.load(Relaxed) >= noticed);
        server.restart();
    }
    let totals = crowd.end().await?;
    totals.print();
    totals.check()
}
