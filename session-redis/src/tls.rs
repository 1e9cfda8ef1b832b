//! TLS settings, parsed once and shared by all connections of a store.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How servers of one role are verified, and how the store proves its own identity to them.
///
/// Clones share the certificates, which are read and parsed once, and the TLS sessions: a store
/// that connects to a server again resumes the session of an earlier connection if the server
/// permits it, which saves both of them the certificates and their signatures. A server that has
/// another key since, or was restarted, gets a full handshake, in which it is verified again.
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
    parsed: Arc<OnceLock<Result<Arc<ClientConfig>, TlsError>>>,
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

    /// Makes the handshake with the server of this name or address.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.parsed().clone().map_err(io::Error::other)?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        tracing::trace!(server = host, resumed, "TLS handshake with Redis");
        Ok(stream)
    }

    fn parsed(&self) -> &Result<Arc<ClientConfig>, TlsError> {
        self.parsed.get_or_init(|| self.parse().map(Arc::new))
    }

    fn parse(&self) -> Result<ClientConfig, TlsError> {
        let roots = match &self.roots {
            Some(pem) => parse_roots(pem)?,
            None => roots_of_machine()?,
        };
        // that of the application, if it has installed one
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider {
                reason: error.to_string(),
            })?
            .with_root_certificates(roots);
        let Some(client) = &self.client else {
            return Ok(config.with_no_client_auth());
        };
        let invalid = |reason: String| TlsError::ClientCertificate { reason };
        let chain = parse_certificates(&client.certificate).map_err(invalid)?;
        let key = PrivateKeyDer::from_pem_slice(&client.key).map_err(|_| TlsError::ClientKey)?;
        let config = config.with_client_auth_cert(chain, key);
        config.map_err(|error| invalid(error.to_string()))
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
    /// The crypto provider that the application has installed cannot be used.
    #[error("the installed crypto provider cannot be used: {reason}")]
    Provider {
        /// What is wrong with it.
        reason: String,
    },
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

/// Returns the trusted roots of the machine. Those that rustls cannot use are left out.
fn roots_of_machine() -> Result<RootCertStore, TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "cannot read a trusted root certificate of this machine");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use test_support::{authority::Authority, tls::TlsRedis};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Connects to a server on this machine, and returns how the handshake went. The server has
    /// replied by then, so what it says about sessions has arrived.
    async fn handshake(config: &TlsConfig, host: &str, port: u16) -> io::Result<HandshakeKind> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut stream = config.connect(host, stream).await?;
        let mut reply = [0; 7];
        stream.write_all(b"PING\r\n").await?;
        stream.read_exact(&mut reply).await?;
        assert_eq!(&reply, b"+PONG\r\n");
        let (_, tls) = stream.get_ref();
        Ok(tls.handshake_kind().expect("a finished handshake"))
    }

    fn trusting(authority: &Authority) -> TlsConfig {
        TlsConfig::new().root_certificates(authority.pem())
    }

    #[tokio::test]
    async fn a_second_connection_resumes_the_session_of_the_first() {
        let authority = Authority::new();
        let (certificate, key) = authority.client_certificate();
        let anonymous = trusting(&authority);
        let client = anonymous.clone().client_certificate(certificate, key);
        for (server, config) in [
            (TlsRedis::start(&authority, "localhost"), anonymous),
            (
                TlsRedis::requiring_client_certificates(&authority, "localhost"),
                client,
            ),
        ] {
            for (config, expected) in [
                (&config, HandshakeKind::Full),
                (&config, HandshakeKind::Resumed),
                (&config.clone(), HandshakeKind::Resumed),
                // it shares nothing with the others
                (
                    &config.clone().root_certificates(authority.pem()),
                    HandshakeKind::Full,
                ),
            ] {
                let kind = handshake(config, "localhost", server.tls_port()).await;
                assert_eq!(kind.expect("a connection"), expected);
            }
        }
    }

    #[tokio::test]
    async fn a_server_is_verified_although_there_is_a_session_of_its_name() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let server = TlsRedis::start(&ours, "localhost");
        let impostor = TlsRedis::start(&theirs, "localhost");
        let config = trusting(&ours);
        let kind = handshake(&config, "localhost", server.tls_port()).await;
        assert_eq!(kind.expect("a connection"), HandshakeKind::Full);

        let refused = handshake(&config, "localhost", impostor.tls_port()).await;
        let error = refused.expect_err("another authority").to_string();
        assert!(error.starts_with("invalid peer certificate"), "{error}");
        let refused = handshake(&config, "127.0.0.1", server.tls_port()).await;
        let error = refused.expect_err("another name").to_string();
        assert!(error.contains("not valid for name"), "{error}");
        let kind = handshake(&config, "localhost", server.tls_port()).await;
        assert_eq!(kind.expect("a connection"), HandshakeKind::Resumed);
    }

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
