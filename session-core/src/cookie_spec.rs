//! Cookie options that have passed the check, and what one session may change about them.

use crate::{
    config_error::ConfigError,
    cookie_options::{Attributes, CookieOptions, Priority, SameSite, Secure},
    cookie_rules,
};

/// Options that have passed the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieSpec {
    name: String,
    options: CookieOptions,
}

impl CookieSpec {
    /// Checks the options against each other and against RFC 6265bis.
    ///
    /// # Errors
    ///
    /// If an option has no valid value, or if two options exclude each other.
    pub(crate) fn check(options: CookieOptions) -> Result<Self, ConfigError> {
        let name = match &options.name {
            Some(name) => name.clone(),
            None => default_name(&options).into(),
        };
        cookie_rules::check(&name, &options)?;
        Ok(Self { name, options })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn options(&self) -> &CookieOptions {
        &self.options
    }

    /// The attributes of one session's cookie.
    ///
    /// Overrides that today's configuration rules out are ignored: a browser would drop the cookie.
    pub(crate) fn attributes(&self, overrides: &CookieOverrides) -> Attributes {
        let configured = self.options.attributes;
        if overrides.is_empty() {
            return configured;
        }
        let own = overrides.apply(configured);
        match cookie_rules::check_attributes(&self.name, &own) {
            Ok(()) => own,
            Err(_) => configured,
        }
    }

    /// The options of one session's cookie.
    pub(crate) fn options_with(&self, overrides: &CookieOverrides) -> CookieOptions {
        CookieOptions {
            name: Some(self.name.clone()),
            attributes: self.attributes(overrides),
            ..self.options.clone()
        }
    }

    /// What distinguishes these options of one session from the configured ones.
    ///
    /// # Errors
    ///
    /// If the options exclude each other, or change what is the same for all sessions.
    pub(crate) fn overrides(&self, options: CookieOptions) -> Result<CookieOverrides, ConfigError> {
        self.check_per_session(&options)?;
        cookie_rules::check_attributes(&self.name, &options.attributes)?;
        Ok(CookieOverrides::between(
            &self.options.attributes,
            &options.attributes,
        ))
    }

    /// Whether the browser sends the cookie with requests for this path (RFC 6265 §5.1.4).
    pub(crate) fn covers(&self, path: &str) -> bool {
        let path = if path.is_empty() { "/" } else { path };
        let Some(rest) = path.strip_prefix(self.options.path.as_str()) else {
            return false;
        };
        rest.is_empty() || self.options.path.ends_with('/') || rest.starts_with('/')
    }

    fn check_per_session(&self, options: &CookieOptions) -> Result<(), ConfigError> {
        let refused = |option, value: String| Err(ConfigError::NotPerSession { option, value });
        let configured = &self.options;
        if let Some(name) = options.name.as_ref().filter(|name| **name != self.name) {
            return refused("cookie.name", name.clone());
        }
        if options.path != configured.path {
            return refused("cookie.path", options.path.clone());
        }
        if options.domain != configured.domain {
            let domain = options.domain.as_deref().unwrap_or("none");
            return refused("cookie.domain", domain.into());
        }
        if options.max_age != configured.max_age {
            let max_age = options.max_age.map_or("none".into(), |d| format!("{d:?}"));
            return refused("cookie.max_age", max_age);
        }
        Ok(())
    }
}

/// The strictest name that the options allow.
fn default_name(options: &CookieOptions) -> &'static str {
    match (options.attributes.secure, &options.domain, &*options.path) {
        (Secure::Always, None, "/") => "__Host-id",
        (Secure::Always, ..) => "__Secure-id",
        (Secure::Never | Secure::Auto, ..) => "id",
    }
}

/// The attributes that one session has for itself. The configuration of the day supplies the
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CookieOverrides {
    pub(crate) http_only: Option<bool>,
    pub(crate) secure: Option<Secure>,
    pub(crate) same_site: Option<Option<SameSite>>,
    pub(crate) partitioned: Option<bool>,
    pub(crate) priority: Option<Option<Priority>>,
}

impl CookieOverrides {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The overrides that turn `configured` into `own`.
    fn between(configured: &Attributes, own: &Attributes) -> Self {
        fn changed<T: PartialEq>(configured: T, own: T) -> Option<T> {
            (own != configured).then_some(own)
        }
        Self {
            http_only: changed(configured.http_only, own.http_only),
            secure: changed(configured.secure, own.secure),
            same_site: changed(configured.same_site, own.same_site),
            partitioned: changed(configured.partitioned, own.partitioned),
            priority: changed(configured.priority, own.priority),
        }
    }

    fn apply(&self, configured: Attributes) -> Attributes {
        Attributes {
            http_only: self.http_only.unwrap_or(configured.http_only),
            secure: self.secure.unwrap_or(configured.secure),
            same_site: self.same_site.unwrap_or(configured.same_site),
            partitioned: self.partitioned.unwrap_or(configured.partitioned),
            priority: self.priority.unwrap_or(configured.priority),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn spec(options: CookieOptions) -> CookieSpec {
        CookieSpec::check(options).expect("legal options")
    }

    #[test]
    fn the_default_name_is_as_strict_as_the_options_allow() {
        let name = |options| spec(options).name().to_owned();
        assert_eq!(name(CookieOptions::new()), "__Host-id");
        assert_eq!(name(CookieOptions::new().path("/app")), "__Secure-id");
        assert_eq!(
            name(CookieOptions::new().domain("a.example")),
            "__Secure-id"
        );
        assert_eq!(name(CookieOptions::new().secure(Secure::Auto)), "id");
    }

    #[test]
    fn illegal_options_are_refused() {
        let options = CookieOptions::new().name("__Host-id").path("/app");
        let error = CookieSpec::check(options).expect_err("illegal options");
        assert!(matches!(error, ConfigError::Exclusive { .. }), "{error}");
    }

    #[test]
    fn overrides_hold_what_a_session_changed_and_follow_the_configuration_in_the_rest() {
        let before = spec(CookieOptions::new());
        let unchanged = before.options_with(&CookieOverrides::default());
        assert_eq!(unchanged.name.as_deref(), Some(before.name()));
        assert_eq!(before.overrides(unchanged), Ok(CookieOverrides::default()));

        let own = before
            .options_with(&CookieOverrides::default())
            .partitioned(true)
            .same_site(None);
        let overrides = before.overrides(own.clone()).expect("legal");
        assert_eq!(before.options_with(&overrides), own);

        let after = spec(
            CookieOptions::new()
                .http_only(false)
                .priority(Priority::High),
        );
        let attributes = after.attributes(&overrides);
        assert!(attributes.partitioned && attributes.same_site.is_none());
        assert!(!attributes.http_only && attributes.priority == Some(Priority::High));
    }

    #[test]
    fn a_session_cannot_change_what_is_the_same_for_all() {
        let spec = spec(CookieOptions::new());
        let options = || spec.options_with(&CookieOverrides::default());
        for (options, message) in [
            (
                options().name("other"),
                "cookie.name = other cannot be set for one session",
            ),
            (
                options().path("/app"),
                "cookie.path = /app cannot be set for one session",
            ),
            (
                options().domain("a.example"),
                "cookie.domain = a.example cannot be set for one session",
            ),
            (
                options().max_age(Duration::from_secs(60)),
                "cookie.max_age = 60s cannot be set for one session",
            ),
        ] {
            let error = spec.overrides(options).expect_err("not per session");
            assert_eq!(error.to_string(), message);
        }
        let error = spec.overrides(options().secure(Secure::Never));
        assert!(
            matches!(error, Err(ConfigError::Exclusive { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn overrides_that_a_new_configuration_rules_out_are_ignored() {
        let before = spec(CookieOptions::new());
        let overrides = before
            .overrides(before.options().clone().same_site(SameSite::None))
            .expect("legal");
        let after = spec(CookieOptions::new().secure(Secure::Never));
        assert_eq!(after.attributes(&overrides), after.options().attributes);
    }

    #[test]
    fn paths_match_by_segments() {
        let covers = |path: &str, request| spec(CookieOptions::new().path(path)).covers(request);
        for (path, request) in [
            ("/", "/"),
            ("/", "/any"),
            ("/", ""),
            ("/foo", "/foo"),
            ("/foo", "/foo/"),
            ("/foo", "/foo/bar"),
            ("/foo/", "/foo/bar"),
        ] {
            assert!(covers(path, request), "{path} covers {request}");
        }
        for (path, request) in [
            ("/foo/", "/foo"),
            ("/foo", "/foobar"),
            ("/foo", "/Foo"),
            ("/foo", "//foo"),
            ("/foo", "/%66oo"),
            ("/foo", ""),
            // the target of `OPTIONS *`
            ("/", "*"),
        ] {
            assert!(!covers(path, request), "{path} does not cover {request}");
        }
    }
}
