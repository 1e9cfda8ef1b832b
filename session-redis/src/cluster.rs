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
    time::{Instant, sleep, timeout_at},
};

use crate::{
    address::Address,
    announcer::Announcer,
    backoff::{exponential, jitter},
    cluster_map::{Map, Serving},
    cluster_query::{Candidate, STAGGER, ask_nodes},
    command::SendMode,
    config::RedisConfig,
    failure::Failure,
    identity::{OnNews, ServerNews},
    metrics,
    node::{Node, NodeState},
    slot_map::{SlotRange, slot},
};

/// The shortest pause between two requests for the map.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause while it does not change.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A cluster.
pub(crate) struct Cluster {
    config: Arc<RedisConfig>,
    announcer: Arc<Announcer>,
    seeds: Vec<Address>,
    map: watch::Sender<Arc<Map>>,
    /// Every node that the map or a redirection names.
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    refreshing: Mutex<Refreshing>,
    on_news: Option<OnNews>,
    this: Weak<Self>,
}

/// The task that fetches the map.
#[derive(Debug, Default)]
struct Refreshing {
    /// The number of the running task. One that nothing drives is replaced.
    running: Option<u64>,
    /// How many were started.
    started: u64,
    /// When the running one was last seen to run.
    seen_at: Option<Instant>,
    /// It was asked for again in the meantime.
    again: bool,
    last: Option<Instant>,
    /// How many maps in a row have brought nothing new.
    unchanged: u32,
}

impl Cluster {
    /// `on_news` is called when another node serves a slot than before.
    pub(crate) fn new(
        seeds: Vec<Address>,
        config: Arc<RedisConfig>,
        announcer: Arc<Announcer>,
        on_news: Option<OnNews>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            config,
            announcer,
            seeds,
            map: watch::Sender::new(Arc::new(Map::empty())),
            nodes: Mutex::default(),
            refreshing: Mutex::default(),
            on_news,
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

    /// Waits for a map that knows the node for a key, and asks for one. If there is no map because
    /// the last attempt to get one has failed, it does not wait.
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
        let before = map.borrow_and_update().clone();
        if let (false, Some(failure), true) =
            (self.refresh(), before.failure(), before.nodes().is_empty())
        {
            // the task goes on until there is a map
            return Err(failure.clone());
        }
        let before = before.attempts();
        let arrived = map.wait_for(|map| map.node(slot).is_some() || map.attempts() > before);
        let late = || Failure::unavailable("timed out while looking for the nodes of the cluster");
        let map = match timeout_at(deadline, arrived).await {
            Ok(Ok(map)) => map.clone(),
            Ok(Err(_)) | Err(_) => return Err(late()),
        };
        match (map.node(slot), map.failure()) {
            (Some(node), _) => Ok(node.clone()),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(Failure::unavailable(format!(
                "the cluster serves slot {slot} by no node"
            ))),
        }
    }

    /// A node says that another one serves the slot of a key.
    pub(crate) fn moved(&self, key: &str, to: Address) {
        let slot = slot(key);
        let mut before = None;
        let moved = self.map.send_if_modified(|map| {
            // a new map, which may drop nodes that it does not name, comes before or after
            let node = self.node_at(&to);
            let known = map.node(slot);
            if known.is_some_and(|known| Arc::ptr_eq(known, &node)) {
                return false;
            }
            before = known.cloned();
            *map = Arc::new(map.with(slot, node));
            true
        });
        if let Some(before) = before {
            before.on_lost_slots();
        }
        if moved {
            self.tell_of_move();
        }
        self.refresh();
    }

    /// Asks for a new map, without waiting for it. Returns whether nothing was fetching one.
    pub(crate) fn refresh(&self) -> bool {
        let stuck_after = self.stuck_after();
        let number = {
            let mut refreshing = self.refreshing();
            let seen = refreshing.seen_at.map(|seen_at| seen_at.elapsed());
            let stuck = seen.is_none_or(|seen| seen > stuck_after);
            if refreshing.running.is_some() && !stuck {
                refreshing.again = true;
                return false;
            }
            refreshing.started += 1;
            refreshing.running = Some(refreshing.started);
            refreshing.seen_at = Some(Instant::now());
            refreshing.started
        };
        let task = RefreshTask {
            cluster: self.this.clone(),
            number,
            finished: false,
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(task.run())),
            // no runtime: dropping the task reports that it was aborted
            Err(_) => drop(task),
        }
        true
    }

    /// A task that was not seen to run for so long is stuck: longer than a pause and a fetch take.
    fn stuck_after(&self) -> Duration {
        let nodes = u32::try_from(self.nodes().len() + self.seeds.len()).unwrap_or(u32::MAX);
        let RedisConfig {
            connect_timeout,
            response_timeout,
            ..
        } = &*self.config;
        let query = connect_timeout.saturating_add(*response_timeout);
        MAX_PAUSE + 2 * query + nodes * STAGGER
    }

    /// Returns the nodes that serve slots; waits for a map if there is none yet.
    ///
    /// # Errors
    ///
    /// No node could be asked.
    pub(crate) async fn serving(&self, deadline: Instant) -> Result<Serving, Failure> {
        let mut map = self.map.subscribe();
        let before = map.borrow_and_update().attempts();
        if map.borrow().nodes().is_empty() {
            self.refresh();
            let arrived = map.wait_for(|map| !map.nodes().is_empty() || map.attempts() > before);
            // after the deadline, the last failure is still the reason
            let _ = timeout_at(deadline, arrived).await.map(drop);
        }
        let map = self.map.borrow().clone();
        match (map.failure(), map.nodes().is_empty()) {
            (Some(failure), true) => Err(failure.clone()),
            (None, true) => Err(Failure::unavailable(
                "timed out while looking for the nodes of the cluster",
            )),
            (_, false) => Ok(map.serving()),
        }
    }

    /// The nodes that serve slots.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map.borrow().nodes().to_vec()
    }

    fn node_at(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.lock_nodes();
        let node = nodes.get(address).cloned();
        node.unwrap_or_else(|| {
            let on_news = self.on_news.clone();
            let node = Node::of_cluster(address.clone(), &self.config, &self.announcer, on_news);
            nodes.insert(address.clone(), node.clone());
            node
        })
    }

    /// Another node serves some slots. It may lack what the one before has acknowledged.
    fn tell_of_move(&self) {
        if let Some(on_news) = &self.on_news {
            on_news(ServerNews::Replaced);
        }
    }

    /// Fetches the map once. Returns whether it has changed anything.
    async fn fetch(&self) -> bool {
        let fetched = self.ask_nodes().await;
        let arrived = fetched.is_ok();
        let changed = self.apply(fetched);
        metrics::map_refreshed(arrived.then_some(changed));
        if changed {
            self.tell_of_move();
            let nodes = self.nodes();
            let names: Vec<_> = nodes.iter().map(|node| node.source().to_string()).collect();
            tracing::info!(
                nodes = names.join(","),
                "the map of the Redis cluster has changed"
            );
        }
        changed
    }

    /// Uses a new map. Returns whether it has changed anything.
    fn apply(&self, fetched: Result<Vec<SlotRange>, Failure>) -> bool {
        let (mut changed, mut losers) = (false, Vec::new());
        self.map.send_modify(|map| {
            *map = Arc::new(match fetched {
                Ok(ranges) => {
                    let mut new = Map::empty();
                    for range in &ranges {
                        new.set(range.first, range.last, self.node_at(&range.primary));
                    }
                    // the others are closed when their last operation is done
                    self.lock_nodes().retain(|_, node| new.names(node));
                    changed = !map.is_same(&new);
                    losers = map.losers(&new);
                    map.succeeded(new)
                }
                Err(failure) => {
                    tracing::debug!(%failure, "the map of the cluster cannot be fetched");
                    map.failed(failure)
                }
            });
        });
        for node in losers {
            node.on_lost_slots();
        }
        changed
    }

    /// Asks the nodes for the map. A node that is not in touch with the majority may have an old
    /// map, which is better than none.
    async fn ask_nodes(&self) -> Result<Vec<SlotRange>, Failure> {
        let answer = ask_nodes(self.candidates(), &self.config).await?;
        if answer.ok || self.map.borrow().nodes().is_empty() {
            return Ok(answer.ranges);
        }
        Err(Failure::unavailable(
            "no node is in touch with the majority of the cluster",
        ))
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

/// Fetches maps until there is one and nobody asks for another. It does not keep the cluster alive.
struct RefreshTask {
    cluster: Weak<Cluster>,
    number: u64,
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
            if !cluster.continues(self.number) {
                return self.finish();
            }
            let changed = cluster.fetch().await;
            if cluster.ends(self.number, changed) {
                return self.finish();
            }
        }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for RefreshTask {
    /// If the task was aborted, perhaps with its runtime, the next request starts another.
    fn drop(&mut self) {
        let Some(cluster) = self.cluster.upgrade().filter(|_| !self.finished) else {
            return;
        };
        {
            let mut refreshing = cluster.refreshing();
            if refreshing.running != Some(self.number) {
                return;
            }
            refreshing.running = None;
        }
        // those that wait for a map learn that this attempt brought none
        cluster.map.send_modify(|map| {
            let failure = Failure::unavailable("the request for the map was aborted");
            *map = Arc::new(map.failed(failure));
        });
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
        // it doubles with every second map, so that it is about a third of an outage
        let pause = exponential(MIN_PAUSE, refreshing.unchanged / 2 + 1).min(MAX_PAUSE);
        jitter(pause).saturating_sub(since)
    }

    /// Whether the task of this number is still the one that fetches. It begins to.
    fn continues(&self, number: u64) -> bool {
        let mut refreshing = self.refreshing();
        if refreshing.running != Some(number) {
            return false;
        }
        refreshing.again = false;
        refreshing.seen_at = Some(Instant::now());
        true
    }

    /// Whether the task of this number ends after a fetch.
    fn ends(&self, number: u64, changed: bool) -> bool {
        let has_map = !self.nodes().is_empty();
        let mut refreshing = self.refreshing();
        refreshing.last = Some(Instant::now());
        refreshing.unchanged = match changed {
            true => 0,
            false => refreshing.unchanged.saturating_add(1),
        };
        if refreshing.running != Some(number) {
            return true;
        }
        refreshing.seen_at = Some(Instant::now());
        let ends = has_map && !refreshing.again;
        if ends {
            refreshing.running = None;
        }
        ends
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
