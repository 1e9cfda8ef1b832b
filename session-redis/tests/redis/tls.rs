//! TLS: certificates and host names are verified.

use session_core::StoreErrorKind;
use session_redis::{ConnectError, RedisConfig, RedisStore};
use test_support::tls::{Authority, TlsRedis};

use crate::{create, id, record};

#[tokio::test]
async fn certificate_and_host_name_are_verified() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = TlsRedis::start(&ours, "localhost");
    let port = server.tls_port();
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
