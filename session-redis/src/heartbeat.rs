//! Tracks what is read on a connection, and makes sure that its changes are announced.
//!
//! ```text
//!  CLIENT TRACKING ON OPTIN      once
//!  ROLE                          every half second: the server must be a primary
//!  CLUSTER INFO                  in a cluster, with it: the state must be ok, the epoch the same
//! ```
//!
//! The replies come in the order of the connection: when they are there, so is every invalidation
//! that the server has sent before. `PING` would not do: a primary that was demoted answers it too.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Pipeline, Value};
use tokio::time::{sleep_until, timeout};

use crate::{
    connection::WeakConnection,
    failure::Failure,
    feed::FeedEnd,
    role::{ROLE, is_primary_role},
    slot_map::{CLUSTER_INFO, current_epoch, is_state_ok},
    tracking::Tracking,
};

/// The time between two heartbeats: a quarter of the shortest lease that is useful.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);

/// The command that switches tracking on, and its options: only what is asked for is tracked.
pub(crate) const TRACKING: [&str; 2] = ["CLIENT", "TRACKING"];
const OPTIONS: [&str; 2] = ["ON", "OPTIN"];

/// The task that keeps the feed of one connection alive.
pub(crate) struct Heartbeat {
    pub(crate) connection: WeakConnection,
    pub(crate) tracking: Arc<Tracking>,
    /// The server is a node of a cluster.
    pub(crate) in_cluster: bool,
    pub(crate) response_timeout: Duration,
    /// The server, for log lines.
    pub(crate) server: String,
    /// The server has confirmed that it tracks.
    pub(crate) tracks: bool,
}

/// What the replies to a heartbeat say.
#[derive(Debug, PartialEq, Eq)]
enum Beat {
    /// All is well, in this epoch of a cluster.
    Good { epoch: Option<u64> },
    /// Changes may be missing, for now.
    Bad(FeedEnd),
    /// The server announces nothing to this user.
    Refused { text: String },
}

impl Heartbeat {
    /// Sends heartbeats while somebody listens, until the connection is closed.
    pub(crate) async fn run(mut self) {
        loop {
            if !self.tracking.announcer().is_on() {
                self.tracking.end(FeedEnd::NobodyListens);
                self.tracking.announcer().switched_on().await;
            }
            let next = Instant::now() + HEARTBEAT;
            self.beat().await;
            if self.tracking.is_over() {
                return;
            }
            sleep_until(next.into()).await;
        }
    }

    /// Sends one heartbeat, and waits for the reply.
    pub(crate) async fn beat(&mut self) {
        let (pipeline, sent_at) = (self.pipeline(), Instant::now());
        let sent = timeout(self.response_timeout, self.connection.send(&pipeline)).await;
        let beat = match sent {
            Ok(Ok(replies)) => read(&replies, self.tracks, self.in_cluster),
            Ok(Err(Failure::TimedOut)) | Err(_) => Beat::Bad(FeedEnd::NoReply),
            Ok(Err(_)) => return self.tracking.finish(FeedEnd::ConnectionLost),
        };
        match beat {
            Beat::Good { epoch } => {
                self.tracks = true;
                self.tracking.confirm(sent_at, epoch);
            }
            Beat::Bad(end) => self.tracking.end(end),
            Beat::Refused { text } => self.tracking.refuse(&self.server, text),
        }
    }

    fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(3);
        if !self.tracks {
            pipeline.cmd(TRACKING[0]).arg(TRACKING[1]).arg(&OPTIONS);
        }
        pipeline.cmd(ROLE);
        if self.in_cluster {
            pipeline.cmd(CLUSTER_INFO[0]).arg(CLUSTER_INFO[1]);
        }
        pipeline
    }
}

/// Reads the replies to a heartbeat.
fn read(replies: &[Value], tracks: bool, in_cluster: bool) -> Beat {
    let error = replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    if let Some(error) = error {
        return match error.code() {
            // not permitted, or not known
            "NOPERM" | "ERR" => Beat::Refused {
                text: error.to_string(),
            },
            _ => Beat::Bad(FeedEnd::NoReply),
        };
    }
    let replies = match (tracks, replies) {
        (true, replies) | (false, [Value::Okay, replies @ ..]) => replies,
        (false, _) => return Beat::Bad(FeedEnd::NoReply),
    };
    match (in_cluster, replies) {
        (false, [role]) if is_primary_role(role) => Beat::Good { epoch: None },
        (true, [role, info]) if is_primary_role(role) => match current_epoch(info) {
            Some(epoch) if is_state_ok(info) => Beat::Good { epoch: Some(epoch) },
            Some(_) | None => Beat::Bad(FeedEnd::ClusterChanged),
        },
        _ => Beat::Bad(FeedEnd::NotPrimary),
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn reply(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).expect("a reply")
    }

    fn role(name: &str) -> Value {
        Value::Array(vec![Value::BulkString(name.into()), Value::Int(0)])
    }

    fn info(state: &str, epoch: u64) -> Value {
        let text = format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n");
        Value::BulkString(text.into())
    }

    fn end(beat: Beat) -> Option<FeedEnd> {
        match beat {
            Beat::Bad(end) => Some(end),
            Beat::Good { .. } | Beat::Refused { .. } => None,
        }
    }

    #[test]
    fn only_a_primary_that_tracks_is_good() {
        let (master, slave) = (role("master"), role("slave"));
        let good = Beat::Good { epoch: None };
        assert_eq!(read(&[Value::Okay, master.clone()], false, false), good);
        assert_eq!(read(std::slice::from_ref(&master), true, false), good);
        assert_eq!(end(read(&[slave], true, false)), Some(FeedEnd::NotPrimary));
        assert_eq!(
            end(read(std::slice::from_ref(&master), false, false)),
            Some(FeedEnd::NoReply),
            "tracking is not confirmed"
        );
        assert!(end(read(&[master.clone(), master], true, false)).is_some());
    }

    #[test]
    fn a_node_of_a_cluster_must_be_in_touch_with_it() {
        let read = |role_name, state| read(&[role(role_name), info(state, 3)], true, true);
        assert_eq!(read("master", "ok"), Beat::Good { epoch: Some(3) });
        assert_eq!(end(read("master", "fail")), Some(FeedEnd::ClusterChanged));
        assert_eq!(end(read("slave", "ok")), Some(FeedEnd::NotPrimary));
        assert_eq!(
            end(super::read(&[role("master"), Value::Nil], true, true)),
            Some(FeedEnd::ClusterChanged)
        );
    }

    #[test]
    fn a_server_that_does_not_know_or_permit_the_commands_refuses() {
        let read = |line: &str| read(&[Value::Okay, reply(line)], false, false);
        for line in [
            "-NOPERM this user has no permissions to run the 'role' command\r\n",
            "-ERR unknown command 'role'\r\n",
        ] {
            assert!(matches!(read(line), Beat::Refused { .. }), "{line}");
        }
        let loading = read("-LOADING Redis is loading the dataset in memory\r\n");
        assert_eq!(end(loading), Some(FeedEnd::NoReply));
    }
}
