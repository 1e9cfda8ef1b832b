//! TLS: the certificate and the host name are checked.

use session_core::{Created, Store, StoreErrorKind};
use session_redis::{ConnectError, RedisConfig, RedisStore};
use test_support::tls::{Authority, TlsRedis};

use crate::{LONG, id, record};

#[tokio::test]
async fn certificate_and_host_name_are_checked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = TlsRedis::start(&ours, "localhost");
    let port = server.tls_port();
    let config =
        |host: &str| RedisConfig::from_url(&format!("rediss://{host}:{port}")).expect("a URL");

    let store = RedisStore::open(config("localhost").tls_root_certificates(ours.pem()))
        .await
        .expect("a store");
    assert_eq!(
        store
            .create(&id(), &record(b""), LONG)
            .await
            .expect("create"),
        Created::Created
    );

    let refused = [
        (
            "another authority",
            config("localhost").tls_root_certificates(theirs.pem()),
        ),
        ("the authorities of this machine", config("localhost")),
        (
            "another name",
            config("127.0.0.1").tls_root_certificates(ours.pem()),
        ),
        (
            "no certificate",
            config("localhost").tls_root_certificates("garbage"),
        ),
    ];
    for (who, config) in refused {
        match RedisStore::open(config).await {
            Err(ConnectError::Redis(error)) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{who}")
            }
            other => panic!("{who}: {other:?}"),
        }
    }
}
