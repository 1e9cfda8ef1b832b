//! URLs of every topology, read into a [`RedisConfig`].
//!
//! Parsed by hand: an authority of several hosts is no URL to RFC 3986 parsers.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;

use crate::config::{Address, Login, RedisConfig, Secret, Topology};

const SCHEMES: &str =
    "redis, rediss, valkey or valkeys, alone or with +unix, +sentinel or +cluster";

/// A URL or an address that names no Redis.
///
/// Offending values are printed where they cannot be part of a password: an `@` behind the host, the sign of a password that was
/// not percent-encoded, is found first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `://`.
    #[error("a Redis URL begins with a scheme and ://, such as redis://127.0.0.1")]
    NoScheme,
    /// The scheme is none of Redis.
    #[error("unknown scheme: expected {SCHEMES}")]
    UnknownScheme,
    /// User, password, path or parameter hold characters that must be percent-encoded.
    #[error(
        "stray @, / or ?: percent-encode special characters in user, password, path and parameters"
    )]
    Unencoded,
    /// A percent-encoded part is not UTF-8.
    #[error("{part} is not UTF-8")]
    NotUtf8 {
        /// Which part.
        part: &'static str,
    },
    /// There is no host.
    #[error("host is missing")]
    NoHost,
    /// A host that cannot be one.
    #[error("host {host:?} is neither a name nor an address; IPv6 addresses stand in brackets")]
    Host {
        /// The host.
        host: String,
    },
    /// A port that is not a number from 1 to 65535.
    #[error("port {port:?} is not a number from 1 to 65535")]
    Port {
        /// The port.
        port: String,
    },
    /// A database that is not a number.
    #[error("database {database:?} is not a number")]
    Database {
        /// The database.
        database: String,
    },
    /// A sentinel URL without the name of the service.
    #[error("service name is missing: redis+sentinel://host:port,host:port/service")]
    NoService,
    /// A unix URL without an absolute path.
    #[error("socket path is missing: redis+unix:///path")]
    NoPath,
    /// The path has more segments than the form takes.
    #[error("path {path:?} is too long")]
    Path {
        /// The path.
        path: String,
    },
    /// Several hosts where the form takes one.
    #[error("one host expected, found {count}: several take redis+sentinel:// or redis+cluster://")]
    ManyHosts {
        /// How many there are.
        count: usize,
    },
    /// The form takes no TLS.
    #[error("a unix socket takes no TLS")]
    UnixTls,
    /// A parameter that means nothing.
    #[error("unknown parameter {name:?}")]
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// A parameter twice.
    #[error("parameter {name:?} is given twice")]
    RepeatedParameter {
        /// The parameter.
        name: String,
    },
    /// A parameter whose value is not of its type.
    #[error("parameter {name} is not {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
    },
}

enum Form {
    Plain,
    Unix,
    Sentinel,
    Cluster,
}

pub(crate) fn parse(url: &str) -> Result<RedisConfig, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::NoScheme)?;
    let (tls, form) = scheme_of(scheme)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // from here on nothing is part of a password, or it ends here
    if rest.contains(['@', '#']) {
        return Err(UrlError::Unencoded);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login_of(login)?, hosts),
        None => (Login::default(), authority),
    };

    let segments: Vec<&str> = path
        .split('/')
        .skip(1)
        .filter(|segment| !segment.is_empty())
        .collect();
    let too_long = || UrlError::Path {
        path: path.to_owned(),
    };
    let (topology, database) = match form {
        Form::Plain => match (&addresses(hosts.split(','), 6379)?[..], &segments[..]) {
            ([host], []) => (Topology::Standalone(host.clone()), None),
            ([host], [database]) => (Topology::Standalone(host.clone()), Some(*database)),
            ([_], _) => return Err(too_long()),
            (hosts, _) => return Err(UrlError::ManyHosts { count: hosts.len() }),
        },
        Form::Unix if tls => return Err(UrlError::UnixTls),
        Form::Unix if !hosts.is_empty() || segments.is_empty() => return Err(UrlError::NoPath),
        Form::Unix => (Topology::Unix(PathBuf::from(decode(path, "path")?)), None),
        Form::Sentinel => {
            let sentinels = addresses(hosts.split(','), 26379)?;
            let service = |name: &str| decode(name, "service name");
            match segments[..] {
                [] => return Err(UrlError::NoService),
                [name] => (
                    Topology::Sentinel {
                        sentinels,
                        service: service(name)?,
                    },
                    None,
                ),
                [name, database] => (
                    Topology::Sentinel {
                        sentinels,
                        service: service(name)?,
                    },
                    Some(database),
                ),
                _ => return Err(too_long()),
            }
        }
        Form::Cluster => match segments[..] {
            [] => (Topology::Cluster(addresses(hosts.split(','), 6379)?), None),
            [database] => (
                Topology::Cluster(addresses(hosts.split(','), 6379)?),
                Some(database),
            ),
            _ => return Err(too_long()),
        },
    };

    let mut config = RedisConfig::new(topology);
    config.tls = tls;
    config.login = login;
    if let Some(database) = database {
        config.database = database.parse().map_err(|_| UrlError::Database {
            database: database.to_owned(),
        })?;
    }
    parameters(config, query)
}

fn scheme_of(scheme: &str) -> Result<(bool, Form), UrlError> {
    let (base, form) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(UrlError::UnknownScheme),
    };
    Ok((
        tls,
        match form {
            "" if base == scheme => Form::Plain,
            "unix" => Form::Unix,
            "sentinel" => Form::Sentinel,
            "cluster" => Form::Cluster,
            _ => return Err(UrlError::UnknownScheme),
        },
    ))
}

/// `user:password`, `:password`, or `user` alone (which the configuration refuses later).
fn login_of(text: &str) -> Result<Login, UrlError> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    let username = decode(username, "user name")?;
    let password = password
        .map(|password| decode(password, "password"))
        .transpose()?;
    Ok(Login {
        username: Some(username).filter(|username| !username.is_empty()),
        password: password.filter(|password| !password.is_empty()).map(Secret),
    })
}

pub(crate) fn addresses<'a>(
    list: impl IntoIterator<Item = &'a str>,
    port: u16,
) -> Result<Vec<Address>, UrlError> {
    let addresses = list
        .into_iter()
        .map(|text| address(text, port))
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        Err(UrlError::NoHost)
    } else {
        Ok(addresses)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn address(text: &str, default_port: u16) -> Result<Address, UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| UrlError::Host {
                host: text.to_owned(),
            })?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| UrlError::Host {
                    host: host.to_owned(),
                })?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => (host, None),
                None => {
                    return Err(UrlError::Host {
                        host: text.to_owned(),
                    });
                }
                port => (host, port),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    if !host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':'))
    {
        return Err(UrlError::Host {
            host: host.to_owned(),
        });
    }
    let port = match port {
        None => default_port,
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(UrlError::Port {
                    port: text.to_owned(),
                });
            }
        },
    };
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

fn parameters(mut config: RedisConfig, query: &str) -> Result<RedisConfig, UrlError> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(UrlError::RepeatedParameter {
                name: name.to_owned(),
            });
        }
        seen.push(name);
        let value = decode(value, "parameter")?;
        config = match name {
            "prefix" => config.prefix(value),
            "db" => config.database(number(value, "db")?),
            "connections" => config.connections(number(value, "connections")?),
            "max_in_flight" => config.max_in_flight(number(value, "max_in_flight")?),
            "connect_timeout" => config.connect_timeout(duration(&value, "connect_timeout")?),
            "response_timeout" => config.response_timeout(duration(&value, "response_timeout")?),
            "total_timeout" => config.total_timeout(duration(&value, "total_timeout")?),
            "breaker_failures" => config.breaker_failures(number(value, "breaker_failures")?),
            "probe_every" => config.probe_every(duration(&value, "probe_every")?),
            "sentinel_username" => config.sentinel_username(value),
            "sentinel_password" => config.sentinel_password(value),
            _ => {
                return Err(UrlError::UnknownParameter {
                    name: name.to_owned(),
                });
            }
        };
    }
    Ok(config)
}

fn number<T: std::str::FromStr>(value: String, name: &'static str) -> Result<T, UrlError> {
    value.parse().map_err(|_| UrlError::Parameter {
        name,
        expected: "a whole number",
    })
}

/// A whole number with its unit: `250ms`, `2s`.
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
