//! TLS settings, parsed once and shared by all connections of a store.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use redis::{ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// How servers of one role are verified, and how the store proves its own identity to them.
///
/// # Examples
///
/// Servers of a private authority, which demand a client certificate, while the sentinels use none:
///
/// ```
/// use session_redis::{RedisConfig, TlsConfig};
///
/// # fn example(ca: String, cert: String, key: String) -> Result<(), Box<dyn std::error::Error>> {
/// let servers = TlsConfig::new()
///     .root_certificates(ca)
///     .client_certificate(cert, key);
/// let config = RedisConfig::sentinel(["10.0.0.1", "10.0.0.2", "10.0.0.3"], "sessions")?
///     .tls_config(servers)
///     .sentinel_tls(None);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct TlsConfig {
    roots: Option<Vec<u8>>,
    client: Option<ClientIdentity>,
    /// Shared by clones, so that it is parsed once.
    parsed: Arc<OnceLock<Result<ConnectionAddr, TlsError>>>,
}

#[derive(Clone)]
struct ClientIdentity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl TlsConfig {
    /// Verifies servers against the trusted roots of the machine, and presents no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these root certificates, in PEM, instead of those of the machine.
    pub fn root_certificates(self, pem: impl Into<Vec<u8>>) -> Self {
        Self {
            roots: Some(pem.into()),
            parsed: Arc::default(),
            ..self
        }
    }

    /// Presents this certificate to servers that request one, as those with `tls-auth-clients yes`
    /// do. Both are in PEM; further certificates of the chain follow the first.
    pub fn client_certificate(
        self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            client: Some(ClientIdentity {
                certificate: certificate.into(),
                key: key.into(),
            }),
            parsed: Arc::default(),
            ..self
        }
    }

    /// Parses the certificates, unless that was done.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.parsed().as_ref().map(drop).map_err(Clone::clone)
    }

    /// Returns the address with these settings, as the redis crate takes it.
    pub(crate) fn address(&self, host: &str, port: u16) -> Result<ConnectionAddr, TlsError> {
        let mut addr = self.parsed().clone()?;
        if let ConnectionAddr::TcpTls {
            host: h, port: p, ..
        } = &mut addr
        {
            (*h, *p) = (host.to_owned(), port);
        }
        Ok(addr)
    }

    fn parsed(&self) -> &Result<ConnectionAddr, TlsError> {
        self.parsed.get_or_init(|| self.parse())
    }

    /// Parses the certificates into an address without a host. The redis crate has no other type
    /// for them.
    fn parse(&self) -> Result<ConnectionAddr, TlsError> {
        if CryptoProvider::get_default().is_none() {
            // an error means that the application has installed another one, which is kept
            let _ = ring::default_provider().install_default();
        }
        let (roots, pem) = match &self.roots {
            Some(pem) => (parse_roots(pem)?, pem.clone()),
            None => roots_of_machine()?,
        };
        if let Some(client) = &self.client {
            client.check(roots)?;
        }
        let unexpected = |error: redis::RedisError| TlsError::RootCertificates {
            reason: error.to_string(),
        };
        let addr = ConnectionAddr::TcpTls {
            host: String::new(),
            port: 0,
            insecure: false,
            tls_params: None,
        };
        let certificates = TlsCertificates {
            client_tls: self.client.as_ref().map(|client| ClientTlsConfig {
                client_cert: client.certificate.clone(),
                client_key: client.key.clone(),
            }),
            root_cert: Some(pem),
        };
        let info = addr.into_connection_info().map_err(unexpected)?;
        let client = redis::Client::build_with_tls(info, certificates).map_err(unexpected)?;
        Ok(client.get_connection_info().addr().clone())
    }
}

impl ClientIdentity {
    /// Checks that the key belongs to the certificate.
    fn check(&self, roots: RootCertStore) -> Result<(), TlsError> {
        let invalid = |reason: String| TlsError::ClientCertificate { reason };
        let chain = parse_certificates(&self.certificate).map_err(invalid)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::ClientKey)?;
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map(drop)
            .map_err(|error| invalid(error.to_string()))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("own_roots", &self.roots.is_some())
            .field("client_certificate", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

/// The TLS settings are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The machine trusts no authority, and the configuration names none.
    #[error("the machine has no trusted root certificates, and none are configured")]
    NoRoots,
    /// The root certificates cannot be used.
    #[error("invalid root certificates: {reason}")]
    RootCertificates {
        /// What is wrong with them.
        reason: String,
    },
    /// The client certificate cannot be used, or does not belong to the key.
    #[error("invalid client certificate: {reason}")]
    ClientCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The key of the client certificate is not a private key in PEM.
    #[error("the key of the client certificate is not a private key in PEM")]
    ClientKey,
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let invalid = |reason: String| TlsError::RootCertificates { reason };
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(pem).map_err(invalid)? {
        let added = roots.add(certificate);
        added.map_err(|error| invalid(error.to_string()))?;
    }
    Ok(roots)
}

fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        // the error may quote the text
        Err(_) => Err("not PEM".to_owned()),
    }
}

/// Returns the trusted roots of the machine, and the same in PEM. Those that rustls cannot use are
/// left out.
fn roots_of_machine() -> Result<(RootCertStore, Vec<u8>), TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "cannot read a trusted root certificate of this machine");
    }
    let (mut roots, mut pem) = (RootCertStore::empty(), String::new());
    for certificate in loaded.certs {
        let encoded = STANDARD.encode(&certificate);
        if roots.add(certificate).is_ok() {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            pem.push_str(&encoded);
            pem.push_str("\n-----END CERTIFICATE-----\n");
        }
    }
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok((roots, pem.into())),
    }
}

#[cfg(test)]
mod tests {
    use test_support::authority::Authority;

    use super::*;

    #[test]
    fn invalid_certificates_are_named() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (certificate, key) = ours.client_certificate();
        let (_, other_key) = theirs.client_certificate();
        let base = TlsConfig::new().root_certificates(ours.pem());
        let valid = base.clone().client_certificate(&*certificate, &*key);
        assert_eq!(valid.check(), Ok(()));

        let cut = ours.pem().replace("-----END", "END");
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (config, expected) in [
            (
                base.clone().root_certificates("garbage"),
                "invalid root certificates: no certificate in PEM",
            ),
            (
                base.clone().root_certificates(cut),
                "invalid root certificates: not PEM",
            ),
            (
                base.clone().root_certificates(not_der),
                "invalid root certificates: invalid peer certificate: BadEncoding",
            ),
            (
                base.clone().client_certificate("garbage", &*key),
                "invalid client certificate: no certificate in PEM",
            ),
            (
                base.clone().client_certificate(&*certificate, "hunter2"),
                "the key of the client certificate is not a private key in PEM",
            ),
            (
                base.clone().client_certificate(&*certificate, other_key),
                "invalid client certificate: keys may not be consistent: KeyMismatch",
            ),
        ] {
            assert_eq!(config.check().expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn clones_share_what_was_parsed() {
        let config = TlsConfig::new().root_certificates(Authority::new().pem());
        assert_eq!(config.check(), Ok(()));
        assert!(config.clone().parsed.get().is_some());
        assert!(config.root_certificates("").parsed.get().is_none());
    }

    #[test]
    fn debug_output_contains_neither_certificates_nor_keys() {
        let authority = Authority::new();
        let (certificate, key) = authority.client_certificate();
        let config = TlsConfig::new()
            .root_certificates(authority.pem())
            .client_certificate(certificate, key);
        assert_eq!(config.check(), Ok(()));
        assert_eq!(
            format!("{config:?}"),
            "TlsConfig { own_roots: true, client_certificate: true, .. }"
        );
    }
}
