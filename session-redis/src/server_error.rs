//! Error replies of the server: their code, their text, and what they say about a store operation.

use std::fmt;

use redis::RedisError;
use session_core::StoreErrorKind;

use crate::address::Address;

/// The longest text of a server that is kept, in characters.
const MAX_TEXT: usize = 200;

/// An error reply. It proves that nothing was applied: every operation is one command, or one
/// script that writes the record last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    code: String,
    text: String,
}

/// Where a node of a cluster redirects to. Without a host it is the host of that node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirection {
    host: Option<String>,
    port: u16,
}

impl Redirection {
    /// The address, as seen from the node that replied.
    pub(crate) fn from(self, replied: &Address) -> Address {
        Address {
            host: self.host.unwrap_or_else(|| replied.host.clone()),
            port: self.port,
        }
    }
}

impl ServerError {
    /// Returns the error reply behind an error of the client, if there is one.
    pub(crate) fn from_redis(error: &RedisError) -> Option<Self> {
        let errors = error.clone().into_server_errors()?;
        let (_, error) = errors.first()?;
        let text = without_arguments(error.details());
        Some(match (error.code(), error_inside_script(&text)) {
            ("ERR", Some((code, text))) => Self {
                code: code.to_owned(),
                text: text.to_owned(),
            },
            (code, _) => Self {
                code: code.to_owned(),
                text,
            },
        })
    }

    /// The first word of the reply, such as `MOVED`.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Returns the address that `MOVED` or `ASK` redirects to. An empty host means the host of the
    /// node that replied; `?` is one that it does not know.
    pub(crate) fn redirection(&self) -> Option<Redirection> {
        let (host, port) = match self.code.as_str() {
            "MOVED" | "ASK" => self
                .text
                .split_ascii_whitespace()
                .nth(1)?
                // an IPv6 address has no brackets here
                .rsplit_once(':')?,
            _ => return None,
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        match host {
            "?" => None,
            host => Some(Redirection {
                host: (!host.is_empty()).then(|| host.trim_matches(['[', ']']).to_owned()),
                port,
            }),
        }
    }

    /// The kind of the store's error, if the operation is not sent again.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self.code.as_str() {
            "LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "NOREPLICAS"
            | "MOVED" | "ASK" => StoreErrorKind::Unavailable,
            "ERR" if self.text.starts_with("max number of clients") => StoreErrorKind::Unavailable,
            "WRONGTYPE" => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Refused,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        Ok(())
    }
}

/// Removes the arguments that Redis quotes for a command that it does not know: they are sessions.
fn without_arguments(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let end = text
        .find(", with args beginning with")
        .unwrap_or(text.len());
    text[..end].chars().take(MAX_TEXT).collect()
}

/// Unwraps the error of a command inside a script, which Redis before 7.0 reports as an error of
/// the script: `Error running script (call to …): @user_script:1: @user_script: 1: -READONLY …`.
fn error_inside_script(text: &str) -> Option<(&str, &str)> {
    let (_, text) = text
        .strip_prefix("Error running script")?
        .rsplit_once("@user_script")?;
    let (code, text) = text
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .split_once(' ')?;
    let is_code = code.bytes().all(|byte| byte.is_ascii_uppercase());
    is_code.then_some((code, text))
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn error(line: &str) -> ServerError {
        let reply = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
        let error = reply.extract_error().expect_err("an error reply");
        ServerError::from_redis(&error).expect("an error of the server")
    }

    #[test]
    fn every_error_reply_has_a_kind() {
        use StoreErrorKind::{Corrupt, Refused, Unavailable};
        for (line, kind) in [
            (
                "LOADING Redis is loading the dataset in memory",
                Unavailable,
            ),
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
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
            ("NOSCRIPT No matching script. Please use EVAL.", Refused),
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
        ] {
            let error = error(line);
            assert_eq!(error.to_string(), line);
            assert_eq!(error.kind(), kind, "{line}");
        }
    }

    #[test]
    fn redirections_of_every_form_are_read() {
        let replied = Address {
            host: "10.0.0.1".to_owned(),
            port: 6379,
        };
        for (line, expected) in [
            ("MOVED 3999 127.0.0.1:6381", Some("127.0.0.1:6381")),
            (
                "ASK 3999 redis-3.example:6381",
                Some("redis-3.example:6381"),
            ),
            ("ASK 3999 ::1:6381", Some("[::1]:6381")),
            ("MOVED 3999 [2001:db8::7]:6381", Some("[2001:db8::7]:6381")),
            ("MOVED 3999 :6381", Some("10.0.0.1:6381")),
            ("MOVED 3999 ?:6381", None),
            ("MOVED 3999 h:0", None),
            ("MOVED 3999 h:65536", None),
            ("MOVED 3999", None),
            ("TRYAGAIN 3999 h:1", None),
        ] {
            let redirection = error(line).redirection();
            let address = redirection.map(|to| to.from(&replied).to_string());
            assert_eq!(address.as_deref(), expected, "{line}");
        }
    }

    /// As Redis 6.2 reports them.
    #[test]
    fn errors_inside_a_script_are_unwrapped() {
        let wrapped = |inner: &str| {
            error(&format!(
                "ERR Error running script (call to f_9023aaf788802351): {inner}"
            ))
        };
        let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
        let error = wrapped(&format!("@user_script:2: {wrong_type}"));
        assert_eq!(error.to_string(), wrong_type);

        let read_only = "READONLY You can't write against a read only replica.";
        let error = wrapped(&format!("@user_script:1: @user_script: 1: -{read_only}"));
        assert_eq!(error.to_string(), read_only);

        let error = wrapped("@user_script:1: attempt to index a nil value");
        assert_eq!(error.code(), "ERR");
    }

    #[test]
    fn the_arguments_of_a_command_are_removed() {
        let line = "ERR unknown command 'EVALSHA', with args beginning with: 'abc' '1' 'data' ";
        assert_eq!(error(line).to_string(), "ERR unknown command 'EVALSHA'");
        let long = format!("ERR {}", "x".repeat(1000));
        assert_eq!(error(&long).to_string().len(), "ERR ".len() + MAX_TEXT);
    }
}
