//! What Redis announces of changes, and in which order.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use session_core::{
    AnyChanges, AnyFeed, Changes, Destroy, Listener, Saved, SessionId, Store, Version, Watched,
};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Cluster, Meter, Redis, eventually};
use tokio::{task::JoinSet, time::sleep};

use crate::{LONG, create, destroyed, id, load, record, saved, touched, write};

/// Counts what it hears.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    changes: Mutex<HashMap<SessionId, usize>>,
    interruptions: AtomicUsize,
}

impl Listener for Heard {
    fn changed(&self, id: &SessionId) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes.entry(*id).or_default() += 1;
    }

    fn interrupted(&self) {
        self.interruptions.fetch_add(1, Ordering::SeqCst);
    }
}

impl Heard {
    pub(crate) fn of(&self, id: &SessionId) -> usize {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn interruptions(&self) -> usize {
        self.interruptions.load(Ordering::SeqCst)
    }
}

fn lazy(url: &str) -> RedisStore {
    let config = RedisConfig::from_url(url).expect("a URL");
    RedisStore::lazy(config).expect("a store")
}

pub(crate) async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(url).await.expect("a store")
}

/// Starts to listen.
pub(crate) fn listen(store: &RedisStore) -> (AnyChanges, Arc<Heard>) {
    let changes = store.changes().expect("Redis announces changes");
    let heard = Arc::new(Heard::default());
    let weak: Weak<Heard> = Arc::downgrade(&heard);
    changes.listen(weak);
    (changes, heard)
}

pub(crate) async fn watch(changes: &AnyChanges, id: &SessionId) -> Watched {
    changes.load(id).await.expect("load")
}

/// Loads until a living feed announces the next change.
pub(crate) async fn feed_of(changes: &AnyChanges, id: &SessionId) -> AnyFeed {
    let mut feed = None;
    eventually("a load is announced", async || {
        feed = changes.load(id).await.ok().and_then(|watched| watched.feed);
        feed.as_ref().and_then(AnyFeed::silence).is_some()
    })
    .await;
    feed.expect("a feed")
}

pub(crate) async fn assert_announced(heard: &Heard, id: &SessionId, times: usize) {
    eventually("a change is announced", async || heard.of(id) >= times).await;
    assert_eq!(heard.of(id), times);
}

/// Every change that stores and operators make. `servers` has the server of any key.
async fn assert_every_change_is_announced(url: &str, servers: &[Redis]) {
    let (store, other) = (connect(url).await, connect(url).await);
    let (changes, heard) = listen(&store);
    let on_servers = |words: &[&str]| {
        let done = servers
            .iter()
            .map(|server| server.try_command::<u64>(words));
        assert!(done.flatten().any(|count| count == 1), "{words:?}");
    };
    for by in [&other, &store] {
        let (id, first, second) = (id(), record(b"1"), record(b"2"));
        create(by, &id, &first).await;
        for times in 1.. {
            let feed = feed_of(&changes, &id).await;
            let version = match times {
                1 => first.version(),
                _ => second.version(),
            };
            match times {
                1 => {
                    let result = by.save(&id, version, write(&second)).await;
                    assert_eq!(result.expect("save"), saved());
                }
                2 => {
                    let result = by.touch(&id, version, 2 * LONG).await;
                    assert_eq!(result.expect("touch"), touched());
                }
                3 => {
                    let result = by.destroy(&id, Destroy::expecting(version)).await;
                    assert_eq!(result.expect("destroy"), destroyed());
                }
                _ => break,
            }
            assert_announced(&heard, &id, times).await;
            assert!(feed.silence().is_some());
        }
    }
    let ended = id();
    create(&other, &ended, &record(b"1")).await;
    feed_of(&changes, &ended).await;
    let result = other.destroy(&ended, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_announced(&heard, &ended, 1).await;

    let removed = id();
    create(&other, &removed, &record(b"1")).await;
    feed_of(&changes, &removed).await;
    on_servers(&["DEL", &format!("session:{removed}")]);
    assert_announced(&heard, &removed, 1).await;

    let expiring = id();
    create(&other, &expiring, &record(b"1")).await;
    feed_of(&changes, &expiring).await;
    on_servers(&["PEXPIRE", &format!("session:{expiring}"), "1000"]);
    assert_announced(&heard, &expiring, 1).await;
    feed_of(&changes, &expiring).await;
    assert_announced(&heard, &expiring, 2).await;
    assert_eq!(store.load(&expiring).await.expect("load"), None);

    // an absent session that comes to be is one that has changed
    let absent = id();
    assert!(watch(&changes, &absent).await.loaded.is_none());
    create(&other, &absent, &record(b"1")).await;
    assert_announced(&heard, &absent, 1).await;
}

#[tokio::test]
async fn every_change_is_announced_by_a_server() {
    let servers = [Redis::start()];
    assert_every_change_is_announced(&servers[0].url(), &servers).await;
}

#[tokio::test]
async fn every_change_is_announced_by_a_cluster() {
    let cluster = Cluster::start();
    assert_every_change_is_announced(&cluster.url(), &cluster.nodes).await;
}

#[tokio::test]
async fn what_a_load_returns_is_what_is_stored() {
    let server = Redis::start();
    let store = connect(&server.url()).await;
    let (changes, _heard) = listen(&store);
    let (id, first) = (id(), record(b"body"));
    create(&store, &id, &first).await;
    feed_of(&changes, &id).await;
    let loaded = watch(&changes, &id).await.loaded.expect("a session");
    assert_eq!(loaded.record, first);
    assert!(loaded.ttl.expect("it expires") <= LONG);
}

#[tokio::test]
async fn nothing_is_tracked_before_somebody_listens() {
    let server = Redis::start();
    let mut meter = Meter::new(&server);
    let store = lazy(&server.url());
    let changes = store.changes().expect("Redis announces changes");
    let (id, first) = (id(), record(b"1"));
    let unheard = meter.measure(async {
        create(&store, &id, &first).await;
        let watched = watch(&changes, &id).await;
        assert_eq!(watched.loaded.expect("a session").record, first);
        assert!(watched.feed.is_none());
        load(&store, &id).await
    });
    let sent = unheard.await.commands;
    let of_tracking = |name: &String| name.starts_with("client") || name == "role";
    let setup = |name: &String| name == "client|setinfo";
    assert!(
        !sent.keys().any(|name| of_tracking(name) && !setup(name)),
        "{sent:?}"
    );
    assert_eq!((sent["get"], sent["pttl"]), (2, 2), "{sent:?}");
}

#[tokio::test]
async fn only_a_load_that_is_to_be_announced_costs_a_command_more() {
    let server = Redis::start();
    let mut meter = Meter::new(&server);
    let store = connect(&server.url()).await;
    let (changes, heard) = listen(&store);
    let id = id();
    create(&store, &id, &record(b"1")).await;
    feed_of(&changes, &id).await;
    // of both connections
    eventually("tracking is on", async || {
        let list: String = server.command(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| line.contains(" flags=t "))
            .count()
            == 2
    })
    .await;
    let caching = |commands: &std::collections::BTreeMap<String, u64>| {
        let client = commands
            .iter()
            .filter(|(name, _)| name.starts_with("client"));
        client.map(|(_, count)| count).sum::<u64>()
    };
    let tracked = meter.measure(watch(&changes, &id)).await;
    let sent = tracked.commands;
    assert_eq!(
        (caching(&sent), sent["get"], sent["pttl"]),
        (1, 1, 1),
        "{sent:?}"
    );
    let untracked = meter.measure(load(&store, &id)).await;
    let sent = untracked.commands;
    assert_eq!(
        (caching(&sent), sent["get"], sent["pttl"]),
        (0, 1, 1),
        "{sent:?}"
    );
    // what was read without is not announced
    let other = self::id();
    create(&store, &other, &record(b"1")).await;
    load(&store, &other).await;
    let result = store.destroy(&other, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_announced(&heard, &id, 1).await;
    assert_eq!(heard.of(&other), 0);
}

#[tokio::test]
async fn nothing_is_tracked_after_the_last_listener_is_gone() {
    let server = Redis::start();
    let mut meter = Meter::new(&server);
    let store = connect(&format!("{}?connections=1", server.url())).await;
    let (changes, heard) = listen(&store);
    let (id, first) = (id(), record(b"1"));
    create(&store, &id, &first).await;
    let feed = feed_of(&changes, &id).await;
    drop(heard);
    eventually("the feed ends", async || feed.silence().is_none()).await;
    let unheard = meter.measure(async {
        let watched = watch(&changes, &id).await;
        assert_eq!(watched.loaded.expect("a session").record, first);
        assert!(watched.feed.is_none());
        // two heartbeats
        sleep(Duration::from_secs(1)).await;
    });
    let sent = unheard.await.commands;
    let expected = ["get", "pttl"].map(|name| (name.to_owned(), 1));
    assert_eq!(sent, expected.into());

    let heard = Arc::new(Heard::default());
    let weak: Weak<Heard> = Arc::downgrade(&heard);
    changes.listen(weak);
    let again = feed_of(&changes, &id).await;
    let result = store.destroy(&id, Destroy::any()).await;
    assert_eq!(result.expect("destroy"), destroyed());
    assert_announced(&heard, &id, 1).await;
    assert!(again.silence().is_some() && feed.silence().is_none());
}

#[tokio::test]
async fn the_first_load_on_a_new_connection_is_announced() {
    let server = Redis::start();
    let store = lazy(&server.url());
    let (changes, heard) = listen(&store);
    let (id, first) = (id(), record(b"1"));
    let feed = watch(&changes, &id).await.feed.expect("a feed");
    assert!(feed.silence().is_some());
    create(&store, &id, &first).await;
    assert_announced(&heard, &id, 1).await;
}

#[tokio::test]
async fn heartbeats_keep_silence_short() {
    let server = Redis::start();
    let store = connect(&server.url()).await;
    let (changes, heard) = listen(&store);
    let feed = feed_of(&changes, &id()).await;
    for _ in 0..3 {
        let since = Instant::now();
        eventually("a heartbeat that was sent since is answered", async || {
            feed.silence().expect("a living feed") < since.elapsed()
        })
        .await;
    }
    assert_eq!(heard.interruptions(), 0);
}

/// Keeps what was loaded until it changes, as a near cache does.
#[derive(Debug, Default)]
struct Cache {
    sessions: Mutex<HashMap<SessionId, Cached>>,
}

#[derive(Debug, Default)]
struct Cached {
    generation: u64,
    kept: Option<(Version, AnyFeed)>,
}

impl Listener for Cache {
    fn changed(&self, id: &SessionId) {
        let mut sessions = self.sessions.lock().expect("a lock");
        let session = sessions.entry(*id).or_default();
        session.generation += 1;
        session.kept = None;
    }
}

impl Cache {
    fn generation(&self, id: &SessionId) -> u64 {
        let sessions = self.sessions.lock().expect("a lock");
        sessions.get(id).map_or(0, |session| session.generation)
    }

    fn kept(&self, id: &SessionId) -> Option<Version> {
        let sessions = self.sessions.lock().expect("a lock");
        let (version, feed) = sessions.get(id)?.kept.as_ref()?;
        feed.silence().map(|_| *version)
    }

    /// Loads a session. Returns whether it was kept.
    async fn load(&self, changes: &AnyChanges, id: &SessionId) -> bool {
        let generation = self.generation(id);
        let watched = watch(changes, id).await;
        let loaded = watched.loaded.expect("a session");
        let feed = watched.feed.expect("a feed");
        let mut sessions = self.sessions.lock().expect("a lock");
        let session = sessions.entry(*id).or_default();
        let unchanged = session.generation == generation;
        if unchanged {
            session.kept = Some((loaded.record.version(), feed));
        }
        unchanged
    }
}

/// Writes and loads concurrently. What is kept afterwards must be what is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_never_overtakes_the_load_that_it_is_about() {
    const ROUNDS: usize = 20;
    const SESSIONS: usize = 16;
    const WRITES: usize = 40;
    let server = Redis::start();
    let (store, writer) = (connect(&server.url()).await, connect(&server.url()).await);
    let changes = store.changes().expect("Redis announces changes");
    let cache = Arc::new(Cache::default());
    let weak: Weak<Cache> = Arc::downgrade(&cache);
    changes.listen(weak);
    let mut sessions = vec![];
    for _ in 0..SESSIONS {
        let (id, first) = (id(), record(b"0"));
        create(&writer, &id, &first).await;
        sessions.push((id, first.version()));
    }
    feed_of(&changes, &sessions[0].0).await;
    let (mut kept, mut discarded, mut compared) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for (id, version) in sessions.drain(..) {
            let (writer, changes, cache) = (writer.clone(), changes.clone(), cache.clone());
            tasks.spawn(async move {
                let write_all = async {
                    let mut version = version;
                    for _ in 0..WRITES {
                        let next = record(b"next");
                        let result = writer.save(&id, version, write(&next)).await;
                        assert!(matches!(result, Ok(Saved::Saved(_))), "{result:?}");
                        version = next.version();
                    }
                    version
                };
                let load_all = async {
                    let mut kept = 0;
                    for _ in 0..WRITES {
                        kept += usize::from(cache.load(&changes, &id).await);
                    }
                    kept
                };
                let (version, kept) = tokio::join!(write_all, load_all);
                (id, version, kept)
            });
        }
        for (id, version, of_session) in tasks.join_all().await {
            kept += of_session;
            discarded += WRITES - of_session;
            sessions.push((id, version));
        }
        // a heartbeat is answered after everything that was announced before
        let since = Instant::now();
        let feed = feed_of(&changes, &id()).await;
        eventually("a later heartbeat is answered", async || {
            feed.silence()
                .is_some_and(|silence| silence < since.elapsed())
        })
        .await;
        for (id, version) in &sessions {
            if let Some(cached) = cache.kept(id) {
                assert_eq!(cached, *version, "a stale session is kept");
                compared += 1;
            }
        }
    }
    assert!(
        kept > 0 && discarded > 0 && compared > 0,
        "{kept} kept, {discarded} discarded, {compared} compared"
    );
}
