//! What the near cache costs and saves, counted: the memory of a kept session, and what is left for
//! Redis to do when 99 of 100 reads are answered by the process.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use anyhow::{Context, ensure};
use bench_scene::is_page;

use crate::{
    counts::Client,
    load::Until,
    machine::{self, Machine},
    options::Options,
    process::Process,
    redis::Redis,
    results::Near,
    servers::{self, Route},
    timed::{Bench, SESSIONS},
};

/// Sessions that are kept; they fit into the cache as it comes.
const KEPT: usize = 30_000;
/// Reads of the count. Before each hundredth, another instance writes to the session.
const READS: usize = 1000;
const MISS_EVERY: usize = 100;
/// Sessions of the count, which are read in turn.
const COUNTED: usize = 10;
/// Time for an announcement to arrive; the answer shows that it has.
const ANNOUNCED: Duration = Duration::from_millis(50);

const NEAR: &str = "ours hyper near";
const WITHOUT: &str = "ours hyper";

pub(crate) fn run(machine: &Machine, options: &Options) -> anyhow::Result<Near> {
    let mut redis = Redis::start(machine)?;
    let start = |name| -> anyhow::Result<Process> {
        let server = servers::named(name).context("our own server")?;
        Process::server(machine, server, &redis.url())
    };
    let (near, other) = (start(NEAR)?, start(WITHOUT)?);
    let mut bench = Bench::start(machine, options)?;
    let cookies = bench.sessions(&[other.address], KEPT, "")?;
    let mut grown = |process: &Process| -> anyhow::Result<f64> {
        let few = &cookies[..SESSIONS];
        let until = Until::Requests(50 * SESSIONS);
        bench.load(&[process.address], Route::Read, few, until)?;
        let before = machine::resident_mib(process.pid())?;
        let until = Until::Requests(cookies.len());
        let load = bench.load(&[process.address], Route::Read, &cookies, until)?;
        ensure!(load.errors == 0, "{} reads failed", load.errors);
        let mib = machine::resident_mib(process.pid())? - before;
        Ok(mib * 1024.0 * 1024.0 / cookies.len() as f64)
    };
    let (kept, not_kept) = (grown(&near)?, grown(&start(WITHOUT)?)?);
    let (commands, round_trips) = count(&mut redis, near.address, other.address)?;
    println!("counted: the near cache");
    Ok(Near {
        sessions: KEPT,
        kept_bytes: kept - not_kept,
        misses: 1.0 / MISS_EVERY as f64,
        commands,
        round_trips,
    })
}

/// Commands and round trips of one read on average.
fn count(
    redis: &mut Redis,
    near: SocketAddr,
    other: SocketAddr,
) -> anyhow::Result<(BTreeMap<String, f64>, f64)> {
    let (mut near, mut other) = (Client::connect(near)?, Client::connect(other)?);
    let cookies: Vec<_> = (0..COUNTED)
        .map(|_| other.login())
        .collect::<anyhow::Result<_>>()?;
    let mut views = [0; COUNTED];
    for cookie in &cookies {
        near.send(Route::Read, Some(cookie))?;
    }
    let (mut commands, mut reads) = (BTreeMap::<String, i64>::new(), 0);
    for first in (0..READS).step_by(MISS_EVERY) {
        let changed = first / MISS_EVERY % COUNTED;
        other.send(Route::Write, Some(&cookies[changed]))?;
        views[changed] += 1;
        thread::sleep(ANNOUNCED);
        // the second look tells what a look itself costs
        let (empty, before) = (redis.info()?, redis.info()?);
        let look = before.since(&empty);
        for read in 0..MISS_EVERY {
            let session = (changed + read) % COUNTED;
            let answer = near.send(Route::Read, Some(&cookies[session]))?;
            let is_current = is_page(&answer.body, views[session]);
            ensure!(is_current, "read {:?}", answer.body);
        }
        let spent = redis.info()?.since(&before).since(&look);
        reads += spent.reads;
        for (command, calls) in spent.commands {
            match command.as_str() {
                "INFO" => {}
                // a heartbeat, which is due twice a second however many reads there are
                "ROLE" => reads -= calls,
                _ => *commands.entry(command).or_default() += calls,
            }
        }
    }
    let each = |sum: i64| sum as f64 / READS as f64;
    let commands = commands
        .into_iter()
        .map(|(name, calls)| (name, each(calls)));
    Ok((commands.collect(), each(reads)))
}
