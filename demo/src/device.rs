//! The device that a session belongs to, as far as its login tells.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, Request, header};
use serde::{Deserialize, Serialize};
use session_hyper::{Key, PeerAddr, Proxy};

/// The device that logged in. The API leaves it out of the data of a session.
pub(crate) const DEVICE: Key<Device> = Key::new("device");
/// A client chooses the text, so it is cut off.
const MAX_CHARS: usize = 200;

/// What a login says about the browser or the program that it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) user_agent: Option<String>,
    pub(crate) address: Option<IpAddr>,
}

impl Device {
    pub(crate) fn of<B>(request: &Request<B>, proxy: &Proxy) -> Self {
        let peer = request.extensions().get().map(|PeerAddr(peer)| *peer);
        let user_agent = request.headers().get(header::USER_AGENT);
        let user_agent = user_agent.map(|text| String::from_utf8_lossy(text.as_bytes()));
        Self {
            user_agent: user_agent.map(|text| text.chars().take(MAX_CHARS).collect()),
            address: match is_trusted(peer, proxy) {
                true => forwarded_for(request.headers()).or(peer),
                false => peer,
            },
        }
    }

    /// The name of the browser and of its system, or of the program. It is a guess for people to
    /// recognize their devices by: the text is the client's own.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        let Some(text) = &self.user_agent else {
            return "unknown".into();
        };
        // the order matters, because browsers claim to be each other
        let find = |names: &[(&str, &'static str)]| {
            let found = names.iter().find(|(part, _)| text.contains(part));
            found.map(|(_, name)| *name)
        };
        let browser = find(&[
            ("Edg/", "Edge"),
            ("Firefox/", "Firefox"),
            ("Chrome/", "Chrome"),
            ("Safari/", "Safari"),
        ]);
        let system = find(&[
            ("Windows", "Windows"),
            ("Android", "Android"),
            ("iPhone", "iPhone"),
            ("iPad", "iPad"),
            ("Mac OS", "macOS"),
            ("Linux", "Linux"),
        ]);
        match (browser, system) {
            (Some(browser), Some(system)) => format!("{browser} on {system}").into(),
            (Some(browser), None) => browser.into(),
            (None, _) => text.into(),
        }
    }
}

/// Whether the peer is a proxy whose headers count.
fn is_trusted(peer: Option<IpAddr>, proxy: &Proxy) -> bool {
    match proxy {
        Proxy::Trust => true,
        Proxy::TrustPeers(peers) => peer.is_some_and(|peer| {
            let is_peer = |trusted: &IpAddr| trusted.to_canonical() == peer.to_canonical();
            peers.iter().any(is_peer)
        }),
        Proxy::Unspecified | Proxy::Ignore => false,
    }
}

/// The address that the proxy has seen: the last one, because a client can send the ones before it.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: [u8; 4] = [10, 0, 0, 1];

    fn device(headers: &[(&'static str, &str)], proxy: &Proxy) -> Device {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddr(PEER.into()));
        for (name, value) in headers {
            let value = value.parse().expect("a value");
            request.headers_mut().append(*name, value);
        }
        Device::of(&request, proxy)
    }

    #[test]
    fn the_address_is_that_of_the_peer_or_what_a_trusted_proxy_has_seen() {
        let forwarded = [("x-forwarded-for", "6.6.6.6, 192.0.2.7")];
        let seen = "192.0.2.7".parse().ok();
        for (proxy, expected) in [
            (Proxy::Trust, seen),
            (Proxy::TrustPeers(vec![PEER.into()]), seen),
            (
                Proxy::TrustPeers(vec![[10, 0, 0, 2].into()]),
                Some(PEER.into()),
            ),
            (Proxy::Ignore, Some(PEER.into())),
        ] {
            assert_eq!(device(&forwarded, &proxy).address, expected, "{proxy:?}");
        }
        let nonsense = [("x-forwarded-for", "unknown")];
        let address = device(&nonsense, &Proxy::Trust).address;
        assert_eq!(address, Some(PEER.into()));
    }

    #[test]
    fn a_device_is_named_by_its_browser_and_system() {
        let name = |user_agent: &str| {
            let device = device(&[("user-agent", user_agent)], &Proxy::Ignore);
            device.name().into_owned()
        };
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/140.0.0.0 Safari/537.36";
        assert_eq!(name(chrome), "Chrome on Linux");
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
        assert_eq!(name(safari), "Safari on iPhone");
        assert_eq!(name("curl/8.15.0"), "curl/8.15.0");
        assert_eq!(name(&"x".repeat(1000)).len(), MAX_CHARS);
        assert_eq!(Device::default().name(), "unknown");
    }
}
