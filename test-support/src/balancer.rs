//! The load balancer of `deploy/`, a real haproxy, in front of instances on this machine.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use tempfile::TempDir;

use crate::{
    program,
    redis::{end, spawn},
    wait,
};

/// What is deployed; only the addresses are others here.
const CONFIG: &str = include_str!("../../deploy/haproxy.cfg");
/// A free port may be taken before haproxy listens on it.
const ATTEMPTS: usize = 3;

/// A load balancer: round robin, not sticky. It ends when dropped.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    child: Option<Child>,
    dir: TempDir,
}

impl Balancer {
    /// Puts a balancer before these servers, and waits until it listens.
    pub fn start(servers: &[(&str, SocketAddr)]) -> Self {
        let found = (0..ATTEMPTS).find_map(|_| Self::attempt(servers));
        found.unwrap_or_else(|| {
            panic!("haproxy ended {ATTEMPTS} times; its configuration is that of deploy/")
        })
    }

    fn attempt(servers: &[(&str, SocketAddr)]) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        drop(listener);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, config(addr, &socket(dir.path()), servers)).expect("writable");
        let child = spawn(
            Command::new(program("haproxy"))
                .arg("-db")
                .arg("-f")
                .arg(&file),
        );
        let mut balancer = Self {
            addr,
            child: Some(child),
            dir,
        };
        let mut ended = false;
        wait("haproxy to listen", || {
            let child = balancer.child.as_mut().expect("running");
            ended = child.try_wait().expect("our child").is_some();
            ended || std::net::TcpStream::connect(addr).is_ok()
        });
        (!ended).then_some(balancer)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends this server no more requests, and waits until those that it has are answered.
    pub fn drain(&self, server: &str) {
        self.command(&format!("set server demos/{server} state drain"));
        wait("a server to be drained", || {
            let stats = self.command("show stat");
            let field = |name: &str| {
                let column = stats
                    .lines()
                    .next()?
                    .split(',')
                    .position(|column| column == name)?;
                let line = stats
                    .lines()
                    .find(|line| line.starts_with(&format!("demos,{server},")))?;
                line.split(',').nth(column)
            };
            field("scur").expect("current sessions of the server") == "0"
        });
    }

    /// Sends it requests again.
    pub fn resume(&self, server: &str) {
        self.command(&format!("set server demos/{server} state ready"));
    }

    fn command(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(socket(self.dir.path())).expect("haproxy listens");
        writeln!(stream, "{command}").expect("a command");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Where commands are sent to.
fn socket(dir: &Path) -> PathBuf {
    dir.join("haproxy.sock")
}

/// The deployed configuration with these addresses, without the name server of the container network, and with a socket for
/// commands.
fn config(addr: SocketAddr, socket: &Path, servers: &[(&str, SocketAddr)]) -> String {
    let mut lines = Vec::new();
    let mut is_resolvers = false;
    for line in CONFIG.lines() {
        if !line.starts_with(' ') {
            is_resolvers = line.starts_with("resolvers ");
        }
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            _ if is_resolvers => {}
            ["default-server", "resolvers", ..] | ["server", ..] => {}
            ["global"] => {
                lines.push(line.to_owned());
                lines.push(format!("    stats socket {} level admin", socket.display()));
            }
            ["bind", _] => lines.push(format!("    bind {addr}")),
            ["backend", _] => {
                lines.push(line.to_owned());
                lines.extend(
                    servers
                        .iter()
                        .map(|(name, addr)| format!("    server {name} {addr}")),
                );
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployed_configuration_keeps_all_but_its_addresses() {
        let [addr, one, two] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
            .map(|addr| addr.parse().expect("an address"));
        let config = config(addr, Path::new("/socket"), &[("one", one), ("two", two)]);
        for line in [
            "    stats socket /socket level admin",
            "    bind 127.0.0.1:1",
            "    server one 127.0.0.1:2",
            "    server two 127.0.0.1:3",
            "    balance roundrobin",
            "    option httpchk GET /healthz",
            "    option redispatch",
        ] {
            assert!(
                config.lines().any(|found| found == line),
                "{line:?} is missing in\n{config}"
            );
        }
        assert!(
            !config.contains("resolvers") && !config.contains(":3000"),
            "{config}"
        );
    }
}
