//! A Redis server that speaks TLS, and the certificate authority that vouches for it.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{port, redis::Redis};

/// A certificate authority of the test's own.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority that nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key pair");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// The authority's certificate, for clients that shall trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate for this host name and its key, and returns the two texts.
    fn issue(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key pair");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a host name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A Redis server with a TLS port beside the plain one.
#[derive(Debug)]
pub struct TlsRedis {
    /// The server.
    pub server: Redis,
    tls_port: u16,
    _certificates: TempDir,
}

impl TlsRedis {
    /// Starts a server whose certificate is issued by `authority` for the host name `host`.
    pub fn start(authority: &Authority, host: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (certificate, key) = authority.issue(host);
        let [certificate, key, authority] = [
            ("server.pem", certificate),
            ("key.pem", key),
            ("authority.pem", authority.pem()),
        ]
        .map(|(name, text)| write(directory.path(), name, &text));
        let tls_port = port::free();
        let server = Redis::with_options(&[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &authority,
            "--tls-auth-clients",
            "no",
        ]);
        Self {
            server,
            tls_port,
            _certificates: directory,
        }
    }

    /// The port that speaks TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).expect("a file in the directory");
    path.to_string_lossy().into_owned()
}
