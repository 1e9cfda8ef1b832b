//! Where histories take place: the store, the sessions of several instances, and how it all begins.

use std::{cell::RefCell, rc::Rc};

use http::Method;
use session_core::{AnyStore, Created, Index, NearCache, Sessions, SigningKeys, Store, Write};

use crate::{
    browser::Jar,
    case::{Case, Configuration},
    directory::{Directory, LastLook},
    executor::{self, Strategy},
    feeds::{self, Feeds, NEAR_INSTANCES},
    footprint::Footprint,
    glimpse::Watcher,
    history::{History, RequestLog},
    hits,
    map_store::MapStore,
    observer::{Observed, Observer},
    oracle::Oracle,
    point::{self, Task},
    request::{Client, Evict, Exchange},
    scheduled_store::ScheduledStore,
    script::{JARS, Party},
    setup::{KEY, LEASE, MAX_REQUESTS, OLD_KEY, Setting, Start, Stored, configure, set_up},
    surroundings::{Counter, ManualClock},
    whose::Whose,
};

/// Where the histories of cases with one setting take place. It is used again and again: making
/// sessions is not free.
#[derive(Debug)]
pub(crate) struct Stage<S> {
    clock: ManualClock,
    counter: Counter,
    store: ScheduledStore<S>,
    instances: Vec<Sessions>,
    feeds: Feeds,
    oracle: Oracle,
    start: Start,
    is_indexed: bool,
    is_near: bool,
}

impl<S: Store> Stage<S> {
    /// Prepares the sessions of a setting.
    ///
    /// # Panics
    ///
    /// If the library cannot even begin: a session cannot be stored without anybody else around.
    pub(crate) fn new(setting: Setting, make: &dyn Fn(&ManualClock) -> S) -> Self {
        let (clock, counter) = (ManualClock::default(), Counter::default());
        let feeds = Feeds::new(&clock);
        let store = ScheduledStore::new(make(&clock), setting.indexing, feeds.clone());
        let builder = |store: AnyStore, keys: &[&str]| {
            let sessions = Sessions::builder(store)
                .signing_keys(SigningKeys::new(keys.iter().copied()).expect("long enough"))
                .clock(clock.clone())
                .insecure_entropy(counter.clone());
            configure(sessions, setting)
        };
        let build = |store, keys: &[&str]| builder(store, keys).build().expect("valid");
        let oracle = |store: AnyStore, keys: &[&str]| Oracle {
            sessions: build(store, keys),
            counter: counter.clone(),
            clock: clock.clone(),
            is_thorough: setting.near,
        };
        let keys: &[&str] = match setting.configuration {
            Configuration::OldKey => &[KEY, OLD_KEY],
            _ => &[KEY],
        };
        // a store that is explored may be flawed
        let before = AnyStore::new(MapStore::new(&clock));
        let watcher = oracle(before.clone(), keys);
        let sessions = build(before.clone(), &keys[keys.len() - 1..]);
        let start = set_up(setting, &sessions, &before, &watcher);
        let instances = match setting.near {
            false => (0..MAX_REQUESTS)
                .map(|_| build(AnyStore::new(store.clone()), keys))
                .collect(),
            true => (0..NEAR_INSTANCES)
                .map(|number| {
                    let store = AnyStore::new(store.of_instance(number));
                    let near_cache = NearCache::new().lease(LEASE);
                    let builder = builder(store, keys).near_cache(near_cache);
                    builder.build().expect("valid")
                })
                .collect(),
        };
        let oracle = oracle(AnyStore::new(store.silent()), keys);
        Self {
            clock,
            counter,
            store,
            instances,
            feeds,
            oracle,
            start,
            is_indexed: setting.indexing.is_some(),
            is_near: setting.near,
        }
    }

    /// Sets everything to the beginning of a history.
    fn restart(&self, make: &dyn Fn(&ManualClock) -> S) {
        self.clock.set(self.start.now);
        self.counter.reset(&self.start.drawn);
        let fresh = make(&self.clock);
        for Stored { id, record, ttl } in &self.start.records {
            let write = Write::new(record, *ttl);
            let created = point::run_to_end(fresh.create(id, write));
            assert!(
                matches!(created, Ok(Created::Created(_))),
                "the store is not empty"
            );
        }
        if let Some(index) = fresh.index() {
            for listing in &self.start.listings {
                let listed = point::run_to_end(index.put(listing));
                assert!(listed.is_ok(), "nothing fails yet");
            }
        }
        self.store.replace(fresh);
        if self.is_near {
            self.feeds.restart();
            for sessions in &self.instances {
                for token in self.start.jar.tokens() {
                    let opened = point::run_to_end(sessions.open(&token));
                    assert!(opened.is_ok_and(|opened| opened.is_some()), "it is kept");
                }
            }
            self.store.take_calls(&mut Vec::new());
            self.feeds.forget();
        }
    }

    /// Runs one history of a case.
    pub(crate) fn run<'c>(
        &'c self,
        case: &'c Case,
        make: &dyn Fn(&ManualClock) -> S,
        strategy: &mut dyn Strategy,
    ) -> History<'c> {
        self.restart(make);
        let attackers = case.requests.iter();
        let attacked = attackers
            .clone()
            .any(|(party, _)| *party == Party::Attacker);
        let mut jars: [Jar; JARS] = Default::default();
        jars[0] = self.start.jar.clone();
        if attacked {
            // the attacker has planted the cookie, or seen it before
            jars[1] = self.start.jar.clone();
        }
        let logs = attackers.map(|(party, script)| RequestLog::new(*party, script));
        let exchange = Rc::new(RefCell::new(Exchange {
            logs: logs.collect(),
            jars: jars.clone(),
        }));
        let store = self.store.clone();
        let evict: Evict = Rc::new(move |whose: Whose| {
            let store = store.clone();
            Box::pin(async move { store.evict(whose.key()).await })
        });
        let tasks = (0..case.requests.len()).map(|index| {
            let client = Client {
                exchange: exchange.clone(),
                index,
                sessions: self.instances[case.instance(index)].clone(),
                kept: match self.is_near {
                    true => Footprint::reading(feeds::kept(case.instance(index))),
                    false => Footprint::LOCAL,
                },
                first_number: case.first_number(index),
                method: match case.safe_method {
                    true => Method::GET,
                    false => Method::POST,
                },
                evict: evict.clone(),
                is_indexed: self.is_indexed,
                first_token: self.start.jar.tokens().next(),
            };
            Box::pin(client.run()) as Task
        });
        let mut observer = Observer::new(
            &self.clock,
            &self.store,
            &self.oracle,
            &exchange,
            &self.start.views,
            self.is_indexed,
            self.is_near.then(|| Watcher {
                feeds: &self.feeds,
                instances: &self.instances,
                tokens: self.start.jar.tokens().collect(),
            }),
        );
        let end = executor::run(tasks.collect(), case.budget(), strategy, &mut observer);
        let (records, observed) = observer.finish();
        let Observed {
            applied,
            events,
            index_calls,
            directories,
            glimpses,
        } = observed;
        let last_looks = match (end, self.is_indexed) {
            (executor::End::Complete, true) => self.last_looks(),
            _ => Vec::new(),
        };
        let exchange = exchange.borrow();
        let mut history = History {
            case,
            end,
            oracle: &self.oracle,
            requests: exchange.logs.clone(),
            applied,
            events,
            records,
            initial: self.start.views.clone(),
            retired: self.start.retired.clone(),
            initial_jars: jars,
            jars: exchange.jars.clone(),
            index_calls,
            directories,
            last_looks,
            now: self.clock.millis(),
            heard: self.feeds.take_heard(),
            glimpses,
            hits: Vec::new(),
        };
        if self.is_near {
            history.hits = hits::of(&history);
        }
        history
    }

    /// Lists all sessions, when everything has stopped.
    fn last_looks(&self) -> Vec<LastLook> {
        let Some(index) = self.store.inner_index() else {
            return Vec::new();
        };
        let mut looks = Vec::new();
        for whose in Whose::ALL {
            let of = whose.sessions(&self.oracle.sessions);
            let listed = point::run_to_end(of.list()).ok();
            let directory = Directory::read(&index);
            looks.push(LastLook {
                whose,
                listed: listed.map(|listed| listed.iter().map(|session| session.id()).collect()),
                entries: directory.of(whose).map(|entry| entry.id).collect(),
            });
        }
        looks
    }
}
