//! What goes wrong between a store and Redis, and which [`StoreErrorKind`] says so.
//!
//! | what happened | kind |
//! |---|---|
//! | refused, reset, no such host or socket, TLS failed, no connection within its deadline | `Unavailable` |
//! | no sentinel answers, or none knows a live primary of the service | `Unavailable` |
//! | `LOADING`, `BUSY`, `CLUSTERDOWN`, `TRYAGAIN`, `MASTERDOWN`, `NOREPLICAS`, `ERR max number of clients reached` | `Unavailable` |
//! | a slot that still moves after several redirections | `Unavailable` |
//! | no reply in time | `Timeout` |
//! | the connection broke under a write, and the retry could not tell whether it was applied | `Timeout` |
//! | the connection broke under a load, or the reply makes no sense | `Unavailable` |
//! | `WRONGTYPE`: the key holds another type | `Corrupt` |
//! | `OOM`, `READONLY`, `MISCONF`, `NOAUTH`, `WRONGPASS`, `NOPERM`, and every other error reply | `Refused` |
//!
//! An error reply is a promise that nothing was applied: every operation is one command, or one script with one write.
//! Messages hold error codes, addresses and what the server says, but never the arguments of a command.

use std::fmt;

use deadpool_redis::{PoolError, TimeoutType};
use redis::{ErrorKind, RedisError};
use session_core::{StoreError, StoreErrorKind};

use crate::{config::ConfigError, url::UrlError};

/// No store could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("Redis URL cannot be read")]
    Url(#[from] UrlError),
    /// The options make no sense.
    #[error("Redis cannot be configured like this")]
    Config(#[from] ConfigError),
    /// The server does not answer, or not as hoped.
    #[error("Redis does not serve")]
    Redis(#[from] StoreError),
}

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server answered with an error, and applied nothing.
    Answered { code: String, text: String },
    /// Nothing was sent.
    Unreached { kind: StoreErrorKind, text: String },
    /// The connection had ended before, and nothing was sent on it.
    Ended,
    /// The connection broke, or spoke nonsense; what was sent may have been applied.
    Lost { text: String },
    /// No answer yet; what was sent may still be applied.
    TimedOut,
}

/// What an attempt that failed suggests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Asking again will not help.
    GiveUp,
    /// Another connection may do better.
    Reconnect,
    /// Another connection may do better, and this one does not count.
    PassOver,
    /// This server writes no more; ask for another.
    FindPrimary,
    /// Send the script's source.
    SendSource,
    /// The cluster has it elsewhere, or soon.
    LookAgain,
    /// The cluster is moving this slot to there (`host:port`), and has moved this key already.
    Ask(String),
}

impl Failure {
    pub(crate) fn unreached(text: impl Into<String>) -> Self {
        Self::Unreached {
            kind: StoreErrorKind::Unavailable,
            text: text.into(),
        }
    }

    /// A connection could not be made, so nothing was sent.
    pub(crate) fn connecting(error: &RedisError) -> Self {
        match Self::from(error) {
            Self::Answered { code, text } => {
                let kind = kind_of(&code, &text);
                Self::Unreached {
                    kind,
                    text: format!("{code} {text}").trim_end().to_owned(),
                }
            }
            Self::TimedOut => Self::unreached("no connection within its deadline"),
            Self::Ended => Self::unreached("the connection ended at once"),
            Self::Lost { text } | Self::Unreached { text, .. }
                if error.kind() == ErrorKind::AuthenticationFailed =>
            {
                Self::Unreached {
                    kind: StoreErrorKind::Refused,
                    text,
                }
            }
            Self::Lost { text } | Self::Unreached { text, .. } => Self::unreached(text),
        }
    }

    pub(crate) fn pooling(error: &PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::connecting(error),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle | TimeoutType::Wait) => {
                Self::unreached("no connection within its deadline")
            }
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::unreached("no connection can be made")
            }
        }
    }

    pub(crate) fn nonsense() -> Self {
        Self::Lost {
            text: "reply makes no sense".to_owned(),
        }
    }

    pub(crate) fn advice(&self) -> Advice {
        match self {
            Self::Lost { .. } => Advice::Reconnect,
            Self::Ended => Advice::PassOver,
            Self::Unreached { .. } => Advice::LookAgain,
            Self::TimedOut => Advice::GiveUp,
            Self::Answered { code, text } => match code.as_str() {
                "NOSCRIPT" => Advice::SendSource,
                "READONLY" => Advice::FindPrimary,
                "ASK" => match text.split_ascii_whitespace().nth(1) {
                    // an empty host means "as you called me": look the slot up instead
                    Some(address) if !address.starts_with(':') => Advice::Ask(address.to_owned()),
                    _ => Advice::LookAgain,
                },
                "MOVED" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => Advice::LookAgain,
                _ => Advice::GiveUp,
            },
        }
    }

    /// Whether what was sent may have been applied.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::TimedOut)
    }

    /// The error of the whole operation. `unsure` is whether this attempt or an earlier one may have written.
    pub(crate) fn into_store_error(self, unsure: bool) -> StoreError {
        let kind = match &self {
            _ if unsure => StoreErrorKind::Timeout,
            Self::Answered { code, text } => kind_of(code, text),
            Self::Unreached { kind, .. } => *kind,
            Self::Lost { .. } | Self::Ended => StoreErrorKind::Unavailable,
            Self::TimedOut => StoreErrorKind::Timeout,
        };
        StoreError::new(
            kind,
            Reason {
                failure: self,
                unsure,
            },
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { code, text } if text.is_empty() => f.write_str(code),
            Self::Answered { code, text } => write!(f, "{code} {text}"),
            Self::Unreached { text, .. } => write!(f, "redis cannot be reached: {text}"),
            Self::Lost { text } => write!(f, "connection to redis was lost: {text}"),
            Self::Ended => f.write_str("connection to redis had ended"),
            Self::TimedOut => f.write_str("redis did not reply in time"),
        }
    }
}

/// The `source` of a [`StoreError`].
#[derive(Debug)]
struct Reason {
    failure: Failure,
    unsure: bool,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)?;
        if self.unsure {
            f.write_str("; whether the write was applied is unknown")?;
        }
        Ok(())
    }
}

impl std::error::Error for Reason {}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        if let Some(errors) = error.clone().into_server_errors()
            && let Some((_, error)) = errors.first()
        {
            let text = without_arguments(error.details());
            return match (error.code(), inside_script(&text)) {
                ("ERR", Some((code, text))) => Self::Answered {
                    code: code.to_owned(),
                    text: text.to_owned(),
                },
                (code, _) => Self::Answered {
                    code: code.to_owned(),
                    text,
                },
            };
        }
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match error.kind() {
            // its text would quote the reply
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::nonsense(),
            // the cluster client knows no node for it, and has sent nothing
            ErrorKind::ClusterConnectionNotFound => {
                Self::unreached("no node of the cluster is connected")
            }
            _ => Self::Lost {
                text: error.to_string(),
            },
        }
    }
}

/// Redis quotes the arguments of commands that it does not know, and those are sessions.
fn without_arguments(text: Option<&str>) -> String {
    const LIMIT: usize = 200;
    let text = text.unwrap_or_default();
    let end = text
        .find(", with args beginning with")
        .unwrap_or(text.len());
    text[..end].chars().take(LIMIT).collect()
}

/// The error of a command inside a script, which Redis before 7.0 wraps into one of the script: `Error running script (call to …):
/// @user_script:1: @user_script: 1: -READONLY …`.
fn inside_script(text: &str) -> Option<(&str, &str)> {
    const MARK: &str = "@user_script";
    let text = text
        .strip_prefix("Error running script")
        .and_then(|text| text.rsplit_once(MARK))?
        .1;
    let (code, text) = text
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .split_once(' ')?;
    code.bytes()
        .all(|b| b.is_ascii_uppercase())
        .then_some((code, text))
}

fn kind_of(code: &str, text: &str) -> StoreErrorKind {
    match code {
        "LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "NOREPLICAS" | "MOVED"
        | "ASK" => StoreErrorKind::Unavailable,
        "ERR" if text.starts_with("max number of clients") => StoreErrorKind::Unavailable,
        "WRONGTYPE" => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, io};

    use redis::parse_redis_value;

    use super::*;

    fn answered(line: &str) -> Failure {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
        Failure::from(&value.extract_error().expect_err("an error reply"))
    }

    #[test]
    fn every_error_reply_has_a_kind() {
        use StoreErrorKind::{Corrupt, Refused, Unavailable};
        let table = [
            (
                "LOADING Redis is loading the dataset in memory",
                Unavailable,
            ),
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Unavailable,
            ),
            ("CLUSTERDOWN The cluster is down", Unavailable),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Unavailable,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Unavailable,
            ),
            ("NOREPLICAS Not enough good replicas to write.", Unavailable),
            ("MOVED 3999 127.0.0.1:6381", Unavailable),
            ("ASK 3999 127.0.0.1:6381", Unavailable),
            ("ERR max number of clients reached", Unavailable),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Corrupt,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Refused,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Refused,
            ),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                Refused,
            ),
            ("NOAUTH Authentication required.", Refused),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Refused,
            ),
            (
                "NOPERM this user has no permissions to run the 'get' command",
                Refused,
            ),
            ("ERR unknown command 'EVALSHA'", Refused),
            ("SOMETHING new", Refused),
        ];
        for (line, kind) in table {
            let failure = answered(line);
            assert!(!failure.is_unknown());
            assert_eq!(failure.to_string(), line);
            assert_eq!(failure.into_store_error(false).kind(), kind, "{line}");
        }
    }

    /// Redis 6.2, as it says them.
    #[test]
    fn errors_inside_of_scripts_are_unwrapped() {
        let wrapped = |inner: &str| {
            answered(&format!(
                "ERR Error running script (call to f_9023aaf788802351): {inner}"
            ))
        };
        let failure = wrapped(
            "@user_script:2: WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        assert_eq!(
            failure.into_store_error(false).kind(),
            StoreErrorKind::Corrupt
        );
        let failure = wrapped(
            "@user_script:1: @user_script: 1: -READONLY You can't write against a read only replica.",
        );
        assert_eq!(failure.advice(), Advice::FindPrimary);
        assert_eq!(
            failure.to_string(),
            "READONLY You can't write against a read only replica."
        );
        let failure = wrapped("@user_script:1: attempt to index a nil value");
        assert_eq!(
            failure.into_store_error(false).kind(),
            StoreErrorKind::Refused
        );
    }

    #[test]
    fn a_broken_connection_is_unknown_to_a_write_only() {
        for error in [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
        ] {
            let failure = Failure::from(&RedisError::from(io::Error::from(error)));
            assert_eq!(
                (failure.is_unknown(), failure.advice()),
                (true, Advice::Reconnect)
            );
            assert_eq!(
                failure.clone().into_store_error(false).kind(),
                StoreErrorKind::Unavailable
            );
            let error = failure.into_store_error(true);
            assert_eq!(error.kind(), StoreErrorKind::Timeout);
            assert!(
                error
                    .source()
                    .expect("a reason")
                    .to_string()
                    .ends_with("is unknown")
            );
        }
        let failure = Failure::from(&RedisError::from(io::Error::from(io::ErrorKind::TimedOut)));
        assert_eq!(
            (failure.is_unknown(), failure.into_store_error(false).kind()),
            (true, StoreErrorKind::Timeout)
        );
    }

    #[test]
    fn a_connection_that_was_never_made_is_never_unknown() {
        for error in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::TimedOut,
            io::ErrorKind::NotFound,
        ] {
            let failure = Failure::connecting(&RedisError::from(io::Error::from(error)));
            assert!(!failure.is_unknown());
            assert_eq!(
                failure.into_store_error(false).kind(),
                StoreErrorKind::Unavailable
            );
        }
        assert!(!Failure::Ended.is_unknown());
        assert_eq!(
            Failure::Ended.into_store_error(false).kind(),
            StoreErrorKind::Unavailable
        );
    }

    #[test]
    fn arguments_of_commands_are_not_repeated() {
        let line = "ERR unknown command 'EVALSHA', with args beginning with: 'abc' '1' 'session:id' 'secret data' ";
        assert_eq!(answered(line).to_string(), "ERR unknown command 'EVALSHA'");
    }

    #[test]
    fn redirections_are_followed_to_an_address_or_by_another_look() {
        assert_eq!(
            answered("ASK 3999 127.0.0.1:6381").advice(),
            Advice::Ask("127.0.0.1:6381".to_owned())
        );
        assert_eq!(answered("ASK 3999 :6381").advice(), Advice::LookAgain);
        assert_eq!(
            answered("MOVED 3999 127.0.0.1:6381").advice(),
            Advice::LookAgain
        );
        assert_eq!(
            answered("NOSCRIPT No matching script. Please use EVAL.").advice(),
            Advice::SendSource
        );
        assert_eq!(
            answered("READONLY You can't write against a read only replica.").advice(),
            Advice::FindPrimary
        );
        assert_eq!(answered("OOM command not allowed").advice(), Advice::GiveUp);
    }
}
