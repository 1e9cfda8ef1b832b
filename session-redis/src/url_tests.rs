//! Tables of URLs, and properties of all others.

use proptest::prelude::*;

use super::*;

fn at(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
    }
}

#[track_caller]
fn reads(url: &str, topology: Topology, database: u32) -> RedisConfig {
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
fn login(url: &str) -> (Option<String>, Option<String>) {
    let login = parse(url).expect(url).login;
    (login.username, login.password.map(|secret| secret.0))
}

#[track_caller]
fn refused(url: &str, expected: UrlError) {
    match parse(url) {
        Err(error) => assert_eq!(error, expected, "{url}"),
        Ok(config) => panic!("{url} reads as {config:?}"),
    }
}

#[test]
fn every_topology_has_its_form() {
    for redis in ["redis", "valkey"] {
        let one = |host, port| Topology::Standalone(at(host, port));
        reads(&format!("{redis}://127.0.0.1"), one("127.0.0.1", 6379), 0);
        reads(
            &format!("{redis}://cache.internal:7000/"),
            one("cache.internal", 7000),
            0,
        );
        reads(&format!("{redis}://[::1]:7000/3"), one("::1", 7000), 3);
        reads(&format!("{redis}://h?db=4"), one("h", 6379), 4);
        assert!(!reads(&format!("{redis}://h"), one("h", 6379), 0).tls);
        assert!(reads(&format!("{redis}s://h"), one("h", 6379), 0).tls);

        reads(
            &format!("{redis}+unix:///run/redis.sock"),
            Topology::Unix("/run/redis.sock".into()),
            0,
        );
        reads(
            &format!("{redis}+unix:///run/a%20b.sock?db=2"),
            Topology::Unix("/run/a b.sock".into()),
            2,
        );

        let sentinel = Topology::Sentinel {
            sentinels: vec![at("a", 1), at("b", 26379)],
            service: "main".into(),
        };
        reads(
            &format!("{redis}+sentinel://a:1,b/main"),
            sentinel.clone(),
            0,
        );
        reads(
            &format!("{redis}+sentinel://u:p@a:1,b/main/5"),
            sentinel.clone(),
            5,
        );
        assert!(reads(&format!("{redis}s+sentinel://a:1,b/main"), sentinel, 0).tls);

        let cluster = Topology::Cluster(vec![at("a", 6379), at("::1", 2)]);
        reads(&format!("{redis}+cluster://a,[::1]:2"), cluster.clone(), 0);
        reads(&format!("{redis}+cluster://a,[::1]:2/0"), cluster, 0);
    }
}

#[test]
fn user_and_password_are_decoded() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(login("redis://h"), (None, None));
    assert_eq!(login("redis://:secret@h"), (None, some("secret")));
    assert_eq!(
        login("redis://app:s%40c%2Fr%3Aet@h"),
        (some("app"), some("s@c/r:et"))
    );
    assert_eq!(
        login("redis://app:se@cr:et@h:1"),
        (some("app"), some("se@cr:et")),
        "the last @ ends it"
    );
    assert_eq!(
        login("redis+unix://app:secret@/run/r.sock"),
        (some("app"), some("secret"))
    );
}

#[test]
fn parameters_are_typed() {
    let config = parse(
        "redis://h?prefix=a%26b:&connections=3&max_in_flight=9&connect_timeout=2s&response_timeout=250ms&total_timeout=3s\
         &breaker_failures=5&probe_every=100ms&sentinel_username=u&sentinel_password=p",
    )
    .expect("a URL");
    assert_eq!(
        (
            config.prefix.as_str(),
            config.connections,
            config.max_in_flight,
            config.failures
        ),
        ("a&b:", 3, 9, 5)
    );
    assert_eq!(config.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.response_timeout, Duration::from_millis(250));
    assert_eq!(config.total_timeout, Duration::from_secs(3));
    assert_eq!(config.probe_every, Duration::from_millis(100));
    assert_eq!(
        config.sentinel_login,
        Login {
            username: Some("u".into()),
            password: Some(Secret("p".into()))
        }
    );
}

#[test]
fn what_is_wrong_is_named() {
    refused("127.0.0.1:6379", UrlError::NoScheme);
    for scheme in ["http", "redis+", "redis+tcp", "Redis", "unix", "memory", ""] {
        refused(&format!("{scheme}://h"), UrlError::UnknownScheme);
    }
    refused("redis://", UrlError::NoHost);
    refused("redis://:7000", UrlError::NoHost);
    refused("redis+cluster://a,,b", UrlError::NoHost);
    refused("redis://a b", UrlError::Host { host: "a b".into() });
    refused("redis://[::g]", UrlError::Host { host: "::g".into() });
    refused("redis://h:0", UrlError::Port { port: "0".into() });
    refused(
        "redis://h:65536",
        UrlError::Port {
            port: "65536".into(),
        },
    );
    refused("redis://::1", UrlError::NoHost);
    refused(
        "redis://h/x",
        UrlError::Database {
            database: "x".into(),
        },
    );
    refused(
        "redis://h/1/2",
        UrlError::Path {
            path: "/1/2".into(),
        },
    );
    refused("redis://a,b", UrlError::ManyHosts { count: 2 });
    refused("redis+sentinel://a", UrlError::NoService);
    refused(
        "redis+sentinel://a/s/1/2",
        UrlError::Path {
            path: "/s/1/2".into(),
        },
    );
    refused("redis+unix://", UrlError::NoPath);
    refused("redis+unix://h/run/r.sock", UrlError::NoPath);
    refused("rediss+unix:///run/r.sock", UrlError::UnixTls);
    refused(
        "redis://h?timeout=1s",
        UrlError::UnknownParameter {
            name: "timeout".into(),
        },
    );
    refused(
        "redis://h?db=1&db=2",
        UrlError::RepeatedParameter { name: "db".into() },
    );
    refused(
        "redis://h?connections=-1",
        UrlError::Parameter {
            name: "connections",
            expected: "a whole number",
        },
    );
    for value in ["1", "1m", "ms", "-1s", "1.5s", ""] {
        let expected = "a whole number with its unit, such as 500ms or 2s";
        refused(
            &format!("redis://h?total_timeout={value}"),
            UrlError::Parameter {
                name: "total_timeout",
                expected,
            },
        );
    }
    refused("redis://u:%ff@h", UrlError::NotUtf8 { part: "password" });
    refused("redis://u:pa/ss@h", UrlError::Unencoded);
    refused("redis://u:pa?ss@h", UrlError::Unencoded);
    refused("redis://u:pa#ss@h", UrlError::Unencoded);
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
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
        let _ = address(&text, 1);
    }

    #[test]
    fn nothing_behind_a_scheme_panics(rest in "[a-z0-9:/?#@,%=&\\[\\].+é]{0,60}") {
        for scheme in ["redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster"] {
            let _ = parse(&format!("{scheme}://{rest}"));
        }
    }

    #[test]
    fn no_error_prints_a_password(before in "[/?#:@&=%a]{0,3}", after in "[/?#:@&=%a]{0,3}", tail in "[/?#:&=%a]{0,12}") {
        for scheme in ["redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster", "mysql"] {
            let url = format!("{scheme}://app:{before}hunter2{after}@h{tail}");
            match parse(&url) {
                Ok(config) => prop_assert!(!format!("{config:?}").contains("hunter"), "{}", url),
                Err(error) => prop_assert!(!format!("{error} {error:?}").contains("hunter"), "{}", url),
            }
        }
    }

    #[test]
    fn encoded_passwords_round_trip(password in "\\PC{1,20}") {
        let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
        prop_assert_eq!(login(&format!("redis://app:{encoded}@h")).1, Some(password));
    }
}
