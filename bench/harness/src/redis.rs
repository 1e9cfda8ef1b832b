//! Redis of the bench: its own server without persistence, and what it counts.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::AddAssign,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    BENCH,
    machine::Machine,
    process::{self, Process},
};

const SLOTS: usize = 16_384;
/// A node of a cluster also listens on the port that lies so far above its own.
const BUS: u16 = 10_000;

/// A Redis server and a connection to it.
pub(crate) struct Redis {
    pub(crate) process: Process,
    stream: BufReader<TcpStream>,
}

/// What Redis has counted since it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    /// Calls by command.
    pub(crate) commands: BTreeMap<String, i64>,
    /// Reads from sockets: one for each round trip of a single client.
    pub(crate) reads: i64,
    pub(crate) in_bytes: i64,
    pub(crate) out_bytes: i64,
    pub(crate) used_memory: i64,
    pub(crate) clients: i64,
    /// CPU time of the server, in seconds.
    pub(crate) cpu: f64,
}

/// A reply, as far as the bench needs to tell them apart.
#[derive(Debug)]
pub(crate) enum Reply {
    Text(String),
    Int(i64),
    Nil,
}

impl Redis {
    /// Starts a server on the loopback interface, off the measured server's core.
    pub(crate) fn start(machine: &Machine) -> anyhow::Result<Self> {
        Self::start_with(machine, process::free_port()?, &[])
    }

    /// Starts the primaries of a cluster, and waits until they serve all slots.
    pub(crate) fn cluster(machine: &Machine, primaries: usize) -> anyhow::Result<Vec<Self>> {
        let mut nodes = Vec::new();
        for number in 0..primaries {
            let port = loop {
                let port = process::free_port()?;
                if port < u16::MAX - BUS {
                    break port;
                }
            };
            // of an earlier run, with the nodes of that time
            let file = format!("target/cluster-{primaries}-{number}.conf");
            let file = Path::new(BENCH).join(file);
            let _ = std::fs::remove_file(&file);
            let set = [
                "--cluster-enabled",
                "yes",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-config-file",
                &file.display().to_string(),
            ];
            nodes.push(Self::start_with(machine, port, &set)?);
        }
        let ports: Vec<_> = nodes.iter().map(|node| node.port().to_string()).collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            let slots = number * SLOTS / primaries..(number + 1) * SLOTS / primaries;
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            let mut add = vec!["CLUSTER", "ADDSLOTS"];
            add.extend(slots.iter().map(String::as_str));
            node.call(&add)?;
            for port in &ports {
                node.call(&["CLUSTER", "MEET", "127.0.0.1", port])?;
            }
        }
        let patience = Instant::now() + Duration::from_secs(30);
        while !Self::serve_all(&mut nodes)? {
            if Instant::now() > patience {
                bail!("the nodes form no cluster");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(nodes)
    }

    /// Whether every node knows that all slots are served, and by how many.
    fn serve_all(nodes: &mut [Self]) -> anyhow::Result<bool> {
        let size = nodes.len();
        for node in nodes {
            let Reply::Text(info) = node.call(&["CLUSTER", "INFO"])? else {
                bail!("CLUSTER INFO is no text")
            };
            // one that has just heard of the others serves a little later
            let lines = [
                "cluster_state:ok".to_owned(),
                format!("cluster_slots_ok:{SLOTS}"),
                format!("cluster_size:{size}"),
            ];
            if !lines
                .iter()
                .all(|line| info.lines().any(|other| other == line))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_with(machine: &Machine, port: u16, more: &[&str]) -> anyhow::Result<Self> {
        let set = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ];
        let set: Vec<_> = set.iter().chain(more).map(ToString::to_string).collect();
        let process = Process::start(
            Path::new("redis-server"),
            &set,
            machine.others.as_deref(),
            port,
        )?;
        let stream = BufReader::new(TcpStream::connect(process.address)?);
        stream.get_ref().set_nodelay(true)?;
        Ok(Self { process, stream })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.process.address)
    }

    fn port(&self) -> u16 {
        self.process.address.port()
    }

    /// Sends a command and waits for its reply.
    pub(crate) fn call(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let (kind, rest) = line
            .trim_end()
            .split_at_checked(1)
            .context("redis closed the connection")?;
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            ":" => Ok(Reply::Int(rest.parse()?)),
            "$" if rest == "-1" => Ok(Reply::Nil),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            _ => bail!("{} is answered by {line:?}", words.join(" ")),
        }
    }

    /// Forgets every session.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        self.call(&["FLUSHALL"]).map(drop)
    }

    pub(crate) fn info(&mut self) -> anyhow::Result<Info> {
        match self.call(&["INFO", "everything"])? {
            Reply::Text(text) => Ok(Info::parse(&text)),
            other => bail!("INFO is answered by {other:?}"),
        }
    }

    /// Mean length of value and mean `MEMORY USAGE` of keys drawn at random.
    pub(crate) fn sizes(&mut self, draws: usize) -> anyhow::Result<(f64, f64)> {
        let (mut value, mut usage, mut drawn) = (0, 0, 0);
        while drawn < draws {
            let Reply::Text(key) = self.call(&["RANDOMKEY"])? else {
                bail!("no session is stored")
            };
            // the index of a user's sessions is not a session
            if !matches!(self.call(&["TYPE", &key])?, Reply::Text(kind) if kind == "string") {
                continue;
            }
            drawn += 1;
            let (Reply::Int(bytes), Reply::Int(memory)) = (
                self.call(&["STRLEN", &key])?,
                self.call(&["MEMORY", "USAGE", &key])?,
            ) else {
                bail!("a session is no string")
            };
            value += bytes;
            usage += memory;
        }
        Ok((value as f64 / draws as f64, usage as f64 / draws as f64))
    }
}

impl Info {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if let Some(command) = name.strip_prefix("cmdstat_") {
                let calls = value
                    .strip_prefix("calls=")
                    .and_then(|rest| rest.split(',').next()?.parse().ok());
                info.commands.insert(
                    command.to_uppercase().replace('|', " "),
                    calls.unwrap_or_default(),
                );
                continue;
            }
            if name == "used_cpu_user" || name == "used_cpu_sys" {
                info.cpu += value.parse().unwrap_or(0.0);
                continue;
            }
            let field = match name {
                "total_reads_processed" => &mut info.reads,
                "total_net_input_bytes" => &mut info.in_bytes,
                "total_net_output_bytes" => &mut info.out_bytes,
                "used_memory" => &mut info.used_memory,
                "connected_clients" => &mut info.clients,
                _ => continue,
            };
            *field = value.parse().unwrap_or_default();
        }
        info
    }

    /// What happened between an earlier look and this one.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let calls = |name: &String| {
            self.commands[name] - earlier.commands.get(name).copied().unwrap_or_default()
        };
        Self {
            commands: self
                .commands
                .keys()
                .map(|name| (name.clone(), calls(name)))
                .filter(|(_, calls)| *calls != 0)
                .collect(),
            reads: self.reads - earlier.reads,
            in_bytes: self.in_bytes - earlier.in_bytes,
            out_bytes: self.out_bytes - earlier.out_bytes,
            used_memory: self.used_memory - earlier.used_memory,
            clients: self.clients,
            cpu: self.cpu - earlier.cpu,
        }
    }
}

impl AddAssign for Info {
    /// Counts several servers as one.
    fn add_assign(&mut self, other: Self) {
        for (name, calls) in other.commands {
            *self.commands.entry(name).or_default() += calls;
        }
        self.reads += other.reads;
        self.in_bytes += other.in_bytes;
        self.out_bytes += other.out_bytes;
        self.used_memory += other.used_memory;
        self.clients += other.clients;
        self.cpu += other.cpu;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_subtracted() {
        let before = Info::parse(
            "# Stats\r\ntotal_reads_processed:7\r\nused_cpu_sys:0.25\r\nused_cpu_user:1.5\r\ncmdstat_get:calls=2,usec=5\r\ncmdstat_set:calls=1,usec=5\r\n",
        );
        let after = Info::parse(
            "total_reads_processed:9\r\nused_cpu_sys:0.5\r\nused_cpu_user:2.5\r\ncmdstat_get:calls=5,usec=5\r\ncmdstat_set:calls=1,usec=5\r\n",
        );
        let between = after.since(&before);
        assert_eq!(between.reads, 2);
        assert_eq!(between.commands, [("GET".to_owned(), 3)].into());
        assert_eq!(between.cpu, 1.25);
        let mut both = between.clone();
        both += between;
        assert_eq!((both.reads, both.commands["GET"]), (4, 6));
    }
}
