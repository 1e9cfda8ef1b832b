//! Finds the primary of a service, and notices when it changes.
//!
//! All sentinels are asked, because they learn of a failover one after the other; the redis crate
//! believes the first that replies. [`sentinel_view`](crate::sentinel_view) says which reply is
//! believed. They are asked for each new connection, and by the watcher
//! ([`sentinel_watcher`](crate::sentinel_watcher)).

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::Cmd;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
    sentinel_view::{KnownPrimary, SentinelView, Verdict},
};

/// The command that asks a sentinel for a service.
pub(crate) const SENTINEL_MASTER: [&str; 2] = ["SENTINEL", "MASTER"];

/// How long a new connection waits for the other sentinels after the first has replied.
const GRACE: Duration = Duration::from_millis(100);

/// Called when the primary is another than before.
pub(crate) type OnChange = Arc<dyn Fn() + Send + Sync>;

/// The sentinels of a service.
pub(crate) struct Sentinels {
    config: Arc<RedisConfig>,
    addresses: Vec<Address>,
    service: String,
    known: Mutex<KnownPrimary>,
    /// How often the primary has changed.
    generation: AtomicU64,
    on_change: OnChange,
}

/// The primary of a service, and the generation of connections to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) address: Address,
    pub(crate) generation: u64,
}

impl Sentinels {
    pub(crate) fn new(
        config: Arc<RedisConfig>,
        addresses: Vec<Address>,
        service: String,
        on_change: OnChange,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            addresses,
            service,
            known: Mutex::default(),
            generation: AtomicU64::new(0),
            on_change,
        })
    }

    /// Connections of earlier generations lead to a server that is no longer the primary.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> &Arc<RedisConfig> {
        &self.config
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// Returns the primary, for a new connection.
    pub(crate) async fn find_primary(&self) -> Result<Primary, Failure> {
        self.ask(false).await
    }

    /// Asks all sentinels and waits for all of them. If the primary is another now, connections
    /// leave the old one.
    pub(crate) async fn check(&self) {
        if let Err(failure) = self.ask(true).await {
            tracing::debug!(%failure, "sentinels were asked for the Redis primary");
        }
    }

    /// A server has said whether it is a primary.
    pub(crate) fn on_role(&self, server: &Address, is_primary: bool) {
        self.known().on_role(server, is_primary);
    }

    /// Asks all sentinels. `all` takes those into account that reply late.
    async fn ask(&self, all: bool) -> Result<Primary, Failure> {
        let mut queries = JoinSet::new();
        for sentinel in &self.addresses {
            let query = query(self.config.clone(), sentinel.clone(), self.service.clone());
            queries.spawn(query);
        }
        let mut views = Vec::new();
        let mut failure = Failure::unavailable("there is no sentinel");
        while let Some(reply) = queries.join_next().await {
            match reply.unwrap_or_else(|_| Err(Failure::unavailable("query was aborted"))) {
                Ok(view) => views.push(view),
                Err(error) => failure = error,
            }
            if !views.is_empty() {
                break;
            }
        }
        let in_time = timeout(GRACE, collect(&mut queries, &mut views)).await;
        let found = self.believe(&views, &failure);
        if !all || in_time.is_ok() {
            return found;
        }
        collect(&mut queries, &mut views).await;
        self.believe(&views, &failure)
    }

    /// Decides what to believe. A primary other than before begins a new generation, which reaches
    /// all connections.
    fn believe(&self, views: &[SentinelView], failure: &Failure) -> Result<Primary, Failure> {
        let (verdict, changed, generation) = {
            let mut known = self.known();
            let before = known.address().cloned();
            let verdict = known.on_views(views, self.addresses.len(), Instant::now());
            let changed = known.address() != before.as_ref();
            if changed {
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
            (verdict, changed, self.generation())
        };
        match &verdict {
            Verdict::Primary(primary) | Verdict::Down(primary) if changed => {
                let service = &self.service;
                tracing::info!(%primary, service, "sentinels named the Redis primary");
                (self.on_change)();
            }
            Verdict::Primary(_) | Verdict::Down(_) | Verdict::Unknown => {}
        }
        match verdict {
            Verdict::Primary(address) => Ok(Primary {
                address,
                generation,
            }),
            Verdict::Down(primary) => Err(Failure::unavailable(format!(
                "sentinels report that primary {primary} is down"
            ))),
            Verdict::Unknown => Err(Failure::unavailable(format!(
                "no sentinel knows the primary: {failure}"
            ))),
        }
    }

    fn known(&self) -> MutexGuard<'_, KnownPrimary> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("addresses", &self.addresses)
            .field("service", &self.service)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

/// Waits for the replies to all queries. Each of them has a deadline.
async fn collect(
    queries: &mut JoinSet<Result<SentinelView, Failure>>,
    views: &mut Vec<SentinelView>,
) {
    while let Some(reply) = queries.join_next().await {
        views.extend(reply.ok().and_then(Result::ok));
    }
}

/// Asks one sentinel.
async fn query(
    config: Arc<RedisConfig>,
    sentinel: Address,
    service: String,
) -> Result<SentinelView, Failure> {
    let ask = async {
        let mut connection = Endpoint::Tcp(&sentinel)
            .connect(&config, Role::Sentinel)
            .await?;
        let mut command = Cmd::new();
        command.arg(&SENTINEL_MASTER).arg(&service);
        let reply = connection.query(&command).await;
        let reply = reply.map_err(|error| Failure::from_connecting(&error).at(&sentinel))?;
        SentinelView::parse(reply)
            .ok_or_else(|| Failure::unavailable("unexpected reply").at(&sentinel))
    };
    timeout(config.connect_timeout, ask)
        .await
        .unwrap_or_else(|_| Err(Failure::unavailable("timed out").at(&sentinel)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn only_another_primary_begins_a_generation() {
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = changes.clone();
        let on_change = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let config = Arc::new(RedisConfig::standalone("h").expect("an address"));
        let sentinels = Sentinels::new(config, vec![], "sessions".to_owned(), on_change);
        let round = |host: &str, epoch, down| {
            let primary = Address {
                host: host.to_owned(),
                port: 1,
            };
            let view = SentinelView {
                primary,
                epoch,
                down,
                failing_over: false,
            };
            let failure = Failure::unavailable("");
            let found = sentinels.believe(&[view], &failure);
            let found = found.map(|primary| (primary.address.host, primary.generation));
            let changes = changes.load(Ordering::Relaxed);
            (found.ok(), sentinels.generation(), changes)
        };
        let on = |host: &str, generation| Some((host.to_owned(), generation));
        assert_eq!(round("a", 1, false), (on("a", 1), 1, 1));
        assert_eq!(round("a", 2, false), (on("a", 1), 1, 1), "the same server");
        assert_eq!(round("a", 2, true), (None, 1, 1), "down");
        assert_eq!(round("b", 3, false), (on("b", 2), 2, 2));
        assert_eq!(round("a", 2, false), (on("b", 2), 2, 2), "an older epoch");
        // it is left even if its successor cannot be reached yet
        assert_eq!(round("c", 4, true), (None, 3, 3));
    }
}
