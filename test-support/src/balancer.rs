//! haproxy with the configuration in `deploy/`, in front of instances on this machine.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    port::{self, HOST},
    process::Process,
    program,
    wait::wait_until,
};

/// The deployed configuration. Only its addresses are replaced.
const CONFIG: &str = include_str!("../../deploy/haproxy.cfg");
/// A port is not reserved, so another process may take it before haproxy listens.
const ATTEMPTS: usize = 3;

/// A load balancer: round robin, not sticky. It ends when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    process: Process,
    directory: TempDir,
}

impl Balancer {
    /// Starts a balancer in front of these servers, each with its name, and waits until it listens.
    pub fn start(servers: &[(&str, SocketAddr)]) -> Self {
        let found = (0..ATTEMPTS).find_map(|_| Self::try_start(servers));
        found.unwrap_or_else(|| {
            panic!("haproxy ended {ATTEMPTS} times with the configuration in deploy/")
        })
    }

    fn try_start(servers: &[(&str, SocketAddr)]) -> Option<Self> {
        let addr = format!("{HOST}:{}", port::free())
            .parse()
            .expect("an address");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("haproxy.cfg");
        let config = config(addr, &socket(directory.path()), servers);
        fs::write(&file, config).expect("a configuration file");
        let mut command = Command::new(program::path_of("haproxy"));
        command.arg("-db").arg("-f").arg(&file);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let balancer = Self {
            addr,
            process: Process::spawn(&mut command),
            directory,
        };
        let listens = || TcpStream::connect(addr).is_ok();
        wait_until("haproxy listens", || {
            !balancer.process.is_running() || listens()
        });
        balancer.process.is_running().then_some(balancer)
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends no more requests to a server, and waits until it has answered those that it has.
    pub fn drain(&self, server: &str) {
        self.command(&format!("set server demos/{server} state drain"));
        wait_until("a server is drained", || {
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

    /// Sends requests to a drained server again.
    pub fn resume(&self, server: &str) {
        self.command(&format!("set server demos/{server} state ready"));
    }

    fn command(&self, command: &str) -> String {
        let mut stream =
            UnixStream::connect(socket(self.directory.path())).expect("haproxy listens");
        writeln!(stream, "{command}").expect("a command");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }
}

/// The socket for commands.
fn socket(directory: &Path) -> PathBuf {
    directory.join("haproxy.sock")
}

/// The deployed configuration with these addresses and a socket for commands, and without the name
/// server of the container network.
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
