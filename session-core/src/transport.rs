//! Whether a request came over TLS, and whom to believe about it.

use std::net::IpAddr;

use http::{Extensions, HeaderMap, header};

/// How a request reached this service. A server or a middleware that knows puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain text, as this server accepted it.
    Plain,
    /// TLS, terminated by this server.
    Tls,
    /// Plain text between the browser and a proxy, as a middleware found out.
    ForwardedPlain,
    /// TLS between the browser and a proxy, as a middleware found out.
    ForwardedTls,
}

/// The address of the other end of the connection, for [`Proxy::TrustPeers`]. A server puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// Whom to believe that the browser spoke TLS. A connection that this server terminated TLS on is secure whatever this says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// A middleware that left [`Transport::ForwardedTls`] or [`Transport::ForwardedPlain`]; never a header.
    #[default]
    Unspecified,
    /// Nobody.
    Ignore,
    /// The first element of `X-Forwarded-Proto`, or `proto` of `Forwarded` (RFC 7239 §5.4) where that is absent. Only for a
    /// service that nothing but its proxy can reach.
    Trust,
    /// The same headers, on connections from these addresses ([`PeerAddr`]); nobody on others.
    TrustPeers(Vec<IpAddr>),
}

impl Proxy {
    /// Whether the request came over TLS; `None` where nothing tells.
    pub(crate) fn secure(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<bool> {
        let direct = match extensions.get::<Transport>() {
            Some(Transport::Tls) => return Some(true),
            Some(Transport::Plain) => Some(false),
            Some(Transport::ForwardedTls) if *self == Self::Unspecified => return Some(true),
            Some(Transport::ForwardedPlain) if *self == Self::Unspecified => return Some(false),
            Some(Transport::ForwardedTls | Transport::ForwardedPlain) | None => None,
        };
        match self {
            Self::Unspecified | Self::Ignore => direct,
            Self::Trust => Some(forwarded_https(headers)),
            Self::TrustPeers(peers) => match extensions.get::<PeerAddr>() {
                // a listener for both families shows IPv4 peers as mapped addresses
                Some(PeerAddr(peer))
                    if peers
                        .iter()
                        .any(|known| known.to_canonical() == peer.to_canonical()) =>
                {
                    Some(forwarded_https(headers))
                }
                _ => direct,
            },
        }
    }
}

/// What the proxy nearest to the browser said.
fn forwarded_https(headers: &HeaderMap) -> bool {
    let first = |name: &str| {
        Some(
            headers
                .get(name)?
                .to_str()
                .ok()?
                .split(',')
                .next()
                .unwrap_or_default(),
        )
    };
    if let Some(proto) = first("x-forwarded-proto") {
        return proto.trim().eq_ignore_ascii_case("https");
    }
    let Some(forwarded) = first(header::FORWARDED.as_str()) else {
        return false;
    };
    forwarded
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("proto")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("https")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        proxy: &Proxy,
        transport: Option<Transport>,
        forwarded: Option<&str>,
        expected: Option<bool>,
    ) {
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        if let Some(transport) = transport {
            extensions.insert(transport);
        }
        if let Some(forwarded) = forwarded {
            headers.insert("x-forwarded-proto", forwarded.parse().expect("header"));
        }
        assert_eq!(
            proxy.secure(&extensions, &headers),
            expected,
            "{proxy:?} {transport:?} {forwarded:?}"
        );
    }

    /// E114–E117.
    #[test]
    fn the_proxy_option_says_whom_to_believe() {
        use Transport::*;
        let all = [
            Proxy::Unspecified,
            Proxy::Ignore,
            Proxy::Trust,
            Proxy::TrustPeers(vec![]),
        ];
        for proxy in &all {
            check(proxy, Some(Tls), Some("http"), Some(true));
        }
        for (value, secure) in [
            ("https", true),
            ("HTTPS", true),
            (" https , http", true),
            ("http,https", false),
            ("https;x", false),
            ("wss", false),
            ("", false),
        ] {
            check(&Proxy::Trust, None, Some(value), Some(secure));
        }
        check(&Proxy::Trust, None, None, Some(false));
        check(&Proxy::Ignore, None, Some("https"), None);
        check(&Proxy::Ignore, Some(ForwardedTls), Some("https"), None);
        check(&Proxy::Unspecified, None, Some("https"), None);
        check(&Proxy::Unspecified, Some(ForwardedTls), None, Some(true));
        check(
            &Proxy::Unspecified,
            Some(ForwardedPlain),
            Some("https"),
            Some(false),
        );
        check(&Proxy::Unspecified, Some(Plain), Some("https"), Some(false));
    }

    #[test]
    fn only_listed_peers_are_believed() {
        let (proxy, stranger) = ([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().expect("header"));
        for (peer, expected) in [(proxy, Some(true)), (stranger, None)] {
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddr(peer));
            assert_eq!(
                Proxy::TrustPeers(vec![proxy]).secure(&extensions, &headers),
                expected
            );
        }
    }

    #[test]
    fn forwarded_is_read_where_the_older_header_is_absent() {
        for (value, secure) in [
            ("for=192.0.2.60;proto=https;by=203.0.113.43", true),
            ("for=192.0.2.60; Proto=\"https\"", true),
            ("for=192.0.2.60;proto=http, for=10.0.0.1;proto=https", false),
            ("for=192.0.2.60", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", value.parse().expect("header"));
            assert_eq!(
                Proxy::Trust.secure(&Extensions::new(), &headers),
                Some(secure),
                "{value}"
            );
        }
    }
}
