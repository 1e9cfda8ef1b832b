//! A certificate authority, and the certificates that it issues.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use tempfile::TempDir;

const CERTIFICATE: &str = "server.pem";
const KEY: &str = "key.pem";
const AUTHORITY: &str = "authority.pem";

/// A certificate authority of the test's own.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority that nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("test authority");
        let key = KeyPair::generate().expect("a key pair");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// The authority's certificate, for clients that shall trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for a client, and returns it and its key in PEM.
    pub fn client_certificate(&self) -> (String, String) {
        self.issue("client.test")
    }

    /// Issues a certificate for this host name or address, and returns it and its key in PEM.
    fn issue(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host name");
        params.distinguished_name = named(host);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate for `127.0.0.1` or another host, its key and its authority, in files.
#[derive(Debug)]
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn issue(authority: &Authority, host: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (certificate, key) = authority.issue(host);
        let authority = authority.pem();
        for (name, text) in [
            (CERTIFICATE, certificate),
            (KEY, key),
            (AUTHORITY, authority),
        ] {
            fs::write(directory.path().join(name), text).expect("a file in the directory");
        }
        Self(directory)
    }

    /// The options of a server, by name and value.
    pub(crate) fn options(&self) -> [(&'static str, String); 3] {
        [
            ("tls-cert-file", self.path(CERTIFICATE)),
            ("tls-key-file", self.path(KEY)),
            ("tls-ca-cert-file", self.path(AUTHORITY)),
        ]
    }

    /// The options of `redis-cli`.
    pub(crate) fn cli_options(&self) -> Vec<String> {
        let mut options = vec!["--tls".to_owned()];
        for (option, file) in [
            ("--cert", CERTIFICATE),
            ("--key", KEY),
            ("--cacert", AUTHORITY),
        ] {
            options.extend([option.to_owned(), self.path(file)]);
        }
        options
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }
}

/// OpenSSL takes a certificate for self-signed if it has the name of its issuer.
fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
