//! URLs of every topology, parsed into a [`RedisConfig`].
//!
//! Parsed by hand, because parsers of RFC 3986 reject an authority of several hosts.

use std::{path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;

use crate::{
    address::{Address, AddressError},
    config::{REDIS_PORT, RedisConfig, SENTINEL_PORT},
    credentials::{Credentials, Password},
    topology::Topology,
};

const SCHEMES: &str = "redis, rediss, valkey or valkeys, optionally with +unix, +sentinel or \
                       +cluster";

/// The parameter whose value is a secret.
const SENTINEL_PASSWORD: &str = "sentinel_password";

impl RedisConfig {
    /// Parses a URL. The [documentation of the crate](crate#urls) lists its forms and parameters.
    ///
    /// # Errors
    ///
    /// The URL is invalid. The error names the offending part, and contains no password, even if
    /// the password was not percent-encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_redis::RedisConfig;
    ///
    /// let url = "redis+cluster://10.0.0.1,10.0.0.2?response_timeout=250ms";
    /// let config = RedisConfig::from_url(url)?;
    ///
    /// // a slash must be percent-encoded as %2F; the message does not contain the password
    /// let error = RedisConfig::from_url("redis://app:pass/word@10.0.0.1").unwrap_err();
    /// assert!(error.to_string().contains("percent-encode"));
    /// # Ok::<(), session_redis::UrlError>(())
    /// ```
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::NoScheme)?;
        let (tls, kind) = parse_scheme(scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // A password that contains one of these characters ends before its `@`. The check comes
        // before any part is parsed, so that no error message contains part of a password.
        if rest.contains(['@', '#']) {
            return Err(UrlError::Unencoded);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (parse_credentials(credentials)?, hosts),
            None => (Credentials::default(), authority),
        };
        // a query whose `?` is missing, which may contain a password
        if hosts.contains('&') || path.contains('&') {
            return Err(UrlError::Unencoded);
        }
        let (topology, database) = parse_topology(kind, tls, hosts, path)?;

        let mut config = Self::new(topology);
        config.tls = tls;
        config.login.fixed = credentials;
        if let Some(database) = database {
            config.database = database.parse().map_err(|_| UrlError::Database {
                database: database.to_owned(),
            })?;
        }
        apply_parameters(config, query)
    }
}

/// The text is not the URL of a Redis store.
///
/// Messages contain the offending value unless it can be part of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `://`.
    #[error("URL has no scheme: expected one such as redis://127.0.0.1")]
    NoScheme,
    /// The scheme is not one of Redis.
    #[error("unknown scheme: expected {SCHEMES}")]
    UnknownScheme,
    /// The user, the password, the path or a parameter contains characters that must be
    /// percent-encoded.
    #[error(
        "misplaced @, #, / , ? or &: percent-encode special characters in user, password, path \
         and parameters"
    )]
    Unencoded,
    /// A percent-encoded part is not UTF-8.
    #[error("{part} is not UTF-8")]
    NotUtf8 {
        /// Which part of the URL.
        part: &'static str,
    },
    /// A host or a port is invalid or missing.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The database is not a number.
    #[error("database {database:?} is not a number")]
    Database {
        /// The text in the place of the number.
        database: String,
    },
    /// A Sentinel URL lacks the name of the service.
    #[error("service name is missing: expected redis+sentinel://host:port,host:port/service")]
    NoService,
    /// A Unix socket URL lacks an absolute path.
    #[error("socket path is missing: expected redis+unix:///path")]
    NoPath,
    /// The path has more segments than this kind of URL.
    #[error("path {path:?} has too many segments")]
    Path {
        /// The path.
        path: String,
    },
    /// The URL of a single server names several hosts.
    #[error("expected one host, found {count}: use redis+sentinel:// or redis+cluster://")]
    ManyHosts {
        /// The number of hosts.
        count: usize,
    },
    /// A Unix socket cannot use TLS.
    #[error("a Unix socket cannot use TLS")]
    UnixTls,
    /// There is no such parameter.
    #[error("unknown parameter {name:?}")]
    UnknownParameter {
        /// The name of the parameter.
        name: String,
    },
    /// A parameter is given more than once.
    #[error("parameter {name:?} is given more than once")]
    RepeatedParameter {
        /// The name of the parameter.
        name: String,
    },
    /// The value of a parameter is not of its type.
    #[error("parameter {name} is not {expected}")]
    Parameter {
        /// The name of the parameter.
        name: &'static str,
        /// The type of its value.
        expected: &'static str,
    },
}

/// What follows the name of the server in the scheme.
#[derive(Clone, Copy)]
enum UrlKind {
    Plain,
    Unix,
    Sentinel,
    Cluster,
}

/// Returns whether the scheme requires TLS, and the kind of the URL.
fn parse_scheme(scheme: &str) -> Result<(bool, UrlKind), UrlError> {
    let (server, kind) = match scheme.split_once('+') {
        None => (scheme, UrlKind::Plain),
        Some((server, "unix")) => (server, UrlKind::Unix),
        Some((server, "sentinel")) => (server, UrlKind::Sentinel),
        Some((server, "cluster")) => (server, UrlKind::Cluster),
        Some(_) => return Err(UrlError::UnknownScheme),
    };
    match server {
        "redis" | "valkey" => Ok((false, kind)),
        "rediss" | "valkeys" => Ok((true, kind)),
        _ => Err(UrlError::UnknownScheme),
    }
}

/// Parses `user:password`, `:password`, or `user` alone, which the validation rejects later.
fn parse_credentials(text: &str) -> Result<Credentials, UrlError> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    let username = decode(username, "user name")?;
    let password = password.map(|text| decode(text, "password")).transpose()?;
    Ok(Credentials {
        username: Some(username).filter(|username| !username.is_empty()),
        password: password
            .filter(|password| !password.is_empty())
            .map(Password::new),
        refresh_after: None,
    })
}

/// Returns the topology and the database of the path.
fn parse_topology<'a>(
    kind: UrlKind,
    tls: bool,
    hosts: &str,
    path: &'a str,
) -> Result<(Topology, Option<&'a str>), UrlError> {
    let segments: Vec<&str> = path.split('/').filter(|text| !text.is_empty()).collect();
    let hosts_with = |port| Address::parse_list(hosts.split(','), port);
    let too_many_segments = || UrlError::Path {
        path: path.to_owned(),
    };
    match kind {
        UrlKind::Plain => {
            let database = match segments[..] {
                [] => None,
                [database] => Some(database),
                _ => return Err(too_many_segments()),
            };
            match &hosts_with(REDIS_PORT)?[..] {
                [host] => Ok((Topology::Standalone(host.clone()), database)),
                hosts => Err(UrlError::ManyHosts { count: hosts.len() }),
            }
        }
        UrlKind::Unix if tls => Err(UrlError::UnixTls),
        UrlKind::Unix if !hosts.is_empty() || segments.is_empty() => Err(UrlError::NoPath),
        UrlKind::Unix => {
            let path = PathBuf::from(decode(path, "path")?);
            Ok((Topology::Unix(path), None))
        }
        UrlKind::Sentinel => {
            let sentinels = hosts_with(SENTINEL_PORT)?;
            let (service, database) = match segments[..] {
                [] => return Err(UrlError::NoService),
                [service] => (service, None),
                [service, database] => (service, Some(database)),
                _ => return Err(too_many_segments()),
            };
            let service = decode(service, "service name")?;
            Ok((Topology::Sentinel { sentinels, service }, database))
        }
        UrlKind::Cluster => {
            let nodes = hosts_with(REDIS_PORT)?;
            match segments[..] {
                [] => Ok((Topology::Cluster(nodes), None)),
                [database] => Ok((Topology::Cluster(nodes), Some(database))),
                _ => Err(too_many_segments()),
            }
        }
    }
}

fn apply_parameters(mut config: RedisConfig, query: &str) -> Result<RedisConfig, UrlError> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(UrlError::RepeatedParameter {
                name: name.to_owned(),
            });
        }
        let value = decode(value, "parameter")?;
        config = match name {
            "prefix" => config.prefix(value),
            "db" => config.database(number(&value, "db")?),
            "connections" => config.connections(number(&value, "connections")?),
            "max_in_flight" => config.max_in_flight(number(&value, "max_in_flight")?),
            "connect_timeout" => config.connect_timeout(duration(&value, "connect_timeout")?),
            "response_timeout" => config.response_timeout(duration(&value, "response_timeout")?),
            "total_timeout" => config.total_timeout(duration(&value, "total_timeout")?),
            "breaker_failures" => config.breaker_failures(number(&value, "breaker_failures")?),
            "probe_every" => config.probe_every(duration(&value, "probe_every")?),
            "ended_journal" => config.ended_journal(duration(&value, "ended_journal")?),
            "sentinel_username" => config.sentinel_username(value),
            SENTINEL_PASSWORD => config.sentinel_password(value),
            // behind a password, this may be the part of it that follows an `&`
            _ if seen.contains(&SENTINEL_PASSWORD) => return Err(UrlError::Unencoded),
            _ => {
                return Err(UrlError::UnknownParameter {
                    name: name.to_owned(),
                });
            }
        };
        seen.push(name);
    }
    Ok(config)
}

fn number<T: FromStr>(value: &str, name: &'static str) -> Result<T, UrlError> {
    value.parse().map_err(|_| UrlError::Parameter {
        name,
        expected: "a whole number",
    })
}

/// Parses a whole number with its unit: `250ms`, `2s`.
fn duration(value: &str, name: &'static str) -> Result<Duration, UrlError> {
    let parse = |number: &str, unit: fn(u64) -> Duration| {
        number.parse::<u32>().ok().map(|n| unit(n.into()))
    };
    let duration = match (value.strip_suffix("ms"), value.strip_suffix('s')) {
        (Some(number), _) => parse(number, Duration::from_millis),
        (None, Some(number)) => parse(number, Duration::from_secs),
        (None, None) => None,
    };
    duration.ok_or(UrlError::Parameter {
        name,
        expected: "a whole number with its unit, such as 500ms or 2s",
    })
}

fn decode(text: &str, part: &'static str) -> Result<String, UrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| UrlError::NotUtf8 { part })
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
