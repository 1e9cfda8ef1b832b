//! Instances of the demo site, each a process of its own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::process::Process;

/// One instance of the demo. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Demo {
    program: String,
    name: String,
    arguments: Vec<String>,
    keys: String,
    addr: SocketAddr,
    process: Option<Process>,
}

impl Demo {
    /// Starts an instance of this name on a free port, on the store with this URL.
    ///
    /// `program` is the path of a binary that takes the flags of the demo: cargo tells a test the
    /// paths of the binaries of its own package alone. `keys` are the signing keys, as in
    /// `SESSION_KEYS`.
    pub fn start(program: &str, name: &str, store: &str, keys: &str) -> Self {
        let arguments = ["--store", store, "--proxy", "trust"]
            .map(str::to_owned)
            .to_vec();
        let addr = ([127, 0, 0, 1], 0).into();
        let mut demo = Self {
            program: program.to_owned(),
            name: name.to_owned(),
            arguments,
            keys: keys.to_owned(),
            addr,
            process: None,
        };
        demo.restart();
        demo
    }

    /// Starts the instance again, on the same port.
    pub fn restart(&mut self) {
        let mut command = Command::new(&self.program);
        command
            .args(["--listen", &self.addr.to_string(), "--instance", &self.name])
            .args(&self.arguments);
        command
            .env("SESSION_KEYS", &self.keys)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let (process, stdout) = Process::spawn_piped(&mut command);
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line of text");
        let addr = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|addr| addr.parse().ok());
        self.addr =
            addr.unwrap_or_else(|| panic!("instance {} does not listen: {line:?}", self.name));
    }

    /// Starts the instance again with these keys.
    pub fn restart_with_keys(&mut self, keys: &str) {
        self.keys = keys.to_owned();
        self.restart();
    }

    /// Kills the instance with `SIGKILL`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends `SIGTERM`, as service managers do, and waits for the end of the instance. It answers
    /// the requests that it has begun.
    ///
    /// # Panics
    ///
    /// If the instance does not end, or not with success.
    pub fn terminate(&mut self) {
        let process = self.process.take().expect("the instance is running");
        let status = process.terminate();
        assert!(
            status.success(),
            "instance {} ended with {status}",
            self.name
        );
    }

    /// The address that it listens on, the same after a restart.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of its process. Every start has another one.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::id)
    }
}
