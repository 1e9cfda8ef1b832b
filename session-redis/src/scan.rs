//! Finds the sessions of a store, for operators.

use std::{fmt, sync::Arc};

use redis::{Pipeline, Value};
use session_core::{SessionId, StoreError};

use crate::{
    config::RedisConfig, connector::Source, failure::Failure, glob::escaped, node::Node,
    router::Router, unshared::UnsharedConnection,
};

/// The command that lists keys.
pub(crate) const SCAN: &str = "SCAN";

/// About how many keys Redis looks at in one call. It serves nothing else in the meantime.
const COUNT: u32 = 1000;

/// Finds the ids of all sessions, page by page; see [`RedisStore::scan`](crate::RedisStore::scan).
///
/// # What is found
///
/// A session that exists from the beginning to the end of the scan is found at least once. It may
/// be found more than once, and one that begins or ends during the scan may be found or not. These
/// are the guarantees of [`SCAN`](https://redis.io/docs/latest/commands/scan/).
///
/// In a cluster they hold as long as no slot moves. A session that moves from a node that was not
/// scanned yet to one that was is missed. After a failover, they hold for what the new primary has.
pub struct Scan {
    router: Arc<Router>,
    config: Arc<RedisConfig>,
    /// The nodes that were scanned.
    done: Vec<Source>,
    current: Option<Current>,
}

/// A node that is being scanned. The cursor means something on this connection only: on another,
/// another server may reply, or the same one after a restart.
struct Current {
    node: Arc<Node>,
    connection: UnsharedConnection,
    cursor: u64,
}

/// What a node replies.
#[derive(Debug, PartialEq)]
struct Page {
    /// Zero at the end.
    cursor: u64,
    keys: Vec<Vec<u8>>,
}

impl Scan {
    pub(crate) fn new(router: Arc<Router>, config: Arc<RedisConfig>) -> Self {
        Self {
            router,
            config,
            done: Vec::new(),
            current: None,
        }
    }

    /// Returns the next ids, or `None` at the end.
    ///
    /// # Errors
    ///
    /// A node cannot be reached, does not reply in time, or denies the command; or, at the end of a
    /// scan of a cluster, no node serves some of the slots. The call may be repeated. It scans a
    /// node that failed from the beginning, so its sessions are found again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call returns what this one would have returned.
    pub async fn next_page(&mut self) -> Result<Option<Vec<SessionId>>, StoreError> {
        loop {
            match self.advance().await {
                Ok(Some(ids)) if ids.is_empty() => {}
                Ok(ids) => return Ok(ids),
                Err(failure) => {
                    self.current = None;
                    // another node may take over
                    self.router.refresh();
                    return Err(failure.into_store_error(false));
                }
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Vec<SessionId>>, Failure> {
        let current = match &mut self.current {
            Some(current) => current,
            None => match self.next_node().await? {
                Some(next) => self.current.insert(next),
                None => return Ok(None),
            },
        };
        let Page { cursor, keys } = current.next_page(&self.config).await?;
        current.cursor = cursor;
        if cursor == 0
            && let Some(scanned) = self.current.take()
        {
            self.done.push(scanned.node.source().clone());
        }
        let prefix = self.config.prefix.as_bytes();
        let ids = keys.iter().filter_map(|key| parse(prefix, key));
        Ok(Some(ids.collect()))
    }

    async fn next_node(&self) -> Result<Option<Current>, Failure> {
        let serving = self.router.serving().await?;
        let mut nodes = serving.nodes.into_iter();
        let Some(node) = nodes.find(|node| !self.done.contains(node.source())) else {
            return match serving.unserved {
                0 => Ok(None),
                slots => Err(Failure::unavailable(format!(
                    "no node serves {slots} slots"
                ))),
            };
        };
        let connection = node.scanning(self.router.deadline()).await?;
        Ok(Some(Current {
            node,
            connection,
            cursor: 0,
        }))
    }
}

impl Current {
    async fn next_page(&mut self, config: &RedisConfig) -> Result<Page, Failure> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline
            .cmd(SCAN)
            .arg(self.cursor)
            .arg("MATCH")
            .arg(pattern(&config.prefix))
            .arg("COUNT")
            .arg(COUNT);
        let values = self.connection.send(&pipeline, config.response_timeout);
        let page = values.await?.pop().and_then(Page::parse);
        page.ok_or_else(Failure::unexpected_reply)
    }
}

impl Page {
    fn parse(reply: Value) -> Option<Self> {
        let Value::Array(reply) = reply else {
            return None;
        };
        let Ok([Value::BulkString(cursor), Value::Array(keys)]) = <[Value; 2]>::try_from(reply)
        else {
            return None;
        };
        let keys = keys.into_iter().map(|key| match key {
            Value::BulkString(key) => Some(key),
            _ => None,
        });
        Some(Self {
            cursor: std::str::from_utf8(&cursor).ok()?.parse().ok()?,
            keys: keys.collect::<Option<_>>()?,
        })
    }
}

/// What the keys of sessions look like. Other keys under the same prefix have another length, or
/// are no ids.
fn pattern(prefix: &str) -> String {
    let id = SessionId::from_bytes([0; SessionId::BYTES]);
    escaped(prefix) + &"?".repeat(id.as_str().len())
}

fn parse(prefix: &[u8], key: &[u8]) -> Option<SessionId> {
    let id = key.strip_prefix(prefix)?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("done", &self.done)
            .field("current", &self.current.as_ref().map(|c| c.node.source()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn only_ids_under_the_prefix_are_sessions() {
        let id = SessionId::from_bytes([7; 16]);
        let key = |text: String| parse(b"s*:", text.as_bytes());
        assert_eq!(key(format!("s*:{id}")), Some(id));
        for other in [
            format!("s:{id}"),
            format!("s*:{id}x"),
            format!("s*:i:{}", &id.as_str()[2..]),
            "s*:".to_owned(),
            "s*:1234567890123456789012".to_owned(),
        ] {
            assert_eq!(key(other.clone()), None, "{other}");
        }
        assert_eq!(parse(b"s:", b"s:\xff\xff"), None);
    }

    #[test]
    fn a_pattern_matches_the_prefix_as_it_is() {
        assert_eq!(pattern("a[*]:"), format!("a\\[\\*]:{}", "?".repeat(22)));
    }

    #[test]
    fn a_page_has_a_cursor_and_keys() {
        let page = |reply: &str| {
            let reply = reply.split(' ').map(|word| format!("{word}\r\n"));
            let reply = reply.collect::<String>();
            Page::parse(parse_redis_value(reply.as_bytes()).expect("a reply"))
        };
        let max = u64::MAX;
        let expected = Page {
            cursor: max,
            keys: vec![b"k".to_vec()],
        };
        assert_eq!(page(&format!("*2 $20 {max} *1 $1 k")), Some(expected));
        for other in [
            "*0",
            ":1",
            "*2 $1 x *0",
            "*2 $1 1 $1 k",
            "*2 $1 1 *1 :1",
            "*1 $1 1",
        ] {
            assert_eq!(page(other), None, "{other}");
        }
    }
}
