//! The `Set-Cookie` header that issues or removes the session cookie, on top of the cookie crate.

use std::{fmt::Write, time::Duration};

use cookie::{
    Cookie, Expiration,
    time::{self, OffsetDateTime},
};
use http::HeaderValue;

use crate::{
    clock::Millis,
    cookie_options::{Attributes, Priority, SameSite, Secure},
    cookie_spec::{CookieOverrides, CookieSpec},
};

/// Longest lifetime that browsers grant a cookie (RFC 6265bis §5.5).
pub(crate) const MAX_AGE_LIMIT: Duration = Duration::from_secs(400 * 24 * 3600);

/// Length of a header with the usual attributes.
const TYPICAL_BYTES: usize = 256;

/// Whether a browser would store the session's cookie from a response to this request.
///
/// It would not if the cookie is `Secure` and the request is known to have arrived over plain HTTP.
pub(crate) fn can_issue(
    spec: &CookieSpec,
    overrides: &CookieOverrides,
    secure_request: Option<bool>,
) -> bool {
    secure_flag(spec.attributes(overrides).secure, secure_request).is_some()
}

/// The header that issues the cookie, or `None` if the browser would not store it ([`can_issue`]).
///
/// A cookie with a `max_age` outlives the browser session. The duration is rounded down to whole
/// seconds, so that the browser does not keep the cookie for longer: with less than a second left,
/// it does not store it at all. It is capped at 400 days. `Expires` repeats it for `now`.
pub(crate) fn issue(
    spec: &CookieSpec,
    overrides: &CookieOverrides,
    value: String,
    max_age: Option<Duration>,
    now: Millis,
    secure_request: Option<bool>,
) -> Option<HeaderValue> {
    let lifetime = max_age.map(|max_age| {
        let max_age = max_age.min(MAX_AGE_LIMIT).as_secs();
        Lifetime {
            max_age,
            expires_at: (now.0 / 1000).saturating_add(max_age),
        }
    });
    write(spec, overrides, value, lifetime, secure_request)
}

/// The header that removes the cookie, or `None` if the browser would ignore it ([`can_issue`]).
///
/// It carries the attributes that [`issue`] gives the cookie, because a browser replaces a cookie
/// only if path, domain and partition are the same.
pub(crate) fn remove(
    spec: &CookieSpec,
    overrides: &CookieOverrides,
    secure_request: Option<bool>,
) -> Option<HeaderValue> {
    let lifetime = Lifetime {
        max_age: 0,
        expires_at: 0,
    };
    write(
        spec,
        overrides,
        String::new(),
        Some(lifetime),
        secure_request,
    )
}

/// How long the browser keeps the cookie, in seconds and in seconds since the Unix epoch.
struct Lifetime {
    max_age: u64,
    expires_at: u64,
}

fn write(
    spec: &CookieSpec,
    overrides: &CookieOverrides,
    value: String,
    lifetime: Option<Lifetime>,
    secure_request: Option<bool>,
) -> Option<HeaderValue> {
    let attributes = spec.attributes(overrides);
    let secure = secure_flag(attributes.secure, secure_request)?;
    let options = spec.options();
    let mut cookie = Cookie::new(spec.name(), value);
    cookie.set_path(options.path.as_str());
    if let Some(domain) = &options.domain {
        cookie.set_domain(domain.as_str());
    }
    cookie.set_http_only(attributes.http_only);
    cookie.set_secure(secure);
    cookie.set_same_site(same_site(&attributes, secure));
    cookie.set_partitioned(attributes.partitioned);
    if let Some(lifetime) = lifetime {
        let max_age = i64::try_from(lifetime.max_age).unwrap_or(i64::MAX);
        cookie.set_max_age(time::Duration::seconds(max_age));
        // a date that has no text is left out; `Max-Age` takes precedence anyway (RFC 6265bis §5.7)
        let expires_at = i64::try_from(lifetime.expires_at).ok();
        let expires_at = expires_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        if let Some(expires_at) = expires_at {
            cookie.set_expires(Expiration::from(expires_at));
        }
    }
    let mut text = String::with_capacity(TYPICAL_BYTES);
    write!(text, "{cookie}{}", priority(&attributes)).ok()?;
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Whether the cookie is marked `Secure`; `None` if a browser would not store it.
fn secure_flag(secure: Secure, secure_request: Option<bool>) -> Option<bool> {
    match secure {
        Secure::Always if secure_request == Some(false) => None,
        Secure::Always => Some(true),
        Secure::Never => Some(false),
        Secure::Auto => Some(secure_request == Some(true)),
    }
}

fn same_site(attributes: &Attributes, secure: bool) -> Option<cookie::SameSite> {
    Some(match attributes.same_site? {
        SameSite::Strict => cookie::SameSite::Strict,
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::None => cookie::SameSite::None,
        SameSite::Auto if secure => cookie::SameSite::None,
        SameSite::Auto => cookie::SameSite::Lax,
    })
}

/// The attribute that the cookie crate does not write.
fn priority(attributes: &Attributes) -> &'static str {
    match attributes.priority {
        None => "",
        Some(Priority::Low) => "; Priority=Low",
        Some(Priority::Medium) => "; Priority=Medium",
        Some(Priority::High) => "; Priority=High",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cookie_options::CookieOptions;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[track_caller]
    fn spec(options: CookieOptions) -> CookieSpec {
        CookieSpec::check(options).expect("legal options")
    }

    #[track_caller]
    fn text(header: Option<HeaderValue>) -> Option<String> {
        Some(header?.to_str().expect("ASCII").to_owned())
    }

    #[track_caller]
    fn issued(options: CookieOptions, secure_request: Option<bool>) -> Option<String> {
        let (spec, overrides) = (spec(options), CookieOverrides::default());
        let header = issue(
            &spec,
            &overrides,
            "v".into(),
            None,
            Millis(0),
            secure_request,
        );
        assert_eq!(
            header.is_some(),
            can_issue(&spec, &overrides, secure_request)
        );
        text(header)
    }

    #[track_caller]
    fn lasting(max_age: Duration, now: Millis) -> String {
        let spec = spec(CookieOptions::new());
        let overrides = CookieOverrides::default();
        let header = issue(&spec, &overrides, "v".into(), Some(max_age), now, None);
        let text = text(header).expect("issued");
        let prefix = "__Host-id=v; HttpOnly; SameSite=Lax; Secure; Path=/; ";
        text.strip_prefix(prefix).expect("attributes").to_owned()
    }

    #[test]
    fn the_default_cookie_is_host_bound_secure_and_hidden_from_scripts() {
        assert_eq!(
            issued(CookieOptions::new(), None).as_deref(),
            Some("__Host-id=v; HttpOnly; SameSite=Lax; Secure; Path=/")
        );
    }

    #[test]
    fn every_attribute_is_written() {
        let options = CookieOptions::new()
            .name("sid")
            .path("/app")
            .domain(".example.com")
            .http_only(false)
            .same_site(SameSite::None)
            .partitioned(true)
            .priority(Priority::High);
        assert_eq!(
            issued(options, None).as_deref(),
            Some(
                "sid=v; SameSite=None; Partitioned; Secure; Path=/app; Domain=example.com; \
                 Priority=High"
            )
        );
    }

    #[test]
    fn secure_and_same_site_follow_the_request_if_they_are_automatic() {
        let auto = || {
            CookieOptions::new()
                .secure(Secure::Auto)
                .same_site(SameSite::Auto)
        };
        let over_tls = "id=v; HttpOnly; SameSite=None; Secure; Path=/";
        let plain = "id=v; HttpOnly; SameSite=Lax; Path=/";
        assert_eq!(issued(auto(), Some(true)).as_deref(), Some(over_tls));
        assert_eq!(issued(auto(), Some(false)).as_deref(), Some(plain));
        assert_eq!(issued(auto(), None).as_deref(), Some(plain));
    }

    #[test]
    fn a_secure_cookie_is_neither_issued_nor_removed_over_plain_http() {
        assert_eq!(issued(CookieOptions::new(), Some(false)), None);
        let spec = spec(CookieOptions::new());
        assert_eq!(
            remove(&spec, &CookieOverrides::default(), Some(false)),
            None
        );
    }

    #[test]
    fn a_lifetime_is_written_as_max_age_and_expires() {
        assert_eq!(
            lasting(DAY, Millis(0)),
            "Max-Age=86400; Expires=Fri, 02 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn a_lifetime_is_rounded_down_to_whole_seconds() {
        assert_eq!(
            lasting(Duration::from_millis(1999), Millis(1999)),
            "Max-Age=1; Expires=Thu, 01 Jan 1970 00:00:02 GMT"
        );
        assert_eq!(
            lasting(Duration::from_millis(999), Millis(1)),
            "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn a_lifetime_is_capped_at_400_days() {
        let longest = "Max-Age=34560000; Expires=Fri, 05 Feb 1971 00:00:00 GMT";
        assert_eq!(lasting(400 * DAY, Millis(0)), longest);
        assert_eq!(lasting(401 * DAY, Millis(0)), longest);
        assert_eq!(lasting(Duration::MAX, Millis(0)), longest);
    }

    #[test]
    fn a_date_that_has_no_text_is_left_out() {
        assert_eq!(lasting(DAY, Millis(u64::MAX)), "Max-Age=86400");
    }

    #[test]
    fn the_value_is_not_shown_by_debug() {
        let spec = spec(CookieOptions::new());
        let overrides = CookieOverrides::default();
        let header = issue(&spec, &overrides, "v".into(), None, Millis(0), None);
        assert_eq!(format!("{:?}", header.expect("issued")), "Sensitive");
    }

    #[test]
    fn removal_carries_the_attributes_that_the_cookie_was_issued_with() {
        let partitioned = CookieOverrides {
            partitioned: Some(true),
            ..CookieOverrides::default()
        };
        let shared = CookieOptions::new().path("/app").domain("example.com");
        for (options, overrides) in [
            (CookieOptions::new(), CookieOverrides::default()),
            (CookieOptions::new(), partitioned),
            (shared, CookieOverrides::default()),
        ] {
            let spec = spec(options);
            let set = text(issue(&spec, &overrides, "".into(), None, Millis(0), None));
            let removed = text(remove(&spec, &overrides, None)).expect("removed");
            assert_eq!(
                removed.strip_suffix("; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
                set.as_deref()
            );
            assert_eq!(
                removed.contains("; Partitioned"),
                overrides.partitioned == Some(true)
            );
        }
    }

    proptest! {
        #[test]
        fn a_cookie_of_any_legal_options_parses_back(
            name in "[!-~]{1,12}",
            path in "/[ -~]{0,12}",
            domain in proptest::option::of("[a-z.-]{1,10}"),
            max_age in proptest::option::of(0..500 * 24 * 3600u64),
        ) {
            let mut options = CookieOptions::new().name(&name).path(&path);
            options.domain = domain.clone();
            let Ok(spec) = CookieSpec::check(options) else { return Ok(()) };
            let max_age = max_age.map(Duration::from_secs);
            let overrides = CookieOverrides::default();
            let header = issue(&spec, &overrides, "v1.x.y".into(), max_age, Millis(0), None);
            let text = text(header).expect("issued");
            let cookie = Cookie::parse(text.as_str()).expect("a cookie");
            prop_assert_eq!((cookie.name(), cookie.value()), (&*name, "v1.x.y"));
            prop_assert_eq!(cookie.path(), Some(&*path));
            let host = domain.as_deref().map(|domain| domain.strip_prefix('.').unwrap_or(domain));
            prop_assert_eq!(cookie.domain(), host);
            prop_assert_eq!((cookie.secure(), cookie.http_only()), (Some(true), Some(true)));
            let seconds = max_age.map(|max_age| max_age.min(MAX_AGE_LIMIT).as_secs());
            prop_assert_eq!(
                cookie.max_age().map(|age| age.whole_seconds().unsigned_abs()),
                seconds
            );
        }
    }
}
