//! Redis servers that speak TLS: alone, behind sentinels, in a cluster.

use crate::{
    authority::{Authority, Certificates},
    cluster::Cluster,
    port::HOST,
    redis::Redis,
    sentinel::Sentinels,
};

/// A Redis server with a TLS port beside the plain one.
#[derive(Debug)]
pub struct TlsRedis {
    /// The server.
    pub server: Redis,
    _certificates: Certificates,
}

impl TlsRedis {
    /// Starts a server whose certificate is issued by `authority` for the host name `host`.
    pub fn start(authority: &Authority, host: &str) -> Self {
        Self::with_client_certificates(authority, host, "no")
    }

    /// Starts a server that accepts only clients with a certificate of `authority`.
    pub fn requiring_client_certificates(authority: &Authority, host: &str) -> Self {
        Self::with_client_certificates(authority, host, "yes")
    }

    fn with_client_certificates(authority: &Authority, host: &str, demanded: &str) -> Self {
        let certificates = Certificates::issue(authority, host);
        let options = certificates.options();
        let options = options
            .into_iter()
            .chain([("tls-auth-clients", demanded.to_owned())]);
        let options: Vec<_> = options
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        Self {
            server: Redis::with_tls_port(&options),
            _certificates: certificates,
        }
    }

    /// The port that speaks TLS.
    pub fn tls_port(&self) -> u16 {
        self.server.tls_port().expect("a TLS port")
    }
}

/// A primary, a replica and three sentinels that speak TLS with each other and with clients.
#[derive(Debug)]
pub struct TlsSentinels {
    /// The servers and the sentinels.
    pub group: Sentinels,
    _certificates: Certificates,
}

impl TlsSentinels {
    /// Starts all of them, with a certificate for `127.0.0.1`. They demand client certificates.
    pub fn start(authority: &Authority) -> Self {
        let certificates = Certificates::issue(authority, HOST);
        Self {
            group: Sentinels::with_tls(&certificates),
            _certificates: certificates,
        }
    }

    /// The URL of a store on them. The sentinels use TLS too.
    pub fn url(&self) -> String {
        let sentinels = self.group.sentinels.iter().map(tls_address);
        let sentinels = sentinels.collect::<Vec<_>>().join(",");
        format!("rediss+sentinel://{sentinels}/{}", Sentinels::SERVICE)
    }
}

/// A cluster whose nodes speak TLS with each other and with clients.
#[derive(Debug)]
pub struct TlsCluster {
    /// The nodes.
    pub cluster: Cluster,
    _certificates: Certificates,
}

impl TlsCluster {
    /// Starts three primaries, with a certificate for `127.0.0.1`. They demand client certificates.
    pub fn start(authority: &Authority) -> Self {
        let certificates = Certificates::issue(authority, HOST);
        Self {
            cluster: Cluster::with_tls(&certificates),
            _certificates: certificates,
        }
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        let nodes = self.cluster.nodes.iter().map(tls_address);
        format!("rediss+cluster://{}", nodes.collect::<Vec<_>>().join(","))
    }
}

fn tls_address(server: &Redis) -> String {
    format!("{HOST}:{}", server.tls_port().expect("a TLS port"))
}
