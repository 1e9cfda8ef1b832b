//! A connection that any number of operations share.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    batcher::Batcher,
    cluster_connection::ClusterConnection,
    command::{Command, SendMode},
    failure::Failure,
    reply::Values,
};

/// A connection to one server, or to a cluster. Clones share it.
///
/// If the future of an operation is dropped, the task that drives the connection discards its
/// replies, so other operations are not affected.
#[derive(Clone, Debug)]
pub(crate) enum SharedConnection {
    Server(Batcher),
    Cluster(Arc<ClusterConnection>),
}

impl SharedConnection {
    pub(crate) fn is_cluster(&self) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Cluster(_) => true,
        }
    }

    /// Sends a command once, and waits for its replies for `limit` at most.
    pub(crate) async fn send(
        &self,
        command: &Command<'_>,
        mode: &SendMode,
        limit: Duration,
    ) -> Result<Values, Failure> {
        match self {
            Self::Server(batcher) => batcher.send(command.commands(mode.script), limit).await,
            // boxed, or the future of every operation would be as large as the cluster client's
            Self::Cluster(cluster) => Box::pin(timeout(limit, cluster.send(command, mode)))
                .await
                .unwrap_or(Err(Failure::TimedOut)),
        }
    }
}
