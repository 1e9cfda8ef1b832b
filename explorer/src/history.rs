//! What happened in one history, as facts that do not come from what the library reports.

use session_core::{Outcome, SessionErrorKind, SessionId, SessionToken};

use crate::{
    browser::{Jar, SetCookie},
    call::{Call, IndexCall, IndexOp, Op},
    case::Case,
    deed::Done,
    directory::{Directory, LastLook},
    executor::End,
    fault::Fault,
    feeds::Heard,
    glimpse::Glimpse,
    oracle::{self, Oracle},
    principal::Principal,
    script::{JARS, Party, Script},
    verb::Verb,
    view::{Seen, View},
};

/// A call of the store, with what it changed.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The call.
    pub call: Call,
    /// When it was applied, by the store's clock.
    pub at: u64,
    /// The record before; `None` if there was none.
    pub before: Option<View>,
    /// The record after; `None` if there is none.
    pub after: Option<View>,
    /// Whether the token that its request brought opens the record after it.
    pub token_opens: bool,
    /// It replaced the secret, and the one before opens the record after it, too.
    pub earlier_opens: bool,
    /// It returned a record that shows that the last write of the same request was applied: that
    /// write, or one that keeps the secret which it brought.
    pub shows_own_write: bool,
}

impl Applied {
    /// Whether it stored a session of this token, or this token in its session.
    pub(crate) fn brings(&self, token: &SessionToken) -> bool {
        let secret = |view: &Option<View>| view.as_ref().map(|view| view.secret);
        let after = secret(&self.after);
        self.call.changed()
            && self.call.id == token.id()
            && after != secret(&self.before)
            && after
                .is_some_and(|secret| oracle::token(token.id(), &secret).as_ref() == Some(token))
    }
}

/// An event, as it was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// The request that it belongs to; `None` if time passed.
    pub owner: Option<usize>,
    /// What it is called.
    pub name: &'static str,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// When it happened, by the store's clock.
    pub at: u64,
}

/// One call of a handler.
#[derive(Clone, Debug)]
pub struct Called {
    /// What was called.
    pub verb: Verb,
    /// Its number among all calls of the history.
    pub number: u32,
    /// The last event before it.
    pub began: u32,
    /// The event during which it returned.
    pub step: u32,
    /// What it returned.
    pub result: Result<Option<Outcome>, SessionErrorKind>,
    /// What the handler saw before and after it.
    pub seen: [Seen; 2],
    /// The id of the session before and after it.
    pub ids: [Option<SessionId>; 2],
    /// The token of the session after it.
    pub token: Option<SessionToken>,
    /// What came of a call on the sessions of a user.
    pub done: Option<Done>,
}

/// A request looked up what its tokens open.
#[derive(Clone, Copy, Debug)]
pub struct LookedUp {
    /// The event at which it began.
    pub began: u32,
    /// The event at which it ended.
    pub ended: u32,
    /// The id of the session that it found, or began.
    pub id: Option<SessionId>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct RequestLog {
    /// Who sent it.
    pub party: Party,
    /// What its handler calls.
    pub script: Script,
    /// The event at which it was sent.
    pub sent: Option<u32>,
    /// The requests of the same party whose responses were there when it was sent, one bit each.
    pub after: u32,
    /// The tokens that it brought.
    pub tokens: Vec<SessionToken>,
    /// The one that counted: that opened a session, or else was superseded, or else the first.
    pub presented: Option<SessionToken>,
    /// One of them is known to name a session.
    pub(crate) is_decided: bool,
    /// When it was looked up what its tokens open.
    pub looked_up: Option<LookedUp>,
    /// What loading the session returned.
    pub loaded: Option<Result<Seen, SessionErrorKind>>,
    /// The calls that returned.
    pub calls: Vec<Called>,
    /// What finishing returned, and at which event.
    pub finished: Option<(u32, Result<Outcome, SessionErrorKind>)>,
    /// The id and the token of the session at the end.
    pub session: Option<(Option<SessionId>, Option<SessionToken>)>,
    /// The cookies of the response.
    pub cookies: Vec<SetCookie>,
    /// The response reached the client.
    pub delivered: bool,
    /// The event at which the response was sent, if sessions are listed.
    pub acknowledged: Option<u32>,
}

impl RequestLog {
    pub(crate) fn new(party: Party, script: &Script) -> Self {
        Self {
            party,
            script: script.clone(),
            sent: None,
            after: 0,
            tokens: Vec::new(),
            presented: None,
            is_decided: false,
            looked_up: None,
            loaded: None,
            calls: Vec::new(),
            finished: None,
            session: None,
            cookies: Vec::new(),
            delivered: false,
            acknowledged: None,
        }
    }

    /// Who was logged in.
    pub(crate) fn logins(&self) -> Vec<Principal> {
        let calls = self.calls.iter().filter(|called| called.result.is_ok());
        calls
            .filter_map(|called| match called.verb {
                Verb::LogIn(principal) => Some(principal),
                _ => None,
            })
            .collect()
    }

    /// Whether the response tells of success.
    pub fn is_ok(&self) -> bool {
        matches!(&self.finished, Some((_, Ok(outcome))) if outcome.lost.is_none())
    }
}

/// One history.
#[derive(Debug)]
pub struct History<'c> {
    /// What was explored.
    pub case: &'c Case,
    /// How it ended.
    pub(crate) end: End,
    pub(crate) oracle: &'c Oracle,
    /// The requests, in the order of the case.
    pub requests: Vec<RequestLog>,
    /// The calls of the store, in the order in which they were applied.
    pub applied: Vec<Applied>,
    /// Every event, in order.
    pub events: Vec<Happened>,
    /// The records at the beginning.
    pub initial: Vec<(SessionId, View)>,
    /// Tokens that were valid before the beginning and are not any more.
    pub retired: Vec<SessionToken>,
    /// What the parties held at the beginning.
    pub initial_jars: [Jar; JARS],
    /// The records at the end.
    pub records: Vec<(SessionId, View)>,
    /// What the parties hold at the end.
    pub jars: [Jar; JARS],
    /// The calls of the index, in the order in which they were applied.
    pub index_calls: Vec<IndexCall>,
    /// What the instances with a near cache heard.
    pub heard: Heard,
    /// What those instances would have answered after each event, if that was not what is stored.
    pub glimpses: Vec<Glimpse>,
    /// What the requests loaded that were answered from a near cache, in their order.
    pub(crate) hits: Vec<Option<Applied>>,
    /// What the index listed at the beginning, and after each event that changed it.
    pub directories: Vec<(u32, Directory)>,
    /// What the index lists when everything is over and somebody has looked.
    pub last_looks: Vec<LastLook>,
    /// The time at the end, by the store's clock.
    pub now: u64,
}

impl History<'_> {
    /// The session that a token opens at the end.
    pub fn opens(&self, token: &SessionToken) -> Option<(SessionId, &View)> {
        self.oracle.open(token)?;
        Some((token.id(), self.record(token.id())?))
    }

    /// The sessions that the browser's cookies open at the end.
    pub fn browser_opens(&self) -> Vec<&View> {
        let tokens = self.jars[0].tokens();
        tokens
            .filter_map(|token| self.record(self.opens(&token)?.0))
            .collect()
    }

    /// The record of this id at the end.
    pub fn record(&self, id: SessionId) -> Option<&View> {
        let found = self.records.iter().find(|(other, _)| *other == id);
        found.map(|(_, view)| view)
    }

    /// The record of this id after an event.
    pub fn record_at(&self, id: SessionId, step: u32) -> Option<&View> {
        let changes = self.applied.iter().rev();
        let last = changes
            .filter(|applied| applied.call.id == id && applied.call.changed())
            .find(|applied| applied.call.step <= step);
        match last {
            Some(applied) => applied.after.as_ref(),
            None => {
                let found = self.initial.iter().find(|(other, _)| *other == id);
                found.map(|(_, view)| view)
            }
        }
    }

    /// What the index listed after an event.
    pub fn directory_at(&self, step: u32) -> Option<&Directory> {
        let mut earlier = self.directories.iter().rev();
        let last = earlier.find(|(at, _)| *at <= step);
        last.map(|(_, directory)| directory)
    }

    /// Whether a call ended a session by means of the index: for somebody who ends the sessions of
    /// a user, or because there are too many, or because the store forgot it.
    pub(crate) fn is_ended_by_index(&self, applied: &Applied) -> bool {
        let request = &self.requests[applied.call.owner];
        let deed = |verb: &Verb| matches!(verb, Verb::Do(_));
        let acts = request.script.0.iter().any(deed);
        let limits = self.case.limit.is_some() && request.script.logs_in();
        applied.call.op == Op::Destroy && applied.call.changed() && (acts || limits)
    }

    /// Whether a request could not list its session, whose token is then given to nobody.
    pub(crate) fn is_unlisted(&self, owner: usize) -> bool {
        let mut calls = self.index_calls.iter();
        calls.any(|call| call.owner == owner && call.op == IndexOp::Put && call.fault.is_some())
    }

    /// Whether a session can have ended by means of the index.
    pub(crate) fn ends_by_index(&self) -> bool {
        self.applied
            .iter()
            .any(|applied| self.is_ended_by_index(applied))
    }

    /// The calls of one request, without those that arrived late.
    pub fn calls_of(&self, request: usize) -> impl Iterator<Item = &Applied> {
        let calls = self.applied.iter();
        calls.filter(move |applied| applied.call.owner == request && !applied.call.late)
    }

    /// The load of the session that counted: that its token opens, or else was superseded in. What
    /// was answered from a near cache counts as loaded just before it changed.
    pub fn load_of(&self, request: usize) -> Option<&Applied> {
        if let Some(hit) = self.hits.get(request).and_then(Option::as_ref) {
            return Some(hit);
        }
        let log = &self.requests[request];
        let id = log.presented.as_ref()?.id();
        self.calls_of(request)
            .take(log.tokens.len())
            .find(|applied| applied.call.op == Op::Load && applied.call.id == id)
    }

    /// Whether a fault happened.
    pub fn is_faulty(&self) -> bool {
        self.events.iter().any(|event| event.fault.is_some())
    }

    /// Whether a fault happened to one request.
    pub fn is_faulty_for(&self, request: usize) -> bool {
        let mut events = self.events.iter();
        events.any(|event| event.owner == Some(request) && event.fault.is_some())
    }

    /// Whether time passed after one event and before another.
    pub fn time_passed(&self, from: u32, to: u32) -> bool {
        let events = (0..).zip(&self.events);
        let mut between = events.filter(|(step, _)| (from..to).contains(step));
        between.any(|(_, event)| event.owner.is_none())
    }
}
