//! What takes time: each server on each route, between two runs of plain hyper, in rounds.

use std::{
    net::SocketAddr,
    process, slice, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    load::{self, Job, Load, Until},
    machine::{self, Busy, Machine},
    options::Options,
    process::Process,
    redis::{Info, Redis},
    results::{Results, Sample, Timing},
    servers::{HYPER, Route, Server},
};

/// Sessions that are used in turn.
pub(crate) const SESSIONS: usize = 200;
/// A measurement is cut into so many, each between two runs of plain hyper: the speed of the
/// machine drifts within a second.
const SLICES: usize = 3;
/// The share of a core that others may use when a measurement begins.
const QUIET: f64 = 0.10;
const LOOK: Duration = Duration::from_millis(150);
const WARM_UP: Duration = Duration::from_millis(400);

/// Measures all servers, and keeps what there is after each.
pub(crate) fn run(
    machine: &Machine,
    options: &Options,
    results: &mut Results,
    keep: impl Fn(&Results) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut bench = Bench::start(machine, options)?;
    let mut redis = Redis::start(machine)?;
    for round in 0..options.rounds() {
        let mut servers = options.servers();
        // another order each time, so that nobody always follows the same neighbour
        let turn = round * 5 % servers.len().max(1);
        servers.rotate_left(turn);
        if round % 2 == 1 {
            servers.reverse();
        }
        for server in servers {
            bench
                .block(server, round, &mut redis, results)
                .with_context(|| server.name)?;
            keep(results)?;
        }
    }
    Ok(())
}

/// The load, and plain hyper to measure it by.
pub(crate) struct Bench<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) options: &'a Options,
    hyper: Process,
    /// The latest run of plain hyper, if nothing has been run since.
    last: Option<Canary>,
    /// How much longer to wait for others.
    patience: Duration,
}

/// Who is measured: its instances, and the Redis servers behind them.
pub(crate) struct Subject<'a> {
    pub(crate) instances: &'a [Process],
    pub(crate) redis: &'a mut [Redis],
}

impl Subject<'_> {
    /// What all servers have counted.
    fn info(&mut self) -> anyhow::Result<Info> {
        let mut sum = Info::default();
        for redis in self.redis.iter_mut() {
            sum += redis.info()?;
        }
        Ok(sum)
    }
}

#[derive(Clone, Copy)]
struct Canary {
    per_second: f64,
    busy: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

impl<'a> Bench<'a> {
    pub(crate) fn start(machine: &'a Machine, options: &'a Options) -> anyhow::Result<Self> {
        let hyper = Process::server(machine, &HYPER, "")?;
        let mut bench = Self {
            machine,
            options,
            hyper,
            last: None,
            patience: Duration::from_secs(options.patience),
        };
        bench.canary()?;
        Ok(bench)
    }

    /// One server, started for this and ended after it.
    fn block(
        &mut self,
        server: &Server,
        round: usize,
        redis: &mut Redis,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        redis.clear()?;
        let instances = [Process::server(self.machine, server, &redis.url())?];
        let addresses = [instances[0].address];
        let routes = self.options.routes(server);
        let sessions = if routes.iter().any(|route| route.has_cookie()) {
            self.sessions(&addresses, SESSIONS, "")?
        } else {
            vec![]
        };
        let warm = if sessions.is_empty() {
            Route::Anonymous
        } else {
            Route::Read
        };
        self.load(&addresses, warm, &sessions, Until::Elapsed(WARM_UP))?;
        let mut logged_in = Vec::new();
        for route in routes {
            let mut quietest: Option<Timing> = None;
            for _ in 0..=self.options.repeats {
                if route == Route::Logout && logged_in.is_empty() {
                    let until = Until::Elapsed(self.options.seconds());
                    logged_in = self
                        .run(&self.job(&addresses, Route::Login, &[], until, true))?
                        .cookies;
                }
                let cookies = match route {
                    Route::Anonymous | Route::Login => &[],
                    Route::Read | Route::Write => sessions.as_slice(),
                    Route::Logout => logged_in.as_slice(),
                };
                let collect = route == Route::Login;
                let mut subject = Subject {
                    instances: &instances,
                    redis: slice::from_mut(redis),
                };
                let job = self.job(
                    &addresses,
                    route,
                    cookies,
                    Until::Elapsed(self.options.seconds()),
                    collect,
                );
                let (timing, load) = self.measure(&job, &mut subject)?;
                if route == Route::Login || route == Route::Logout {
                    logged_in = load.cookies;
                }
                if quietest.is_none_or(|quietest| timing.noise() < quietest.noise()) {
                    quietest = Some(timing);
                }
                if !timing.is_noisy() {
                    break;
                }
            }
            let timing = quietest.context("a measurement")?;
            println!(
                "round {round}: {:<24} {:<10} {:>7.0}/s = {:.3} of hyper, {:.1} µs CPU, p99 {:.0} µs, noise {:.0} %{}{}",
                server.name,
                route.name(),
                timing.per_second,
                timing.ratio(),
                timing.server_cpu_us,
                timing.p99_us,
                timing.noise() * 100.0,
                if timing.is_noisy() { ", NOISY" } else { "" },
                if timing.errors > 0 {
                    format!(", {} ERRORS", timing.errors)
                } else {
                    String::new()
                },
            );
            results.samples.push(Sample {
                server: server.name.to_owned(),
                role: server.role,
                route,
                round,
                timing,
                resident_mib: machine::resident_mib(instances[0].pid())?,
            });
        }
        Ok(())
    }

    /// Runs a job between runs of plain hyper.
    pub(crate) fn measure(
        &mut self,
        job: &Job<'_>,
        subject: &mut Subject<'_>,
    ) -> anyhow::Result<(Timing, Load)> {
        if self.options.rest > 0.0 {
            thread::sleep(Duration::from_secs_f64(self.options.rest));
            self.last = None;
        }
        self.wait_for_quiet()?;
        let before = match self.last.take() {
            Some(canary) => canary,
            None => self.canary()?,
        };
        let redis_before = subject.info()?;
        let server = cpu_of(subject.instances)?;
        let (own, busy, start) = (
            self.own_cpu()? + server + redis_before.cpu,
            Busy::now()?,
            Instant::now(),
        );
        let (mut load, mut canaries) = (Load::default(), vec![before]);
        for slice in job.slices(SLICES) {
            load.add(load::run(&slice)?);
            canaries.push(self.canary()?);
        }
        load.sort();
        let now = Busy::now()?;
        let server_now = cpu_of(subject.instances)?;
        let redis_now = subject.info()?;
        let own_now = self.own_cpu()? + server_now + redis_now.cpu;
        let spent = redis_now.since(&redis_before);
        self.last = canaries.last().copied();
        let hyper =
            |of: fn(&Canary) -> f64| canaries.iter().map(of).sum::<f64>() / canaries.len() as f64;
        let requests = load.requests as f64;
        let commands: i64 = spent
            .commands
            .iter()
            .filter(|(name, _)| *name != "INFO")
            .map(|(_, calls)| calls)
            .sum();
        let timing = Timing {
            requests: load.requests,
            errors: load.errors,
            seconds: load.seconds,
            per_second: load.per_second(),
            p50_us: load.percentile(0.5),
            p99_us: load.percentile(0.99),
            server_cpu_us: (server_now - server) * 1e6 / requests,
            redis_cpu_us: spent.cpu * 1e6 / requests,
            server_busy: (server_now - server) / load.seconds,
            redis_commands: commands as f64 / requests,
            redis_reads: spent.reads as f64 / requests,
            hyper_per_second: hyper(|canary| canary.per_second),
            hyper_drift: drift(&canaries),
            hyper_busy: hyper(|canary| canary.busy),
            hyper_p50_us: hyper(|canary| canary.p50_us),
            hyper_p99_us: hyper(|canary| canary.p99_us),
            hyper_cpu_us: hyper(|canary| canary.cpu_us),
            foreign: ((now.programs - busy.programs) - (own_now - own)).max(0.0)
                / start.elapsed().as_secs_f64(),
            stolen: (now.stolen - busy.stolen) / start.elapsed().as_secs_f64(),
        };
        Ok((timing, load))
    }

    /// Logs so many sessions in.
    pub(crate) fn sessions(
        &mut self,
        addresses: &[SocketAddr],
        count: usize,
        query: &str,
    ) -> anyhow::Result<Vec<String>> {
        let job = Job {
            query,
            ..self.job(addresses, Route::Login, &[], Until::Requests(count), true)
        };
        for _ in 0..3 {
            let load = self.run(&job)?;
            if load.errors == 0 && load.cookies.len() == count {
                return Ok(load.cookies);
            }
            // a machine that is busy with other things makes a store miss its deadlines
            eprintln!(
                "{} of {count} logins set a cookie; once more",
                load.cookies.len()
            );
        }
        bail!("logins keep failing")
    }

    /// Load that is not measured.
    pub(crate) fn load(
        &mut self,
        addresses: &[SocketAddr],
        route: Route,
        cookies: &[String],
        until: Until,
    ) -> anyhow::Result<Load> {
        self.run(&self.job(addresses, route, cookies, until, false))
    }

    pub(crate) fn job<'j>(
        &self,
        addresses: &'j [SocketAddr],
        route: Route,
        cookies: &'j [String],
        until: Until,
        collect: bool,
    ) -> Job<'j> {
        Job {
            route,
            addresses,
            cookies,
            connections: self.options.connections,
            until,
            query: "",
            collect,
        }
    }

    fn run(&mut self, job: &Job<'_>) -> anyhow::Result<Load> {
        self.last = None;
        load::run(job)
    }

    fn canary(&mut self) -> anyhow::Result<Canary> {
        let cpu = self.hyper.cpu_seconds()?;
        let addresses = [self.hyper.address];
        let load = load::run(&self.job(
            &addresses,
            Route::Anonymous,
            &[],
            Until::Elapsed(self.options.canary()),
            false,
        ))?;
        let spent = self.hyper.cpu_seconds()? - cpu;
        Ok(Canary {
            per_second: load.per_second(),
            busy: spent / load.seconds,
            p50_us: load.percentile(0.5),
            p99_us: load.percentile(0.99),
            cpu_us: spent * 1e6 / load.requests as f64,
        })
    }

    /// What the bench itself uses besides the server and Redis.
    fn own_cpu(&self) -> anyhow::Result<f64> {
        Ok(machine::cpu_seconds(process::id())? + self.hyper.cpu_seconds()?)
    }

    /// Waits while others use the machine, as long as there is patience left. Nothing of the bench
    /// runs meanwhile.
    fn wait_for_quiet(&mut self) -> anyhow::Result<()> {
        loop {
            let (before, start) = (Busy::now()?, Instant::now());
            thread::sleep(LOOK);
            let foreign = (Busy::now()?.programs - before.programs) / start.elapsed().as_secs_f64();
            if foreign <= QUIET || self.patience.is_zero() {
                return Ok(());
            }
            self.last = None;
            self.patience = self.patience.saturating_sub(start.elapsed());
        }
    }
}

/// How far the runs of plain hyper lie apart, as a share of the fastest.
fn drift(canaries: &[Canary]) -> f64 {
    let speeds = canaries.iter().map(|canary| canary.per_second);
    let (slowest, fastest) = speeds.fold((f64::MAX, 0.0), |(least, most), speed| {
        (speed.min(least), speed.max(most))
    });
    (fastest - slowest) / fastest
}

fn cpu_of(instances: &[Process]) -> anyhow::Result<f64> {
    instances.iter().map(Process::cpu_seconds).sum()
}
