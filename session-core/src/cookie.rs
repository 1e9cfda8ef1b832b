//! The session cookie: its options, the rules that browsers hold them to, and its text.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use cookie::{Cookie, Expiration, time::OffsetDateTime};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// Cookies of one name that are tried; a neighbouring subdomain can plant more (RFC 6265bis §8.6, weak integrity).
const MAX_CANDIDATES: usize = 8;
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
        Self { name: Some(name.into()), ..self }
    }

    /// Sends the cookie below this path only; requests elsewhere have no session (RFC 6265 §5.1.4).
    pub fn path(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Shares the cookie with every subdomain of this domain.
    pub fn domain(self, domain: impl Into<String>) -> Self {
        Self { domain: Some(domain.into()), ..self }
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
        Self { same_site: same_site.into(), ..self }
    }

    /// Keeps the cookie apart for each top-level site (CHIPS); needs [`Secure::Always`].
    pub fn partitioned(self, partitioned: bool) -> Self {
        Self { partitioned, ..self }
    }

    /// What the browser gives up first.
    pub fn priority(self, priority: impl Into<Option<Priority>>) -> Self {
        Self { priority: priority.into(), ..self }
    }

    /// Makes the cookie outlive the browser, and sets the idle timeout to the same length. Browsers grant 400 days at most.
    pub fn max_age(self, max_age: impl Into<Option<Duration>>) -> Self {
        Self { max_age: max_age.into(), ..self }
    }

    /// Checks the options against each other and against RFC 6265bis.
    pub(crate) fn check(self) -> Result<CookieSpec, ConfigError> {
        let name = self.name.clone().unwrap_or_else(|| self.default_name().into());
        if !is_token(&name) {
            return Err(ConfigError::CookieName { name });
        }
        if name.len() + 1 + 91 > MAX_PAIR_BYTES {
            return Err(ConfigError::TooLong { option: "cookie.name", limit_bytes: MAX_PAIR_BYTES });
        }
        check_attribute("cookie.path", &self.path)?;
        if !self.path.starts_with('/') {
            return Err(ConfigError::CookieAttribute { option: "cookie.path", value: self.path });
        }
        if let Some(domain) = &self.domain {
            check_attribute("cookie.domain", domain)?;
            let host = domain.strip_prefix('.').unwrap_or(domain);
            let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !host.split('.').all(label) {
                return Err(ConfigError::CookieAttribute { option: "cookie.domain", value: domain.clone() });
            }
        }
        self.check_prefix(&name)?;
        let exclusive = |first: &str, rule| {
            let secure = format!("cookie.secure = {}", self.secure.as_str());
            Err(ConfigError::Exclusive { first: first.into(), second: secure, rule })
        };
        if self.same_site == Some(SameSite::None) && self.secure != Secure::Always {
            return exclusive("cookie.same_site = none", "browsers reject SameSite=None without Secure, RFC 6265bis §5.7");
        }
        if self.partitioned && self.secure != Secure::Always {
            return exclusive("cookie.partitioned = true", "browsers reject Partitioned without Secure, CHIPS");
        }
        if self.max_age.is_some_and(|age| age > MAX_AGE_LIMIT) {
            tracing::warn!(days = self.max_age.map(|age| age.as_secs() / 86400), "cookie.max_age: browsers grant 400 days at most");
        }
        Ok(CookieSpec { name, options: self })
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
        const PREFIXES: [(&str, bool, bool); 4] =
            [("__Host-Http-", true, true), ("__Host-", true, false), ("__Http-", false, true), ("__Secure-", false, false)];
        let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let Some((prefix, host, http)) = PREFIXES.into_iter().find(|(prefix, ..)| starts(prefix)) else { return Ok(()) };
        let exclusive = |second: String, rule| {
            let first = format!("cookie.name = {name}");
            Err(ConfigError::Exclusive { first, second, rule })
        };
        if !name.starts_with(prefix) {
            return exclusive(format!("the prefix {prefix}"), "browsers match the prefix whatever its case, servers do not");
        }
        if self.secure != Secure::Always {
            return exclusive(format!("cookie.secure = {}", self.secure.as_str()), "the prefix needs Secure, RFC 6265bis §4.1.3");
        }
        if let (true, Some(domain)) = (host, &self.domain) {
            return exclusive(format!("cookie.domain = {domain}"), "the prefix forbids Domain, RFC 6265bis §4.1.3.2");
        }
        if host && self.path != "/" {
            return exclusive(format!("cookie.path = {}", self.path), "the prefix needs Path=/, RFC 6265bis §4.1.3.2");
        }
        if http && !self.http_only {
            return exclusive("cookie.http_only = false".into(), "the prefix needs HttpOnly, draft-ietf-httpbis-layered-cookies");
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

/// Attributes that one session carries for itself; the configuration of today fills the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CookieOverrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) http_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secure: Option<Secure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_site: Option<Option<SameSite>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partitioned: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Option<Priority>>,
}

impl CookieOverrides {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Options that have passed the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieSpec {
    name: String,
    options: CookieOptions,
}

impl CookieSpec {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn options(&self) -> &CookieOptions {
        &self.options
    }

    /// The options with what a session says of its own.
    pub(crate) fn with(&self, overrides: &CookieOverrides) -> CookieOptions {
        let mut options = self.options.clone();
        options.http_only = overrides.http_only.unwrap_or(options.http_only);
        options.secure = overrides.secure.unwrap_or(options.secure);
        options.same_site = overrides.same_site.unwrap_or(options.same_site);
        options.partitioned = overrides.partitioned.unwrap_or(options.partitioned);
        options.priority = overrides.priority.unwrap_or(options.priority);
        options
    }

    /// What sets these options of one session apart from the configured ones.
    ///
    /// # Errors
    ///
    /// When the options exclude each other, or change what tells the browser's cookies apart.
    pub(crate) fn overrides(&self, options: CookieOptions) -> Result<CookieOverrides, ConfigError> {
        let configured = &self.options;
        let same = (&options.name, &options.path, &options.domain) == (&configured.name, &configured.path, &configured.domain);
        if !same || options.max_age != configured.max_age {
            return Err(ConfigError::NotPerSession);
        }
        let options = CookieOptions { name: Some(self.name.clone()), ..options }.check()?.options;
        let unless = |same: bool| (!same).then_some(());
        Ok(CookieOverrides {
            http_only: unless(options.http_only == configured.http_only).map(|()| options.http_only),
            secure: unless(options.secure == configured.secure).map(|()| options.secure),
            same_site: unless(options.same_site == configured.same_site).map(|()| options.same_site),
            partitioned: unless(options.partitioned == configured.partitioned).map(|()| options.partitioned),
            priority: unless(options.priority == configured.priority).map(|()| options.priority),
        })
    }

    /// RFC 6265 §5.1.4: the same path, or one below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let path = if path.is_empty() { "/" } else { path };
        let Some(rest) = path.strip_prefix(self.options.path.as_str()) else { return false };
        rest.is_empty() || self.options.path.ends_with('/') || rest.starts_with('/')
    }

    /// The text that sets the cookie. `None` where the cookie must be `Secure` and the request was not.
    pub(crate) fn set(
        &self,
        overrides: &CookieOverrides,
        value: String,
        lasts: Option<(Duration, SystemTime)>,
        transport: Option<bool>,
    ) -> Option<HeaderValue> {
        self.render(&self.with(overrides), value, lasts, transport)
    }

    /// The text that removes the cookie: the same attributes, so that the browser finds it.
    pub(crate) fn remove(&self, overrides: &CookieOverrides, transport: Option<bool>) -> Option<HeaderValue> {
        self.render(&self.with(overrides), String::new(), Some((Duration::ZERO, SystemTime::UNIX_EPOCH)), transport)
    }

    fn render(
        &self,
        options: &CookieOptions,
        value: String,
        lasts: Option<(Duration, SystemTime)>,
        secure_request: Option<bool>,
    ) -> Option<HeaderValue> {
        let secure = match options.secure {
            Secure::Always if secure_request == Some(false) => return None,
            Secure::Always => true,
            Secure::Never => false,
            Secure::Auto => secure_request == Some(true),
        };
        let mut cookie = Cookie::new(self.name.as_str(), value);
        cookie.set_path(options.path.as_str());
        if let Some(domain) = &options.domain {
            cookie.set_domain(domain.as_str());
        }
        if let Some((lasts, ends_at)) = lasts {
            let capped = lasts.min(MAX_AGE_LIMIT);
            let ends_at = ends_at.checked_sub(lasts - capped).unwrap_or(ends_at);
            cookie.set_max_age(cookie::time::Duration::seconds(i64::try_from(capped.as_secs()).unwrap_or(i64::MAX)));
            cookie.set_expires(Expiration::from(OffsetDateTime::from(ends_at)));
        }
        cookie.set_http_only(options.http_only);
        cookie.set_secure(secure);
        cookie.set_same_site(match options.same_site {
            Some(SameSite::Strict) => Some(cookie::SameSite::Strict),
            Some(SameSite::Lax) => Some(cookie::SameSite::Lax),
            Some(SameSite::None) => Some(cookie::SameSite::None),
            Some(SameSite::Auto) if secure => Some(cookie::SameSite::None),
            Some(SameSite::Auto) => Some(cookie::SameSite::Lax),
            None => None,
        });
        cookie.set_partitioned(options.partitioned);
        // the one attribute that the cookie crate does not write
        let priority = match options.priority {
            None => "",
            Some(Priority::Low) => "; Priority=Low",
            Some(Priority::Medium) => "; Priority=Medium",
            Some(Priority::High) => "; Priority=High",
        };
        let mut text = HeaderValue::try_from(format!("{cookie}{priority}")).ok()?;
        text.set_sensitive(true);
        Some(text)
    }
}

/// The values of every cookie of that name, in the order sent, a few at most.
///
/// HTTP/2 may split the cookies over several header fields (RFC 9113 §8.2.3). Other applications' cookies may hold any bytes.
pub(crate) fn values<'h>(headers: &[&'h HeaderValue], name: &str) -> Vec<Cow<'h, str>> {
    let mut found = Vec::new();
    for header in headers {
        match String::from_utf8_lossy(header.as_bytes()) {
            Cow::Borrowed(text) => collect(text, name, &mut found),
            Cow::Owned(text) => {
                let mut owned = Vec::new();
                collect(&text, name, &mut owned);
                found.extend(owned.into_iter().map(|value| Cow::Owned(value.into_owned())));
            }
        }
    }
    if found.len() > MAX_CANDIDATES {
        tracing::debug!(found = found.len(), tried = MAX_CANDIDATES, "too many session cookies in one request");
        found.truncate(MAX_CANDIDATES);
    }
    found
}

/// The `Cookie` header fields of a request.
pub(crate) fn headers(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.get_all(header::COOKIE).iter()
}

fn collect<'h>(text: &'h str, name: &str, found: &mut Vec<Cow<'h, str>>) {
    for cookie in Cookie::split_parse(text).flatten() {
        // Names are compared as sent. Decoding them would let `__%48ost-id` pass for `__Host-id`.
        if cookie.name() == name {
            let value = cookie.value_raw().unwrap_or_default();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
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

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn check_attribute(option: &'static str, value: &str) -> Result<(), ConfigError> {
    if value.len() > MAX_ATTRIBUTE_BYTES {
        return Err(ConfigError::TooLong { option, limit_bytes: MAX_ATTRIBUTE_BYTES });
    }
    if value.is_empty() || value.bytes().any(|b| b == b';' || !(0x20..0x7f).contains(&b)) {
        return Err(ConfigError::CookieAttribute { option, value: value.into() });
    }
    Ok(())
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
        assert_eq!(set(CookieOptions::new(), None).expect("set"), "__Host-id=v; HttpOnly; SameSite=Lax; Secure; Path=/");
    }

    #[test]
    fn every_attribute_is_written() {
        let options = CookieOptions::new().name("sid").path("/app").domain(".example.com").http_only(false);
        let options = options.same_site(SameSite::None).partitioned(true).priority(Priority::High);
        assert_eq!(
            set(options, None).expect("set"),
            "sid=v; SameSite=None; Partitioned; Secure; Path=/app; Domain=example.com; Priority=High"
        );
    }

    #[test]
    fn auto_follows_the_request_and_none_implies_secure() {
        let auto = CookieOptions::new().secure(Secure::Auto).same_site(SameSite::Auto);
        assert_eq!(set(auto.clone(), Some(true)).expect("set"), "id=v; HttpOnly; SameSite=None; Secure; Path=/");
        assert_eq!(set(auto.clone(), Some(false)).expect("set"), "id=v; HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(set(auto, None).expect("set"), "id=v; HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(set(CookieOptions::new(), Some(false)), None, "a Secure cookie for an insecure request");
    }

    /// S21: every combination of the options that browsers tie together, against the rules written the other way round.
    #[test]
    fn illegal_combinations_are_refused_and_named() {
        let names = ["id", "__Host-id", "__Secure-id", "__Http-id", "__Host-Http-id", "__host-id", "__SECURE-id"];
        let mut refused = 0;
        for name in names {
            for secure in [Secure::Always, Secure::Never, Secure::Auto] {
                for domain in [None, Some("example.com")] {
                    for path in ["/", "/app"] {
                        for same_site in [SameSite::Strict, SameSite::Lax, SameSite::None, SameSite::Auto] {
                            for (partitioned, http_only) in [(false, false), (false, true), (true, false), (true, true)] {
                                let options = CookieOptions::new().name(name).secure(secure).path(path);
                                let mut options = options.same_site(same_site).partitioned(partitioned).http_only(http_only);
                                options.domain = domain.map(Into::into);
                                let always = secure == Secure::Always;
                                let legal = (always || !name.starts_with("__"))
                                    && !["__host-id", "__SECURE-id"].contains(&name)
                                    && (!name.starts_with("__Host-") || domain.is_none() && path == "/")
                                    && (!name.contains("Http-") || http_only)
                                    && (always || same_site != SameSite::None && !partitioned);
                                match options.check() {
                                    Ok(_) => assert!(legal, "{name} {secure:?} {domain:?} {path} {same_site:?} {partitioned}"),
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
        let error = CookieOptions::new().name("__Host-id").domain("example.com").check().expect_err("illegal").to_string();
        assert!(error.contains("cookie.name = __Host-id") && error.contains("cookie.domain = example.com"), "{error}");
    }

    #[test]
    fn unusable_text_is_refused() {
        assert!(CookieOptions::new().name("a b").check().is_err());
        assert!(CookieOptions::new().name("").check().is_err());
        assert!(CookieOptions::new().name("n".repeat(4096)).check().is_err());
        assert!(CookieOptions::new().path("app").check().is_err());
        assert!(CookieOptions::new().path("/a;b").check().is_err());
        assert!(CookieOptions::new().path(format!("/{}", "p".repeat(1024))).check().is_err());
        assert!(CookieOptions::new().domain("exa mple").check().is_err());
        assert!(CookieOptions::new().domain("").check().is_err());
    }

    #[test]
    fn the_default_name_is_as_strict_as_the_options_allow() {
        let name = |options: CookieOptions| options.check().expect("legal").name;
        assert_eq!(name(CookieOptions::new()), "__Host-id");
        assert_eq!(name(CookieOptions::new().path("/app")), "__Secure-id");
        assert_eq!(name(CookieOptions::new().domain("example.com")), "__Secure-id");
        assert_eq!(name(CookieOptions::new().secure(Secure::Auto)), "id");
    }

    /// E35, E36 with RFC 6265 §5.1.4.
    #[test]
    fn paths_match_by_segments() {
        let covers = |path: &str, request| CookieOptions::new().path(path).check().expect("legal").covers(request);
        assert!(covers("/", "/") && covers("/", "/any") && covers("/", ""));
        assert!(covers("/foo", "/foo") && covers("/foo", "/foo/") && covers("/foo", "/foo/bar"));
        assert!(covers("/foo/", "/foo/bar") && !covers("/foo/", "/foo"));
        assert!(!covers("/foo", "/foobar") && !covers("/foo", "/Foo") && !covers("/foo", "//foo") && !covers("/foo", "/%66oo"));
        assert!(!covers("/", "*"), "OPTIONS *");
    }

    #[test]
    fn a_lifetime_is_written_both_ways_and_capped_at_400_days() {
        let spec = CookieOptions::new().check().expect("legal");
        let text = |days: u64| {
            let lasts = Duration::from_secs(days * 86400);
            let text = spec.set(&CookieOverrides::default(), "v".into(), Some((lasts, SystemTime::UNIX_EPOCH + lasts)), None);
            text.expect("set").to_str().expect("ascii").to_owned()
        };
        assert!(text(1).ends_with("Max-Age=86400; Expires=Fri, 02 Jan 1970 00:00:00 GMT"), "{}", text(1));
        assert!(text(1000).ends_with("Max-Age=34560000; Expires=Fri, 05 Feb 1971 00:00:00 GMT"), "{}", text(1000));
    }

    /// T14.
    #[test]
    fn removal_carries_the_attributes_of_the_cookie_it_removes() {
        let attributes = |text: Option<HeaderValue>| {
            let text = text.expect("set").to_str().expect("ascii").to_owned();
            let mut all: Vec<_> = text.split("; ").skip(1).map(str::to_owned).collect();
            all.retain(|attribute| !attribute.starts_with("Max-Age") && !attribute.starts_with("Expires"));
            all
        };
        for options in [CookieOptions::new(), CookieOptions::new().path("/app").domain("example.com").same_site(SameSite::Strict)] {
            let spec = options.check().expect("legal");
            let none = CookieOverrides::default();
            assert_eq!(attributes(spec.remove(&none, None)), attributes(spec.set(&none, "v".into(), None, None)));
        }
        let spec = CookieOptions::new().check().expect("legal");
        let text = spec.remove(&CookieOverrides::default(), None).expect("set");
        let text = text.to_str().expect("ascii");
        assert!(text.starts_with("__Host-id=;") && text.contains("Max-Age=0"), "{text}");
        assert!(text.contains("Expires=Thu, 01 Jan 1970 00:00:00 GMT"), "{text}");
    }

    #[test]
    fn every_cookie_of_the_name_is_found_whatever_surrounds_it() {
        let find = |headers: &[&[u8]]| {
            let headers: Vec<_> = headers.iter().map(|bytes| HeaderValue::from_bytes(bytes).expect("header")).collect();
            values(&headers.iter().collect::<Vec<_>>(), "id").into_iter().map(Cow::into_owned).collect::<Vec<_>>()
        };
        assert_eq!(find(&[b"a=1; id=x; b=2", b"id=y"]), ["x", "y"]);
        assert_eq!(find(&[b"name=Zo\xc3\xab; id=x"]), ["x"], "UTF-8 in a neighbour");
        assert_eq!(find(&[b"name=Zo\xeb; id=x"]), ["x"], "Latin-1 in a neighbour");
        assert_eq!(find(&[b"garbage; =; ;; id=\"x\"; id=a%2Eb; id=%ff"]), ["x", "a.b", "%ff"]);
        assert_eq!(find(&[b"ID=x; i%64=y; idd=z"]), Vec::<String>::new());
        assert_eq!(find(&[&b"id=x; ".repeat(20)]).len(), MAX_CANDIDATES);
    }

    proptest! {
        /// S7: any header bytes are read or ignored.
        #[test]
        fn any_header_is_harmless(bytes in prop::collection::vec(prop_oneof![Just(b';'), Just(b'='), Just(b'%'), Just(b'"'), 0x20..=0xffu8], 0..80)) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                let _ = values(&[&header], "id");
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
