//! The options of the session cookie, as an application states them.
//!
//! Nothing is checked here; the checked form is `CookieSpec`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When the cookie is marked `Secure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// Always. A request that is known to have arrived over plain HTTP gets no cookie, and no
    /// session is stored for it, because the browser would drop the cookie.
    #[default]
    Always,
    /// Never. For a service that is reached over plain HTTP only.
    Never,
    /// If the request arrived over TLS, decided for each response. The cookie of a session that
    /// began over TLS stays `Secure`.
    Auto,
}

impl Secure {
    /// The value as it is configured and reported.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Auto => "auto",
        }
    }
}

/// Which cross-site requests carry the cookie (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// None of them.
    Strict,
    /// Top-level navigations with a safe method.
    Lax,
    /// All of them; requires [`Secure::Always`].
    None,
    /// `None` if the cookie is marked `Secure`, otherwise `Lax`.
    Auto,
}

/// Which cookies a browser evicts first (draft-west-cookie-priority).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Evicted first.
    Low,
    /// The browser's default.
    Medium,
    /// Evicted last.
    High,
}

/// The options of the session cookie.
///
/// [`Builder::build`](crate::Builder::build) checks them as a whole. The error for options that
/// exclude each other names both.
///
#[doc = include_str!("../docs/cookie-options.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CookieOptions {
    pub(crate) name: Option<String>,
    pub(crate) path: String,
    pub(crate) domain: Option<String>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) attributes: Attributes,
}

/// The attributes that do not tell two cookies of a browser apart, so that a session may have its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) http_only: bool,
    pub(crate) secure: Secure,
    pub(crate) same_site: Option<SameSite>,
    pub(crate) partitioned: bool,
    pub(crate) priority: Option<Priority>,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self {
            name: None,
            path: "/".into(),
            domain: None,
            max_age: None,
            attributes: Attributes {
                http_only: true,
                secure: Secure::Always,
                same_site: Some(SameSite::Lax),
                partitioned: false,
                priority: None,
            },
        }
    }
}

impl CookieOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the cookie.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Limits the cookie to this path and the paths below it.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Shares the cookie with every subdomain of this domain.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Hides the cookie from scripts.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.attributes.http_only = http_only;
        self
    }

    /// Sets when the cookie is marked `Secure`.
    pub fn secure(mut self, secure: Secure) -> Self {
        self.attributes.secure = secure;
        self
    }

    /// Sets which cross-site requests carry the cookie.
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.attributes.same_site = same_site.into();
        self
    }

    /// Separates the cookies of each top-level site.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.attributes.partitioned = partitioned;
        self
    }

    /// Sets which cookies the browser evicts first.
    pub fn priority(mut self, priority: impl Into<Option<Priority>>) -> Self {
        self.attributes.priority = priority.into();
        self
    }

    /// Makes the cookie outlive the browser session, and sets the idle timeout to the same
    /// duration.
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }
}
