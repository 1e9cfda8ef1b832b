//! A request, served as an adapter and a handler would.

use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc};

use http::{Method, Request, Response, StatusCode, header};
use session_core::{Session, SessionError, SessionHandle, SessionId, SessionToken, Sessions};

use crate::{
    browser::{Jar, SetCookie},
    deed::{Deed, Done},
    fault::Fault,
    footprint::{Footprint, JAR, LEDGER},
    history::{Called, LookedUp, RequestLog},
    point::{self, Event},
    script::JARS,
    verb::Verb,
    view::Seen,
    whose::Whose,
};

/// What the requests of a history share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) logs: Vec<RequestLog>,
    pub(crate) jars: [Jar; JARS],
}

/// One request of an [`Exchange`].
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) exchange: Rc<RefCell<Exchange>>,
    pub(crate) index: usize,
    pub(crate) sessions: Sessions,
    pub(crate) first_number: u32,
    pub(crate) method: Method,
    /// Makes the store forget the record of the first session that is listed.
    pub(crate) evict: Evict,
    /// Sessions are listed.
    pub(crate) is_indexed: bool,
    /// What its instance reads of what it keeps when it looks a token up.
    pub(crate) kept: Footprint,
    /// The token that the browser began with.
    pub(crate) first_token: Option<SessionToken>,
}

/// What [`Client::evict`] is.
pub(crate) type Evict = Rc<dyn Fn(Whose) -> Pin<Box<dyn Future<Output = ()>>>>;

impl Client {
    /// Sends the request with the cookie of the moment, serves it, and delivers the response.
    pub(crate) async fn run(self) {
        let Some(party) = self.log(|log| log.party).jar() else {
            return self.administrate().await;
        };
        let jar = JAR + u32::try_from(party).unwrap_or(0);
        let _ = point::reach(Event::new("send", Footprint::reading(jar).and(self.kept))).await;
        let request = self.send(party);
        let handle = self.sessions.begin(&request);
        let mut response = Response::new(());
        if self.handle(&handle).await.is_err() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let result = self.sessions.finish(&handle, &mut response).await;
        if result.is_err() {
            let replaced = std::mem::replace(&mut response, Response::new(()));
            self.sessions
                .reject(&handle, Some(replaced.extensions()), &mut response);
        }
        let lines = response.headers().get_all(header::SET_COOKIE).iter();
        let lines = lines.map(|line| SetCookie::parse(line.to_str().unwrap_or_default()));
        let cookies: Vec<_> = lines.collect();
        let silent = cookies.is_empty();
        self.log(|log| {
            log.finished = Some((point::step(), result.map_err(|error| error.kind())));
            let session = handle.loaded();
            log.session = session.map(|session| (session.id(), session.token()));
            log.cookies = cookies;
            log.delivered = silent;
        });
        if silent && !self.is_indexed {
            return;
        }
        let mut shared = match silent {
            true => Footprint::LOCAL,
            false => Footprint::writing(jar),
        };
        if self.is_indexed {
            shared = shared.and(Footprint::writing(LEDGER));
        }
        let deliver = Event::new("deliver", shared);
        let fault = point::reach(deliver.with_faults(Fault::OF_RESPONSES)).await;
        let exchange = &mut *self.exchange.borrow_mut();
        let log = &mut exchange.logs[self.index];
        log.acknowledged = Some(point::step());
        if fault.is_none() {
            log.delivered = true;
            exchange.jars[party].apply(&log.cookies);
        }
    }

    /// Does what a script says without a request.
    async fn administrate(self) {
        let script = self.log(|log| {
            log.delivered = true;
            log.script.clone()
        });
        for (verb, number) in script.0.into_iter().zip(self.first_number..) {
            if let Verb::Do(deed) = verb {
                self.act(deed, number, None).await;
            }
        }
    }

    async fn act(&self, deed: Deed, number: u32, session: Option<&Session>) {
        let begin = Footprint::reading(LEDGER).and(self.kept);
        let _ = point::reach(Event::new("begin", begin)).await;
        let began = point::step();
        let before = self.look(session);
        let result = match (deed, &self.first_token) {
            (Deed::Evict(whose), _) => {
                (self.evict)(whose).await;
                Ok(Done::default())
            }
            (Deed::EndOthers(_), Some(token)) if session.is_none() => {
                match self.sessions.open(token).await {
                    Ok(own) => deed.call(&self.sessions, own.as_ref()).await,
                    Err(error) => Err(error),
                }
            }
            _ => deed.call(&self.sessions, session).await,
        };
        let after = self.look(session);
        self.log(|log| {
            let (done, result) = match result {
                Ok(done) => (done, Ok(None)),
                Err(error) => (Done::default(), Err(error.kind())),
            };
            log.calls.push(Called {
                verb: Verb::Do(deed),
                number,
                began,
                step: point::step(),
                result,
                seen: [before.0, after.0],
                ids: [before.1, after.1],
                token: session.and_then(Session::token),
                done: Some(done),
            });
        });
    }

    fn send(&self, party: usize) -> Request<()> {
        let mut exchange = self.exchange.borrow_mut();
        let header = exchange.jars[party].header();
        let tokens: Vec<_> = exchange.jars[party].tokens().collect();
        let after = exchange.logs.iter().enumerate();
        let after = after
            .filter(|(_, other)| other.delivered && other.party.jar() == Some(party))
            .fold(0, |after, (index, _)| after | 1 << index);
        let log = &mut exchange.logs[self.index];
        log.sent = Some(point::step());
        log.after = after;
        log.presented = tokens.first().cloned();
        log.tokens = tokens;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        if let Some(Ok(value)) = header.map(TryInto::try_into) {
            request.headers_mut().insert(header::COOKIE, value);
        }
        request
    }

    async fn handle(&self, handle: &SessionHandle) -> Result<(), SessionError> {
        let script = self.log(|log| log.script.clone());
        if script.0.is_empty() {
            return Ok(());
        }
        let began = point::step();
        let loaded = match script.0.first() {
            Some(Verb::Fresh) => handle.load_fresh().await,
            _ => handle.load().await,
        };
        self.log(|log| {
            let seen = loaded.as_ref().map(Seen::of);
            log.looked_up = Some(LookedUp {
                began,
                ended: point::step(),
                id: loaded.as_ref().ok().and_then(Session::id),
            });
            log.loaded = Some(seen.map_err(SessionError::kind));
        });
        let session = loaded?;
        for (index, (verb, number)) in (0..).zip(script.0.into_iter().zip(self.first_number..)) {
            if let Verb::Do(deed) = verb {
                self.act(deed, number, Some(&session)).await;
                continue;
            }
            let (began, before) = (point::step(), self.look(Some(&session)));
            let result = match verb {
                Verb::Fresh if index > 0 => handle.load_fresh().await.map(|_| None),
                other => other.call(&session, number).await,
            };
            let after = self.look(Some(&session));
            self.log(|log| {
                log.calls.push(Called {
                    verb,
                    number,
                    began,
                    step: point::step(),
                    result: result.map_err(|error| error.kind()),
                    seen: [before.0, after.0],
                    ids: [before.1, after.1],
                    token: session.token(),
                    done: None,
                });
            });
        }
        Ok(())
    }

    fn look(&self, session: Option<&Session>) -> (Seen, Option<SessionId>) {
        let seen = session.map(Seen::of).unwrap_or_default();
        (seen, session.and_then(Session::id))
    }

    fn log<T>(&self, change: impl FnOnce(&mut RequestLog) -> T) -> T {
        change(&mut self.exchange.borrow_mut().logs[self.index])
    }
}
