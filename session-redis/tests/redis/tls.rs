//! TLS: certificates and host names are verified.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use session_core::StoreErrorKind;
use session_redis::{ConnectError, RedisConfig, RedisStore};
use tempfile::TempDir;

use crate::{
    create, id, record,
    server::{Server, free_port},
};

/// Returns a new certificate authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("a certificate")
}

/// Starts a server that also uses TLS, with a certificate for `name`.
fn server(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    directory: &TempDir,
) -> (Server, u16) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let (certificate, key) = (
        file("cert.pem", certificate.pem()),
        file("key.pem", key.serialize_pem()),
    );
    let ca = file("ca.pem", authority.pem());
    let port = free_port();
    let server = Server::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    (server, port)
}

#[tokio::test]
async fn certificate_and_host_name_are_verified() {
    let (ours, theirs, directory) = (
        authority(),
        authority(),
        TempDir::new().expect("a directory"),
    );
    let (_server, port) = server(&ours, "localhost", &directory);
    let config =
        |host: &str| RedisConfig::from_url(&format!("rediss://{host}:{port}")).expect("a URL");

    let store = RedisStore::open(config("localhost").tls_root_certificates(ours.pem()))
        .await
        .expect("a store");
    create(&store, &id(), &record(b"")).await;

    let rejected = [
        (
            "a certificate of another authority",
            config("localhost").tls_root_certificates(theirs.pem()),
        ),
        (
            "a certificate that the machine does not trust",
            config("localhost"),
        ),
        (
            "a certificate for another name",
            config("127.0.0.1").tls_root_certificates(ours.pem()),
        ),
        (
            "a root certificate that is not one",
            config("localhost").tls_root_certificates("garbage"),
        ),
    ];
    for (who, config) in rejected {
        match RedisStore::open(config).await {
            Err(ConnectError::Redis(error)) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{who}")
            }
            other => panic!("{who}: {other:?}"),
        }
    }
}
