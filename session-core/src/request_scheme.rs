//! Whether the browser sent a request over TLS, and which proxies to trust about it.

use std::net::IpAddr;

use http::{Extensions, HeaderMap};

use crate::forwarded;

/// How a request arrived. A server or a middleware that knows inserts it into the request's
/// extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestScheme {
    /// Over a plain connection that this server accepted.
    Plain,
    /// Over TLS that this server terminated.
    Tls,
    /// Over plain HTTP between the browser and a proxy, as a middleware has established.
    ForwardedPlain,
    /// Over TLS between the browser and a proxy, as a middleware has established.
    ForwardedTls,
}

/// The address of the peer of the connection, for [`Proxy::TrustPeers`]. A server inserts it into
/// the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

/// Which proxy headers to trust when detecting HTTPS.
///
/// A request whose TLS this server terminated ([`RequestScheme::Tls`]) is secure with every option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// No header, but [`RequestScheme::ForwardedTls`] and [`RequestScheme::ForwardedPlain`], if a
    /// middleware has inserted them.
    #[default]
    Unspecified,
    /// Neither headers nor middleware.
    Ignore,
    /// The first element of `X-Forwarded-Proto`. If that header is absent, the `proto` of the first
    /// element of `Forwarded` (RFC 7239 §5.4).
    ///
    /// Use it only if every request comes through a proxy that overwrites these headers: a client
    /// can send them too.
    Trust,
    /// The same headers, on connections from these addresses ([`PeerAddr`]). On other connections
    /// no header.
    TrustPeers(Vec<IpAddr>),
}

impl Proxy {
    /// Whether the browser sent the request over TLS; `None` if that is unknown.
    pub(crate) fn secure(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<bool> {
        let direct = match extensions.get::<RequestScheme>() {
            Some(RequestScheme::Tls) => return Some(true),
            Some(RequestScheme::Plain) => Some(false),
            Some(RequestScheme::ForwardedTls) if *self == Self::Unspecified => return Some(true),
            Some(RequestScheme::ForwardedPlain) if *self == Self::Unspecified => {
                return Some(false);
            }
            Some(RequestScheme::ForwardedTls | RequestScheme::ForwardedPlain) | None => None,
        };
        let is_trusted = match self {
            Self::Unspecified | Self::Ignore => false,
            Self::Trust => true,
            Self::TrustPeers(peers) => match extensions.get::<PeerAddr>() {
                // a socket for both families reports IPv4 peers as mapped addresses
                Some(PeerAddr(peer)) => peers
                    .iter()
                    .any(|trusted| trusted.to_canonical() == peer.to_canonical()),
                None => false,
            },
        };
        if is_trusted {
            Some(forwarded::is_https(headers))
        } else {
            direct
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        proxy: &Proxy,
        scheme: Option<RequestScheme>,
        forwarded: Option<&'static str>,
        expected: Option<bool>,
    ) {
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        if let Some(scheme) = scheme {
            extensions.insert(scheme);
        }
        if let Some(forwarded) = forwarded {
            headers.insert("x-forwarded-proto", forwarded.parse().expect("a value"));
        }
        assert_eq!(
            proxy.secure(&extensions, &headers),
            expected,
            "{proxy:?} {scheme:?} {forwarded:?}"
        );
    }

    #[test]
    fn tls_that_this_server_terminated_is_secure_with_every_option() {
        for proxy in [
            Proxy::Unspecified,
            Proxy::Ignore,
            Proxy::Trust,
            Proxy::TrustPeers(vec![]),
        ] {
            check(&proxy, Some(RequestScheme::Tls), Some("http"), Some(true));
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_asked() {
        use RequestScheme::{ForwardedPlain, ForwardedTls, Plain};
        check(&Proxy::Trust, None, Some("https"), Some(true));
        check(&Proxy::Trust, Some(Plain), Some("https"), Some(true));
        check(&Proxy::Trust, None, Some("http"), Some(false));
        check(&Proxy::Trust, None, None, Some(false));
        check(&Proxy::Ignore, None, Some("https"), None);
        check(&Proxy::Ignore, Some(ForwardedTls), Some("https"), None);
        check(&Proxy::Unspecified, None, Some("https"), None);
        check(&Proxy::Unspecified, Some(Plain), Some("https"), Some(false));
        check(&Proxy::Unspecified, Some(ForwardedTls), None, Some(true));
        let unspecified = Proxy::Unspecified;
        check(
            &unspecified,
            Some(ForwardedPlain),
            Some("https"),
            Some(false),
        );
    }

    #[test]
    fn only_listed_peers_are_trusted() {
        let trusted: IpAddr = [10, 0, 0, 1].into();
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        let other = [10, 0, 0, 9].into();
        let proxy = Proxy::TrustPeers(vec![trusted]);
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().expect("a value"));
        for (peer, expected) in [(trusted, Some(true)), (mapped, Some(true)), (other, None)] {
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddr(peer));
            assert_eq!(proxy.secure(&extensions, &headers), expected, "{peer}");
        }
        assert_eq!(proxy.secure(&Extensions::new(), &headers), None);
        check(
            &proxy,
            Some(RequestScheme::Plain),
            Some("https"),
            Some(false),
        );
    }
}
