//! Where a server runs.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

/// An address to listen on, and the network namespace that it belongs to.
#[derive(Clone, Debug)]
pub struct Place {
    host: IpAddr,
    /// A process of the namespace; `None` for the namespace of the test.
    namespace: Option<u32>,
}

impl Place {
    /// The loopback interface.
    pub fn loopback() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), None)
    }

    pub(crate) fn new(host: IpAddr, namespace: Option<u32>) -> Self {
        Self { host, namespace }
    }

    /// The address to listen on.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// A command that runs this program here.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        match self.namespace {
            None => Command::new(program),
            Some(process) => {
                let mut command = Command::new("nsenter");
                command
                    .args(["--target", &process.to_string(), "--net", "--"])
                    .arg(program);
                command
            }
        }
    }
}
