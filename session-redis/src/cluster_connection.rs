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
