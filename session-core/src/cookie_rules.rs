//! The rules that browsers apply to a cookie's name and attributes.
//!
//! A browser drops a cookie that breaks one of them, without telling the server, so they are
//! checked before a cookie is sent.

use crate::{
    config_error::ConfigError,
    cookie_options::{Attributes, CookieOptions, SameSite, Secure},
};

/// Longest sum of name and value that a browser accepts (RFC 6265bis §5.6).
const MAX_PAIR_BYTES: usize = 4096;
/// Longest attribute value that a browser accepts (RFC 6265bis §5.6).
const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// Length of the value: version, token and MAC, separated by dots.
const VALUE_BYTES: usize = 2 + 1 + 43 + 1 + 43;

/// Checks all options of a cookie of this name.
pub(crate) fn check(name: &str, options: &CookieOptions) -> Result<(), ConfigError> {
    check_name(name)?;
    check_path(&options.path)?;
    if let Some(domain) = &options.domain {
        check_domain(domain)?;
    }
    if options.max_age.is_some_and(|age| age.as_millis() == 0) {
        return Err(ConfigError::Zero {
            option: "cookie.max_age",
        });
    }
    check_host_prefix(name, options)?;
    check_attributes(name, &options.attributes)
}

/// Checks the attributes of a cookie of this name against the name and each other.
pub(crate) fn check_attributes(name: &str, attributes: &Attributes) -> Result<(), ConfigError> {
    check_prefix(name, attributes)?;
    if attributes.secure == Secure::Always {
        return Ok(());
    }
    let second = || secure_option(attributes.secure);
    if attributes.same_site == Some(SameSite::None) {
        return exclusive(
            "cookie.same_site = none".into(),
            second(),
            "browsers reject SameSite=None without Secure, RFC 6265bis §5.7",
        );
    }
    if attributes.partitioned {
        return exclusive(
            "cookie.partitioned = true".into(),
            second(),
            "browsers reject Partitioned without Secure, CHIPS",
        );
    }
    Ok(())
}

/// What a name prefix demands (RFC 6265bis §4.1.3; for `Http`, draft-ietf-httpbis-layered-cookies).
struct Prefix {
    text: &'static str,
    host_only: bool,
    http_only: bool,
}

/// Longer prefixes precede those that they begin with.
const PREFIXES: [Prefix; 4] = [
    Prefix {
        text: "__Host-Http-",
        host_only: true,
        http_only: true,
    },
    Prefix {
        text: "__Host-",
        host_only: true,
        http_only: false,
    },
    Prefix {
        text: "__Http-",
        host_only: false,
        http_only: true,
    },
    Prefix {
        text: "__Secure-",
        host_only: false,
        http_only: false,
    },
];

impl Prefix {
    /// The prefix that a browser sees in this name. Browsers ignore the case of a prefix.
    fn of(name: &str) -> Option<&'static Self> {
        PREFIXES.iter().find(|prefix| {
            name.get(..prefix.text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.text))
        })
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err(ConfigError::CookieName { name: name.into() });
    }
    check_length("cookie.name", name, MAX_PAIR_BYTES - VALUE_BYTES)
}

fn check_path(path: &str) -> Result<(), ConfigError> {
    check_attribute("cookie.path", path, path.starts_with('/'))
}

fn check_domain(domain: &str) -> Result<(), ConfigError> {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // browsers ignore a leading dot
    let host = domain.strip_prefix('.').unwrap_or(domain);
    check_attribute("cookie.domain", domain, host.split('.').all(is_label))
}

fn check_attribute(option: &'static str, value: &str, has_form: bool) -> Result<(), ConfigError> {
    check_length(option, value, MAX_ATTRIBUTE_BYTES)?;
    let is_av_octet = |b: u8| b != b';' && (0x20..0x7f).contains(&b);
    // browsers remove spaces at the ends, so the attribute would differ from the option
    let is_trimmed = !value.starts_with(' ') && !value.ends_with(' ');
    if !has_form || !is_trimmed || !value.bytes().all(is_av_octet) {
        return Err(ConfigError::CookieAttribute {
            option,
            value: value.into(),
        });
    }
    Ok(())
}

fn check_length(option: &'static str, value: &str, limit_bytes: usize) -> Result<(), ConfigError> {
    if value.len() > limit_bytes {
        return Err(ConfigError::TooLong {
            option,
            limit_bytes,
            found_bytes: value.len(),
        });
    }
    Ok(())
}

/// What a prefix demands of the options that are the same for all sessions.
fn check_host_prefix(name: &str, options: &CookieOptions) -> Result<(), ConfigError> {
    let Some(Prefix {
        host_only: true, ..
    }) = Prefix::of(name)
    else {
        return Ok(());
    };
    let first = format!("cookie.name = {name}");
    if let Some(domain) = &options.domain {
        return exclusive(
            first,
            format!("cookie.domain = {domain}"),
            "the prefix forbids Domain, RFC 6265bis §4.1.3.2",
        );
    }
    if options.path != "/" {
        return exclusive(
            first,
            format!("cookie.path = {}", options.path),
            "the prefix requires Path=/, RFC 6265bis §4.1.3.2",
        );
    }
    Ok(())
}

/// What a prefix demands of the attributes that a session may have for itself.
fn check_prefix(name: &str, attributes: &Attributes) -> Result<(), ConfigError> {
    let Some(prefix) = Prefix::of(name) else {
        return Ok(());
    };
    let first = || format!("cookie.name = {name}");
    if !name.starts_with(prefix.text) {
        return exclusive(
            first(),
            format!("the prefix {}", prefix.text),
            "browsers ignore the case of the prefix, servers compare it",
        );
    }
    if attributes.secure != Secure::Always {
        return exclusive(
            first(),
            secure_option(attributes.secure),
            "the prefix requires Secure, RFC 6265bis §4.1.3",
        );
    }
    if prefix.http_only && !attributes.http_only {
        return exclusive(
            first(),
            "cookie.http_only = false".into(),
            "the prefix requires HttpOnly, draft-ietf-httpbis-layered-cookies",
        );
    }
    Ok(())
}

fn secure_option(secure: Secure) -> String {
    format!("cookie.secure = {}", secure.as_str())
}

fn exclusive(first: String, second: String, rule: &'static str) -> Result<(), ConfigError> {
    Err(ConfigError::Exclusive {
        first,
        second,
        rule,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{prelude::*, sample::select};

    use super::*;

    #[track_caller]
    fn refused(options: CookieOptions) -> ConfigError {
        let name = options.name.clone().unwrap_or_else(|| "id".into());
        check(&name, &options).expect_err("must be refused")
    }

    /// Whether browsers accept the cookie, written from the browser's side: what must hold for it
    /// to be stored.
    fn is_accepted(name: &str, options: &CookieOptions) -> bool {
        let Attributes {
            http_only,
            secure,
            same_site,
            partitioned,
            ..
        } = options.attributes;
        let secure = secure == Secure::Always;
        let host = name.starts_with("__Host-");
        let known = ["__Host-", "__Secure-", "__Http-"];
        let prefixed = name.starts_with("__");
        (!prefixed || known.iter().any(|prefix| name.starts_with(prefix)) && secure)
            && (!host || options.domain.is_none() && options.path == "/")
            && (!name.contains("Http-") || http_only)
            && (secure || same_site != Some(SameSite::None) && !partitioned)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn exactly_the_combinations_that_browsers_accept_pass(
            name in select(&[
                "id", "__Host-id", "__Secure-id", "__Http-id", "__Host-Http-id", "__host-id",
                "__SECURE-id", "__HTTP-id", "__Host-http-id",
            ][..]),
            secure in select(&[Secure::Always, Secure::Never, Secure::Auto][..]),
            domain in select(&[None, Some("example.com")][..]),
            path in select(&["/", "/app"][..]),
            same_site in select(&[
                None, Some(SameSite::Strict), Some(SameSite::Lax), Some(SameSite::None),
                Some(SameSite::Auto),
            ][..]),
            partitioned: bool,
            http_only: bool,
        ) {
            let mut options = CookieOptions::new()
                .secure(secure)
                .path(path)
                .same_site(same_site)
                .partitioned(partitioned)
                .http_only(http_only);
            options.domain = domain.map(Into::into);
            match check(name, &options) {
                // to a browser `__Host-http-id` has the prefix `__Host-Http-` in another case
                Ok(()) => prop_assert!(is_accepted(name, &options) && name != "__Host-http-id"),
                Err(ConfigError::Exclusive { first, second, .. }) => {
                    prop_assert!(!is_accepted(name, &options) || name == "__Host-http-id");
                    prop_assert!(first.starts_with("cookie.") && !second.is_empty());
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }

    #[test]
    fn an_error_names_both_options() {
        let options = CookieOptions::new().name("__Host-id").domain("example.com");
        assert_eq!(
            refused(options).to_string(),
            "cookie.name = __Host-id and cookie.domain = example.com exclude each other: \
             the prefix forbids Domain, RFC 6265bis §4.1.3.2"
        );
    }

    #[test]
    fn text_that_cannot_stand_in_a_cookie_is_refused() {
        for name in ["", "a b", "a=b", "a;b", "naïve", "a\u{0}"] {
            assert_eq!(
                refused(CookieOptions::new().name(name)),
                ConfigError::CookieName { name: name.into() }
            );
        }
        for path in ["", "app", "/a;b", "/a\nb", "/é", "/a ", " /a"] {
            let error = refused(CookieOptions::new().path(path));
            assert!(matches!(error, ConfigError::CookieAttribute { value, .. } if value == path));
        }
        for domain in ["", ".", "exa mple", "a..b", "example.com.", "a;b", "dömäin"] {
            let error = refused(CookieOptions::new().domain(domain));
            assert!(matches!(error, ConfigError::CookieAttribute { value, .. } if value == domain));
        }
    }

    #[test]
    fn a_value_that_browsers_would_drop_for_its_length_is_refused() {
        let longest = "n".repeat(4096 - 90);
        assert_eq!(check(&longest, &CookieOptions::new()), Ok(()));
        assert_eq!(
            refused(CookieOptions::new().name(longest + "n")),
            ConfigError::TooLong {
                option: "cookie.name",
                limit_bytes: 4006,
                found_bytes: 4007
            }
        );
        let path = |bytes: usize| CookieOptions::new().path(format!("/{}", "p".repeat(bytes - 1)));
        assert_eq!(check("id", &path(1024)), Ok(()));
        assert_eq!(
            refused(path(1025)).to_string(),
            "cookie.path is too long: expected at most 1024 bytes, found 1025 (RFC 6265bis §5.6)"
        );
    }

    #[test]
    fn a_max_age_of_zero_is_refused() {
        for max_age in [Duration::ZERO, Duration::from_micros(999)] {
            let error = refused(CookieOptions::new().max_age(max_age));
            assert_eq!(error.to_string(), "cookie.max_age must not be zero");
        }
        let shortest = CookieOptions::new().max_age(Duration::from_millis(1));
        assert_eq!(check("id", &shortest), Ok(()));
    }
}
