//! A request, served as an adapter and a handler would.

use std::{cell::RefCell, rc::Rc};

use http::{Method, Request, Response, StatusCode, header};
use session_core::{Session, SessionError, SessionHandle, Sessions};

use crate::{
    browser::{Jar, SetCookie},
    fault::Fault,
    footprint::{Footprint, JAR},
    history::{Called, RequestLog},
    point::{self, Event},
    view::Seen,
};

/// What the requests of a history share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) logs: Vec<RequestLog>,
    pub(crate) jars: [Jar; 2],
}

/// One request of an [`Exchange`].
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) exchange: Rc<RefCell<Exchange>>,
    pub(crate) index: usize,
    pub(crate) sessions: Sessions,
    pub(crate) first_number: u32,
    pub(crate) method: Method,
}

impl Client {
    /// Sends the request with the cookie of the moment, serves it, and delivers the response.
    pub(crate) async fn run(self) {
        let party = self.log(|log| log.party).index();
        let jar = JAR + u32::try_from(party).unwrap_or(0);
        let _ = point::reach(Event::new("send", Footprint::reading(jar))).await;
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
        if silent {
            return;
        }
        let deliver = Event::new("deliver", Footprint::writing(jar));
        let fault = point::reach(deliver.with_faults(Fault::OF_RESPONSES)).await;
        if fault.is_none() {
            let exchange = &mut *self.exchange.borrow_mut();
            let log = &mut exchange.logs[self.index];
            log.delivered = true;
            exchange.jars[party].apply(&log.cookies);
        }
    }

    fn send(&self, party: usize) -> Request<()> {
        let mut exchange = self.exchange.borrow_mut();
        let header = exchange.jars[party].header();
        let tokens: Vec<_> = exchange.jars[party].tokens().collect();
        let after = exchange.logs.iter().enumerate();
        let after = after
            .filter(|(_, other)| other.delivered && other.party.index() == party)
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
        let loaded = handle.load().await;
        self.log(|log| {
            let seen = loaded.as_ref().map(Seen::of);
            log.loaded = Some(seen.map_err(SessionError::kind));
        });
        let session = loaded?;
        for (verb, number) in script.0.into_iter().zip(self.first_number..) {
            let before = self.look(&session);
            let result = verb.call(&session, number).await;
            let after = self.look(&session);
            self.log(|log| {
                log.calls.push(Called {
                    verb,
                    number,
                    step: point::step(),
                    result: result.map_err(|error| error.kind()),
                    seen: [before.0, after.0],
                    ids: [before.1, after.1],
                    token: session.token(),
                });
            });
        }
        Ok(())
    }

    fn look(&self, session: &Session) -> (Seen, Option<session_core::SessionId>) {
        (Seen::of(session), session.id())
    }

    fn log<T>(&self, change: impl FnOnce(&mut RequestLog) -> T) -> T {
        change(&mut self.exchange.borrow_mut().logs[self.index])
    }
}
