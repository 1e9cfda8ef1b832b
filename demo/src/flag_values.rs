//! The values of flags.

use std::{
    convert::Infallible, fmt, net::IpAddr, num::ParseIntError, str::FromStr, time::Duration,
};

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use http::StatusCode;
use session_hyper::{NearCache, OnLost, Proxy, Replicas};

/// A value that one word turns off. clap would take a field that is spelled `Option` for a flag
/// that may be missing.
pub(crate) type OrOff<T> = Option<T>;

/// Text that may contain a password: it is never printed.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One of these words, each of which stands for a value.
pub(crate) fn words<T: Clone + Send + Sync>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).try_map(|given| {
        let found = words.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| value.clone()).ok_or("unknown word")
    })
}

/// Whole seconds, or a number with units.
pub(crate) fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

/// A duration, or `none`.
pub(crate) fn duration_or_none(text: &str) -> Result<OrOff<Duration>, humantime::DurationError> {
    match text {
        "none" => Ok(None),
        text => duration(text).map(Some),
    }
}

/// A near cache that may take so much memory: a number of bytes, or with a unit.
pub(crate) fn near_cache(text: &str) -> Result<NearCache, String> {
    let ByteSize(max_bytes) = text.parse()?;
    Ok(NearCache::new().max_bytes(max_bytes))
}

/// How many replicas confirm a write.
pub(crate) fn replicas(text: &str) -> Result<Replicas, ParseIntError> {
    text.parse().map(Replicas::new)
}

/// Which proxy headers to trust.
pub(crate) fn proxy(text: &str) -> Result<Proxy, String> {
    match text {
        "unspecified" => Ok(Proxy::Unspecified),
        "ignore" => Ok(Proxy::Ignore),
        "trust" => Ok(Proxy::Trust),
        peers => {
            let peers = peers.split(',').map(|peer| peer.trim().parse());
            let peers: Result<Vec<IpAddr>, _> = peers.collect();
            peers
                .map(Proxy::TrustPeers)
                .map_err(|_| "expected unspecified, ignore, trust, or IP addresses".into())
        }
    }
}

/// What to do if writes were lost.
pub(crate) fn on_lost(text: &str) -> Result<OnLost, String> {
    match text {
        "by-method" => Ok(OnLost::ByMethod),
        "discard" => Ok(OnLost::Discard),
        status => match status.parse::<StatusCode>() {
            Ok(status) if status.is_client_error() || status.is_server_error() => {
                Ok(OnLost::Reject(status))
            }
            Ok(_) | Err(_) => {
                Err("expected by-method, discard, or a status from 400 to 599".into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err());
        assert_eq!(duration_or_none("none"), Ok(None));
        assert_eq!(
            duration_or_none("8h"),
            Ok(Some(Duration::from_secs(28_800)))
        );
    }

    #[test]
    fn the_size_of_a_near_cache_is_in_bytes_or_has_a_unit() {
        let sized = |max_bytes| Ok(NearCache::new().max_bytes(max_bytes));
        assert_eq!(near_cache("1000000"), sized(1_000_000));
        assert_eq!(near_cache("64MiB"), sized(64 << 20));
        assert_eq!(near_cache("1 GB"), sized(1_000_000_000));
        for invalid in ["", "much", "64 apples", "-1"] {
            assert!(near_cache(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn lost_writes_are_answered_by_method_or_not_at_all_or_with_an_error_status() {
        assert_eq!(on_lost("by-method"), Ok(OnLost::ByMethod));
        assert_eq!(on_lost("discard"), Ok(OnLost::Discard));
        assert_eq!(on_lost("410"), Ok(OnLost::Reject(StatusCode::GONE)));
        for invalid in ["200", "600", "gone", ""] {
            let error = on_lost(invalid).expect_err(invalid);
            assert!(error.contains("400"), "{error}");
        }
    }

    #[test]
    fn a_proxy_is_a_word_or_a_list_of_addresses() {
        let peers = [[10, 0, 0, 1].into(), "::1".parse().expect("an address")];
        assert_eq!(proxy("trust"), Ok(Proxy::Trust));
        assert_eq!(
            proxy("10.0.0.1, ::1"),
            Ok(Proxy::TrustPeers(peers.to_vec()))
        );
        assert!(proxy("everybody").is_err());
    }

    #[test]
    fn a_secret_is_not_printed() {
        let Ok(secret) = Secret::from_str("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
