//! The same service on one server and on a cluster.
//!
//! The load is a closed loop, so its connections are the requests in flight. Spread over the
//! primaries of a cluster, as many connections for each of them as on one server keep the same
//! number of operations in flight to each node. Beside them stand one server with all of these
//! connections, which is what an instance with this traffic would otherwise use, and a cluster of
//! one node, which shows what the mode alone costs Redis.

use anyhow::Context;

use crate::{
    load::{Job, Until},
    machine::Machine,
    options::Options,
    process::Process,
    redis::Redis,
    results::{ClusterCell, Clustered, Topology, said},
    servers::{self, Route},
    timed::{Bench, SESSIONS, Subject},
};

const PRIMARIES: usize = 3;

/// A store, and a service on it.
struct Side {
    redis: Vec<Redis>,
    instances: [Process; 1],
    cookies: Vec<String>,
}

pub(crate) fn run(machine: &Machine, options: &Options) -> anyhow::Result<Clustered> {
    let mut bench = Bench::start(machine, options)?;
    let (each, all) = (options.connections, options.connections * PRIMARIES);
    let stores = [
        Topology::OneServer,
        Topology::Cluster(1),
        Topology::Cluster(PRIMARIES),
    ];
    let mut sides = Vec::new();
    for store in stores {
        let side = Side::start(&mut bench, store).with_context(|| format!("{store:?}"))?;
        sides.push((store, side));
    }
    let mut cells = Vec::new();
    for route in [Route::Read, Route::Write] {
        for (store, connections) in [
            (Topology::OneServer, each),
            (Topology::Cluster(1), each),
            (Topology::Cluster(PRIMARIES), all),
            (Topology::OneServer, all),
        ] {
            cells.push(ClusterCell {
                route,
                store,
                connections,
                timings: vec![],
            });
        }
    }
    for round in 0..options.rounds() {
        // another order in each round
        let mut order: Vec<_> = (0..cells.len()).collect();
        order.rotate_left(round % cells.len());
        for index in order {
            let cell = &mut cells[index];
            let side = sides.iter_mut().find(|(store, _)| *store == cell.store);
            let (_, side) = side.context("a side of each store")?;
            side.measure(&mut bench, cell)?;
        }
    }
    let about = format!(
        "{}, {}, {} rounds of {} s",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        said(
            "git",
            &["-C", crate::BENCH, "describe", "--always", "--dirty"]
        ),
        options.rounds(),
        options.seconds().as_secs_f64(),
    );
    Ok(Clustered { about, cells })
}

impl Side {
    fn start(bench: &mut Bench<'_>, store: Topology) -> anyhow::Result<Self> {
        let (redis, url) = match store {
            Topology::OneServer => {
                let redis = Redis::start(bench.machine)?;
                let url = redis.url();
                (vec![redis], url)
            }
            Topology::Cluster(primaries) => {
                let redis = Redis::cluster(bench.machine, primaries)?;
                let nodes = redis.iter().map(|node| node.process.address.to_string());
                let nodes: Vec<_> = nodes.collect();
                (redis, format!("redis+cluster://{}", nodes.join(",")))
            }
        };
        let server = servers::named("ours hyper").context("our own server")?;
        let instances = [Process::server(bench.machine, server, &url)?];
        let cookies = bench.sessions(&[instances[0].address], SESSIONS, "")?;
        Ok(Self {
            redis,
            instances,
            cookies,
        })
    }

    fn measure(&mut self, bench: &mut Bench<'_>, cell: &mut ClusterCell) -> anyhow::Result<()> {
        let addresses = [self.instances[0].address];
        let until = Until::Elapsed(bench.options.seconds());
        let job = Job {
            connections: cell.connections,
            ..bench.job(&addresses, cell.route, &self.cookies, until, false)
        };
        let mut subject = Subject {
            instances: &self.instances,
            redis: &mut self.redis,
        };
        let (timing, _) = bench.measure(&job, &mut subject)?;
        println!(
            "{}, {:?}, {} connections: {:.0}/s, {:.1} µs CPU, Redis {:.2} µs CPU, {:.3} reads, noise {:.0} %, {} errors",
            cell.route.name(),
            cell.store,
            cell.connections,
            timing.per_second,
            timing.server_cpu_us,
            timing.redis_cpu_us,
            timing.redis_reads,
            timing.noise() * 100.0,
            timing.errors,
        );
        cell.timings.push(timing);
        Ok(())
    }
}
