//! Which servers a store uses, and how they relate to each other.

use std::{fmt, path::PathBuf};

use crate::address::Address;

/// The servers of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One server.
    Standalone(Address),
    /// One server on this machine, by the path of its socket.
    Unix(PathBuf),
    /// The server that the sentinels name as the primary of a service.
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
    },
    /// A cluster, found through these nodes.
    Cluster(Vec<Address>),
}

impl fmt::Display for Topology {
    /// Writes the addresses, for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[Address]| {
            let addresses: Vec<_> = addresses.iter().map(Address::to_string).collect();
            addresses.join(",")
        };
        match self {
            Self::Standalone(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, service } => {
                write!(f, "service {service} of sentinels {}", list(sentinels))
            }
            Self::Cluster(nodes) => write!(f, "cluster {}", list(nodes)),
        }
    }
}
