//! Redis of the bench: its own server without persistence, and what it counts.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
};

use anyhow::{Context, bail};

use crate::{
    machine::Machine,
    process::{self, Process},
};

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
        let port = process::free_port()?;
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
        let set = set.map(str::to_owned);
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
        let (mut value, mut usage) = (0, 0);
        for _ in 0..draws {
            let Reply::Text(key) = self.call(&["RANDOMKEY"])? else {
                bail!("no session is stored")
            };
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_subtracted() {
        let before = Info::parse(
            "# Stats\r\ntotal_reads_processed:7\r\ncmdstat_get:calls=2,usec=5\r\ncmdstat_set:calls=1,usec=5\r\n",
        );
        let after = Info::parse(
            "total_reads_processed:9\r\ncmdstat_get:calls=5,usec=5\r\ncmdstat_set:calls=1,usec=5\r\n",
        );
        let between = after.since(&before);
        assert_eq!(between.reads, 2);
        assert_eq!(between.commands, [("GET".to_owned(), 3)].into());
    }
}
