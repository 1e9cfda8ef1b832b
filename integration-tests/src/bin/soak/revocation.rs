//! How long after a logout on one instance the streams of its session on another are closed.
//!
//! Two instances of the demo, each a process, share Redis. Pages are open on the one, and their
//! users log out on the other.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use demo::Server;
use http::{Method, StatusCode};
use integration_tests::KEY;
use session_core::{CookieOptions, Secure, Sessions};
use session_redis::RedisStore;
use test_support::{Browser, EventStream, process::Process};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    Failure, print_table,
    users_redis::{Servers, Topology},
    visits::{SetCookie, Visit, sessions},
};

/// A logout that nothing announces is noticed within five seconds, so a stream that closes later
/// than this was not told.
const LIMIT: Duration = Duration::from_secs(1);
/// Fails a run whose stream stays open.
const PATIENCE: Duration = Duration::from_secs(10);
/// A session is looked at no more than four times per second, so a logout right after the stream
/// has opened would be noticed later than others.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of logouts on each topology
    #[arg(long, default_value_t = 1000)]
    logouts: usize,
    /// How many streams are open at the same time
    #[arg(long, default_value_t = 100)]
    streams: usize,
    /// Where the sessions are [default: first a server, then a cluster]
    #[arg(long)]
    topology: Option<Topology>,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut late = 0;
    for topology in [Topology::Server, Topology::Cluster] {
        if options.topology.is_none_or(|only| only == topology) {
            let servers = Servers::start(topology);
            let mut delays = measure(options, &servers.url()).await?;
            delays.sort_unstable();
            late += delays.iter().filter(|delay| **delay > LIMIT).count();
            let at = |percent: usize| {
                let index = (delays.len() * percent).div_ceil(100).max(1) - 1;
                format!("{:.2} ms", 1e3 * delays[index].as_secs_f64())
            };
            rows.push(vec![
                format!("{topology:?}"),
                delays.len().to_string(),
                at(50),
                at(99),
                at(100),
            ]);
        }
    }
    print_table(&["topology", "logouts", "p50", "p99", "longest"], &rows);
    match late {
        0 => Ok(()),
        late => Err(format!("{late} streams closed more than {LIMIT:?} after a logout").into()),
    }
}

/// How long after each acknowledged logout the stream had ended; zero if before.
async fn measure(options: &Options, url: &str) -> Result<Vec<Duration>, Failure> {
    let [(_first, pages), (_second, logouts)] = [Instance::start(url)?, Instance::start(url)?];
    let cookie = CookieOptions::new().secure(Secure::Auto);
    let sessions = sessions(RedisStore::connect(url).await?, cookie)?;
    let mut delays = Vec::new();
    while delays.len() < options.logouts {
        let mut open = Vec::new();
        for _ in 0..options.streams.clamp(1, options.logouts - delays.len()) {
            open.push(open_page(&sessions, pages).await?);
        }
        sleep(PAUSE).await;
        for (mut browser, mut stream) in open {
            let logout = async {
                let path = "/api/logout";
                let response = browser.send(logouts, Method::POST, path, "").await;
                (response.status(), Instant::now())
            };
            let ended = async { (stream.next().await, Instant::now()) };
            let both = async { tokio::join!(logout, ended) };
            let ((status, acknowledged_at), (event, ended_at)) = timeout(PATIENCE, both).await?;
            if status != StatusCode::NO_CONTENT || event.as_deref() != Some("ended") {
                return Err(format!("a logout: {status}; its stream: {event:?}").into());
            }
            delays.push(ended_at.saturating_duration_since(acknowledged_at));
        }
    }
    Ok(delays)
}

/// Logs a user in, and opens the stream of the page.
async fn open_page(
    sessions: &Sessions,
    site: SocketAddr,
) -> Result<(Browser, EventStream), Failure> {
    let visit = Visit::begin(sessions, None);
    visit.load().await?.log_in("ann")?;
    let (_, Some(SetCookie::Set(cookie))) = visit.finish().await? else {
        return Err("a login sets no cookie".into());
    };
    let (name, value) = cookie.split_once('=').ok_or("a cookie without a value")?;
    let mut browser = Browser::new();
    browser.set_cookie(name, value);
    let response = EventStream::open(site, "/api/session/events", &browser).await;
    match response.status() {
        StatusCode::OK => Ok((browser, response.into_body())),
        status => Err(format!("the stream is answered with {status}").into()),
    }
}

/// One of the processes, which [`run`] starts.
pub(crate) struct Instance;

impl Instance {
    /// Starts an instance. Returns the process, which ends when it is dropped, and its address.
    fn start(url: &str) -> Result<(Process, SocketAddr), Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "instance",
                "--listen",
                "127.0.0.1:0",
                "--near-cache",
                "64MiB",
            ])
            .args(["--store", url, "--session-keys", KEY])
            .stdin(Stdio::null());
        let (process, stdout) = Process::spawn_piped(&mut command);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok((process, line.trim().parse()?))
    }

    /// Serves until the process is killed.
    pub(crate) async fn serve(options: &demo::options::Options) -> Result<(), Failure> {
        let server = Server::open(options).await?;
        let listener = TcpListener::bind(&options.listen).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        server.serve(listener, std::future::pending()).await;
        Ok(())
    }
}
