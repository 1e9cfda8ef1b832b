//! Processes of the bench, each ended by its id when its owner is dropped, also on panic.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    BENCH,
    machine::{self, Machine},
    servers::{Program, Server},
};

/// A process that listens on a port of the loopback interface.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a server on the server's core.
    pub(crate) fn server(machine: &Machine, server: &Server, redis: &str) -> anyhow::Result<Self> {
        let (program, mut arguments) = match server.program {
            Program::Binary(name) => (beside_harness(name)?, vec![]),
            Program::Node => (
                "node".into(),
                vec![
                    Path::new(BENCH)
                        .join("express/server.js")
                        .display()
                        .to_string(),
                ],
            ),
        };
        let port = free_port()?;
        arguments.extend([
            server.variant.to_owned(),
            port.to_string(),
            redis.to_owned(),
        ]);
        Self::start(&program, &arguments, machine.server.as_deref(), port)
            .with_context(|| server.name.to_owned())
    }

    /// Starts a program and waits until it listens.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        cores: Option<&str>,
        port: u16,
    ) -> anyhow::Result<Self> {
        // a harness that is killed takes its children along
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(cores) = cores {
            command.args(["taskset", "--cpu-list", cores]);
        }
        command
            .arg(program)
            .args(arguments)
            .env("NODE_ENV", "production");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let child = command
            .spawn()
            .with_context(|| format!("{}", program.display()))?;
        let mut process = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        };
        process.wait_until_it_listens()?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        machine::cpu_seconds(self.pid())
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not listen on {}", self.address);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended by itself, and there is nobody to tell
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn beside_harness(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{name} is not built: run `cargo xtask bench`");
    }
    Ok(path)
}
