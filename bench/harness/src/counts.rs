//! What a request costs Redis, counted: one client, one request at a time. Noise does not change
//! these figures.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, bail, ensure};
use bench_scene::{ANONYMOUS, IN, NOBODY, OUT, is_page};

use crate::{
    http,
    machine::Machine,
    options::Options,
    process::Process,
    redis::Redis,
    results::{Count, Results, Scene},
    servers::{Role, Route, Server},
};

/// Requests of a scene, of which each figure is the mean.
const REQUESTS: usize = 40;

/// The scenes, in the order in which they are played.
pub(crate) const SCENES: [&str; 9] = [
    "anonymous",
    "anonymous, cookie",
    "read",
    "write",
    "read, forged cookie",
    "read, no cookie",
    "login",
    "login, in a session",
    "logout",
];

pub(crate) fn run(
    machine: &Machine,
    options: &Options,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut redis = Redis::start(machine)?;
    for server in options
        .servers()
        .into_iter()
        .filter(|server| !matches!(server.role, Role::Plain | Role::Token))
    {
        let count = count(machine, server, &mut redis).with_context(|| server.name)?;
        println!("counted: {}", server.name);
        results.counts.push(count);
    }
    Ok(())
}

fn count(machine: &Machine, server: &Server, redis: &mut Redis) -> anyhow::Result<Count> {
    redis.clear()?;
    let process = Process::server(machine, server, &redis.url())?;
    let mut client = Client::connect(process.address)?;
    let mut scenes = BTreeMap::new();
    // whatever is done once (connections, scripts, shapes) is done before counting
    for route in [Route::Login, Route::Anonymous] {
        client.send(route, None)?;
    }
    let warm = client.login()?;
    for route in [Route::Read, Route::Write, Route::Logout] {
        client.send(route, Some(&warm))?;
    }
    let mut cookies: Vec<String> = (0..REQUESTS)
        .map(|_| client.login())
        .collect::<Result<_, _>>()?;
    let clients = redis.info()?.clients;
    let (value_bytes, memory_bytes) = if server.is_remote() {
        redis.sizes(REQUESTS)?
    } else {
        (0.0, 0.0)
    };
    for name in SCENES {
        let (route, cookied, answer) = match name {
            "anonymous" => (Route::Anonymous, false, Expected::Text(ANONYMOUS)),
            "anonymous, cookie" => (Route::Anonymous, true, Expected::Text(ANONYMOUS)),
            "read" => (Route::Read, true, Expected::Page(0)),
            "write" => (Route::Write, true, Expected::Page(1)),
            "read, forged cookie" => (Route::Read, true, Expected::Text(NOBODY)),
            "read, no cookie" => (Route::Read, false, Expected::Text(NOBODY)),
            "login" => (Route::Login, false, Expected::Text(IN)),
            "login, in a session" => (Route::Login, true, Expected::Text(IN)),
            "logout" => (Route::Logout, true, Expected::Text(OUT)),
            other => bail!("no scene {other}"),
        };
        let forged = name == "read, forged cookie";
        // the second look tells what a look itself costs
        let (empty, before) = (redis.info()?, redis.info()?);
        let look = before.since(&empty);
        let (mut head_bytes, mut set_cookies, mut status) = (0, 0, 0);
        for cookie in &mut cookies {
            let sent = if forged {
                forge(cookie)
            } else {
                cookie.clone()
            };
            let got = client.send(route, cookied.then_some(sent.as_str()))?;
            ensure!(
                answer.is(&got.body),
                "{name}: answered {} {:?}",
                got.status,
                got.body
            );
            status = got.status;
            head_bytes += got.head.len();
            set_cookies += http::set_cookies(&got.head);
            if cookied
                && !forged
                && let Some(new) = http::cookie(&got.head)
            {
                *cookie = new;
            }
        }
        let spent = redis.info()?.since(&before).since(&look);
        let each = |sum: i64| sum as f64 / REQUESTS as f64;
        let commands = spent
            .commands
            .iter()
            .filter(|(command, _)| *command != "INFO");
        let scene = Scene {
            status,
            commands: commands
                .map(|(command, calls)| (command.clone(), each(*calls)))
                .collect(),
            round_trips: each(spent.reads),
            in_bytes: each(spent.in_bytes),
            out_bytes: each(spent.out_bytes),
            head_bytes: head_bytes as f64 / REQUESTS as f64,
            set_cookies: set_cookies as f64 / REQUESTS as f64,
        };
        scenes.insert(name.to_owned(), scene);
        if name == "write" {
            // stored, and not only said
            let again = client.send(Route::Read, cookies.first().map(String::as_str))?;
            ensure!(
                is_page(&again.body, 1),
                "a write is not read back: {:?}",
                again.body
            );
        }
    }
    let after = client.send(Route::Read, cookies.first().map(String::as_str))?;
    ensure!(
        after.status == 401,
        "a session lives on after its logout: {}",
        after.status
    );
    Ok(Count {
        server: server.name.to_owned(),
        role: server.role,
        scenes,
        cookie_bytes: cookies.first().map_or(0, String::len),
        value_bytes,
        memory_bytes,
        connections: if server.is_remote() { clients - 1 } else { 0 },
    })
}

/// Another character near the end of the longest cookie, where a signature or an id has it.
fn forge(cookie: &str) -> String {
    let longest = cookie
        .split("; ")
        .max_by_key(|pair| pair.len())
        .unwrap_or_default();
    let place = longest.len().saturating_sub(9);
    let other = if longest.as_bytes()[place] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut forged = longest.to_owned();
    forged.replace_range(place..=place, other);
    cookie.replacen(longest, &forged, 1)
}

/// What a request is to be answered.
enum Expected {
    Text(&'static str),
    /// The page of a session with so many views.
    Page(u64),
}

impl Expected {
    fn is(&self, body: &str) -> bool {
        match *self {
            Self::Text(text) => body == text,
            Self::Page(views) => is_page(body, views),
        }
    }
}

/// A client with one connection, which waits for each answer.
pub(crate) struct Client {
    stream: TcpStream,
}

pub(crate) struct Answer {
    status: u16,
    head: Vec<u8>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address)?,
        })
    }

    pub(crate) fn login(&mut self) -> anyhow::Result<String> {
        let answer = self.send(Route::Login, None)?;
        http::cookie(&answer.head).context("a login sets no cookie")
    }

    pub(crate) fn send(&mut self, route: Route, cookie: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = Vec::new();
        http::write_request(&mut request, route, "", cookie);
        self.stream.write_all(&request)?;
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the server closed the connection");
            bytes.extend_from_slice(&part[..read]);
            let Some(head) = http::head(&bytes) else {
                continue;
            };
            let head = head.map_err(anyhow::Error::msg)?;
            if bytes.len() >= head.bytes + head.body {
                let body = String::from_utf8(bytes.split_off(head.bytes))?;
                return Ok(Answer {
                    status: head.status,
                    head: bytes,
                    body,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_cookie_differs_in_one_character() {
        let cookie = "id=v1.token.signature; store=true";
        let forged = forge(cookie);
        assert_eq!(forged.len(), cookie.len());
        assert_eq!(
            forged
                .bytes()
                .zip(cookie.bytes())
                .filter(|(one, other)| one != other)
                .count(),
            1
        );
    }
}
