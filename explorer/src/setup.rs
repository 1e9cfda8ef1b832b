//! How the sessions of a history are configured, and how it begins.

use std::time::{Duration, SystemTime};

use http::{Request, Response, header};
use session_core::{
    AnyStore, Builder, Clock, CookieOptions, ExpressOptions, Listing, Nonce, Record, Session,
    SessionId, SessionToken, Sessions, Store, WhenFull,
};

use crate::{
    browser::{Jar, SetCookie},
    case::{Case, Configuration, Indexing, Limit, Situation},
    oracle::Oracle,
    point,
    principal::Principal,
    surroundings::Drawn,
    view::{MAIL, ORIGIN, View},
    whose::Whose,
};

/// Requests of a case at most, and so instances.
pub(crate) const MAX_REQUESTS: usize = 4;
pub(crate) const IDLE: Duration = Duration::from_secs(100);
/// So short that it limits the life of a session that is not new.
const ABSOLUTE: Duration = Duration::from_secs(110);
const GRACE: Duration = Duration::from_secs(10);
/// How long a feed may be silent.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// More than the grace, more than a tenth of the idle timeout, and more than the lease.
pub(crate) const ADVANCE: Duration = Duration::from_secs(11);
/// How long the user hesitates before logging in.
const UNTIL_LOGIN: Duration = Duration::from_secs(8);
/// After this time an extension of the session's life is worth a write.
const UNTIL_DUE: Duration = Duration::from_secs(15);
pub(crate) const KEY: &str = "a signing key of at least 32 bytes, the first";
pub(crate) const OLD_KEY: &str = "a signing key of at least 32 bytes, an old one";

/// What distinguishes one stage from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Setting {
    situation: Situation,
    due: bool,
    pub(crate) configuration: Configuration,
    pub(crate) indexing: Option<Indexing>,
    limit: Option<Limit>,
    stale: bool,
    pub(crate) near: bool,
}

impl Setting {
    pub(crate) fn of(case: &Case) -> Self {
        Self {
            situation: case.situation,
            due: case.due,
            configuration: case.configuration,
            indexing: case.indexing,
            limit: case.limit.filter(|_| case.indexing.is_some()),
            stale: case.stale,
            near: case.near,
        }
    }
}

/// How each history begins.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) drawn: Drawn,
    pub(crate) now: u64,
    pub(crate) jar: Jar,
    pub(crate) records: Vec<Stored>,
    pub(crate) views: Vec<(SessionId, View)>,
    pub(crate) retired: Vec<SessionToken>,
    /// What the index lists, in order.
    pub(crate) listings: Vec<Listing>,
}

/// A record as the setup left it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: SessionId,
    pub(crate) record: Record,
    pub(crate) ttl: Duration,
}

/// Serves the requests that come before every history.
pub(crate) fn set_up(
    setting: Setting,
    sessions: &Sessions,
    store: &AnyStore,
    watcher: &Oracle,
) -> Start {
    let Setting {
        situation,
        due,
        configuration,
        ..
    } = setting;
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
    if setting.indexing.is_some() {
        start.listings = listings(setting, &start, watcher.clock.now());
    }
    start
}

/// What the index lists at the beginning.
fn listings(setting: Setting, start: &Start, now: SystemTime) -> Vec<Listing> {
    let listing = |whose: Whose, id: SessionId, number: u8| {
        let nonce = Nonce::from_bytes([number; 8]);
        Listing::new(whose.key(), id, nonce, now, 2 * IDLE)
    };
    let mut listings = Vec::new();
    if setting.stale {
        let ended = SessionId::from_bytes([0xee; 16]);
        listings.push(listing(Whose::Of(Principal::Ann), ended, 0xe0));
        listings.push(listing(Whose::Tagged, ended, 0xe1));
    }
    for (id, view) in &start.views {
        if let Some(principal) = view.seen.principal {
            listings.push(listing(Whose::Of(principal), *id, 0xe2));
        }
        if setting.stale {
            listings.push(listing(Whose::Tagged, *id, 0xe3));
        }
    }
    listings
}

pub(crate) fn configure(builder: Builder, setting: Setting) -> Builder {
    let mut builder = builder.absolute_timeout(ABSOLUTE).supersede_grace(GRACE);
    if let Some(Limit { max, rejects }) = setting.limit {
        let when_full = match rejects {
            true => WhenFull::Reject,
            false => WhenFull::EvictOldest,
        };
        builder = builder.max_sessions_per_principal(usize::from(max), when_full);
    }
    match setting.configuration {
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
