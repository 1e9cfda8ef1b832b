//! The text of `Cookie` and `Set-Cookie`, on top of the cookie crate.

use std::{
    borrow::Cow,
    fmt::Write,
    time::{Duration, SystemTime},
};

use cookie::{Cookie, Expiration, time::OffsetDateTime};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    cookie::{CookieOptions, MAX_AGE_LIMIT, Priority, SameSite, Secure},
    config_error::ConfigError,
};

/// Cookies of one name that are tried; a neighbouring subdomain can plant more (RFC 6265bis §8.6, weak integrity).
const MAX_CANDIDATES: usize = 8;
/// What a `Set-Cookie` of this library takes, with the usual attributes.
const TYPICAL_BYTES: usize = 256;

/// Values of cookies of one name: one, as a rule.
pub(crate) type Values<'h> = SmallVec<[Cow<'h, str>; 1]>;

/// The values of every cookie of that name, in the order sent, a few at most.
///
/// HTTP/2 may split the cookies over several header fields (RFC 9113 §8.2.3). Other applications' cookies may hold any bytes.
pub(crate) fn values<'h>(headers: &'h [HeaderValue], name: &str) -> Values<'h> {
    let mut found = Values::new();
    for header in headers {
        match std::str::from_utf8(header.as_bytes()) {
            Ok(text) => collect(text, name, &mut found),
            Err(_) => {
                let (text, mut owned) = (String::from_utf8_lossy(header.as_bytes()), Values::new());
                collect(&text, name, &mut owned);
                found.extend(
                    owned
                        .into_iter()
                        .map(|value| Cow::Owned(value.into_owned())),
                );
            }
        }
    }
    if found.len() > MAX_CANDIDATES {
        tracing::debug!(
            found = found.len(),
            tried = MAX_CANDIDATES,
            "too many session cookies in one request"
        );
        found.truncate(MAX_CANDIDATES);
    }
    found
}

/// The `Cookie` header fields of a request.
pub(crate) fn headers(headers: &HeaderMap) -> Vec<HeaderValue> {
    let mut fields = headers.get_all(header::COOKIE).iter();
    let Some(first) = fields.next() else {
        return Vec::new();
    };
    // one, as a rule
    let mut all = Vec::with_capacity(1);
    all.push(first.clone());
    all.extend(fields.cloned());
    all
}

fn collect<'h>(text: &'h str, name: &str, found: &mut Values<'h>) {
    for cookie in Cookie::split_parse(text).flatten() {
        // Names are compared as sent. Decoding them would let `__%48ost-id` pass for `__Host-id`.
        if cookie.name() == name {
            let value = cookie.value_raw().unwrap_or_default();
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            found.push(decoded(value));
        }
    }
}

fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    match Cookie::parse_encoded(format!("v={value}")) {
        Ok(cookie) => Cow::Owned(cookie.value().to_owned()),
        Err(_) => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn set(options: CookieOptions, secure: Option<bool>) -> Option<String> {
        let spec = options.check().expect("legal options");
        let text = spec.set(&CookieOverrides::default(), "v".into(), None, secure)?;
        Some(text.to_str().expect("ascii").to_owned())
    }

    /// S20.
    #[test]
    fn the_default_cookie_is_host_bound_secure_and_hidden_from_scripts() {
        assert_eq!(
            set(CookieOptions::new(), None).expect("set"),
            "__Host-id=v; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
    }

    #[test]
    fn every_attribute_is_written() {
        let options = CookieOptions::new()
            .name("sid")
            .path("/app")
            .domain(".example.com")
            .http_only(false);
        let options = options
            .same_site(SameSite::None)
            .partitioned(true)
            .priority(Priority::High);
        assert_eq!(
            set(options, None).expect("set"),
            "sid=v; SameSite=None; Partitioned; Secure; Path=/app; Domain=example.com; Priority=High"
        );
    }

    #[test]
    fn auto_follows_the_request_and_none_implies_secure() {
        let auto = CookieOptions::new()
            .secure(Secure::Auto)
            .same_site(SameSite::Auto);
        assert_eq!(
            set(auto.clone(), Some(true)).expect("set"),
            "id=v; HttpOnly; SameSite=None; Secure; Path=/"
        );
        assert_eq!(
            set(auto.clone(), Some(false)).expect("set"),
            "id=v; HttpOnly; SameSite=Lax; Path=/"
        );
        assert_eq!(
            set(auto, None).expect("set"),
            "id=v; HttpOnly; SameSite=Lax; Path=/"
        );
        assert_eq!(
            set(CookieOptions::new(), Some(false)),
            None,
            "a Secure cookie for an insecure request"
        );
    }

    /// E35, E36 with RFC 6265 §5.1.4.
    #[test]
    fn paths_match_by_segments() {
        let covers = |path: &str, request| {
            CookieOptions::new()
                .path(path)
                .check()
                .expect("legal")
                .covers(request)
        };
        assert!(covers("/", "/") && covers("/", "/any") && covers("/", ""));
        assert!(covers("/foo", "/foo") && covers("/foo", "/foo/") && covers("/foo", "/foo/bar"));
        assert!(covers("/foo/", "/foo/bar") && !covers("/foo/", "/foo"));
        assert!(
            !covers("/foo", "/foobar")
                && !covers("/foo", "/Foo")
                && !covers("/foo", "//foo")
                && !covers("/foo", "/%66oo")
        );
        assert!(!covers("/", "*"), "OPTIONS *");
    }

    #[test]
    fn a_lifetime_is_written_both_ways_and_capped_at_400_days() {
        let spec = CookieOptions::new().check().expect("legal");
        let text = |days: u64| {
            let lasts = Duration::from_secs(days * 86400);
            let text = spec.set(
                &CookieOverrides::default(),
                "v".into(),
                Some((lasts, SystemTime::UNIX_EPOCH + lasts)),
                None,
            );
            text.expect("set").to_str().expect("ascii").to_owned()
        };
        assert!(
            text(1).ends_with("Max-Age=86400; Expires=Fri, 02 Jan 1970 00:00:00 GMT"),
            "{}",
            text(1)
        );
        assert!(
            text(1000).ends_with("Max-Age=34560000; Expires=Fri, 05 Feb 1971 00:00:00 GMT"),
            "{}",
            text(1000)
        );
    }

    /// T14.
    #[test]
    fn removal_carries_the_attributes_of_the_cookie_it_removes() {
        let attributes = |text: Option<HeaderValue>| {
            let text = text.expect("set").to_str().expect("ascii").to_owned();
            let mut all: Vec<_> = text.split("; ").skip(1).map(str::to_owned).collect();
            all.retain(|attribute| {
                !attribute.starts_with("Max-Age") && !attribute.starts_with("Expires")
            });
            all
        };
        for options in [
            CookieOptions::new(),
            CookieOptions::new()
                .path("/app")
                .domain("example.com")
                .same_site(SameSite::Strict),
        ] {
            let spec = options.check().expect("legal");
            let none = CookieOverrides::default();
            assert_eq!(
                attributes(spec.remove(&none, None)),
                attributes(spec.set(&none, "v".into(), None, None))
            );
        }
        let spec = CookieOptions::new().check().expect("legal");
        let text = spec.remove(&CookieOverrides::default(), None).expect("set");
        let text = text.to_str().expect("ascii");
        assert!(
            text.starts_with("__Host-id=;") && text.contains("Max-Age=0"),
            "{text}"
        );
        assert!(
            text.contains("Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            "{text}"
        );
    }

    #[test]
    fn every_cookie_of_the_name_is_found_whatever_surrounds_it() {
        let find = |headers: &[&[u8]]| {
            let headers: Vec<_> = headers
                .iter()
                .map(|bytes| HeaderValue::from_bytes(bytes).expect("header"))
                .collect();
            values(&headers, "id")
                .into_iter()
                .map(Cow::into_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(find(&[b"a=1; id=x; b=2", b"id=y"]), ["x", "y"]);
        assert_eq!(
            find(&[b"name=Zo\xc3\xab; id=x"]),
            ["x"],
            "UTF-8 in a neighbour"
        );
        assert_eq!(
            find(&[b"name=Zo\xeb; id=x"]),
            ["x"],
            "Latin-1 in a neighbour"
        );
        assert_eq!(
            find(&[b"garbage; =; ;; id=\"x\"; id=a%2Eb; id=%ff"]),
            ["x", "a.b", "%ff"]
        );
        assert_eq!(find(&[b"ID=x; i%64=y; idd=z"]), Vec::<String>::new());
        assert_eq!(find(&[&b"id=x; ".repeat(20)]).len(), MAX_CANDIDATES);
    }

    proptest! {
        /// S7: any header bytes are read or ignored.
        #[test]
        fn any_header_is_harmless(bytes in prop::collection::vec(prop_oneof![Just(b';'), Just(b'='), Just(b'%'), Just(b'"'), 0x20..=0xffu8], 0..80)) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                let _ = values(&[header], "id");
            }
        }

        /// S22: whatever options pass the check, what is written parses back to the same name and value.
        #[test]
        fn what_is_written_parses(name in "[!-~]{1,12}", path in "/[ -~]{0,12}", domain in proptest::option::of("[a-z.-]{1,10}")) {
            let mut options = CookieOptions::new().name(name.clone()).path(path);
            options.domain = domain;
            if let Ok(spec) = options.check() {
                let text = spec.set(&CookieOverrides::default(), "v1.x.y".into(), None, None).expect("set");
                let parsed = Cookie::parse(text.to_str().expect("ascii").to_owned()).expect("a cookie");
                prop_assert_eq!((parsed.name(), parsed.value()), (name.as_str(), "v1.x.y"));
                prop_assert_eq!(parsed.secure(), Some(true));
            }
        }
    }
}
