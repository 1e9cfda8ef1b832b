//! Finds the primary of a service, and notices when it changes.
//!
//! All sentinels are asked, because they learn of a failover one after the other; the redis crate
//! believes the first that replies. [`sentinel_view`](crate::sentinel_view) says which reply is
//! believed. They are asked for each new connection, and by the watcher
//! ([`sentinel_watcher`](crate::sentinel_watcher)).
//!
//! A primary that is replaced while it serves acknowledges writes that its successor never gets,
//! from the promotion until clients have left it. Sentinels announce the new primary a second
//! later. So the store leaves the old one when the promotion is announced
//! ([`Sentinels::hand_over`]), waits until the replica says that it is a primary, and goes there.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use redis::Cmd;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    address::Address,
    backoff::jitter,
    config::{RedisConfig, Role},
    endpoint::Endpoint,
    failure::Failure,
    role::is_primary,
    sentinel_view::{KnownPrimary, SentinelView, Verdict},
};

/// The command that asks a sentinel for a service.
pub(crate) const SENTINEL_MASTER: [&str; 2] = ["SENTINEL", "MASTER"];

/// How long a new connection waits for the other sentinels after the first has replied.
const GRACE: Duration = Duration::from_millis(100);

/// How long operations wait for a replica to be promoted. A sentinel promotes it about 0.1 s after
/// it has announced that.
const MAX_HANDOVER: Duration = Duration::from_millis(500);

/// How long the store watches for a promotion that comes late, while it uses the old primary.
const MAX_PROMOTION: Duration = Duration::from_secs(5);

/// The longest pause between two questions whether it is promoted. Many instances ask.
const ROLE_PAUSE: Duration = Duration::from_millis(20);

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
    /// Notified when it does.
    changed: Notify,
    /// The old primary must not be used any more, and the new one cannot be yet.
    handing_over: watch::Sender<bool>,
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
            changed: Notify::new(),
            handing_over: watch::Sender::new(false),
            on_change,
        })
    }

    /// Connections of earlier generations lead to a server that is no longer the primary.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Runs a future unless connections of this generation lead to a server that is no longer the
    /// primary, which may hang.
    pub(crate) async fn while_primary<T>(
        &self,
        generation: u64,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let (mut future, mut changed) = (pin!(future), pin!(self.changed.notified()));
        changed.as_mut().enable();
        poll_fn(|cx| {
            if self.generation() != generation {
                return Poll::Ready(None);
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => changed.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
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

    /// Returns the primary, for a new connection. If a replica is about to be promoted, waits for
    /// that.
    pub(crate) async fn find_primary(&self) -> Result<Primary, Failure> {
        let mut handing_over = self.handing_over.subscribe();
        // the task that hands over may be on a runtime that nothing drives
        let _ = timeout(self.max_handover(), handing_over.wait_for(|is| !is)).await;
        self.ask(false).await
    }

    /// A sentinel is about to promote a replica of this primary. All connections leave the primary
    /// at once; new ones wait until the replica is promoted. If that does not happen soon, they
    /// lead to the old primary again.
    pub(crate) async fn hand_over(&self, primary: &Address, replica: &Address) {
        if self.known().address() != Some(primary) {
            return;
        }
        let begins = |is: &mut bool| !std::mem::replace(is, true);
        if !self.handing_over.send_if_modified(begins) {
            // another sentinel has announced it too
            return;
        }
        let ends = HandoverEnd(&self.handing_over);
        self.leave_primary();
        let promoted = timeout(self.max_handover(), self.wait_until_primary(replica)).await;
        if promoted.is_ok() {
            self.on_promotion(primary, replica);
            return;
        }
        drop(ends);
        let promoted = timeout(MAX_PROMOTION, self.wait_until_primary(replica)).await;
        if promoted.is_ok() && self.on_promotion(primary, replica) {
            self.leave_primary();
        }
    }

    /// Makes all connections look for the primary again.
    fn leave_primary(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        (self.on_change)();
    }

    /// A replica of this primary was promoted. Returns whether that is news.
    fn on_promotion(&self, primary: &Address, replica: &Address) -> bool {
        let now = Instant::now();
        let moved = self.known().on_promotion(primary, replica, now);
        if moved {
            let service = &self.service;
            tracing::info!(primary = %replica, service, "a sentinel promoted a replica of Redis");
        }
        moved
    }

    /// Asks a server for its role until it is a primary. The sentinel closes all connections to it
    /// when it promotes it.
    async fn wait_until_primary(&self, server: &Address) {
        let server = Endpoint::Tcp(server);
        loop {
            if let Ok(mut connection) = server.connect(&self.config, Role::Server).await {
                while let Ok(is_primary) = is_primary(&mut connection).await {
                    if is_primary {
                        return;
                    }
                    sleep(jitter(ROLE_PAUSE)).await;
                }
            }
            sleep(jitter(ROLE_PAUSE)).await;
        }
    }

    /// How long a handover may take: less than the time after which the breaker opens.
    fn max_handover(&self) -> Duration {
        MAX_HANDOVER.min(self.config.connect_timeout / 2)
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
                self.changed.notify_waiters();
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

/// Lets connections be made again, also if the task is aborted.
struct HandoverEnd<'s>(&'s watch::Sender<bool>);

impl Drop for HandoverEnd<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
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
    use std::{future::pending, sync::atomic::AtomicUsize};

    use test_support::{FakeRedis, Redis, eventually};

    use super::*;

    fn address_of(port: u16) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// A sentinel that names this server.
    async fn naming(primary: &Redis) -> (FakeRedis, Arc<Sentinels>) {
        let port = primary.port().to_string();
        let address = ["ip", "127.0.0.1", "port", &port];
        let words = [&address[..], &["flags", "master", "config-epoch", "1"]].concat();
        let words = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len()));
        let reply = format!("*8\r\n{}", words.collect::<String>());
        let sentinel = FakeRedis::with_reply(&reply).await;
        let config = Arc::new(RedisConfig::standalone("h").expect("an address"));
        let addresses = vec![address_of(sentinel.addr().port())];
        let service = "sessions".to_owned();
        let sentinels = Sentinels::new(config, addresses, service, Arc::new(|| {}));
        let found = sentinels.find_primary().await.expect("a primary");
        assert_eq!(found.address, address_of(primary.port()));
        (sentinel, sentinels)
    }

    #[tokio::test]
    async fn connections_wait_for_a_promotion_and_lead_to_the_new_primary() {
        let old = Redis::start();
        let port = old.port().to_string();
        let new = Redis::with_options(&["--replicaof", "127.0.0.1", &port]);
        let [primary, replica] = [&old, &new].map(|server| address_of(server.port()));
        let (_sentinel, sentinels) = naming(&old).await;
        sentinels.hand_over(&replica, &primary).await;
        assert_eq!(sentinels.generation(), 1, "not the primary");

        let mut handover = pin!(sentinels.hand_over(&primary, &replica));
        let mut found = pin!(sentinels.find_primary());
        poll_fn(|cx| {
            assert!(handover.as_mut().poll(cx).is_pending());
            assert_eq!(sentinels.generation(), 2);
            assert!(found.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let () = new.command(&["REPLICAOF", "NO", "ONE"]);
        handover.await;
        let found = found.await.expect("a primary");
        // the sentinel still names the old one
        assert_eq!((&found.address, found.generation), (&replica, 2));
    }

    #[tokio::test]
    async fn connecting_ends_if_the_primary_changes() {
        let old = Redis::start();
        let (_sentinel, sentinels) = naming(&old).await;
        let connecting = |generation| sentinels.while_primary(generation, pending::<()>());
        assert_eq!(connecting(0).await, None, "it has changed before");
        let mut connecting = pin!(connecting(1));
        poll_fn(|cx| {
            assert!(connecting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        sentinels.leave_primary();
        assert_eq!(connecting.await, None);
        assert_eq!(sentinels.while_primary(2, async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn connections_lead_to_the_old_primary_if_the_promotion_is_late() {
        let old = Redis::start();
        let port = old.port().to_string();
        let new = Redis::with_options(&["--replicaof", "127.0.0.1", &port]);
        let [primary, replica] = [&old, &new].map(|server| address_of(server.port()));
        let (_sentinel, sentinels) = naming(&old).await;
        let task = tokio::spawn({
            let (sentinels, primary, replica) =
                (sentinels.clone(), primary.clone(), replica.clone());
            async move { sentinels.hand_over(&primary, &replica).await }
        });
        eventually("connections leave the primary", async || {
            sentinels.generation() == 2
        })
        .await;
        let found = sentinels.find_primary().await.expect("a primary");
        assert_eq!((found.address, found.generation), (primary, 2));
        let () = new.command(&["REPLICAOF", "NO", "ONE"]);
        task.await.expect("no panic");
        let found = sentinels.find_primary().await.expect("a primary");
        assert_eq!((found.address, found.generation), (replica, 3));
    }

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
