//! One compose file as a project of its own: what `docker compose` does with it.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use anyhow::{Context, ensure};
use xshell::{Cmd, Shell, cmd};

/// The name of the project, so that containers of a developer are left alone.
const NAME: &str = "sessions-compose-test";

/// The project of a compose file.
#[derive(Debug)]
pub(crate) struct Project<'a> {
    sh: &'a Shell,
    /// `docker compose`, or the program that was before it.
    program: Vec<&'static str>,
    file: &'static str,
    address: SocketAddr,
}

impl<'a> Project<'a> {
    /// The project of this file, whose site gets a free port.
    ///
    /// # Errors
    ///
    /// If there is no engine, or no compose.
    pub(crate) fn new(sh: &'a Shell, file: &'static str) -> anyhow::Result<Self> {
        cmd!(sh, "docker version")
            .quiet()
            .ignore_stdout()
            .run()
            .context("this command needs a Docker engine")?;
        let plugin = cmd!(sh, "docker compose version")
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run();
        let program = match plugin {
            Ok(()) => vec!["docker", "compose"],
            Err(_) => vec!["docker-compose"],
        };
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self {
            sh,
            program,
            file,
            address,
        })
    }

    /// The address of the balancer.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn command(&self, arguments: &[&str]) -> Cmd<'a> {
        let (program, file) = (&self.program, self.file);
        cmd!(
            self.sh,
            "env {program...} -f {file} -p {NAME} {arguments...}"
        )
        .env("PORT", self.address.port().to_string())
        // the default of engines since version 23
        .env("DOCKER_BUILDKIT", "1")
    }

    /// Runs a command of compose.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let progress = self.command(arguments).ignore_stdout().output()?;
        if progress.status.success() {
            return Ok(());
        }
        anyhow::bail!(
            "{} {}: {}",
            self.file,
            arguments.join(" "),
            String::from_utf8_lossy(&progress.stderr)
        )
    }

    /// The roles of a Redis server: its lines of `ROLE`.
    pub(crate) fn role(&self, server: &str) -> anyhow::Result<Vec<String>> {
        let lines = self
            .command(&["exec", "-T", server, "redis-cli", "role"])
            .quiet()
            .ignore_stderr()
            .read()?;
        Ok(lines.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// The last lines of every service's log, to find out why a check failed.
    pub(crate) fn logs(&self) -> anyhow::Result<String> {
        let command = self.command(&["logs", "--no-color", "--tail", "15"]);
        Ok(command.quiet().ignore_stderr().read()?)
    }

    /// The names of the services whose containers run. None of their processes may be one of root.
    pub(crate) fn running(&self) -> anyhow::Result<BTreeSet<String>> {
        let filter = format!("label=com.docker.compose.project={NAME}");
        let format = "{{.ID}} {{.Label \"com.docker.compose.service\"}}";
        let containers = cmd!(self.sh, "docker ps --filter {filter} --format {format}")
            .quiet()
            .read()?;
        let mut services = BTreeSet::new();
        for line in containers.lines() {
            let (id, service) = line.split_once(' ').context("an id and a service")?;
            let users = cmd!(self.sh, "docker top {id} -eo pid,uid")
                .quiet()
                .read()?;
            let users: Vec<&str> = users
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect();
            ensure!(!users.is_empty(), "{service} has no process");
            ensure!(!users.contains(&"0"), "{service} has a process of root");
            services.insert(service.to_owned());
        }
        Ok(services)
    }
}
