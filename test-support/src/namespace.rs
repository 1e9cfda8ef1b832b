//! A network namespace beside the one of the test, and the link between them.

use std::{
    fs, io,
    net::Ipv4Addr,
    process::{self, Command, Stdio},
};

use crate::{place::Place, process::Process, wait::wait_until};

/// A network namespace that packets stop reaching on command. It ends when the value is dropped.
///
/// A link that drops packets is the fault that a proxy cannot show: nothing is closed, refused or
/// acknowledged, and the name of the other end is known.
#[derive(Debug)]
pub struct Namespace {
    /// Keeps the namespace, and with it both ends of the link, alive.
    keeper: Process,
    link: String,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

/// Nobody's, so that a switch or the other end of a link drops what is sent to it.
const NOBODY: &str = "02:00:00:00:00:99";

impl Namespace {
    /// Creates a namespace, and a link to it.
    ///
    /// # Errors
    ///
    /// If this process may not do so, which takes root on Linux, and the programs `unshare`,
    /// `nsenter` and `ip`.
    pub fn start() -> io::Result<Self> {
        let own = fs::read_link("/proc/self/ns/net")?;
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null());
        // checked first, because the process below reports nothing
        run(Command::new("unshare").args(["--net", "true"]))?;
        let keeper = Process::spawn(&mut command);
        let id = keeper.id().expect("started above");
        wait_until("the namespace is there", || {
            fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|namespace| namespace != own)
        });
        // of the addresses for tests of networks (RFC 2544); others may run the same
        let number = process::id();
        let address = |host| {
            let [.., upper, lower] = number.to_be_bytes();
            Ipv4Addr::new(198, 18 + (upper & 1), lower, host)
        };
        let namespace = Self {
            keeper,
            link: format!("near{number}"),
            near: address(1),
            far: address(2),
        };
        namespace.connect()?;
        Ok(namespace)
    }

    /// This side of the link, for servers that the other side must reach.
    pub fn near(&self) -> Place {
        Place::new(self.near.into(), None)
    }

    /// The side that packets stop reaching.
    pub fn far(&self) -> Place {
        Place::new(self.far.into(), self.keeper.id())
    }

    /// Drops every packet to the far side from now on.
    ///
    /// # Errors
    ///
    /// Those of `ip`.
    pub fn cut(&self) -> io::Result<()> {
        let (far, link) = (self.far.to_string(), &self.link);
        ip(&[
            "neigh",
            "replace",
            &far,
            "lladdr",
            NOBODY,
            "nud",
            "permanent",
            "dev",
            link,
        ])
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    ///
    /// Those of `ip`.
    pub fn heal(&self) -> io::Result<()> {
        ip(&["neigh", "del", &self.far.to_string(), "dev", &self.link])
    }

    fn connect(&self) -> io::Result<()> {
        let keeper = self.keeper.id().expect("running").to_string();
        let link = self.link.as_str();
        ip(&[
            "link", "add", link, "type", "veth", "peer", "name", "far", "netns", &keeper,
        ])?;
        ip(&["addr", "add", &format!("{}/30", self.near), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        for words in [
            &["addr", "add", &format!("{}/30", self.far), "dev", "far"][..],
            &["link", "set", "far", "up"],
            &["link", "set", "lo", "up"],
        ] {
            run(self.far().command("ip".as_ref()).args(words))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    /// Removes the link. The kernel would do so some time after the end of the namespace, and its
    /// name and address would be taken until then.
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.link]);
    }
}

fn ip(words: &[&str]) -> io::Result<()> {
    run(Command::new("ip").args(words))
}

/// Runs a command to its end. What it writes to its standard error is in the error.
fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(text.trim().to_owned()))
}
