//! Tables of URLs, and properties of arbitrary text.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;

fn parse(url: &str) -> Result<RedisConfig, UrlError> {
    RedisConfig::from_url(url)
}

fn at(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
    }
}

#[track_caller]
fn assert_parses(url: &str, topology: Topology, database: u32) -> RedisConfig {
    let config = parse(url).expect(url);
    assert_eq!(
        (&config.topology, config.database),
        (&topology, database),
        "{url}"
    );
    assert_eq!(
        config.validate().is_ok(),
        !config.tls || cfg!(feature = "tls"),
        "{url}"
    );
    config
}

#[track_caller]
fn credentials(url: &str) -> (Option<String>, Option<String>) {
    let credentials = parse(url).expect(url).login.fixed;
    let password = credentials.password;
    (
        credentials.username,
        password.map(|password| password.expose().to_owned()),
    )
}

#[track_caller]
fn assert_rejected(url: &str, expected: UrlError) {
    match parse(url) {
        Err(error) => assert_eq!(error, expected, "{url}"),
        Ok(config) => panic!("{url} parses as {config:?}"),
    }
}

#[test]
fn every_topology_has_a_kind_of_url() {
    for redis in ["redis", "valkey"] {
        let one = |host, port| Topology::Standalone(at(host, port));
        assert_parses(&format!("{redis}://127.0.0.1"), one("127.0.0.1", 6379), 0);
        assert_parses(
            &format!("{redis}://cache.internal:7000/"),
            one("cache.internal", 7000),
            0,
        );
        assert_parses(&format!("{redis}://[::1]:7000/3"), one("::1", 7000), 3);
        assert_parses(&format!("{redis}://h?db=4"), one("h", 6379), 4);
        assert!(!assert_parses(&format!("{redis}://h"), one("h", 6379), 0).tls);
        assert!(assert_parses(&format!("{redis}s://h"), one("h", 6379), 0).tls);

        assert_parses(
            &format!("{redis}+unix:///run/redis.sock"),
            Topology::Unix("/run/redis.sock".into()),
            0,
        );
        assert_parses(
            &format!("{redis}+unix:///run/a%20b.sock?db=2"),
            Topology::Unix("/run/a b.sock".into()),
            2,
        );

        let sentinel = Topology::Sentinel {
            sentinels: vec![at("a", 1), at("b", 26379)],
            service: "main".into(),
        };
        assert_parses(
            &format!("{redis}+sentinel://a:1,b/main"),
            sentinel.clone(),
            0,
        );
        assert_parses(
            &format!("{redis}+sentinel://u:p@a:1,b/main/5"),
            sentinel.clone(),
            5,
        );
        assert!(assert_parses(&format!("{redis}s+sentinel://a:1,b/main"), sentinel, 0).tls);

        let cluster = Topology::Cluster(vec![at("a", 6379), at("::1", 2)]);
        assert_parses(&format!("{redis}+cluster://a,[::1]:2"), cluster.clone(), 0);
        assert_parses(&format!("{redis}+cluster://a,[::1]:2/0"), cluster, 0);
    }
}

#[test]
fn user_and_password_are_decoded() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(credentials("redis://h"), (None, None));
    assert_eq!(credentials("redis://:secret@h"), (None, some("secret")));
    assert_eq!(
        credentials("redis://app:s%40c%2Fr%3Aet@h"),
        (some("app"), some("s@c/r:et"))
    );
    assert_eq!(
        credentials("redis://app:se@cr:et@h:1"),
        (some("app"), some("se@cr:et")),
        "the last @ ends the password"
    );
    assert_eq!(
        credentials("redis+unix://app:secret@/run/r.sock"),
        (some("app"), some("secret"))
    );
}

#[test]
fn parameters_set_options() {
    let config = parse(
        "redis://h?prefix=a%26b:&connections=3&max_in_flight=9&connect_timeout=2s\
         &response_timeout=250ms&total_timeout=3s&breaker_failures=5&probe_every=100ms\
         &ended_journal=0s&sentinel_username=u&sentinel_password=p",
    )
    .expect("a URL");
    assert_eq!(
        (
            config.prefix.as_str(),
            config.connections,
            config.max_in_flight,
            config.breaker_failures
        ),
        ("a&b:", 3, 9, 5)
    );
    assert_eq!(config.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.response_timeout, Duration::from_millis(250));
    assert_eq!(config.total_timeout, Duration::from_secs(3));
    assert_eq!(config.probe_every, Duration::from_millis(100));
    assert_eq!(config.ended_journal, Duration::ZERO);
    assert_eq!(config.sentinel_login.fixed, Credentials::new("u", "p"));
}

#[test]
fn invalid_urls_name_the_offending_part() {
    assert_rejected("127.0.0.1:6379", UrlError::NoScheme);
    for scheme in ["http", "redis+", "redis+tcp", "Redis", "unix", "memory", ""] {
        assert_rejected(&format!("{scheme}://h"), UrlError::UnknownScheme);
    }
    assert_rejected("redis://", AddressError::NoHost.into());
    assert_rejected("redis://:7000", AddressError::NoHost.into());
    assert_rejected("redis+cluster://a,,b", AddressError::NoHost.into());
    assert_rejected(
        "redis://a b",
        AddressError::Host { host: "a b".into() }.into(),
    );
    assert_rejected(
        "redis://[::g]",
        AddressError::Host { host: "::g".into() }.into(),
    );
    assert_rejected(
        "redis://h:0",
        AddressError::Port { host: "h".into() }.into(),
    );
    assert_rejected(
        "redis://h:65536",
        AddressError::Port { host: "h".into() }.into(),
    );
    assert_rejected("redis://::1", AddressError::NoHost.into());
    assert_rejected(
        "redis://h/x",
        UrlError::Database {
            database: "x".into(),
        },
    );
    assert_rejected(
        "redis://h/1/2",
        UrlError::Path {
            path: "/1/2".into(),
        },
    );
    assert_rejected("redis://a,b", UrlError::ManyHosts { count: 2 });
    assert_rejected("redis+sentinel://a", UrlError::NoService);
    assert_rejected(
        "redis+sentinel://a/s/1/2",
        UrlError::Path {
            path: "/s/1/2".into(),
        },
    );
    assert_rejected("redis+unix://", UrlError::NoPath);
    assert_rejected("redis+unix://h/run/r.sock", UrlError::NoPath);
    assert_rejected("rediss+unix:///run/r.sock", UrlError::UnixTls);
    assert_rejected(
        "redis://h?timeout=1s",
        UrlError::UnknownParameter {
            name: "timeout".into(),
        },
    );
    assert_rejected(
        "redis://h?db=1&db=2",
        UrlError::RepeatedParameter { name: "db".into() },
    );
    assert_rejected(
        "redis://h?connections=-1",
        UrlError::Parameter {
            name: "connections",
            expected: "a whole number",
        },
    );
    for value in ["1", "1m", "ms", "-1s", "1.5s", ""] {
        let expected = "a whole number with its unit, such as 500ms or 2s";
        assert_rejected(
            &format!("redis://h?total_timeout={value}"),
            UrlError::Parameter {
                name: "total_timeout",
                expected,
            },
        );
    }
    assert_rejected("redis://u:%ff@h", UrlError::NotUtf8 { part: "password" });
    // the password stands in the place of the port
    assert_rejected(
        "redis://app:hunter2",
        AddressError::Port { host: "app".into() }.into(),
    );
    assert_rejected("redis://u:pa/ss@h", UrlError::Unencoded);
    assert_rejected("redis://u:pa?ss@h", UrlError::Unencoded);
    assert_rejected("redis://u:pa#ss@h", UrlError::Unencoded);
    assert_rejected("redis://h?sentinel_password=pa&ss", UrlError::Unencoded);
    // the query lacks its question mark
    assert_rejected("redis://h&sentinel_password=pass", UrlError::Unencoded);
    assert_rejected("redis://h/1&sentinel_password=pass", UrlError::Unencoded);
    assert!(
        parse("redis://h?prefix=")
            .expect("a URL")
            .validate()
            .is_err(),
        "an empty prefix"
    );
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn parsing_what_follows_a_scheme_never_panics(rest in "[a-z0-9:/?#@,%=&\\[\\].+é]{0,60}") {
        for scheme in ["redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster"] {
            let _ = parse(&format!("{scheme}://{rest}"));
        }
    }

    #[test]
    fn neither_errors_nor_debug_output_contain_a_password(
        scheme in "(redis|rediss|mysql)(\\+(unix|sentinel|cluster))?",
        before in "[/?#:@&=%a]{0,3}",
        after in "[/?#:@&=%a]{0,3}",
        tail in "[/?#:&=%a]{0,12}",
    ) {
        let url = format!("{scheme}://app:{before}hunter2{after}@h{tail}");
        let printed = match parse(&url) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!printed.contains("hunter"), "{}: {}", url, printed);
    }

    #[test]
    fn encoded_passwords_round_trip(password in "\\PC{1,20}") {
        let encoded = utf8_percent_encode(&password, NON_ALPHANUMERIC);
        prop_assert_eq!(credentials(&format!("redis://app:{encoded}@h")).1, Some(password));
    }
}
