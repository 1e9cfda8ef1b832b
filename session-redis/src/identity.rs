//! Which server a connection leads to, as its process and its history identify themselves.
//!
//! A server that was restarted has another `run_id`, and one that was promoted, or has taken over
//! the data of another, has another `master_replid`. Either may have lost acknowledged writes.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Pipeline, Value};
use tokio::time::timeout;

use crate::{connection::Connection, failure::Failure};

/// The commands that ask a server who it is. Redis 6.2 takes one section for each.
pub(crate) const QUERIES: [[&str; 2]; 2] = [["INFO", "server"], ["INFO", "replication"]];

/// What the connections of a store find out about its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerNews {
    /// Another server, or the same one after a restart, serves some of the sessions.
    Replaced,
    /// A server does not accept connections.
    Unreachable,
}

/// Called with what connections find out.
pub(crate) type OnNews = Arc<dyn Fn(ServerNews) + Send + Sync>;

/// What a server replies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    run_id: String,
    replication_id: String,
}

/// Compares the server of each new connection to a node with the one before.
pub(crate) struct ServerIdentity {
    /// `None` if nobody wants to know.
    on_news: Option<OnNews>,
    last: Mutex<Option<Identity>>,
    denied: AtomicBool,
}

impl ServerIdentity {
    pub(crate) fn new(on_news: Option<OnNews>) -> Self {
        Self {
            on_news,
            last: Mutex::default(),
            denied: AtomicBool::new(false),
        }
    }

    /// Asks the server of a new connection who it is. If it does not say, it is taken for another.
    ///
    /// # Errors
    ///
    /// The server does not reply in time, or the connection broke.
    pub(crate) async fn check(
        &self,
        connection: &mut Connection,
        limit: Duration,
    ) -> Result<(), Failure> {
        let Some(on_news) = &self.on_news else {
            return Ok(());
        };
        let mut pipeline = Pipeline::with_capacity(QUERIES.len());
        for [name, section] in QUERIES {
            pipeline.cmd(name).arg(section);
        }
        let sent = timeout(limit, connection.send(&pipeline)).await;
        let timed_out = |_| Err(Failure::unavailable("timed out while connecting"));
        let values = sent.unwrap_or_else(timed_out);
        let identity = parse(&values.map_err(Failure::into_not_sent)?);
        if identity.is_none() && !self.denied.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "Redis does not reply to INFO, so sessions that have ended are destroyed again \
                 after each new connection: permit +info"
            );
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new =
            identity.is_none() || last.as_ref().is_some_and(|l| Some(l) != identity.as_ref());
        *last = identity;
        drop(last);
        if is_new {
            on_news(ServerNews::Replaced);
        }
        Ok(())
    }

    /// The server does not accept connections.
    pub(crate) fn unreachable(&self) {
        if let Some(on_news) = &self.on_news {
            on_news(ServerNews::Unreachable);
        }
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Reads the replies to [`QUERIES`]. `None` if one of them is an error, or says nothing.
fn parse(replies: &[Value]) -> Option<Identity> {
    let [server, replication] = replies else {
        return None;
    };
    Some(Identity {
        run_id: field(server, "run_id:")?,
        replication_id: field(replication, "master_replid:")?,
    })
}

fn field(reply: &Value, name: &str) -> Option<String> {
    let text = match reply {
        Value::VerbatimString { text, .. } => text,
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        _ => return None,
    };
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_end().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use redis::{VerbatimFormat, parse_redis_value};

    use super::*;

    #[test]
    fn a_server_is_identified_by_its_process_and_its_history() {
        let text = |text: &str| Value::VerbatimString {
            format: VerbatimFormat::Text,
            text: text.to_owned(),
        };
        let bytes = |text: &str| Value::BulkString(text.into());
        let server = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        let replication =
            "# Replication\r\nrole:master\r\nmaster_replid:def\r\nmaster_replid2:0\r\n";
        let expected = Identity {
            run_id: "abc".to_owned(),
            replication_id: "def".to_owned(),
        };
        let found = parse(&[text(server), text(replication)]);
        assert_eq!(found.as_ref(), Some(&expected));
        let found = parse(&[bytes(server), bytes(replication)]);
        assert_eq!(found, Some(expected));

        let denied = parse_redis_value(b"-NOPERM this user has no permissions\r\n");
        let denied = denied.expect("an error reply");
        for replies in [
            vec![],
            vec![text(server)],
            vec![denied, text(replication)],
            vec![text(replication), text(server)],
            vec![text("run_id:\r\n"), text(replication)],
        ] {
            assert_eq!(parse(&replies), None, "{replies:?}");
        }
    }
}
