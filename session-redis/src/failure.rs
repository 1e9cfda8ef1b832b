//! Why an attempt failed, whether to retry, and the error that the operation ends with.
//!
//! | failure | may be applied | kind for a load | kind for a write |
//! |---|---|---|---|
//! | cannot connect: refused, unknown host, TLS error, no live primary | no | `Unavailable` | `Unavailable` |
//! | the connection failed with `NOAUTH`, `WRONGPASS` and the like | no | `Refused` | `Refused` |
//! | the breaker is open | no | `Unavailable` | `Unavailable` |
//! | all connections are busy | no | `Overloaded` | `Overloaded` |
//! | the connection was closed before anything was sent | no | `Unavailable` | `Unavailable` |
//! | error reply | no | by its code ([`ServerError::kind`]) | by its code |
//! | the connection broke, or the reply is unexpected | yes | `Unavailable` | `Timeout` |
//! | no reply in time | yes | `Timeout` | `Timeout` |
//!
//! `Timeout` is the only kind that leaves open whether a write was applied. If one attempt of
//! several may have been applied, the error of the operation is `Timeout`, whatever the last
//! attempt failed with.
//!
//! Messages contain error codes, addresses and the texts of the server, but never the arguments of
//! a command.

use std::fmt;

use redis::{ErrorKind, RedisError};
use session_core::{StoreError, StoreErrorKind};

use crate::server_error::{Redirection, ServerError};

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server replied with an error, and applied nothing.
    Server(ServerError),
    /// Nothing was sent.
    NotSent { kind: StoreErrorKind, text: String },
    /// Nothing was sent, because no server is there: the connection was refused, or closed before
    /// it could be used.
    NoServer { text: String },
    /// The connection had been closed earlier, so nothing was sent on it.
    Closed,
    /// The connection broke, or the reply was unexpected. What was sent may have been applied.
    Lost { text: String },
    /// No reply in time. What was sent may have been applied, or may still be.
    TimedOut,
}

/// What a failed attempt suggests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetryAction {
    /// Another attempt would fail as well.
    GiveUp,
    /// Send the command again, on a new connection. The command may have been applied.
    Reconnect,
    /// Use another connection; this one does not count as an attempt.
    NextConnection,
    /// The server accepts no writes; find the primary.
    FindPrimary,
    /// Another attempt would fail as well, unless the server is a primary that was cut off and
    /// another has taken its place.
    SuspectPrimary,
    /// Send the source of the script.
    SendSource,
    /// In a cluster, this node serves the slot.
    Moved(Redirection),
    /// In a cluster, this node imports the slot and has the key already.
    Ask(Redirection),
    /// In a cluster, another node will serve the key soon, or this one again.
    Wait,
}

impl Failure {
    /// Nothing was sent, because there is no usable connection.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::NotSent {
            kind: StoreErrorKind::Unavailable,
            text: text.into(),
        }
    }

    /// Nothing was sent, because every connection has as many operations in flight as it may.
    pub(crate) fn overloaded() -> Self {
        Self::NotSent {
            kind: StoreErrorKind::Overloaded,
            text: "all connections are busy".to_owned(),
        }
    }

    /// The reply is not one that Redis gives to the command.
    pub(crate) fn unexpected_reply() -> Self {
        Self::Lost {
            text: "unexpected reply".to_owned(),
        }
    }

    /// Converts an error of a command that was sent.
    pub(crate) fn from_command(error: &RedisError) -> Self {
        if let Some(error) = ServerError::from_redis(error) {
            return Self::Server(error);
        }
        // Errors of the operating system prove nothing here, not even "connection refused": Linux
        // reports an ICMP error on an established connection too, after data was sent on it.
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match error.kind() {
            // the text of these errors quotes the reply
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::unexpected_reply(),
            _ => Self::Lost {
                text: error.to_string(),
            },
        }
    }

    /// Converts an error of connecting, so nothing was sent.
    pub(crate) fn from_connecting(error: &RedisError) -> Self {
        if error.is_connection_refusal() || error.is_connection_dropped() {
            return Self::NoServer {
                text: error.to_string(),
            };
        }
        match Self::from_command(error) {
            Self::Server(error) => Self::NotSent {
                kind: error.kind(),
                text: error.to_string(),
            },
            Self::TimedOut => Self::unavailable("timed out while connecting"),
            Self::Lost { text } | Self::NotSent { text, .. } | Self::NoServer { text }
                if error.kind() == ErrorKind::AuthenticationFailed =>
            {
                Self::NotSent {
                    kind: StoreErrorKind::Refused,
                    text,
                }
            }
            Self::Lost { text } | Self::NotSent { text, .. } | Self::NoServer { text } => {
                Self::unavailable(text)
            }
            Self::Closed => Self::unavailable("connection was closed"),
        }
    }

    /// Says which server could not be reached, once.
    pub(crate) fn at(self, server: impl fmt::Display) -> Self {
        let named = |text: String| {
            let name = format!("{server}: ");
            if text.starts_with(&name) {
                text
            } else {
                name + &text
            }
        };
        match self {
            Self::NotSent { kind, text } => {
                let text = named(text);
                Self::NotSent { kind, text }
            }
            Self::NoServer { text } => Self::NoServer { text: named(text) },
            Self::Server(_) | Self::Closed | Self::Lost { .. } | Self::TimedOut => self,
        }
    }

    /// The failure of an operation that was not sent because of this earlier failure.
    pub(crate) fn into_not_sent(self) -> Self {
        match self {
            Self::NotSent { .. } | Self::NoServer { .. } => self,
            Self::Server(_) | Self::Closed | Self::Lost { .. } | Self::TimedOut => {
                Self::unavailable(self.to_string())
            }
        }
    }

    pub(crate) fn retry_action(&self) -> RetryAction {
        match self {
            Self::Lost { .. } => RetryAction::Reconnect,
            Self::Closed => RetryAction::NextConnection,
            Self::NotSent { .. } | Self::NoServer { .. } | Self::TimedOut => RetryAction::GiveUp,
            Self::Server(error) => match error.code() {
                "NOSCRIPT" => RetryAction::SendSource,
                "READONLY" => RetryAction::FindPrimary,
                "NOREPLICAS" => RetryAction::SuspectPrimary,
                "ASK" => match error.redirection() {
                    Some(to) => RetryAction::Ask(to),
                    None => RetryAction::Wait,
                },
                "MOVED" => match error.redirection() {
                    Some(to) => RetryAction::Moved(to),
                    None => RetryAction::Wait,
                },
                "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => RetryAction::Wait,
                _ => RetryAction::GiveUp,
            },
        }
    }

    /// Whether the server cannot be reached or does not reply.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::NotSent { kind, .. } => *kind == StoreErrorKind::Unavailable,
            Self::NoServer { .. } | Self::Closed | Self::Lost { .. } | Self::TimedOut => true,
            Self::Server(_) => false,
        }
    }

    /// Whether the command may have been applied.
    pub(crate) fn may_be_applied(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::TimedOut => true,
            Self::Server(_) | Self::NotSent { .. } | Self::NoServer { .. } | Self::Closed => false,
        }
    }

    /// The error of an operation whose last attempt failed with this. `in_doubt` says that a write
    /// may have been applied, by this attempt or an earlier one.
    pub(crate) fn into_store_error(self, in_doubt: bool) -> StoreError {
        let kind = match &self {
            _ if in_doubt => StoreErrorKind::Timeout,
            Self::Server(error) => error.kind(),
            Self::NotSent { kind, .. } => *kind,
            Self::NoServer { .. } | Self::Lost { .. } | Self::Closed => StoreErrorKind::Unavailable,
            Self::TimedOut => StoreErrorKind::Timeout,
        };
        StoreError::new(
            kind,
            Cause {
                failure: self,
                in_doubt,
            },
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::NotSent { text, .. } | Self::NoServer { text } => f.write_str(text),
            Self::Lost { text } => write!(f, "connection to Redis failed: {text}"),
            Self::Closed => f.write_str("connection to Redis was closed"),
            Self::TimedOut => f.write_str("Redis did not reply in time"),
        }
    }
}

/// The `source` of a [`StoreError`].
#[derive(Debug)]
struct Cause {
    failure: Failure,
    in_doubt: bool,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)?;
        if self.in_doubt {
            f.write_str("; the write may have been applied")?;
        }
        Ok(())
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use std::{error::Error, io};

    use redis::parse_redis_value;

    use super::*;

    fn error_reply(line: &str) -> RedisError {
        let reply = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
        reply.extract_error().expect_err("an error reply")
    }

    fn io_error(kind: io::ErrorKind) -> RedisError {
        RedisError::from(io::Error::from(kind))
    }

    /// Every failure, with the kinds of a load and of a write whose only attempt it was.
    #[test]
    fn only_a_timeout_leaves_a_write_in_doubt() {
        use StoreErrorKind::{Overloaded, Refused, Timeout, Unavailable};
        let sent = Failure::from_command;
        let connecting = Failure::from_connecting;
        let table = [
            (
                sent(&error_reply("OOM command not allowed")),
                Refused,
                Refused,
            ),
            (
                sent(&error_reply("READONLY You can't write")),
                Refused,
                Refused,
            ),
            (
                sent(&error_reply("NOSCRIPT No matching script")),
                Refused,
                Refused,
            ),
            (
                sent(&error_reply("LOADING Redis is loading")),
                Unavailable,
                Unavailable,
            ),
            (sent(&error_reply("MOVED 1 h:1")), Unavailable, Unavailable),
            (sent(&error_reply("ASK 1 h:1")), Unavailable, Unavailable),
            (
                sent(&error_reply("TRYAGAIN Multiple keys")),
                Unavailable,
                Unavailable,
            ),
            (
                sent(&io_error(io::ErrorKind::BrokenPipe)),
                Unavailable,
                Timeout,
            ),
            (
                sent(&io_error(io::ErrorKind::ConnectionReset)),
                Unavailable,
                Timeout,
            ),
            (
                sent(&io_error(io::ErrorKind::UnexpectedEof)),
                Unavailable,
                Timeout,
            ),
            (
                sent(&io_error(io::ErrorKind::ConnectionRefused)),
                Unavailable,
                Timeout,
            ),
            (sent(&io_error(io::ErrorKind::TimedOut)), Timeout, Timeout),
            (
                sent(&(ErrorKind::Parse, "what").into()),
                Unavailable,
                Timeout,
            ),
            (
                sent(&(ErrorKind::UnexpectedReturnType, "what").into()),
                Unavailable,
                Timeout,
            ),
            (Failure::unexpected_reply(), Unavailable, Timeout),
            (Failure::TimedOut, Timeout, Timeout),
            (Failure::Closed, Unavailable, Unavailable),
            (Failure::overloaded(), Overloaded, Overloaded),
            (Failure::TimedOut.into_not_sent(), Unavailable, Unavailable),
            (
                sent(&io_error(io::ErrorKind::BrokenPipe)).into_not_sent(),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&io_error(io::ErrorKind::ConnectionRefused)),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&io_error(io::ErrorKind::NotFound)),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&io_error(io::ErrorKind::TimedOut)),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&io_error(io::ErrorKind::BrokenPipe)),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&error_reply("LOADING Redis is loading")),
                Unavailable,
                Unavailable,
            ),
            (
                connecting(&error_reply("NOAUTH Authentication required.")),
                Refused,
                Refused,
            ),
            (
                connecting(&(ErrorKind::AuthenticationFailed, "WRONGPASS").into()),
                Refused,
                Refused,
            ),
        ];
        for (failure, load, write) in table {
            let kind = |in_doubt| failure.clone().into_store_error(in_doubt).kind();
            assert_eq!(kind(false), load, "load: {failure:?}");
            assert_eq!(kind(failure.may_be_applied()), write, "write: {failure:?}");
            assert_eq!(kind(true), Timeout, "after a lost reply: {failure:?}");
        }
    }

    fn to(address: &str) -> Redirection {
        let ask = Failure::from_command(&error_reply(&format!("ASK 1 {address}")));
        match ask {
            Failure::Server(error) => error.redirection().expect("an address"),
            other => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn every_failure_suggests_what_to_do_next() {
        for (line, action) in [
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                RetryAction::SendSource,
            ),
            (
                "READONLY You can't write against a read only replica.",
                RetryAction::FindPrimary,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                RetryAction::SuspectPrimary,
            ),
            (
                "ASK 3999 127.0.0.1:6381",
                RetryAction::Ask(to("127.0.0.1:6381")),
            ),
            ("ASK 3999 ?:6381", RetryAction::Wait),
            ("ASK 3999", RetryAction::Wait),
            (
                "MOVED 3999 2001:db8::7:6381",
                RetryAction::Moved(to("2001:db8::7:6381")),
            ),
            ("MOVED 3999 h:0", RetryAction::Wait),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                RetryAction::Wait,
            ),
            ("CLUSTERDOWN The cluster is down", RetryAction::Wait),
            ("MASTERDOWN Link with MASTER is down", RetryAction::Wait),
            (
                "LOADING Redis is loading the dataset in memory",
                RetryAction::GiveUp,
            ),
            ("OOM command not allowed", RetryAction::GiveUp),
        ] {
            let failure = Failure::from_command(&error_reply(line));
            assert_eq!(failure.retry_action(), action, "{line}");
        }
        let lost = Failure::from_command(&io_error(io::ErrorKind::BrokenPipe));
        assert_eq!(lost.retry_action(), RetryAction::Reconnect);
        assert_eq!(Failure::Closed.retry_action(), RetryAction::NextConnection);
        assert_eq!(Failure::TimedOut.retry_action(), RetryAction::GiveUp);
        assert_eq!(Failure::overloaded().retry_action(), RetryAction::GiveUp);
        let unavailable = Failure::unavailable("no connection");
        assert_eq!(unavailable.retry_action(), RetryAction::GiveUp);
    }

    #[test]
    fn messages_name_the_server_and_say_what_is_in_doubt() {
        let refused = Failure::from_connecting(&io_error(io::ErrorKind::ConnectionRefused));
        let refused = refused.at("127.0.0.1:6379");
        let message = "127.0.0.1:6379: connection refused";
        assert_eq!(refused.to_string(), message);
        assert_eq!(refused.at("127.0.0.1:6379").to_string(), message);
        let cause = |failure: Failure, in_doubt| {
            let error = failure.into_store_error(in_doubt);
            error.source().expect("a source").to_string()
        };
        assert_eq!(
            cause(Failure::TimedOut, true),
            "Redis did not reply in time; the write may have been applied"
        );
        assert_eq!(
            cause(Failure::TimedOut, false),
            "Redis did not reply in time"
        );
    }
}
