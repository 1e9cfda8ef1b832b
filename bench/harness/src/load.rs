//! The load generator: a closed loop of some connections on one thread, each with one request in
//! flight.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{http, servers::Route};

/// What to send, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) route: Route,
    /// Instances; connections are dealt to them in turn.
    pub(crate) addresses: &'a [SocketAddr],
    /// Taken in turn; from the start again when they are used up, except on the way out.
    pub(crate) cookies: &'a [String],
    pub(crate) connections: usize,
    pub(crate) until: Until,
    /// What follows the path.
    pub(crate) query: &'a str,
    /// Keep the cookies that are set.
    pub(crate) collect: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    Requests(usize),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    /// Answers other than 200.
    pub(crate) errors: usize,
    pub(crate) seconds: f64,
    /// Nanoseconds from sending a request to having its whole answer, ascending.
    latencies: Vec<u32>,
    pub(crate) cookies: Vec<String>,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Microseconds that so large a share of requests did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get((last as f64 * share).round() as usize)
            .map_or(f64::NAN, |nanos| f64::from(*nanos) / 1000.0)
    }
}

impl Load {
    /// Takes another one's requests in; [`sort`](Self::sort) before percentiles are asked for.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.seconds += other.seconds;
        self.latencies.extend(other.latencies);
        self.cookies.extend(other.cookies);
    }

    pub(crate) fn sort(&mut self) {
        self.latencies.sort_unstable();
    }
}

/// Runs a job to its end.
pub(crate) fn run(job: &Job<'_>) -> anyhow::Result<Load> {
    let mut poll = Poll::new()?;
    let mut sender = Sender {
        job,
        next: 0,
        limit: job.limit(),
        load: Load::default(),
    };
    let mut connections = Vec::new();
    for n in 0..job.connections {
        let stream = std::net::TcpStream::connect(job.addresses[n % job.addresses.len()])?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(n), Interest::READABLE)?;
        connections.push(Connection {
            stream,
            out: Vec::new(),
            answer: vec![0; 16 * 1024],
            read: 0,
            sent: Instant::now(),
        });
    }
    let start = Instant::now();
    let end = start + job.patience();
    let mut busy = 0;
    for connection in &mut connections {
        busy += usize::from(sender.send(connection)?);
    }
    let mut events = Events::with_capacity(job.connections);
    while busy > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        ensure!(
            !events.is_empty(),
            "{}: no answer within 10 s",
            job.route.name()
        );
        for event in &events {
            let connection = connections
                .get_mut(event.token().0)
                .context("a token of ours")?;
            if !connection.receive(&mut sender.load, job.collect)? {
                continue;
            }
            let over = matches!(job.until, Until::Elapsed(_)) && Instant::now() >= end;
            if over || !sender.send(connection)? {
                busy -= 1;
            }
        }
    }
    let mut load = sender.load;
    load.seconds = start.elapsed().as_secs_f64();
    load.sort();
    Ok(load)
}

impl<'a> Job<'a> {
    /// The same in parts, one after the other; each cookie goes to one part.
    pub(crate) fn slices(&self, count: usize) -> impl Iterator<Item = Job<'a>> {
        let (whole, each) = (self.clone(), self.cookies.len() / count);
        (0..count).map(move |slice| {
            let until = match whole.until {
                Until::Elapsed(time) => Until::Elapsed(time / count as u32),
                Until::Requests(requests) => Until::Requests(requests / count),
            };
            let cookies = if whole.route == Route::Logout {
                &whole.cookies[slice * each..][..each]
            } else {
                whole.cookies
            };
            Job {
                until,
                cookies,
                ..whole.clone()
            }
        })
    }

    fn patience(&self) -> Duration {
        match self.until {
            Until::Elapsed(time) => time,
            Until::Requests(_) => Duration::ZERO,
        }
    }

    /// The most requests to send.
    fn limit(&self) -> usize {
        let once = if self.route == Route::Logout {
            self.cookies.len()
        } else {
            usize::MAX
        };
        match self.until {
            Until::Elapsed(_) => once,
            Until::Requests(requests) => requests.min(once),
        }
    }
}

struct Sender<'a> {
    job: &'a Job<'a>,
    next: usize,
    limit: usize,
    load: Load,
}

impl Sender<'_> {
    /// Sends the next request, if there is one.
    fn send(&mut self, connection: &mut Connection) -> anyhow::Result<bool> {
        if self.next == self.limit {
            return Ok(false);
        }
        let cookies = self.job.cookies;
        let cookie = (!cookies.is_empty()).then(|| cookies[self.next % cookies.len()].as_str());
        self.next += 1;
        connection.out.clear();
        http::write_request(&mut connection.out, self.job.route, self.job.query, cookie);
        connection.sent = Instant::now();
        let written = connection.stream.write(&connection.out)?;
        ensure!(
            written == connection.out.len(),
            "a request did not fit into the socket"
        );
        Ok(true)
    }
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    answer: Vec<u8>,
    read: usize,
    sent: Instant,
}

impl Connection {
    /// Reads what has come; true when the answer is whole.
    fn receive(&mut self, load: &mut Load, collect: bool) -> anyhow::Result<bool> {
        loop {
            match self.stream.read(&mut self.answer[self.read..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => self.read += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let Some(head) = http::head(&self.answer[..self.read]) else {
                continue;
            };
            let head = head.map_err(anyhow::Error::msg)?;
            if self.read < head.bytes + head.body {
                continue;
            }
            // nothing more is under way, so the next readiness is a new event
            self.read = 0;
            load.latencies
                .push(u32::try_from(self.sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
            load.requests += 1;
            load.errors += usize::from(head.status != 200);
            if collect {
                load.cookies
                    .extend(http::cookie(&self.answer[..head.bytes]));
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_requests() {
        let load = Load {
            latencies: (1..=101).map(|n| n * 1000).collect(),
            ..Load::default()
        };
        assert_eq!(
            (
                load.percentile(0.5),
                load.percentile(0.99),
                load.percentile(1.0)
            ),
            (51.0, 100.0, 101.0)
        );
        assert!(Load::default().percentile(0.5).is_nan());
    }
}
