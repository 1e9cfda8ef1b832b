//! The flags of the program, each with an environment variable of its own, and the [`Sessions`] they describe.
//!
//! The names are those of express-session where it has one. A flag that is not given leaves the library's default alone.

use std::{convert::Infallible, ffi::OsString, fmt, net::IpAddr, str::FromStr, time::Duration};

use clap::{
    ArgAction, Args, Parser,
    builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser},
};
use http::StatusCode;
use session_hyper::{
    AnyStore, Builder, CookieOptions, OnGone, Priority, Proxy, SameSite, Secure, Sessions,
    SigningKeys, Unset,
};

use crate::StartError;

/// Keys that begin so stand in documentation and in docker-compose.yml.
const DEVELOPMENT_KEY: &str = "development-key";

/// A value that a word of its own switches off. (clap takes a field that is spelled `Option` for a flag that may be left out.)
type OrOff<T> = Option<T>;

/// A small site on server-side sessions.
///
/// Try it with ann / "correct horse" or bob / "battery staple".
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "HOST:PORT"
    )]
    pub listen: String,

    /// Name that this instance shows of itself [default: the address it listens on]
    #[arg(long, env = "INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// Ask the instance that listens there whether it serves, and exit
    #[arg(long)]
    pub healthcheck: bool,

    /// Where sessions are kept
    #[arg(
        long,
        env = "SESSION_STORE",
        default_value = "memory:",
        value_name = "URL",
        hide_env_values = true
    )]
    pub store: Secret,

    /// Keys that sign the cookie, separated by commas, the signing one first; at least 32 bytes each [default: a random one]
    #[arg(
        long,
        env = "SESSION_KEYS",
        value_name = "KEY,..",
        hide_env_values = true
    )]
    pub session_keys: Option<Secret>,

    /// Longest gap between two requests, as in 90 (seconds) or 30m [default: 30m, or --cookie-max-age]
    #[arg(long, env = "SESSION_IDLE_TIMEOUT", value_name = "TIME", value_parser = duration)]
    pub idle_timeout: Option<Duration>,

    /// Longest life of a session, however busy, or none
    #[arg(long, env = "SESSION_ABSOLUTE_TIMEOUT", value_name = "TIME", default_value = "12h", value_parser = duration_or_none)]
    pub absolute_timeout: OrOff<Duration>,

    /// Life that a touch must regain to be worth a write [default: a tenth of the idle timeout]
    #[arg(long, env = "SESSION_TOUCH_AFTER", value_name = "TIME", value_parser = duration)]
    pub touch_after: Option<Duration>,

    /// The cookie's name and attributes
    #[command(flatten)]
    pub cookie: Cookie,

    /// Store a loaded session again although nothing changed
    #[arg(long, env = "SESSION_RESAVE", value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub resave: bool,

    /// Store a new session although nothing was written to it
    #[arg(long, env = "SESSION_SAVE_UNINITIALIZED", value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub save_uninitialized: bool,

    /// Set the cookie on every response of a session that was loaded
    #[arg(long, env = "SESSION_ROLLING", value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub rolling: bool,

    /// What POST /api/unset does to the session
    #[arg(long, env = "SESSION_UNSET", default_value = "discard",
        value_parser = words(&[("discard", Unset::Discard), ("destroy", Unset::Destroy)]))]
    pub unset: Unset,

    /// Whom to believe that the browser spoke TLS: unspecified, ignore, trust, or the proxy's IP addresses
    #[arg(long, env = "SESSION_PROXY", value_name = "WHOM", default_value = "unspecified", value_parser = proxy)]
    pub proxy: Proxy,

    /// What to answer when the session ended while a request wrote to it: discard (the response goes out) or a status
    #[arg(long, env = "SESSION_ON_GONE", value_name = "WHAT", default_value = "discard", value_parser = on_gone)]
    pub on_gone: OnGone,
}

/// Name and attributes of the session cookie.
#[derive(Clone, Debug, Args)]
pub struct Cookie {
    /// Name of the cookie
    #[arg(
        long = "cookie-name",
        env = "SESSION_COOKIE_NAME",
        value_name = "NAME",
        default_value = "id"
    )]
    pub name: String,

    /// Send the cookie below this path only
    #[arg(
        long = "cookie-path",
        env = "SESSION_COOKIE_PATH",
        value_name = "PATH",
        default_value = "/"
    )]
    pub path: String,

    /// Share the cookie with every subdomain of this domain [default: this host alone]
    #[arg(
        long = "cookie-domain",
        env = "SESSION_COOKIE_DOMAIN",
        value_name = "DOMAIN"
    )]
    pub domain: Option<String>,

    /// Hide the cookie from scripts
    #[arg(long = "cookie-http-only", env = "SESSION_COOKIE_HTTP_ONLY", value_name = "BOOL", default_value = "true",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub http_only: bool,

    /// Send the cookie over TLS only; auto: if it was set over TLS
    #[arg(long = "cookie-secure", env = "SESSION_COOKIE_SECURE", default_value = "auto",
        value_parser = words(&[("always", Secure::Always), ("never", Secure::Never), ("auto", Secure::Auto)]))]
    pub secure: Secure,

    /// Which cross-site requests carry the cookie; auto: none over TLS, else lax; off: leave the attribute out
    #[arg(long = "cookie-same-site", env = "SESSION_COOKIE_SAME_SITE", default_value = "lax",
        value_parser = words(&[
            ("strict", Some(SameSite::Strict)),
            ("lax", Some(SameSite::Lax)),
            ("none", Some(SameSite::None)),
            ("auto", Some(SameSite::Auto)),
            ("off", None),
        ]))]
    pub same_site: OrOff<SameSite>,

    /// Let the cookie outlive the browser by this time, which is the idle timeout too [default: it ends with the browser]
    #[arg(long = "cookie-max-age", env = "SESSION_COOKIE_MAX_AGE", value_name = "TIME", value_parser = duration)]
    pub max_age: Option<Duration>,

    /// Keep the cookie apart for each top-level site
    #[arg(long = "cookie-partitioned", env = "SESSION_COOKIE_PARTITIONED", value_name = "BOOL", default_value = "false",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub partitioned: bool,

    /// What the browser gives up first when it runs out of room [default: the attribute is left out]
    #[arg(long = "cookie-priority", env = "SESSION_COOKIE_PRIORITY",
        value_parser = words(&[("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High)]))]
    pub priority: Option<Priority>,
}

impl Options {
    /// Reads flags, without the program's name in front; for tests.
    ///
    /// # Errors
    ///
    /// When there is no such flag, or a value does not fit; the error prints as the program would print it.
    pub fn from_arguments<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(
            std::iter::once("demo".into()).chain(arguments.into_iter().map(Into::into)),
        )
    }

    /// The sessions that the options describe, in this store.
    pub(crate) fn sessions(&self, store: AnyStore) -> Result<Sessions, StartError> {
        let mut builder = Sessions::builder(store)
            .signing_keys(self.signing_keys()?)
            .absolute_timeout(self.absolute_timeout)
            .cookie(self.cookie.options())
            .resave(self.resave)
            .save_uninitialized(self.save_uninitialized)
            .rolling(self.rolling)
            .unset(self.unset)
            .proxy(self.proxy.clone())
            .on_gone(self.on_gone);
        builder = given(builder, self.idle_timeout, Builder::idle_timeout);
        builder = given(builder, self.touch_after, Builder::touch_after);
        Ok(builder.build()?)
    }

    fn signing_keys(&self) -> Result<SigningKeys, StartError> {
        match &self.session_keys {
            Some(keys) => {
                if keys
                    .reveal()
                    .split(',')
                    .any(|key| key.trim().starts_with(DEVELOPMENT_KEY))
                {
                    tracing::warn!(
                        "the session keys hold one for development, which everybody can read and sign cookies with: set SESSION_KEYS"
                    );
                }
                Ok(SigningKeys::new(keys.reveal().split(',').map(str::trim))?)
            }
            None => {
                tracing::warn!(
                    "no session keys: cookies are signed with a random one, so that they end with this process and no other \
                     instance reads them; set SESSION_KEYS"
                );
                Ok(SigningKeys::random()?)
            }
        }
    }
}

impl Cookie {
    fn options(&self) -> CookieOptions {
        let options = CookieOptions::new()
            .name(&self.name)
            .path(&self.path)
            .http_only(self.http_only)
            .secure(self.secure)
            .same_site(self.same_site)
            .max_age(self.max_age)
            .partitioned(self.partitioned)
            .priority(self.priority);
        given(options, self.domain.as_deref(), |options, domain| {
            options.domain(domain)
        })
    }
}

/// Text that may hold a password: it is not printed, and not checked before the program can word the error itself.
#[derive(Clone)]
pub struct Secret(String);

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

fn given<B, T>(builder: B, value: Option<T>, set: impl FnOnce(B, T) -> B) -> B {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

/// One of these words, each for a value.
fn words<T: Clone + Send + Sync>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).try_map(|given| {
        let found = words.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| value.clone()).ok_or("no such word")
    })
}

/// Whole seconds, or a number with units.
fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

fn duration_or_none(text: &str) -> Result<OrOff<Duration>, humantime::DurationError> {
    if text == "none" {
        Ok(None)
    } else {
        duration(text).map(Some)
    }
}

fn proxy(text: &str) -> Result<Proxy, String> {
    match text {
        "unspecified" => Ok(Proxy::Unspecified),
        "ignore" => Ok(Proxy::Ignore),
        "trust" => Ok(Proxy::Trust),
        peers => {
            let peers: Result<Vec<IpAddr>, _> =
                peers.split(',').map(|peer| peer.trim().parse()).collect();
            peers
                .map(Proxy::TrustPeers)
                .map_err(|_| "expected unspecified, ignore, trust, or IP addresses".into())
        }
    }
}

fn on_gone(text: &str) -> Result<OnGone, String> {
    match text {
        "discard" => Ok(OnGone::Discard),
        status => match status.parse::<StatusCode>() {
            Ok(status) if status.is_client_error() || status.is_server_error() => {
                Ok(OnGone::Reject(status))
            }
            _ => Err("expected discard, or a status from 400 to 599".into()),
        },
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;

    const KEY: &str = "a-signing-key-of-at-least-32-bytes";

    fn parse(flags: &str) -> Result<Options, clap::Error> {
        Options::from_arguments(flags.split_whitespace())
    }

    /// The sessions that these flags make, or the error in words.
    fn build(flags: &str) -> Result<Sessions, String> {
        let store = session_hyper::MemoryStore::new().into();
        parse(flags)
            .map_err(|error| error.to_string())?
            .sessions(store)
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(flags: &str, expected: &[&str]) {
        let error = build(flags).expect_err(flags);
        for part in expected {
            assert!(
                error.contains(part),
                "{flags}: {error:?} does not name {part}"
            );
        }
    }

    #[test]
    fn every_flag_reads_its_values() {
        for flags in [
            "",
            "--listen 127.0.0.1:0 --instance two --store memory:",
            "--idle-timeout 90 --absolute-timeout none --touch-after 5m",
            "--idle-timeout 30m --absolute-timeout 8h",
            "--cookie-name sid --cookie-path /app --cookie-domain example.com --cookie-http-only=false",
            "--cookie-secure always --cookie-same-site none --cookie-partitioned --cookie-priority high --cookie-max-age 7d",
            "--cookie-secure never --cookie-same-site off",
            "--cookie-same-site strict",
            "--cookie-same-site auto",
            "--resave --save-uninitialized --rolling --unset destroy --proxy trust --on-gone 401",
            "--resave false --rolling=1 --save-uninitialized yes",
            "--proxy 10.0.0.1,::1 --on-gone discard",
        ] {
            if let Err(error) = build(flags) {
                panic!("{flags}: {error}");
            }
        }
    }

    #[test]
    fn times_are_seconds_or_have_units() {
        let options =
            parse("--idle-timeout 90 --touch-after 1h30m --absolute-timeout none").expect("flags");
        assert_eq!(options.idle_timeout, Some(Duration::from_secs(90)));
        assert_eq!(options.touch_after, Some(Duration::from_secs(5400)));
        assert_eq!(options.absolute_timeout, None);
        assert_eq!(
            parse("").expect("flags").absolute_timeout,
            Some(Duration::from_secs(12 * 3600))
        );
    }

    #[test]
    fn a_bare_switch_is_true_and_may_be_given_a_value() {
        for (flags, expected) in [
            ("", false),
            ("--rolling", true),
            ("--rolling --resave", true),
            ("--rolling=false", false),
            ("--rolling 0", false),
        ] {
            assert_eq!(parse(flags).expect("flags").rolling, expected, "{flags}");
        }
        assert!(parse("").expect("flags").cookie.http_only);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        refused("--idle-timeout soon", &["--idle-timeout", "soon"]);
        refused("--on-gone 200", &["--on-gone", "400"]);
        refused("--proxy everybody", &["--proxy", "trust"]);
        refused("--cookie-secure sometimes", &["always", "never", "auto"]);
        refused(
            "--cookie-same-site none",
            &["cookie.same_site = none", "cookie.secure = auto"],
        );
        refused("--cookie-name __Host-id", &["cookie.name = __Host-id"]);
        refused("--idle-timeout 0", &["idle_timeout"]);
        refused(
            "--idle-timeout 1m --cookie-max-age 2m",
            &["idle_timeout", "cookie.max_age"],
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        refused("--session-keys hunter2", &["too short"]);
        assert!(
            !build("--session-keys hunter2")
                .expect_err("short")
                .contains("hunter2")
        );
        let options = parse(&format!(
            "--session-keys {KEY},{KEY} --store redis://:hunter2@localhost"
        ))
        .expect("flags");
        let debug = format!("{options:?}");
        assert!(
            !debug.contains(KEY) && !debug.contains("hunter2"),
            "{debug}"
        );
        assert_eq!(options.signing_keys().expect("keys").len(), 2);
    }
}
