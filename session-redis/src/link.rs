//! One live connection, to a server or to a cluster, that any number of operations share by cloning.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use redis::{
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    batch::{Batcher, Values},
    config::Address,
    connector::Connector,
    error::Failure,
    script::{Call, Form},
    url,
};

/// A connection. Dropping the future of an operation leaves it in step: its reply is read and thrown away by the task that drives
/// the connection.
#[derive(Clone)]
pub(crate) enum Link {
    Node(Batcher),
    Cluster(Arc<ClusterLink>),
}

pub(crate) struct ClusterLink {
    connection: ClusterConnection,
    connector: Arc<Connector>,
    /// Nodes that are importing a slot. The cluster client sends `ASKING` once for a whole pipeline, where Redis takes it for one
    /// command, and shares the connection meanwhile; so they get connections of their own, as long as this link lives.
    importing: Mutex<HashMap<Address, MultiplexedConnection>>,
}

impl Link {
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends a call once and waits for its replies, `patience` at most.
    pub(crate) async fn send(
        &self,
        call: &Call<'_>,
        form: &Form,
        patience: Duration,
    ) -> Result<Values, Failure> {
        match self {
            Self::Node(batcher) => batcher.send(call.commands(form.source), patience).await,
            // in a box, because the future of every operation would be as large as that of the cluster client
            Self::Cluster(cluster) => Box::pin(timeout(patience, cluster.send(call, form)))
                .await
                .unwrap_or(Err(Failure::TimedOut)),
        }
    }
}

impl ClusterLink {
    pub(crate) fn new(connection: ClusterConnection, connector: Arc<Connector>) -> Self {
        Self {
            connection,
            connector,
            importing: Mutex::default(),
        }
    }

    async fn send(&self, call: &Call<'_>, form: &Form) -> Result<Values, Failure> {
        match &form.asking {
            None => query(&mut self.connection.clone(), call, form).await,
            Some(node) => self.ask(node, call, form).await,
        }
    }

    async fn ask(&self, node: &str, call: &Call<'_>, form: &Form) -> Result<Values, Failure> {
        let node = url::address(node, 0).map_err(|_| {
            Failure::unreached("the cluster names an importing node without address")
        })?;
        let known = self.importing.lock().await.get(&node).cloned();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let made = self.connector.node(&node).await?;
                self.importing
                    .lock()
                    .await
                    .insert(node.clone(), made.clone());
                made
            }
        };
        let outcome = query(&mut connection, call, form).await;
        if matches!(outcome, Err(Failure::Lost { .. })) {
            self.importing.lock().await.remove(&node);
        }
        outcome
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cluster() {
            "Link::Cluster"
        } else {
            "Link::Node"
        })
    }
}

async fn query<C: ConnectionLike>(
    connection: &mut C,
    call: &Call<'_>,
    form: &Form,
) -> Result<Values, Failure> {
    let replies = call.pipeline(form).query_async::<Vec<_>>(connection).await;
    replies
        .map(Values::from_vec)
        .map_err(|error| Failure::from(&error))
}
