//! The flags for the cookie.

use std::time::Duration;

use clap::{ArgAction, Args, builder::BoolishValueParser};
use session_hyper::{CookieOptions, Priority, SameSite, Secure};

use crate::{
    flag_values::{OrOff, duration, words},
    option_docs::{meaning, meaning_and_default, summary},
};

/// Name and attributes of the session cookie. The default name has no prefix, because the demo is
/// usually served over plain HTTP.
#[derive(Clone, Debug, Args)]
pub(crate) struct CookieFlags {
    #[arg(long = "cookie-name", env = "SESSION_COOKIE_NAME", value_name = "NAME",
        default_value = "id", help = meaning("name"))]
    name: String,

    #[arg(long = "cookie-path", env = "SESSION_COOKIE_PATH", value_name = "PATH",
        default_value = "/", help = meaning("path"))]
    path: String,

    #[arg(long = "cookie-domain", env = "SESSION_COOKIE_DOMAIN", value_name = "DOMAIN",
        help = meaning_and_default("domain"))]
    domain: Option<String>,

    #[arg(long = "cookie-http-only", env = "SESSION_COOKIE_HTTP_ONLY", value_name = "BOOL",
        default_value = "true", default_missing_value = "true", num_args = 0..=1,
        action = ArgAction::Set, value_parser = BoolishValueParser::new(),
        help = meaning("http_only"))]
    pub(crate) http_only: bool,

    #[arg(long = "cookie-secure", env = "SESSION_COOKIE_SECURE", default_value = "auto",
        value_parser = words(&[
            ("always", Secure::Always),
            ("never", Secure::Never),
            ("auto", Secure::Auto),
        ]),
        help = meaning("secure"))]
    secure: Secure,

    #[arg(long = "cookie-same-site", env = "SESSION_COOKIE_SAME_SITE", default_value = "lax",
        value_parser = words(&[
            ("strict", Some(SameSite::Strict)),
            ("lax", Some(SameSite::Lax)),
            ("none", Some(SameSite::None)),
            ("auto", Some(SameSite::Auto)),
            ("off", None),
        ]),
        help = format!("{} With off, the attribute is omitted.", summary("same_site")))]
    same_site: OrOff<SameSite>,

    #[arg(long = "cookie-max-age", env = "SESSION_COOKIE_MAX_AGE", value_name = "TIME",
        value_parser = duration, help = meaning_and_default("max_age"))]
    max_age: Option<Duration>,

    #[arg(long = "cookie-partitioned", env = "SESSION_COOKIE_PARTITIONED", value_name = "BOOL",
        default_value = "false", default_missing_value = "true", num_args = 0..=1,
        action = ArgAction::Set, value_parser = BoolishValueParser::new(),
        help = meaning("partitioned"))]
    partitioned: bool,

    #[arg(long = "cookie-priority", env = "SESSION_COOKIE_PRIORITY",
        value_parser = words(&[
            ("low", Priority::Low),
            ("medium", Priority::Medium),
            ("high", Priority::High),
        ]),
        help = meaning_and_default("priority"))]
    priority: Option<Priority>,
}

impl CookieFlags {
    pub(crate) fn options(&self) -> CookieOptions {
        let options = CookieOptions::new()
            .name(&self.name)
            .path(&self.path)
            .http_only(self.http_only)
            .secure(self.secure)
            .same_site(self.same_site)
            .max_age(self.max_age)
            .partitioned(self.partitioned)
            .priority(self.priority);
        match &self.domain {
            Some(domain) => options.domain(domain),
            None => options,
        }
    }
}
