//! The flags of the program, each with an environment variable, and the [`Sessions`] they describe.
//!
//! A flag has the name of the option that it sets. One that is not given leaves the library's
//! default.

use std::{ffi::OsString, time::Duration};

use clap::{ArgAction, Parser, builder::BoolishValueParser};
use session_hyper::{
    AnyStore, ExpressOptions, NearCache, OnDecodeError, OnLost, Proxy, Replicas, Sessions,
    SigningKeys, Transports, Unset, WhenFull,
};

use crate::{
    cookie_flags::CookieFlags,
    flag_values::{
        OrOff, Secret, duration, duration_or_none, near_cache, on_lost, proxy, replicas, words,
    },
    option_docs::{meaning, meaning_and_default},
    start_error::StartError,
};

/// The beginning of the keys in the documentation and in docker-compose.yml.
const DEVELOPMENT_KEY: &str = "development-key";

/// A small site on server-side sessions.
///
/// Log in as ann with "correct horse", or as bob with "battery staple". A TIME is a number of
/// seconds or has a unit, as in 90, 30m or 12h. A SIZE is a number of bytes or has a unit, as in
/// 64MiB.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version)]
pub struct Options {
    /// Address to listen on; port 0 is a free port
    #[arg(
        long,
        env = "LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "HOST:PORT"
    )]
    pub listen: String,

    /// Name of this instance, which the pages show [default: the address it listens on]
    #[arg(long, env = "INSTANCE", value_name = "NAME")]
    pub(crate) instance: Option<String>,

    /// Check the health of the instance that listens on the address, and exit
    #[arg(long)]
    pub healthcheck: bool,

    /// URL of the session store: memory:, redis://host, redis+unix:///path,
    /// redis+sentinel://host,host/service or redis+cluster://host,host
    #[arg(
        long,
        env = "SESSION_STORE",
        default_value = "memory:",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) store: Secret,

    #[arg(long = "session-keys", env = "SESSION_KEYS", value_name = "KEY,..",
        hide_env_values = true, help = meaning("signing_keys") + " [default: a random key]")]
    pub(crate) signing_keys: Option<Secret>,

    #[arg(long, env = "SESSION_IDLE_TIMEOUT", value_name = "TIME", value_parser = duration,
        help = meaning_and_default("idle_timeout"))]
    idle_timeout: Option<Duration>,

    #[arg(long, env = "SESSION_ABSOLUTE_TIMEOUT", value_name = "TIME|none", default_value = "12h",
        value_parser = duration_or_none, help = meaning("absolute_timeout"))]
    absolute_timeout: OrOff<Duration>,

    #[arg(long, env = "SESSION_TOUCH_AFTER", value_name = "TIME", value_parser = duration,
        help = meaning_and_default("touch_after"))]
    touch_after: Option<Duration>,

    #[command(flatten)]
    cookie: CookieFlags,

    #[arg(long = "max-sessions", env = "SESSION_MAX_SESSIONS", value_name = "N",
        help = meaning_and_default("max_sessions_per_principal"))]
    max_sessions_per_principal: Option<usize>,

    /// What a login beyond --max-sessions does: evict ends the oldest session, reject is answered
    /// with 409
    #[arg(long, env = "SESSION_WHEN_FULL", default_value = "evict",
        value_parser = words(&[
            ("evict", WhenFull::EvictOldest),
            ("reject", WhenFull::Reject),
        ]))]
    when_full: WhenFull,

    #[arg(long, env = "SESSION_NEAR_CACHE", value_name = "SIZE", value_parser = near_cache,
        help = meaning_and_default("near_cache"))]
    near_cache: Option<NearCache>,

    #[arg(long, env = "SESSION_CONFIRM", value_name = "REPLICAS", value_parser = replicas,
        help = meaning_and_default("confirm"))]
    confirm: Option<Replicas>,

    /// How old the login may be to change the password
    #[arg(long, env = "SESSION_FRESH_WITHIN", value_name = "TIME", default_value = "5m",
        value_parser = duration)]
    pub(crate) fresh_within: Duration,

    /// Accept bearer tokens beside cookies, for programs that log in with the header
    /// Session-Transport: bearer
    #[arg(long, env = "SESSION_BEARER", value_name = "BOOL", default_value = "false",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set,
        value_parser = BoolishValueParser::new())]
    bearer: bool,

    #[arg(long, env = "SESSION_RESAVE", value_name = "BOOL", default_value = "false",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set,
        value_parser = BoolishValueParser::new(), help = meaning("resave"))]
    resave: bool,

    #[arg(long, env = "SESSION_SAVE_UNINITIALIZED", value_name = "BOOL", default_value = "false",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set,
        value_parser = BoolishValueParser::new(), help = meaning("save_uninitialized"))]
    save_uninitialized: bool,

    #[arg(long, env = "SESSION_ROLLING", value_name = "BOOL", default_value = "false",
        default_missing_value = "true", num_args = 0..=1, action = ArgAction::Set,
        value_parser = BoolishValueParser::new(), help = meaning("rolling"))]
    rolling: bool,

    #[arg(long, env = "SESSION_UNSET", default_value = "discard",
        value_parser = words(&[("discard", Unset::Discard), ("destroy", Unset::Destroy)]),
        help = meaning("unset"))]
    unset: Unset,

    #[arg(long, env = "SESSION_PROXY", value_name = "unspecified|ignore|trust|ADDRESS,..",
        default_value = "unspecified", value_parser = proxy, help = meaning("proxy"))]
    pub(crate) proxy: Proxy,

    #[arg(long, env = "SESSION_ON_LOST", value_name = "by-method|discard|STATUS",
        default_value = "by-method", value_parser = on_lost, help = meaning("on_lost"))]
    on_lost: OnLost,

    #[arg(long, env = "SESSION_ON_DECODE_ERROR", default_value = "start-new",
        value_parser = words(&[
            ("start-new", OnDecodeError::StartNew),
            ("fail", OnDecodeError::Fail),
        ]),
        help = meaning("on_decode_error"))]
    on_decode_error: OnDecodeError,

    #[arg(long, env = "SESSION_MAX_BYTES", value_name = "BYTES",
        help = meaning_and_default("max_bytes"))]
    max_bytes: Option<usize>,

    #[arg(long, env = "SESSION_COMMIT_DEADLINE", value_name = "TIME", value_parser = duration,
        help = meaning_and_default("commit_deadline"))]
    commit_deadline: Option<Duration>,

    #[arg(long, env = "SESSION_SUPERSEDE_GRACE", value_name = "TIME", value_parser = duration,
        help = meaning_and_default("supersede_grace"))]
    supersede_grace: Option<Duration>,
}

impl Options {
    /// Reads flags without the name of the program before them, for tests.
    ///
    /// # Errors
    ///
    /// If a flag is unknown, or a value is invalid. The message is the one that the program prints.
    pub fn from_arguments<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(
            std::iter::once("demo".into()).chain(arguments.into_iter().map(Into::into)),
        )
    }

    /// Builds the sessions in this store.
    pub(crate) fn sessions(&self, store: AnyStore) -> Result<Sessions, StartError> {
        let mut builder = Sessions::builder(store)
            .signing_keys(self.signing_keys()?)
            .absolute_timeout(self.absolute_timeout)
            .transports(match self.bearer {
                true => Transports::CookieAndBearer,
                false => Transports::Cookie,
            })
            .cookie(self.cookie.options())
            .express(
                ExpressOptions::new()
                    .resave(self.resave)
                    .save_uninitialized(self.save_uninitialized)
                    .rolling(self.rolling)
                    .unset(self.unset),
            )
            .proxy(self.proxy.clone())
            .on_lost(self.on_lost)
            .on_decode_error(self.on_decode_error);
        if let Some(idle_timeout) = self.idle_timeout {
            builder = builder.idle_timeout(idle_timeout);
        }
        if let Some(touch_after) = self.touch_after {
            builder = builder.touch_after(touch_after);
        }
        if let Some(max) = self.max_sessions_per_principal {
            builder = builder.max_sessions_per_principal(max, self.when_full);
        }
        if let Some(near_cache) = self.near_cache {
            builder = builder.near_cache(near_cache);
        }
        if let Some(replicas) = self.confirm {
            builder = builder.confirm(replicas);
        }
        if let Some(max_bytes) = self.max_bytes {
            builder = builder.max_bytes(max_bytes);
        }
        if let Some(commit_deadline) = self.commit_deadline {
            builder = builder.commit_deadline(commit_deadline);
        }
        if let Some(supersede_grace) = self.supersede_grace {
            builder = builder.supersede_grace(supersede_grace);
        }
        Ok(builder.build()?)
    }

    fn signing_keys(&self) -> Result<SigningKeys, StartError> {
        let Some(keys) = &self.signing_keys else {
            tracing::warn!(
                "cookies are signed with a random key, so they end with this process and no other \
                 instance accepts them: set SESSION_KEYS"
            );
            return Ok(SigningKeys::random()?);
        };
        let mut keys = keys.reveal().split(',').map(str::trim);
        if keys.clone().any(|key| key.starts_with(DEVELOPMENT_KEY)) {
            tracing::warn!(
                "a signing key for development is in use, with which anybody can forge cookies: \
                 set SESSION_KEYS"
            );
        }
        Ok(SigningKeys::new(&mut keys)?)
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use session_hyper::MemoryStore;

    use super::*;
    use crate::start_error::error_chain;

    const KEY: &str = "a-signing-key-of-at-least-32-bytes";

    fn parse(flags: &str) -> Result<Options, clap::Error> {
        Options::from_arguments(flags.split_whitespace())
    }

    /// The sessions that these flags describe, or the error message.
    fn build(flags: &str) -> Result<Sessions, String> {
        let options = parse(flags).map_err(|error| error.to_string())?;
        let store = AnyStore::new(MemoryStore::new());
        options.sessions(store).map_err(|error| error_chain(&error))
    }

    #[track_caller]
    fn check_rejected(flags: &str, expected: &[&str]) {
        let error = build(flags).expect_err(flags);
        for part in expected {
            assert!(
                error.contains(part),
                "{flags}: {error:?} does not name {part}"
            );
        }
    }

    #[test]
    fn every_flag_accepts_its_values() {
        for flags in [
            "",
            "--listen 127.0.0.1:0 --instance two --store memory:",
            "--idle-timeout 90 --absolute-timeout none --touch-after 1m",
            "--idle-timeout 30m --absolute-timeout 8h",
            "--cookie-name sid --cookie-path /app --cookie-domain example.com",
            "--cookie-secure always --cookie-same-site none --cookie-partitioned",
            "--cookie-priority high --cookie-max-age 7d --absolute-timeout 30d",
            "--cookie-secure never --cookie-same-site off --cookie-http-only=false",
            "--cookie-same-site strict",
            "--cookie-same-site auto",
            "--resave --save-uninitialized --rolling --unset destroy",
            "--resave false --rolling=1 --save-uninitialized yes",
            "--proxy trust --on-lost 401 --on-decode-error fail",
            "--proxy 10.0.0.1,::1 --on-lost discard --on-decode-error start-new",
            "--max-sessions 3 --when-full reject --fresh-within 1m --bearer",
            "--near-cache 64MiB",
            "--max-bytes 1000 --commit-deadline 1s --supersede-grace 1s",
        ] {
            if let Err(error) = build(flags) {
                panic!("{flags}: {error}");
            }
        }
    }

    #[test]
    fn a_switch_without_a_value_is_true() {
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
    fn invalid_values_and_conflicts_are_rejected_by_name() {
        check_rejected("--idle-timeout soon", &["--idle-timeout", "soon"]);
        check_rejected("--on-lost 200", &["--on-lost", "400"]);
        check_rejected("--proxy everybody", &["--proxy", "trust"]);
        check_rejected("--cookie-secure sometimes", &["always", "never", "auto"]);
        check_rejected(
            "--cookie-same-site none",
            &["cookie.same_site = none", "cookie.secure = auto"],
        );
        check_rejected("--cookie-name __Host-id", &["cookie.name = __Host-id"]);
        check_rejected("--idle-timeout 0", &["idle_timeout"]);
        check_rejected("--max-sessions 0", &["max_sessions_per_principal"]);
        check_rejected("--near-cache 0", &["near_cache.max_bytes"]);
        check_rejected("--near-cache much", &["--near-cache", "much"]);
        check_rejected("--confirm all", &["--confirm", "all"]);
        check_rejected("--when-full wait", &["evict", "reject"]);
        check_rejected(
            "--idle-timeout 1m --cookie-max-age 2m",
            &["idle_timeout", "cookie.max_age"],
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        check_rejected("--session-keys hunter2", &["too short"]);
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
