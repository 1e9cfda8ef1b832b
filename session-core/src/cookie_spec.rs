//! Checked cookie options, and the text of `Set-Cookie`, on top of the cookie crate.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use cookie::{Cookie, Expiration, time::OffsetDateTime};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::{
    cookie::{CookieOptions, MAX_AGE_LIMIT, Priority, SameSite, Secure},
    config_error::ConfigError,
};

/// What a `Set-Cookie` of this library takes, with the usual attributes.
const TYPICAL_BYTES: usize = 256;

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
    pub(crate) fn new(name: String, options: CookieOptions) -> Self {
        Self { name, options }
    }

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
        let same = (&options.name, &options.path, &options.domain)
            == (&configured.name, &configured.path, &configured.domain);
        if !same || options.max_age != configured.max_age {
            return Err(ConfigError::NotPerSession);
        }
        let options = CookieOptions {
            name: Some(self.name.clone()),
            ..options
        }
        .check()?
        .options;
        let unless = |same: bool| (!same).then_some(());
        Ok(CookieOverrides {
            http_only: unless(options.http_only == configured.http_only)
                .map(|()| options.http_only),
            secure: unless(options.secure == configured.secure).map(|()| options.secure),
            same_site: unless(options.same_site == configured.same_site)
                .map(|()| options.same_site),
            partitioned: unless(options.partitioned == configured.partitioned)
                .map(|()| options.partitioned),
            priority: unless(options.priority == configured.priority).map(|()| options.priority),
        })
    }

    /// RFC 6265 §5.1.4: the same path, or one below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let path = if path.is_empty() { "/" } else { path };
        let Some(rest) = path.strip_prefix(self.options.path.as_str()) else {
            return false;
        };
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
    pub(crate) fn remove(
        &self,
        overrides: &CookieOverrides,
        transport: Option<bool>,
    ) -> Option<HeaderValue> {
        self.render(
            &self.with(overrides),
            String::new(),
            Some((Duration::ZERO, SystemTime::UNIX_EPOCH)),
            transport,
        )
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
            // in whole seconds, begun ones too: the browser must not let go before the store does
            let seconds = capped.as_millis().div_ceil(1000);
            cookie.set_max_age(cookie::time::Duration::seconds(
                i64::try_from(seconds).unwrap_or(i64::MAX),
            ));
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
        let mut text = String::with_capacity(TYPICAL_BYTES);
        write!(text, "{cookie}{priority}").ok()?;
        let mut text = HeaderValue::try_from(text).ok()?;
        text.set_sensitive(true);
        Some(text)
    }
}

