//! Whether the nodes of a store can be used: one small request to each, on connections that
//! operations use too.

use session_core::{Health, HealthPart, PartState, StoreErrorKind};
use tokio::{task::JoinSet, time::Instant};

use crate::{cluster::Cluster, failure::Failure, node::Node};

/// The health of a store on one node.
pub(crate) async fn of_node(node: &Node, deadline: Instant) -> Health {
    Health::of([part(node, deadline).await])
}

/// The health of a cluster, which is down if any of its slots is.
pub(crate) async fn of_cluster(cluster: &Cluster, deadline: Instant) -> Health {
    let serving = match cluster.serving(deadline).await {
        Ok(serving) => serving,
        Err(failure) => return Health::of([down("cluster", &failure)]),
    };
    let mut checks = JoinSet::new();
    for node in serving.nodes {
        checks.spawn(async move { part(&node, deadline).await });
    }
    let mut parts = checks.join_all().await;
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    if serving.unserved > 0 {
        let reason = format!("no node serves {} slots", serving.unserved);
        parts.push(HealthPart::new("cluster", PartState::Down).because(reason));
    }
    let health = Health::of(parts);
    if !health.ready {
        // without requests, nobody else would notice that another node has taken over
        cluster.refresh();
    }
    health
}

async fn part(node: &Node, deadline: Instant) -> HealthPart {
    let mut reply = node.ping(deadline).await;
    if matches!(reply, Err(Failure::Closed | Failure::Lost { .. })) {
        // the connection is being replaced
        reply = node.ping(deadline).await;
    }
    let name = node.source().name();
    match reply {
        Ok(()) => HealthPart::new(name, PartState::Ready),
        // it replies, even if this user may not ask
        Err(Failure::Server(error)) if error.kind() != StoreErrorKind::Unavailable => {
            HealthPart::new(name, PartState::Ready)
        }
        Err(failure) => down(name, &failure),
    }
}

fn down(name: impl Into<String>, failure: &Failure) -> HealthPart {
    HealthPart::new(name, PartState::Down).because(failure.to_string())
}
