//! Many sessions, many instances, large sessions: what stays the same as a service grows.

use std::slice;

use anyhow::Context;

use crate::{
    load::{Job, Until},
    machine::Machine,
    options::Options,
    process::Process,
    redis::Redis,
    results::{Growth, Many, Results},
    servers::{self, Route, Server},
    timed::{Bench, SESSIONS, Subject},
};

/// Keys whose memory is looked up.
const DRAWS: usize = 200;
const INSTANCES: [usize; 4] = [1, 2, 4, 8];
const BYTES: [usize; 4] = [200, 1024, 2048, 4096];

pub(crate) fn run(
    machine: &Machine,
    options: &Options,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut bench = Bench::start(machine, options)?;
    let server = servers::named("ours hyper").context("our own server")?;
    many(&mut bench, server, results).context("many sessions")?;
    instances(&mut bench, server, results).context("many instances")?;
    for name in ["ours hyper", "by hand"] {
        sizes(
            &mut bench,
            servers::named(name).context("a server")?,
            results,
        )
        .context("large sessions")?;
    }
    Ok(())
}

/// A few sessions in one Redis and many in another, measured in turn.
fn many(bench: &mut Bench<'_>, server: &Server, results: &mut Results) -> anyhow::Result<()> {
    let mut sides = Vec::new();
    for sessions in [SESSIONS, bench.options.many()] {
        let mut redis = Redis::start(bench.machine)?;
        let process = Process::server(bench.machine, server, &redis.url())?;
        let empty = redis.info()?.used_memory;
        let cookies = bench.sessions(&[process.address], sessions, "")?;
        let (value_bytes, memory_bytes) = redis.sizes(DRAWS)?;
        let used_memory_bytes = (redis.info()?.used_memory - empty) as f64 / sessions as f64;
        let name = server.name.to_owned();
        sides.push((
            Many {
                server: name,
                sessions,
                value_bytes,
                memory_bytes,
                used_memory_bytes,
                timings: vec![],
            },
            [process],
            redis,
            cookies,
        ));
    }
    for _ in 0..bench.options.rounds() {
        for (many, instances, redis, cookies) in &mut sides {
            let addresses = [instances[0].address];
            let job = bench.job(
                &addresses,
                Route::Read,
                cookies,
                Until::Elapsed(bench.options.seconds()),
                false,
            );
            let (timing, _) = bench.measure(
                &job,
                &mut Subject {
                    instances,
                    redis: slice::from_mut(redis),
                },
            )?;
            println!(
                "{} sessions: {:.3} of hyper, {} errors",
                many.sessions,
                timing.ratio(),
                timing.errors
            );
            many.timings.push(timing);
        }
    }
    results
        .many
        .extend(sides.into_iter().map(|(many, ..)| many));
    Ok(())
}

/// One to eight instances that share one Redis and one core: first with as many connections as ever
/// dealt to them, then with as many for each, as a service that grows has.
fn instances(bench: &mut Bench<'_>, server: &Server, results: &mut Results) -> anyhow::Result<()> {
    let mut redis = Redis::start(bench.machine)?;
    let most = INSTANCES[INSTANCES.len() - 1];
    let processes: Vec<_> = (0..most)
        .map(|_| Process::server(bench.machine, server, &redis.url()))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<_> = processes.iter().map(|process| process.address).collect();
    let cookies = bench.sessions(&addresses, SESSIONS, "")?;
    let connections = bench.options.connections;
    let mut cells = Vec::new();
    for (route, each) in [
        (Route::Read, false),
        (Route::Write, false),
        (Route::Read, true),
        (Route::Write, true),
    ] {
        for instances in INSTANCES {
            let connections = if each {
                connections * instances
            } else {
                connections
            };
            cells.push(cell(server, route, instances, connections, 300));
        }
    }
    for _ in 0..bench.rounds() {
        for cell in &mut cells {
            let until = Until::Elapsed(bench.options.seconds());
            let job = bench.job(
                &addresses[..cell.instances],
                cell.route,
                &cookies,
                until,
                false,
            );
            let job = Job {
                connections: cell.connections,
                ..job
            };
            let mut subject = Subject {
                instances: &processes[..cell.instances],
                redis: slice::from_mut(&mut redis),
            };
            cell.measure(bench, &job, &mut subject)?;
        }
    }
    results.growth.extend(cells);
    Ok(())
}

/// Sessions of 200 bytes to 4 KiB.
fn sizes(bench: &mut Bench<'_>, server: &Server, results: &mut Results) -> anyhow::Result<()> {
    let mut redis = Redis::start(bench.machine)?;
    let instances = [Process::server(bench.machine, server, &redis.url())?];
    let addresses = [instances[0].address];
    let mut cells = Vec::new();
    for bytes in BYTES {
        let cookies = bench.sessions(&addresses, SESSIONS, &format!("?bytes={bytes}"))?;
        for route in [Route::Read, Route::Write] {
            cells.push((
                cell(server, route, 1, bench.options.connections, bytes),
                cookies.clone(),
            ));
        }
    }
    for _ in 0..bench.rounds() {
        for (cell, cookies) in &mut cells {
            let until = Until::Elapsed(bench.options.seconds());
            let job = bench.job(&addresses, cell.route, cookies, until, false);
            cell.measure(
                bench,
                &job,
                &mut Subject {
                    instances: &instances,
                    redis: slice::from_mut(&mut redis),
                },
            )?;
        }
    }
    results
        .growth
        .extend(cells.into_iter().map(|(cell, _)| cell));
    Ok(())
}

fn cell(
    server: &Server,
    route: Route,
    instances: usize,
    connections: usize,
    bytes: usize,
) -> Growth {
    Growth {
        server: server.name.to_owned(),
        route,
        instances,
        connections,
        bytes,
        timings: vec![],
    }
}

impl Growth {
    fn measure(
        &mut self,
        bench: &mut Bench<'_>,
        job: &Job<'_>,
        subject: &mut Subject<'_>,
    ) -> anyhow::Result<()> {
        let (timing, _) = bench.measure(job, subject)?;
        println!(
            "{}, {}, {} instances, {} connections, {} bytes: {:.2} of hyper's CPU",
            self.server,
            self.route.name(),
            self.instances,
            self.connections,
            self.bytes,
            timing.cpu_ratio()
        );
        self.timings.push(timing);
        Ok(())
    }
}

impl Bench<'_> {
    /// Half of the rounds: the scenarios compare CPU time, which is steadier than throughput.
    fn rounds(&self) -> usize {
        self.options.rounds().div_ceil(2)
    }
}
