//! A connection to every node of a cluster.

use std::{collections::HashMap, fmt, sync::Arc};

use redis::{
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection as Client,
};
use tokio::sync::Mutex;

use crate::{
    address::Address,
    command::{Command, SendMode},
    config::RedisConfig,
    endpoint::Endpoint,
    failure::Failure,
    reply::{Values, take_replies},
};

/// The cluster client of the redis crate, and connections to nodes that import a slot.
pub(crate) struct ClusterConnection {
    client: Client,
    config: Arc<RedisConfig>,
    /// The cluster client sends one `ASKING` for a whole pipeline, but Redis applies it to one
    /// command, and other operations use the connection in between. So these nodes get connections
    /// of their own.
    importing: Mutex<HashMap<Address, MultiplexedConnection>>,
}

impl ClusterConnection {
    pub(crate) fn new(client: Client, config: Arc<RedisConfig>) -> Self {
        Self {
            client,
            config,
            importing: Mutex::default(),
        }
    }

    /// Sends a command once.
    pub(crate) async fn send(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
    ) -> Result<Values, Failure> {
        match &mode.asking {
            None => query(&mut self.client.clone(), command, mode).await,
            Some(node) => self.ask(node, command, mode).await,
        }
    }

    async fn ask(
        &self,
        node: &str,
        command: &Command<'_>,
        mode: &SendMode,
    ) -> Result<Values, Failure> {
        let node = Address::parse(node, 0)
            .map_err(|_| Failure::unavailable("the cluster redirects to an invalid address"))?;
        let known = self.importing.lock().await.get(&node).cloned();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let connection = Endpoint::Tcp(&node)
                    .connect(&self.config, &self.config.credentials)
                    .await?;
                let mut importing = self.importing.lock().await;
                importing.insert(node.clone(), connection.clone());
                connection
            }
        };
        let result = query(&mut connection, command, mode).await;
        if matches!(result, Err(Failure::Lost { .. })) {
            self.importing.lock().await.remove(&node);
        }
        result
    }
}

impl fmt::Debug for ClusterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConnection").finish_non_exhaustive()
    }
}

async fn query<C: ConnectionLike>(
    connection: &mut C,
    command: &Command<'_>,
    mode: &SendMode,
) -> Result<Values, Failure> {
    let pipeline = command.pipeline(mode);
    let count = pipeline.len();
    let values = connection.req_packed_commands(&pipeline, 0, count).await;
    let values = values.map_err(|error| Failure::from_command(&error))?;
    if values.len() != count {
        return Err(Failure::unexpected_reply());
    }
    // An error reply to `ASKING` says nothing about the command behind it, which may be applied.
    let step = if mode.asking.is_some() { 2 } else { 1 };
    take_replies(values.into_iter().skip(step - 1).step_by(step).collect())
}

#[cfg(test)]
mod tests {
    use redis::{Cmd, Pipeline, RedisFuture, Value, parse_redis_value};

    use super::*;
    use crate::{command::Operation, script::ScriptForm};

    /// Replies to one pipeline.
    struct Replies(Vec<Value>);

    impl ConnectionLike for Replies {
        fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
            unimplemented!("everything is sent as a pipeline")
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            pipeline: &'a Pipeline,
            offset: usize,
            count: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            assert_eq!((offset, count), (0, pipeline.len()));
            let replies = self.0.clone();
            Box::pin(async move { Ok(replies) })
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    async fn load(asking: Option<&str>, replies: &[&str]) -> Result<Values, Failure> {
        let replies = replies.iter().map(|reply| {
            let reply = format!("{reply}\r\n");
            parse_redis_value(reply.as_bytes()).expect("a reply")
        });
        let mode = SendMode {
            script: ScriptForm::Hash,
            asking: asking.map(str::to_owned),
        };
        let command = Command::new("k", Operation::Load);
        query(&mut Replies(replies.collect()), &command, &mode).await
    }

    #[tokio::test]
    async fn the_replies_are_those_to_the_commands_and_not_to_asking() {
        let expected = Values::from_iter([Value::Int(1), Value::Int(2)]);
        let values = load(None, &[":1", ":2"]).await;
        assert_eq!(values, Ok(expected.clone()));
        let values = load(Some("h:1"), &["+OK", ":1", "+OK", ":2"]).await;
        assert_eq!(values, Ok(expected.clone()));
        // if the slot has arrived, the commands are executed without it
        let denied = "-NOPERM this user has no permissions to run the 'asking' command";
        let values = load(Some("h:1"), &[denied, ":1", denied, ":2"]).await;
        assert_eq!(values, Ok(expected));

        let moved = load(Some("h:1"), &[denied, "-MOVED 1 h:2", denied, ":2"]).await;
        let failure = moved.expect_err("a redirection");
        assert_eq!(failure.to_string(), "MOVED 1 h:2");
    }

    #[tokio::test]
    async fn a_missing_reply_is_unexpected() {
        let values = load(None, &[":1"]).await;
        assert_eq!(values, Err(Failure::unexpected_reply()));
    }
}
