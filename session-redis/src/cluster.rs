//! The nodes of a cluster, and the map that says which of them serves a slot.
//!
//! The map is read by every operation and never waited for, except by the first one. What is wrong
//! in it is corrected where it is noticed: a `MOVED` changes its slot at once. Every sign of a
//! change also asks for a new map, which one task at a time fetches, not more often than
//! [`MIN_PAUSE`], and less often while nothing changes.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    address::Address,
    backoff::{exponential, jitter},
    command::SendMode,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
    metrics,
    node::{Node, NodeState},
    reply::Values,
    slot_map::{SLOTS, SlotRange, is_state_ok, parse_slots, slot},
};

/// The shortest pause between two requests for the map.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause while it does not change.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The commands that ask a node for the map.
pub(crate) const QUERIES: [[&str; 2]; 2] = [["CLUSTER", "INFO"], ["CLUSTER", "SLOTS"]];

/// How long one node may take before the next is asked too.
const STAGGER: Duration = Duration::from_millis(100);

/// A cluster.
pub(crate) struct Cluster {
    config: Arc<RedisConfig>,
    seeds: Vec<Address>,
    map: watch::Sender<Arc<Map>>,
    /// Every node that the map or a redirection names.
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    refreshing: Mutex<Refreshing>,
    this: Weak<Self>,
}

/// Which node serves which slot.
struct Map {
    /// For each slot, a node of the list after it plus one; zero is none.
    slots: Box<[u16]>,
    nodes: Vec<Arc<Node>>,
    /// How many attempts to get a map have ended.
    attempts: u64,
    /// Why the last attempt failed.
    failure: Option<Failure>,
}

/// The nodes that serve slots.
pub(crate) struct Serving {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The number of slots that none of them serves.
    pub(crate) unserved: usize,
}

/// The task that fetches the map.
#[derive(Debug, Default)]
struct Refreshing {
    running: bool,
    /// It was asked for again in the meantime.
    again: bool,
    last: Option<Instant>,
    /// How many maps in a row have brought nothing new.
    unchanged: u32,
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<Address>, config: Arc<RedisConfig>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            config,
            seeds,
            map: watch::Sender::new(Arc::new(Map::empty())),
            nodes: Mutex::default(),
            refreshing: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Returns the node for a key, if it is known.
    pub(crate) fn node(&self, key: &str, mode: &SendMode) -> Option<Arc<Node>> {
        match &mode.asking {
            Some(importing) => Some(self.node_at(importing)),
            None => self.map.borrow().node(slot(key)).cloned(),
        }
    }

    /// Waits for a map that knows the node for a key, and asks for one.
    ///
    /// # Errors
    ///
    /// No node could be asked, or the cluster serves the slot by none.
    pub(crate) async fn find_node(
        &self,
        key: &str,
        deadline: Instant,
    ) -> Result<Arc<Node>, Failure> {
        let slot = slot(key);
        let mut map = self.map.subscribe();
        let before = map.borrow_and_update().attempts;
        self.refresh();
        let arrived = map.wait_for(|map| map.node(slot).is_some() || map.attempts > before);
        let late = || Failure::unavailable("timed out while looking for the nodes of the cluster");
        let map = match timeout_at(deadline, arrived).await {
            Ok(Ok(map)) => map.clone(),
            Ok(Err(_)) | Err(_) => return Err(late()),
        };
        match (map.node(slot), &map.failure) {
            (Some(node), _) => Ok(node.clone()),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(Failure::unavailable(format!(
                "the cluster serves slot {slot} by no node"
            ))),
        }
    }

    /// A node says that another one serves the slot of a key.
    pub(crate) fn moved(&self, key: &str, to: Address) {
        let node = self.node_at(&to);
        let slot = slot(key);
        self.map.send_if_modified(|map| {
            let known = map.node(slot);
            if known.is_some_and(|known| Arc::ptr_eq(known, &node)) {
                return false;
            }
            *map = Arc::new(map.with(slot, node));
            true
        });
        self.refresh();
    }

    /// Asks for a new map, without waiting for it.
    pub(crate) fn refresh(&self) {
        {
            let mut refreshing = self.refreshing();
            if refreshing.running {
                refreshing.again = true;
                return;
            }
            refreshing.running = true;
        }
        let task = RefreshTask {
            cluster: self.this.clone(),
            finished: false,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(task.run())),
            // no runtime: dropping the task reports that it was aborted
            Err(_) => drop(task),
        }
    }

    /// Returns the nodes that serve slots; waits for a map if there is none yet.
    ///
    /// # Errors
    ///
    /// No node could be asked.
    pub(crate) async fn serving(&self, deadline: Instant) -> Result<Serving, Failure> {
        let mut map = self.map.subscribe();
        let before = map.borrow_and_update().attempts;
        if map.borrow().nodes.is_empty() {
            self.refresh();
            let arrived = map.wait_for(|map| !map.nodes.is_empty() || map.attempts > before);
            // after the deadline, the last failure is still the reason
            let _ = timeout_at(deadline, arrived).await.map(drop);
        }
        let map = self.map.borrow().clone();
        match (&map.failure, map.nodes.is_empty()) {
            (Some(failure), true) => Err(failure.clone()),
            (None, true) => Err(Failure::unavailable(
                "timed out while looking for the nodes of the cluster",
            )),
            (_, false) => Ok(map.serving()),
        }
    }

    /// The nodes that serve slots.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map.borrow().nodes.clone()
    }

    fn node_at(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.lock_nodes();
        let node = nodes.get(address).cloned();
        node.unwrap_or_else(|| {
            let node = Node::of_cluster(address.clone(), &self.config);
            nodes.insert(address.clone(), node.clone());
            node
        })
    }

    /// Fetches the map once. Returns whether it has changed anything.
    async fn fetch(&self) -> bool {
        let fetched = self.ask_nodes().await;
        let arrived = fetched.is_ok();
        let mut changed = false;
        self.map.send_modify(|map| {
            let attempts = map.attempts + 1;
            *map = Arc::new(match fetched {
                Ok(ranges) => {
                    let new = self.map_of(&ranges);
                    changed = !map.is_same(&new);
                    Map { attempts, ..new }
                }
                Err(failure) => {
                    tracing::debug!(%failure, "the map of the cluster cannot be fetched");
                    Map {
                        attempts,
                        failure: Some(failure),
                        ..map.copy()
                    }
                }
            });
        });
        metrics::map_refreshed(arrived.then_some(changed));
        if changed {
            let nodes = self.nodes();
            let names: Vec<_> = nodes.iter().map(|node| node.source().to_string()).collect();
            tracing::info!(
                nodes = names.join(","),
                "the map of the Redis cluster has changed"
            );
            // those that serve no slot any more are closed when their last operation is done
            let in_map = |node: &Arc<Node>| nodes.iter().any(|other| Arc::ptr_eq(node, other));
            self.lock_nodes().retain(|_, node| in_map(node));
        }
        changed
    }

    fn map_of(&self, ranges: &[SlotRange]) -> Map {
        let mut map = Map::empty();
        for SlotRange {
            first,
            last,
            primary,
        } in ranges
        {
            let node = self.node_at(primary);
            let index = map.index_of(node);
            map.slots[usize::from(*first)..=usize::from(*last)].fill(index);
        }
        map
    }

    /// Asks one node after the other for the map, each a little later than the one before, until
    /// one replies that is in touch with the majority. A node that is not may have an old map,
    /// which is better than none.
    async fn ask_nodes(&self) -> Result<Vec<SlotRange>, Failure> {
        let mut candidates = self.candidates().into_iter();
        let mut queries = JoinSet::new();
        let mut failure = Failure::unavailable("the cluster has no nodes");
        let mut out_of_touch = None;
        loop {
            if let Some(candidate) = candidates.next() {
                queries.spawn(candidate.ask(self.config.clone()));
            } else if queries.is_empty() {
                break;
            }
            let wait = match candidates.len() {
                0 => Duration::MAX,
                _ => STAGGER,
            };
            match timeout(wait, queries.join_next()).await {
                Ok(Some(Ok(Ok(Answer { ranges, ok: true })))) => return Ok(ranges),
                Ok(Some(Ok(Ok(Answer { ranges, ok: false })))) => out_of_touch = Some(ranges),
                Ok(Some(Ok(Err(error)))) => failure = error,
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
        match out_of_touch {
            Some(ranges) if self.map.borrow().nodes.is_empty() => Ok(ranges),
            Some(_) => Err(Failure::unavailable(
                "no node is in touch with the majority of the cluster",
            )),
            None => Err(failure),
        }
    }

    /// Whom to ask, in this order: connected nodes, then the others that were ever known.
    fn candidates(&self) -> Vec<Candidate> {
        let nodes: Vec<_> = self.lock_nodes().clone().into_iter().collect();
        let mut candidates = Vec::new();
        let (up, others): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .partition(|(_, node)| node.state() == NodeState::Up);
        // a map has no order, so the instances do not all ask the same node
        for (address, node) in up {
            candidates.push(Candidate::Connected(address, node));
        }
        let known = others.into_iter().map(|(address, _)| address);
        for address in known.chain(self.seeds.iter().cloned()) {
            let is_known = |other: &Candidate| *other.address() == address;
            if !candidates.iter().any(is_known) {
                candidates.push(Candidate::Address(address));
            }
        }
        candidates
    }

    fn refreshing(&self) -> MutexGuard<'_, Refreshing> {
        self.refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seeds", &self.seeds)
            .field("nodes", &self.nodes())
            .finish_non_exhaustive()
    }
}

impl Map {
    fn empty() -> Self {
        Self {
            slots: vec![0; usize::from(SLOTS)].into(),
            nodes: Vec::new(),
            attempts: 0,
            failure: None,
        }
    }

    fn node(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = self.slots[usize::from(slot)];
        self.nodes.get(usize::from(index).checked_sub(1)?)
    }

    fn serving(&self) -> Serving {
        let mut serves = vec![false; self.nodes.len() + 1];
        let mut unserved = 0;
        for &index in &self.slots {
            serves[usize::from(index)] = true;
            unserved += usize::from(index == 0);
        }
        let nodes = self.nodes.iter().zip(&serves[1..]);
        let nodes = nodes.filter(|(_, serves)| **serves);
        Serving {
            nodes: nodes.map(|(node, _)| node.clone()).collect(),
            unserved,
        }
    }

    /// A node's number in `slots`; the node is added if it is new.
    fn index_of(&mut self, node: Arc<Node>) -> u16 {
        let known = self
            .nodes
            .iter()
            .position(|other| Arc::ptr_eq(other, &node));
        let position = known.unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        // a cluster has at most as many primaries as slots
        u16::try_from(position + 1).unwrap_or_default()
    }

    /// The same map, but for one slot.
    fn with(&self, slot: u16, node: Arc<Node>) -> Self {
        let mut map = self.copy();
        let index = map.index_of(node);
        map.slots[usize::from(slot)] = index;
        map
    }

    fn copy(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            nodes: self.nodes.clone(),
            attempts: self.attempts,
            failure: self.failure.clone(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let nodes = |map: &Self, slot| map.node(slot).map(Arc::as_ptr);
        (0..SLOTS).all(|slot| nodes(self, slot) == nodes(other, slot))
    }
}

/// A node that can be asked for the map.
enum Candidate {
    Connected(Address, Arc<Node>),
    Address(Address),
}

/// What a node says about the cluster.
struct Answer {
    ranges: Vec<SlotRange>,
    /// It is in touch with the majority.
    ok: bool,
}

impl Candidate {
    fn address(&self) -> &Address {
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

/// Fetches maps until nobody asks for another. It does not keep the cluster alive.
struct RefreshTask {
    cluster: Weak<Cluster>,
    finished: bool,
}

impl RefreshTask {
    async fn run(mut self) {
        loop {
            let Some(pause) = self.cluster.upgrade().map(|cluster| cluster.pause()) else {
                return;
            };
            sleep(pause).await;
            let Some(cluster) = self.cluster.upgrade() else {
                return;
            };
            cluster.refreshing().again = false;
            let changed = cluster.fetch().await;
            let mut refreshing = cluster.refreshing();
            refreshing.last = Some(Instant::now());
            refreshing.unchanged = match changed {
                true => 0,
                false => refreshing.unchanged.saturating_add(1),
            };
            if !refreshing.again {
                refreshing.running = false;
                self.finished = true;
                return;
            }
        }
    }
}

impl Drop for RefreshTask {
    /// If the task was aborted, perhaps with its runtime, the next request starts another.
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.upgrade().filter(|_| !self.finished) {
            cluster.refreshing().running = false;
            // those that wait for a map learn that this attempt brought none
            cluster.map.send_modify(|map| {
                *map = Arc::new(Map {
                    attempts: map.attempts + 1,
                    failure: Some(Failure::unavailable("the request for the map was aborted")),
                    ..map.copy()
                });
            });
        }
    }
}

impl Cluster {
    /// How long to wait before the map is fetched again.
    fn pause(&self) -> Duration {
        let mut refreshing = self.refreshing();
        let Some(last) = refreshing.last else {
            return Duration::ZERO;
        };
        let since = last.elapsed();
        if since > MAX_PAUSE {
            refreshing.unchanged = 0;
        }
        let pause = exponential(MIN_PAUSE, refreshing.unchanged).min(MAX_PAUSE);
        jitter(pause).saturating_sub(since)
    }
}
