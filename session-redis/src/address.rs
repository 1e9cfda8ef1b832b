//! The address of a server: `host`, `host:port`, `[v6]` or `[v6]:port`.

use std::{fmt, net::Ipv6Addr};

/// The address of a server. The host is a name, or an IP address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Parses an address; without a port it gets `default_port`.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let invalid = |host: &str| AddressError::Host {
            host: host.to_owned(),
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| invalid(text))?;
                host.parse::<Ipv6Addr>().map_err(|_| invalid(host))?;
                match rest.strip_prefix(':') {
                    None if rest.is_empty() => (host, None),
                    None => return Err(invalid(text)),
                    port => (host, port),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if !host.chars().all(allowed) {
            return Err(invalid(host));
        }
        let port = match port {
            None => default_port,
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(AddressError::Port {
                        host: host.to_owned(),
                    });
                }
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Parses a list that must not be empty.
    pub(crate) fn parse_list<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        default_port: u16,
    ) -> Result<Vec<Self>, AddressError> {
        let addresses = texts
            .into_iter()
            .map(|text| Self::parse(text, default_port))
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            Err(AddressError::NoHost)
        } else {
            Ok(addresses)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The host is empty, or the list of addresses is.
    #[error("host is missing")]
    NoHost,
    /// The host contains characters that no host name or IP address has.
    #[error("host {host:?} is neither a host name nor an IP address; IPv6 needs brackets")]
    Host {
        /// The host as it was given.
        host: String,
    },
    /// The port is not a number from 1 to 65535. The error names the host and not the text of the
    /// port: in a URL that lacks its `@host`, the password stands in the place of the port.
    #[error("port of host {host:?} is not a number from 1 to 65535")]
    Port {
        /// The host whose port is invalid.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn an_address_is_a_host_with_an_optional_port() {
        for (text, expected) in [
            ("localhost", address("localhost", 9)),
            ("10.0.0.1:6379", address("10.0.0.1", 6379)),
            ("cache_1.internal:1", address("cache_1.internal", 1)),
            ("[::1]", address("::1", 9)),
            ("[fe80::1]:7000", address("fe80::1", 7000)),
        ] {
            assert_eq!(Address::parse(text, 9), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_address_names_the_offending_host() {
        let host = |host: &str| AddressError::Host { host: host.into() };
        let port = |host: &str| AddressError::Port { host: host.into() };
        for (text, expected) in [
            ("", AddressError::NoHost),
            (":7000", AddressError::NoHost),
            ("::1", AddressError::NoHost),
            ("a b", host("a b")),
            ("[::g]", host("::g")),
            ("[::1", host("[::1")),
            ("[::1]7000", host("[::1]7000")),
            ("h:0", port("h")),
            ("h:65536", port("h")),
            ("h:", port("h")),
            ("h:x", port("h")),
            ("[::1]:x", port("::1")),
        ] {
            assert_eq!(Address::parse(text, 9), Err(expected), "{text}");
        }
        assert_eq!(Address::parse_list([], 9), Err(AddressError::NoHost));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = Address::parse(&text, 1);
        }

        #[test]
        fn a_displayed_address_parses_to_itself(
            host in "([a-z0-9][a-z0-9.-]{0,20})|::1|2001:db8::7", port in 1u16..
        ) {
            let address = address(&host, port);
            prop_assert_eq!(Address::parse(&address.to_string(), 1), Ok(address));
        }
    }
}
