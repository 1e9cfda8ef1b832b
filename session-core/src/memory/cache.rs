//! The caches of the in-process store: bounded by bytes, and reclaimed without requests.

use std::{
    hash::Hash,
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use moka::{
    Expiry,
    policy::EvictionPolicy,
    sync::{Cache, CacheBuilder},
};

/// How often the memory of expired sessions is reclaimed.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);
/// The longest life that the cache is told; it does not accept every `Duration`.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Something that the cache may reclaim after a while.
pub(super) trait Lives {
    /// How long it lives from now on.
    fn ttl(&self) -> Duration;
}

pub(super) fn cache<K, V>(
    capacity_bytes: u64,
    weigh: impl Fn(&V) -> usize + Send + Sync + 'static,
) -> CacheBuilder<K, V, Cache<K, V>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(capacity_bytes)
        .weigher(move |_: &K, value: &V| u32::try_from(weigh(value)).unwrap_or(u32::MAX))
        // the default policy may reject a new entry, which is a user who has just logged in
        .eviction_policy(EvictionPolicy::lru())
}

/// Tells the cache when it may reclaim a value. The store's clock decides which values are
/// returned.
pub(super) struct ByTtl;

impl<K, V: Lives> Expiry<K, V> for ByTtl {
    fn expire_after_create(&self, _: &K, value: &V, _: Instant) -> Option<Duration> {
        Some(value.ttl().min(MAX_TTL))
    }

    fn expire_after_update(
        &self,
        _: &K,
        value: &V,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.ttl().min(MAX_TTL))
    }
}

/// Starts a thread that reclaims expired entries, because the cache does so only when it is used.
/// The thread ends with the store.
pub(super) fn reclaim_periodically<K, V>(cache: Weak<Cache<K, V>>)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let thread = thread::Builder::new()
        .name("session-reclaim".into())
        .spawn(move || {
            while let Some(cache) = cache.upgrade() {
                cache.run_pending_tasks();
                drop(cache);
                thread::sleep(RECLAIM_INTERVAL);
            }
        });
    if let Err(error) = thread {
        tracing::warn!(
            %error,
            "cannot start a thread; expired sessions are reclaimed only when the store is used"
        );
    }
}
