//! Where histories take place: the store, the sessions of several instances, and how it all begins.

use std::{cell::RefCell, rc::Rc, time::Duration};

use http::{Method, Request, Response, header};
use session_core::{
    AnyStore, Builder, CookieOptions, Created, ExpressOptions, Record, Session, SessionId,
    SessionToken, Sessions, SigningKeys, Store, Write,
};

use crate::{
    browser::{Jar, SetCookie},
    case::{Case, Configuration, Situation},
    executor::{self, Choice, Strategy, Surroundings},
    history::{Applied, Happened, History, RequestLog},
    map_store::MapStore,
    oracle::Oracle,
    point::{self, Task},
    request::{Client, Exchange},
    scheduled_store::{Call, Effect, Op, ScheduledStore},
    script::Party,
    surroundings::{Counter, Drawn, ManualClock},
    verb::Principal,
    view::{MAIL, ORIGIN, View},
};

/// Requests of a case at most, and so instances.
pub(crate) const MAX_REQUESTS: usize = 4;
pub(crate) const IDLE: Duration = Duration::from_secs(100);
/// So short that it limits the life of a session that is not new.
const ABSOLUTE: Duration = Duration::from_secs(110);
const GRACE: Duration = Duration::from_secs(10);
/// More than the grace, and more than a tenth of the idle timeout.
pub(crate) const ADVANCE: Duration = Duration::from_secs(11);
/// How long the user hesitates before logging in.
const UNTIL_LOGIN: Duration = Duration::from_secs(8);
/// After this time an extension of the session's life is worth a write.
const UNTIL_DUE: Duration = Duration::from_secs(15);
const KEY: &str = "a signing key of at least 32 bytes, the first";
const OLD_KEY: &str = "a signing key of at least 32 bytes, an old one";

/// What distinguishes one stage from another.
pub(crate) type Setting = (Situation, bool, Configuration);

/// Where the histories of cases with one setting take place. It is used again and again: making
/// sessions is not free.
#[derive(Debug)]
pub(crate) struct Stage<S> {
    clock: ManualClock,
    counter: Counter,
    store: ScheduledStore<S>,
    instances: Vec<Sessions>,
    oracle: Oracle,
    start: Start,
}

/// How each history begins.
#[derive(Debug, Default)]
struct Start {
    drawn: Drawn,
    now: u64,
    jar: Jar,
    records: Vec<Stored>,
    views: Vec<(SessionId, View)>,
    retired: Vec<SessionToken>,
}

/// A record as the setup left it.
#[derive(Debug)]
struct Stored {
    id: SessionId,
    record: Record,
    ttl: Duration,
}

impl<S: Store> Stage<S> {
    /// Prepares the sessions of a setting.
    ///
    /// # Panics
    ///
    /// If the library cannot even begin: a session cannot be stored without anybody else around.
    pub(crate) fn new(setting: Setting, make: &dyn Fn(&ManualClock) -> S) -> Self {
        let (clock, counter) = (ManualClock::default(), Counter::default());
        let store = ScheduledStore::new(make(&clock));
        let build = |store: AnyStore, keys: &[&str]| {
            let sessions = Sessions::builder(store)
                .signing_keys(SigningKeys::new(keys.iter().copied()).expect("long enough"))
                .clock(clock.clone())
                .insecure_entropy(counter.clone());
            configure(sessions, setting.2).build().expect("valid")
        };
        let oracle = |store: AnyStore, keys: &[&str]| Oracle {
            sessions: build(store, keys),
            counter: counter.clone(),
            clock: clock.clone(),
        };
        let keys: &[&str] = match setting.2 {
            Configuration::OldKey => &[KEY, OLD_KEY],
            _ => &[KEY],
        };
        // a store that is explored may be flawed
        let before = AnyStore::new(MapStore::new(&clock));
        let watcher = oracle(before.clone(), keys);
        let sessions = build(before.clone(), &keys[keys.len() - 1..]);
        let start = set_up(setting, &sessions, &before, &watcher);
        let instances = (0..MAX_REQUESTS).map(|_| build(AnyStore::new(store.clone()), keys));
        let instances = instances.collect();
        let oracle = oracle(AnyStore::new(store.silent()), keys);
        Self {
            clock,
            counter,
            store,
            instances,
            oracle,
            start,
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
        self.store.replace(fresh);
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
        let jars = [
            self.start.jar.clone(),
            match attacked {
                // the attacker has planted the cookie, or seen it before
                true => self.start.jar.clone(),
                false => Jar::default(),
            },
        ];
        let logs = attackers.map(|(party, script)| RequestLog::new(*party, script));
        let exchange = Rc::new(RefCell::new(Exchange {
            logs: logs.collect(),
            jars: jars.clone(),
        }));
        let tasks = (0..case.requests.len()).map(|index| {
            let client = Client {
                exchange: exchange.clone(),
                index,
                sessions: match case.one_instance {
                    true => self.instances[0].clone(),
                    false => self.instances[index].clone(),
                },
                first_number: case.first_number(index),
                method: match case.safe_method {
                    true => Method::GET,
                    false => Method::POST,
                },
            };
            Box::pin(client.run()) as Task
        });
        let mut observer = Observer {
            stage: self,
            exchange: &exchange,
            views: self
                .start
                .views
                .iter()
                .map(|(id, view)| (*id, Some(view.clone())))
                .collect(),
            applied: Vec::new(),
            events: Vec::new(),
            calls: Vec::new(),
        };
        let end = executor::run(tasks.collect(), case.budget(), strategy, &mut observer);
        let Observer {
            views,
            applied,
            events,
            ..
        } = observer;
        let time_passed = events.iter().any(|event| event.owner.is_none());
        let records = views
            .into_iter()
            .filter_map(|(id, view)| match time_passed {
                // it may be over
                true => Some((id, self.oracle.view(id)?)),
                false => Some((id, view?)),
            });
        let records = records.collect();
        let exchange = exchange.borrow();
        History {
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
            now: self.clock.millis(),
        }
    }
}

/// Serves the requests that come before every history.
fn set_up(
    (situation, due, configuration): Setting,
    sessions: &Sessions,
    store: &AnyStore,
    watcher: &Oracle,
) -> Start {
    let mut start = Start::default();
    let mut serve = |handle: &dyn Fn(&Session)| {
        let request = request(&start.jar);
        let begun = sessions.begin(&request);
        let session = point::run_to_end(begun.load()).expect("nothing fails yet");
        handle(&session);
        let mut response = Response::new(());
        let _ =
            point::run_to_end(sessions.finish(&begun, &mut response)).expect("nothing fails yet");
        start.retired.extend(start.jar.tokens());
        start.jar.apply(&cookies(&response));
    };
    if situation != Situation::Nobody {
        serve(&|session| {
            session.insert(ORIGIN.0, &true).expect("a small value");
            if configuration == Configuration::OwnCookie {
                let own = session.set_cookie(|cookie| cookie.partitioned(true));
                own.expect("a valid combination");
            }
        });
    }
    if situation == Situation::LoggedIn {
        watcher.clock.advance(UNTIL_LOGIN);
        serve(&|session| {
            session.log_in(Principal::Ann.as_str()).expect("a request");
            session.insert(MAIL.0, &true).expect("a small value");
        });
    }
    if due {
        watcher.clock.advance(UNTIL_DUE);
    }
    start.now = watcher.clock.millis();
    start.drawn = watcher.counter.drawn();
    for token in start.jar.tokens() {
        let id = token.id();
        let loaded = point::run_to_end(store.load(&id)).expect("nothing fails yet");
        let loaded = loaded.expect("just stored");
        start.records.push(Stored {
            id,
            record: loaded.record,
            ttl: loaded.ttl.unwrap_or(Duration::MAX),
        });
        let view = watcher.view(id).expect("the token opens it");
        start.views.push((id, view));
    }
    start
}

fn configure(builder: Builder, configuration: Configuration) -> Builder {
    let builder = builder.absolute_timeout(ABSOLUTE).supersede_grace(GRACE);
    match configuration {
        Configuration::Plain | Configuration::OldKey | Configuration::OwnCookie => {
            builder.idle_timeout(IDLE)
        }
        Configuration::Persistent => builder.cookie(CookieOptions::new().max_age(IDLE)),
        Configuration::Rolling => builder
            .idle_timeout(IDLE)
            .express(ExpressOptions::new().rolling(true)),
        Configuration::Resave => builder
            .idle_timeout(IDLE)
            .express(ExpressOptions::new().resave(true)),
    }
}

fn request(jar: &Jar) -> Request<()> {
    let mut request = Request::new(());
    if let Some(Ok(value)) = jar.header().map(TryInto::try_into) {
        request.headers_mut().insert(header::COOKIE, value);
    }
    request
}

fn cookies(response: &Response<()>) -> Vec<SetCookie> {
    let lines = response.headers().get_all(header::SET_COOKIE).iter();
    lines
        .map(|line| SetCookie::parse(line.to_str().unwrap_or_default()))
        .collect()
}

/// Writes down what each event did.
struct Observer<'s, S> {
    stage: &'s Stage<S>,
    exchange: &'s RefCell<Exchange>,
    /// The records as they are now.
    views: Vec<(SessionId, Option<View>)>,
    applied: Vec<Applied>,
    events: Vec<Happened>,
    calls: Vec<Call>,
}

impl<S: Store> Surroundings for Observer<'_, S> {
    fn advance(&mut self) {
        self.stage.clock.advance(ADVANCE);
    }

    fn after(&mut self, choice: &Choice, owner: Option<usize>) {
        self.events.push(Happened {
            owner,
            name: choice.name,
            fault: choice.fault,
        });
        self.stage.store.take_calls(&mut self.calls);
        let Self {
            stage,
            exchange,
            views,
            applied,
            calls,
            ..
        } = self;
        for call in calls.drain(..) {
            let log = &mut exchange.borrow_mut().logs[call.owner];
            let presented = log.tokens.iter();
            let presented = presented
                .clone()
                .find(|token| token.id() == call.id)
                .cloned();
            let known = views.iter().position(|(id, _)| *id == call.id);
            let before = known.and_then(|known| views[known].1.clone());
            let after = match (call.changed(), call.op) {
                (false, _) => before.clone(),
                (true, Op::Destroy) => None,
                (true, Op::Load | Op::Create | Op::Save | Op::Touch) => stage.oracle.view(call.id),
            };
            let token_opens = call.effect == Effect::Done
                && log
                    .tokens
                    .iter()
                    .any(|token| token.id() == call.id && stage.oracle.open(token).is_some());
            if call.op == Op::Load && log.loaded.is_none() && (token_opens || !log.is_decided) {
                log.is_decided |= before.is_some();
                log.presented = presented.or(log.presented.take());
            }
            let replaced = before.as_ref().filter(|before| {
                let secret = after.as_ref().map(|after| after.secret);
                secret.is_some_and(|secret| secret != before.secret)
            });
            let earlier_opens =
                replaced.is_some_and(|before| stage.oracle.opens(call.id, &before.secret));
            let shows_own_write = shows_own_write(&stage.oracle, applied, &call);
            match known {
                Some(known) => views[known].1.clone_from(&after),
                None => views.push((call.id, after.clone())),
            }
            applied.push(Applied {
                at: stage.clock.millis(),
                before,
                after,
                token_opens,
                earlier_opens,
                shows_own_write,
                call,
            });
        }
    }
}

/// Whether a call returned a record that shows that the last write of its request was applied.
fn shows_own_write(oracle: &Oracle, applied: &[Applied], call: &Call) -> bool {
    let returned = matches!(
        (call.op, call.effect, call.fault),
        (Op::Load, Effect::Done, None) | (Op::Save, Effect::Conflict, None)
    );
    let own = applied.iter().rev();
    let mut own = own.filter(|earlier| {
        earlier.call.owner == call.owner && matches!(earlier.call.op, Op::Create | Op::Save)
    });
    let last = own.clone().find(|earlier| !earlier.call.late);
    let Some(last) = last.filter(|last| returned && last.call.id == call.id) else {
        return false;
    };
    let version = last.call.version;
    if call.found == version {
        return true;
    }
    // it may have been sent twice, and applied late
    let done = own.find(|earlier| earlier.call.version == version && earlier.call.changed());
    done.is_some_and(|done| {
        let secret = |view: &Option<View>| view.as_ref().map(|view| view.secret);
        let brought = secret(&done.after).filter(|new| secret(&done.before) != Some(*new));
        brought.is_some_and(|secret| oracle.opens(call.id, &secret))
    })
}
