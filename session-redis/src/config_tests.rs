//! Every option, alone and together with others.

use super::*;
use crate::credentials::{BoxError, Credentials};

#[track_caller]
fn assert_rejected(change: impl FnOnce(RedisConfig) -> RedisConfig, expected: ConfigError) {
    let config = RedisConfig::standalone("localhost").expect("an address");
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(change(config).validate(), Err(expected));
}

#[test]
fn invalid_options_are_named() {
    let zero = |option| ConfigError::Zero { option };
    assert_rejected(|config| config.prefix(""), ConfigError::EmptyPrefix);
    assert_rejected(|config| config.connections(0), zero("connections"));
    assert_rejected(|config| config.max_in_flight(0), zero("max_in_flight"));
    let none = Duration::ZERO;
    assert_rejected(
        |config| config.connect_timeout(none),
        zero("connect_timeout"),
    );
    assert_rejected(
        |config| config.response_timeout(none),
        zero("response_timeout"),
    );
    assert_rejected(|config| config.total_timeout(none), zero("total_timeout"));
    assert_rejected(
        |config| config.breaker_failures(0),
        zero("breaker_failures"),
    );
    assert_rejected(|config| config.probe_every(none), zero("probe_every"));
    assert_rejected(
        |config| config.username("app"),
        ConfigError::UserWithoutPassword,
    );
    assert_rejected(
        |config| config.sentinel_username("app"),
        ConfigError::UserWithoutPassword,
    );
    let provider = async || Ok::<_, BoxError>(Credentials::password("hunter2"));
    assert_rejected(
        |config| config.password("hunter2").credentials_provider(provider),
        ConfigError::CredentialsAndProvider,
    );
    assert_rejected(
        |config| {
            let config = config.sentinel_password("hunter2");
            config.sentinel_credentials_provider(provider)
        },
        ConfigError::CredentialsAndProvider,
    );
    let cluster = RedisConfig::cluster(["a"]).expect("addresses").database(1);
    assert_eq!(
        cluster.validate(),
        Err(ConfigError::ClusterDatabase { database: 1 })
    );
}

#[test]
fn a_prefix_with_a_hash_tag_is_rejected_in_a_cluster() {
    for (prefix, tagged) in [
        ("session:", false),
        ("{shop}:session:", true),
        ("shop{1}", true),
        ("{}:session:", false),
        ("{}{shop}:", false),
        ("shop{", false),
        ("shop}{", false),
    ] {
        let cluster = RedisConfig::cluster(["a"])
            .expect("addresses")
            .prefix(prefix);
        let expected = match tagged {
            true => Err(ConfigError::HashTag {
                prefix: prefix.to_owned(),
            }),
            false => Ok(()),
        };
        assert_eq!(cluster.validate(), expected, "{prefix}");
        let server = RedisConfig::standalone("a").expect("an address");
        assert_eq!(server.prefix(prefix).validate(), Ok(()), "{prefix}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn sentinels_have_the_tls_settings_of_the_servers_unless_they_have_their_own() {
    let config = RedisConfig::sentinel(["a"], "main").expect("addresses");
    let uses_tls = |config: &RedisConfig| {
        [Role::Server, Role::Sentinel].map(|role| config.tls_of(role).is_some())
    };
    assert_eq!(uses_tls(&config), [false, false]);
    assert_eq!(uses_tls(&config.clone().tls()), [true, true]);
    let plain_sentinels = config.clone().tls().sentinel_tls(None);
    assert_eq!(uses_tls(&plain_sentinels), [true, false]);
    let broken = TlsConfig::new().root_certificates("garbage");
    let plain_servers = config.sentinel_tls(Some(broken));
    assert_eq!(uses_tls(&plain_servers), [false, true]);
    let error = plain_servers.check_tls().expect_err("invalid certificates");
    assert!(matches!(error, ConfigError::Tls(_)), "{error}");
}

/// Deadlines are added to each other and to the clock.
#[test]
fn a_duration_is_a_day_at_most() {
    let longest = RedisConfig::unix("s")
        .connect_timeout(Duration::MAX)
        .response_timeout(Duration::MAX)
        .total_timeout(Duration::MAX)
        .probe_every(Duration::MAX)
        .ended_journal(Duration::MAX);
    let durations = |config: &RedisConfig| {
        let RedisConfig {
            connect_timeout,
            response_timeout,
            total_timeout,
            probe_every,
            ended_journal,
            ..
        } = *config;
        [
            connect_timeout,
            response_timeout,
            total_timeout,
            probe_every,
            ended_journal,
        ]
    };
    assert_eq!(durations(&longest), [LONGEST; 5]);
    let shorter = LONGEST - Duration::from_nanos(1);
    assert_eq!(durations(&longest.connect_timeout(shorter))[0], shorter);
    let url = "redis://h?connect_timeout=99999h&response_timeout=99999h&total_timeout=99999h\
               &probe_every=99999h&ended_journal=99999h";
    let config = RedisConfig::from_url(&url.replace("99999h", "359996400s"));
    assert_eq!(durations(&config.expect("a URL")), [LONGEST; 5]);
}

#[test]
fn debug_output_hides_passwords() {
    let config = RedisConfig::unix("/run/redis.sock")
        .username("app")
        .password("hunter2")
        .sentinel_password("hunter3");
    let printed = format!("{config:?} {config:#?}");
    assert!(
        printed.contains("Password(..)") && printed.contains("app"),
        "{printed}"
    );
    assert!(!printed.contains("hunter"), "{printed}");
}
