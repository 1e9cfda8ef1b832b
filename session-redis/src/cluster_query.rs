//! Asks the nodes of a cluster for the map of its slots.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
    node::Node,
    reply::Values,
    slot_map::{CLUSTER_INFO, SlotRange, is_state_ok, parse_slots},
};

/// The commands that ask a node for the map.
pub(crate) const QUERIES: [[&str; 2]; 2] = [CLUSTER_INFO, ["CLUSTER", "SLOTS"]];

/// How long one node may take before the next is asked too.
pub(crate) const STAGGER: Duration = Duration::from_millis(100);

/// A node that can be asked for the map.
pub(crate) enum Candidate {
    Connected(Address, Arc<Node>),
    Address(Address),
}

/// What a node says about the cluster.
pub(crate) struct Answer {
    pub(crate) ranges: Vec<SlotRange>,
    /// It is in touch with the majority.
    pub(crate) ok: bool,
}

impl Candidate {
    pub(crate) fn address(&self) -> &Address {
        match self {
            Self::Connected(address, _) | Self::Address(address) => address,
        }
    }

    async fn ask(self, config: Arc<RedisConfig>) -> Result<Answer, Failure> {
        let commands = || {
            let command = |[name, subcommand]: [&str; 2]| {
                let mut command = redis::cmd(name);
                command.arg(subcommand);
                command
            };
            QUERIES.map(command).to_vec()
        };
        let address = self.address().clone();
        let connected = match &self {
            Self::Connected(_, node) => node.query(commands()).await,
            Self::Address(_) => None,
        };
        let values = match connected {
            Some(values) => values,
            None => ask_directly(&address, &config, &commands()).await,
        };
        let values = values.map_err(|failure| failure.into_not_sent().at(&address))?;
        let answer = match &values[..] {
            [info, slots] => parse_slots(slots, &address).map(|ranges| Answer {
                ranges,
                ok: is_state_ok(info),
            }),
            _ => None,
        };
        answer.ok_or_else(|| Failure::unavailable("unexpected reply").at(&address))
    }
}

/// Asks one node after the other for the map, each a little later than the one before, until one
/// replies that is in touch with the majority, or all have been asked.
///
/// # Errors
///
/// No node replied.
pub(crate) async fn ask_nodes(
    candidates: Vec<Candidate>,
    config: &Arc<RedisConfig>,
) -> Result<Answer, Failure> {
    let mut candidates = candidates.into_iter();
    let mut queries = JoinSet::new();
    let mut failure = Failure::unavailable("the cluster has no nodes");
    let mut out_of_touch = None;
    loop {
        if let Some(candidate) = candidates.next() {
            queries.spawn(candidate.ask(config.clone()));
        } else if queries.is_empty() {
            break;
        }
        let wait = match candidates.len() {
            0 => Duration::MAX,
            _ => STAGGER,
        };
        match timeout(wait, queries.join_next()).await {
            Ok(Some(Ok(Ok(answer)))) if answer.ok => return Ok(answer),
            Ok(Some(Ok(Ok(answer)))) => out_of_touch = Some(answer),
            Ok(Some(Ok(Err(error)))) => failure = error,
            Ok(Some(Err(_)) | None) | Err(_) => {}
        }
    }
    out_of_touch.ok_or(failure)
}

/// Asks a node on a connection of its own, which is closed afterwards.
async fn ask_directly(
    address: &Address,
    config: &RedisConfig,
    commands: &[redis::Cmd],
) -> Result<Values, Failure> {
    let ask = async {
        let endpoint = Endpoint::Tcp(address);
        let mut connection = endpoint.connect(config, Role::Server).await?;
        let mut values = Values::new();
        for command in commands {
            let value = connection.query(command).await;
            values.push(value.map_err(|error| Failure::from_connecting(&error))?);
        }
        Ok(values)
    };
    let limit = config
        .connect_timeout
        .saturating_add(config.response_timeout);
    timeout(limit, ask)
        .await
        .unwrap_or_else(|_| Err(Failure::unavailable("timed out while connecting")))
}
