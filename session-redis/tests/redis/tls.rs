//! TLS: certificates and host names are verified, on one server, with Sentinel and in a cluster.

use session_core::StoreErrorKind;
use session_redis::{ConfigError, ConnectError, RedisConfig, RedisStore, TlsConfig, TlsError};
use test_support::{
    Sentinels,
    authority::Authority,
    tls::{TlsCluster, TlsRedis, TlsSentinels},
};

use crate::{create, id, load, record};

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).expect("a URL")
}

/// The settings of a client that the authority vouches for.
fn client_of(authority: &Authority) -> TlsConfig {
    let (certificate, key) = authority.client_certificate();
    TlsConfig::new()
        .root_certificates(authority.pem())
        .client_certificate(certificate, key)
}

async fn assert_serves(config: RedisConfig, sessions: usize) {
    let store = RedisStore::open(config).await.expect("a store");
    for _ in 0..sessions {
        let (id, record) = (id(), record(b""));
        create(&store, &id, &record).await;
        assert_eq!(load(&store, &id).await, record);
    }
}

async fn assert_unavailable(who: &str, config: RedisConfig) {
    match RedisStore::open(config).await {
        Err(ConnectError::Redis(error)) => {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{who}")
        }
        other => panic!("{who}: {other:?}"),
    }
}

#[tokio::test]
async fn certificate_and_host_name_are_verified() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = TlsRedis::start(&ours, "localhost");
    let config = |host: &str| config(&format!("rediss://{host}:{}", server.tls_port()));

    assert_serves(config("localhost").tls_root_certificates(ours.pem()), 1).await;
    for (who, config) in [
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
    ] {
        assert_unavailable(who, config).await;
    }
}

#[tokio::test]
async fn a_required_client_certificate_is_presented() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = TlsRedis::requiring_client_certificates(&ours, "localhost");
    let config = config(&format!("rediss://localhost:{}", server.tls_port()));
    let with_client = |authority: &Authority| {
        let (certificate, key) = authority.client_certificate();
        config
            .clone()
            .tls_root_certificates(ours.pem())
            .tls_client_certificate(certificate, key)
    };

    assert_serves(with_client(&ours), 1).await;
    let none = config.clone().tls_root_certificates(ours.pem());
    assert_unavailable("a client without a certificate", none).await;
    assert_unavailable("a client of another authority", with_client(&theirs)).await;
}

#[test]
fn invalid_certificates_are_reported_when_the_store_is_made() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, _) = ours.client_certificate();
    let (_, key) = theirs.client_certificate();
    let server = config("rediss://localhost").tls_root_certificates(ours.pem());
    let sentinel = config("redis+sentinel://localhost/main");
    let garbage = TlsConfig::new().root_certificates("garbage");
    for invalid in [
        server.clone().tls_root_certificates("garbage"),
        server.clone().tls_client_certificate(certificate, key),
        server.tls_config(garbage.clone()),
        sentinel.sentinel_tls(Some(garbage)),
    ] {
        let error = RedisStore::lazy(invalid).expect_err("invalid certificates");
        let ConnectError::Config(ConfigError::Tls(error)) = error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(
                error,
                TlsError::RootCertificates { .. } | TlsError::ClientCertificate { .. }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_reached_by_tls_and_a_failover_is_followed() {
    let authority = Authority::new();
    let servers = TlsSentinels::start(&authority);
    let client = client_of(&authority);
    let config = config(&servers.url());
    assert_serves(config.clone().tls_config(client.clone()), 1).await;

    let anonymous = TlsConfig::new().root_certificates(authority.pem());
    let neither = config.clone().tls_config(anonymous.clone());
    assert_unavailable("no client certificate", neither).await;
    let only_servers = config.clone().tls_config(client.clone());
    let only_servers = only_servers.sentinel_tls(Some(anonymous.clone()));
    assert_unavailable("no client certificate for sentinels", only_servers).await;
    let only_sentinels = config.clone().tls_config(anonymous);
    let only_sentinels = only_sentinels.sentinel_tls(Some(client.clone()));
    assert_unavailable("no client certificate for servers", only_sentinels).await;

    servers.group.fail_over();
    assert_serves(config.tls_config(client), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_without_tls_name_servers_with_tls() {
    let authority = Authority::new();
    let servers = TlsSentinels::start(&authority);
    let plain = servers.group.url();
    assert!(plain.starts_with("redis+sentinel://") && plain.ends_with(Sentinels::SERVICE));
    let config = config(&plain).tls_config(client_of(&authority));
    assert_unavailable("a plain port is spoken to by TLS", config.clone()).await;
    assert_serves(config.sentinel_tls(None), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_of_a_cluster_are_reached_by_tls() {
    let authority = Authority::new();
    let servers = TlsCluster::start(&authority);
    let config = config(&servers.url());
    // enough sessions for every node
    assert_serves(config.clone().tls_config(client_of(&authority)), 60).await;
    for node in &servers.cluster.nodes {
        assert!(node.command::<u64>(&["DBSIZE"]) > 0, "{}", node.port());
    }
    let store = RedisStore::open(config.clone().tls_config(client_of(&authority))).await;
    let count = store.expect("a store").count().await;
    assert_eq!(count.expect("a count"), 60);
    let anonymous = config.tls_root_certificates(authority.pem());
    assert_unavailable("no client certificate", anonymous).await;
}
