//! Instances of the demo site, each a process of its own. They end with the test, by their process id.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use crate::{redis::end, wait};

/// One instance.
#[derive(Debug)]
pub struct Demo {
    program: String,
    name: String,
    arguments: Vec<String>,
    keys: String,
    addr: SocketAddr,
    child: Option<Child>,
}

impl Demo {
    /// Starts an instance of this name on a free port, on the store with this URL. `program` is the path of the binary
    /// `instance` of this package; `keys` sign the cookies, as `SESSION_KEYS` has them.
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
            child: None,
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
        let mut child = command.spawn().expect("a process");
        let stdout = child.stdout.take().expect("piped");
        // from here on it ends with this value, also where the lines below panic
        self.child = Some(child);
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

    /// As `kill -9`.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Asks it to end, as service managers do, and waits until it has answered what it had begun to.
    ///
    /// # Panics
    ///
    /// When it does not end, or not well.
    pub fn terminate(&mut self) {
        let child = self.child.as_mut().expect("running");
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
        let mut status = None;
        wait("an instance to end", || {
            status = child.try_wait().expect("our child");
            status.is_some()
        });
        self.child = None;
        assert!(
            status.is_some_and(|status| status.success()),
            "instance {} ended with {status:?}",
            self.name
        );
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process, which changes with every start.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
