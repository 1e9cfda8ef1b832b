//! The options of the session cookie, and the rules that browsers hold them to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config_error::ConfigError, cookie_spec::CookieSpec};

/// Longest name and value together that a browser must keep (RFC 6265bis §5.6).
const MAX_PAIR_BYTES: usize = 4096;
/// Longest attribute value that a browser must keep (RFC 6265bis §5.6).
const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// Longest lifetime that browsers grant (RFC 6265bis §5.5).
pub(crate) const MAX_AGE_LIMIT: Duration = Duration::from_secs(400 * 24 * 3600);

/// When the cookie is marked `Secure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// Always. A request that is known to have come over plain http gets no cookie, and no session is stored that could
    /// not be addressed.
    #[default]
    Always,
    /// Never. For a service that is reached over plain http only.
    Never,
    /// When the request came over TLS, decided for each response. A session that began over TLS stays with it.
    Auto,
}

/// Which cross-site requests carry the cookie (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// None of them.
    Strict,
    /// Top-level navigations with a safe method.
    Lax,
    /// All of them; needs [`Secure::Always`].
    None,
    /// `None` on a response that is marked `Secure`, `Lax` on others.
    Auto,
}

/// What a browser gives up first when it runs out of room (draft-west-cookie-priority).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Evicted first.
    Low,
    /// What browsers assume.
    Medium,
    /// Evicted last.
    High,
}

/// The options of the session cookie.
///
/// Checked as a whole when the [`Sessions`](crate::Sessions) are built; an option that excludes another is an error that names
/// both.
///
/// | option | default |
/// |---|---|
/// | `name` | `__Host-id` where the other options allow it, else `__Secure-id`, else `id` |
/// | `path` | `/` |
/// | `domain` | none: this host alone |
/// | `http_only` | true |
/// | `secure` | [`Secure::Always`] |
/// | `same_site` | [`SameSite::Lax`] |
/// | `partitioned` | false |
/// | `priority` | none |
/// | `max_age` | none: the cookie ends with the browser session |
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CookieOptions {
    pub(crate) name: Option<String>,
    pub(crate) path: String,
    pub(crate) domain: Option<String>,
    pub(crate) http_only: bool,
    pub(crate) secure: Secure,
    pub(crate) same_site: Option<SameSite>,
    pub(crate) partitioned: bool,
    pub(crate) priority: Option<Priority>,
    pub(crate) max_age: Option<Duration>,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self {
            name: None,
            path: "/".into(),
            domain: None,
            http_only: true,
            secure: Secure::Always,
            same_site: Some(SameSite::Lax),
            partitioned: false,
            priority: None,
            max_age: None,
        }
    }
}

impl CookieOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the cookie. The prefixes `__Host-`, `__Secure-`, `__Http-` and `__Host-Http-` oblige the other options.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// Sends the cookie below this path only; requests elsewhere have no session (RFC 6265 §5.1.4).
    pub fn path(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// Shares the cookie with every subdomain of this domain.
    pub fn domain(self, domain: impl Into<String>) -> Self {
        Self {
            domain: Some(domain.into()),
            ..self
        }
    }

    /// Hides the cookie from scripts.
    pub fn http_only(self, http_only: bool) -> Self {
        Self { http_only, ..self }
    }

    /// When the cookie is marked `Secure`.
    pub fn secure(self, secure: Secure) -> Self {
        Self { secure, ..self }
    }

    /// Which cross-site requests carry the cookie; `None` leaves the attribute out.
    pub fn same_site(self, same_site: impl Into<Option<SameSite>>) -> Self {
        Self {
            same_site: same_site.into(),
            ..self
        }
    }

    /// Keeps the cookie apart for each top-level site (CHIPS); needs [`Secure::Always`].
    pub fn partitioned(self, partitioned: bool) -> Self {
        Self {
            partitioned,
            ..self
        }
    }

    /// What the browser gives up first.
    pub fn priority(self, priority: impl Into<Option<Priority>>) -> Self {
        Self {
            priority: priority.into(),
            ..self
        }
    }

    /// Makes the cookie outlive the browser, and sets the idle timeout to the same length. Browsers grant 400 days at most.
    pub fn max_age(self, max_age: impl Into<Option<Duration>>) -> Self {
        Self {
            max_age: max_age.into(),
            ..self
        }
    }

    /// Checks the options against each other and against RFC 6265bis.
    pub(crate) fn check(self) -> Result<CookieSpec, ConfigError> {
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| self.default_name().into());
        if !is_token(&name) {
            return Err(ConfigError::CookieName { name });
        }
        if name.len() + 1 + 91 > MAX_PAIR_BYTES {
            return Err(ConfigError::TooLong {
                option: "cookie.name",
                limit_bytes: MAX_PAIR_BYTES,
            });
        }
        check_attribute("cookie.path", &self.path)?;
        if !self.path.starts_with('/') {
            return Err(ConfigError::CookieAttribute {
                option: "cookie.path",
                value: self.path,
            });
        }
        if let Some(domain) = &self.domain {
            check_attribute("cookie.domain", domain)?;
            let host = domain.strip_prefix('.').unwrap_or(domain);
            let label = |label: &str| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !host.split('.').all(label) {
                return Err(ConfigError::CookieAttribute {
                    option: "cookie.domain",
                    value: domain.clone(),
                });
            }
        }
        self.check_prefix(&name)?;
        let exclusive = |first: &str, rule| {
            let secure = format!("cookie.secure = {}", self.secure.as_str());
            Err(ConfigError::Exclusive {
                first: first.into(),
                second: secure,
                rule,
            })
        };
        if self.same_site == Some(SameSite::None) && self.secure != Secure::Always {
            return exclusive(
                "cookie.same_site = none",
                "browsers reject SameSite=None without Secure, RFC 6265bis §5.7",
            );
        }
        if self.partitioned && self.secure != Secure::Always {
            return exclusive(
                "cookie.partitioned = true",
                "browsers reject Partitioned without Secure, CHIPS",
            );
        }
        if self.max_age.is_some_and(|age| age > MAX_AGE_LIMIT) {
            tracing::warn!(
                days = self.max_age.map(|age| age.as_secs() / 86400),
                "cookie.max_age: browsers grant 400 days at most"
            );
        }
        Ok(CookieSpec::new(name, self))
    }

    fn default_name(&self) -> &'static str {
        match (self.secure, &self.domain, self.path.as_str()) {
            (Secure::Always, None, "/") => "__Host-id",
            (Secure::Always, ..) => "__Secure-id",
            (Secure::Never | Secure::Auto, ..) => "id",
        }
    }

    /// RFC 6265bis §4.1.3 and, for `__Http-`, draft-ietf-httpbis-layered-cookies.
    fn check_prefix(&self, name: &str) -> Result<(), ConfigError> {
        const PREFIXES: [(&str, bool, bool); 4] = [
            ("__Host-Http-", true, true),
            ("__Host-", true, false),
            ("__Http-", false, true),
            ("__Secure-", false, false),
        ];
        let starts = |prefix: &str| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let Some((prefix, host, http)) = PREFIXES.into_iter().find(|(prefix, ..)| starts(prefix))
        else {
            return Ok(());
        };
        let exclusive = |second: String, rule| {
            let first = format!("cookie.name = {name}");
            Err(ConfigError::Exclusive {
                first,
                second,
                rule,
            })
        };
        if !name.starts_with(prefix) {
            return exclusive(
                format!("the prefix {prefix}"),
                "browsers match the prefix whatever its case, servers do not",
            );
        }
        if self.secure != Secure::Always {
            return exclusive(
                format!("cookie.secure = {}", self.secure.as_str()),
                "the prefix needs Secure, RFC 6265bis §4.1.3",
            );
        }
        if let (true, Some(domain)) = (host, &self.domain) {
            return exclusive(
                format!("cookie.domain = {domain}"),
                "the prefix forbids Domain, RFC 6265bis §4.1.3.2",
            );
        }
        if host && self.path != "/" {
            return exclusive(
                format!("cookie.path = {}", self.path),
                "the prefix needs Path=/, RFC 6265bis §4.1.3.2",
            );
        }
        if http && !self.http_only {
            return exclusive(
                "cookie.http_only = false".into(),
                "the prefix needs HttpOnly, draft-ietf-httpbis-layered-cookies",
            );
        }
        Ok(())
    }
}

impl Secure {
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Auto => "auto",
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn check_attribute(option: &'static str, value: &str) -> Result<(), ConfigError> {
    if value.len() > MAX_ATTRIBUTE_BYTES {
        return Err(ConfigError::TooLong {
            option,
            limit_bytes: MAX_ATTRIBUTE_BYTES,
        });
    }
    if value.is_empty()
        || value
            .bytes()
            .any(|b| b == b';' || !(0x20..0x7f).contains(&b))
    {
        return Err(ConfigError::CookieAttribute {
            option,
            value: value.into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S21: every combination of the options that browsers tie together, against the rules written the other way round.
    #[test]
    fn illegal_combinations_are_refused_and_named() {
        let names = [
            "id",
            "__Host-id",
            "__Secure-id",
            "__Http-id",
            "__Host-Http-id",
            "__host-id",
            "__SECURE-id",
        ];
        let mut refused = 0;
        for name in names {
            for secure in [Secure::Always, Secure::Never, Secure::Auto] {
                for domain in [None, Some("example.com")] {
                    for path in ["/", "/app"] {
                        for same_site in [
                            SameSite::Strict,
                            SameSite::Lax,
                            SameSite::None,
                            SameSite::Auto,
                        ] {
                            for (partitioned, http_only) in
                                [(false, false), (false, true), (true, false), (true, true)]
                            {
                                let options =
                                    CookieOptions::new().name(name).secure(secure).path(path);
                                let mut options = options
                                    .same_site(same_site)
                                    .partitioned(partitioned)
                                    .http_only(http_only);
                                options.domain = domain.map(Into::into);
                                let always = secure == Secure::Always;
                                let legal = (always || !name.starts_with("__"))
                                    && !["__host-id", "__SECURE-id"].contains(&name)
                                    && (!name.starts_with("__Host-")
                                        || domain.is_none() && path == "/")
                                    && (!name.contains("Http-") || http_only)
                                    && (always || same_site != SameSite::None && !partitioned);
                                match options.check() {
                                    Ok(_) => assert!(
                                        legal,
                                        "{name} {secure:?} {domain:?} {path} {same_site:?} {partitioned}"
                                    ),
                                    Err(ConfigError::Exclusive { first, second, .. }) => {
                                        assert!(!legal);
                                        assert!(first.starts_with("cookie.") && !second.is_empty());
                                        refused += 1;
                                    }
                                    Err(error) => panic!("{error}"),
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn an_error_names_both_options() {
        let error = CookieOptions::new()
            .name("__Host-id")
            .domain("example.com")
            .check()
            .expect_err("illegal")
            .to_string();
        assert!(
            error.contains("cookie.name = __Host-id")
                && error.contains("cookie.domain = example.com"),
            "{error}"
        );
    }

    #[test]
    fn unusable_text_is_refused() {
        assert!(CookieOptions::new().name("a b").check().is_err());
        assert!(CookieOptions::new().name("").check().is_err());
        assert!(CookieOptions::new().name("n".repeat(4096)).check().is_err());
        assert!(CookieOptions::new().path("app").check().is_err());
        assert!(CookieOptions::new().path("/a;b").check().is_err());
        assert!(
            CookieOptions::new()
                .path(format!("/{}", "p".repeat(1024)))
                .check()
                .is_err()
        );
        assert!(CookieOptions::new().domain("exa mple").check().is_err());
        assert!(CookieOptions::new().domain("").check().is_err());
    }

    #[test]
    fn the_default_name_is_as_strict_as_the_options_allow() {
        let name = |options: CookieOptions| options.check().expect("legal").name().to_owned();
        assert_eq!(name(CookieOptions::new()), "__Host-id");
        assert_eq!(name(CookieOptions::new().path("/app")), "__Secure-id");
        assert_eq!(
            name(CookieOptions::new().domain("example.com")),
            "__Secure-id"
        );
        assert_eq!(name(CookieOptions::new().secure(Secure::Auto)), "id");
    }
}
