//! An instance with a near cache shows what is stored, or what was before changes that were not
//! announced to it yet. It shows its own changes as soon as it was told of them, says only yes from
//! the cache, and asks the store if it was told to. What it keeps, it shows without a call.

use crate::{
    call::{Effect, Op},
    evidence::Evidence,
    history::{History, RequestLog},
    hits,
    knowledge::{self, Era},
    verb::Verb,
    view::Seen,
};

pub(super) fn check(evidence: &Evidence<'_>, report: &mut dyn FnMut(String)) {
    let history = evidence.history;
    if !history.case.near {
        return;
    }
    outdated(history, report);
    for (owner, request) in history.requests.iter().enumerate() {
        only_confirms(history, owner, request, report);
        misses(history, owner, request, report);
        asks(history, owner, request, report);
    }
}

/// What an instance would answer is a state of the record that it may take it for.
fn outdated(history: &History<'_>, report: &mut dyn FnMut(String)) {
    for glimpse in &history.glimpses {
        let possible =
            knowledge::possible(history, glimpse.instance, glimpse.token.id(), glimpse.step);
        let is_it = |era: &Era<'_>| {
            let view = era.view.filter(|_| era.is_opened_by(&glimpse.token));
            glimpse.seen == view.map(|view| view.seen)
        };
        if !possible.iter().any(is_it) {
            let what = match glimpse.seen {
                Some(_) => "shows what it has to know is outdated",
                None => "denies a session that lives",
            };
            report(format!("instance {} {what}", glimpse.instance));
        }
    }
}

/// What speaks against a token is decided by the store.
fn only_confirms(
    history: &History<'_>,
    owner: usize,
    request: &RequestLog,
    report: &mut dyn FnMut(String),
) {
    let (Some(looked_up), Some(Ok(_))) = (request.looked_up, request.loaded) else {
        return;
    };
    let asked = |token: &session_core::SessionToken| {
        let mut loads = history.calls_of(owner);
        loads.any(|applied| {
            let call = &applied.call;
            call.op == Op::Load && call.id == token.id() && call.step <= looked_up.ended
        })
    };
    let mut tokens = request.tokens.iter();
    let opens = tokens.any(|token| Some(token.id()) == looked_up.id);
    if !opens && !request.tokens.iter().all(asked) {
        report(format!(
            "request {owner} was told without the store that its token opens nothing"
        ));
    }
    if hits::token(history, owner).is_none() {
        return;
    }
    let possible = history.load_of(owner).is_some_and(|hit| {
        let instance = history.case.instance(owner);
        let eras = knowledge::possible(history, instance, hit.call.id, looked_up.began);
        let mut shown = eras.iter();
        shown.any(|era| era.until.is_none_or(|until| until > hit.call.step))
    });
    if !possible {
        report(format!(
            "request {owner} was shown what its instance has to know is outdated"
        ));
    }
}

/// What an instance keeps is shown without a call.
fn misses(
    history: &History<'_>,
    owner: usize,
    request: &RequestLog,
    report: &mut dyn FnMut(String),
) {
    let (Some(looked_up), [token]) = (request.looked_up, &request.tokens[..]) else {
        return;
    };
    let instance = history.case.instance(owner);
    let began = looked_up.began;
    let heard = &history.heard;
    // what the instance heard of any session in these events
    let disturbed = |from: u32, until: u32, all: bool| {
        let is_between = |step: u32| (from..=until).contains(&step);
        let mut announced = heard.announcements.iter();
        let mut told = heard.told.iter();
        announced.any(|one| {
            one.instance == instance
                && (all || one.id == token.id() || one.lost)
                && one.ended.is_some_and(is_between)
        }) || told.any(|one| {
            one.instance == instance
                && (all || one.id == token.id())
                && !one.tracks
                && is_between(one.step)
        })
    };
    let initially = history.initial.iter().find(|(id, _)| *id == token.id());
    let initially = initially.is_some() && !disturbed(0, began, false);
    let first = knowledge::eras(history, token.id(), 0);
    let initially = initially && first.first().is_some_and(|era| era.is_opened_by(token));
    let mut told = heard.told.iter();
    let later = told.any(|one| {
        let load = history.applied.iter().find(|applied| {
            applied.call.step == one.called
                && applied.call.id == token.id()
                && applied.call.effect == Effect::Done
        });
        let Some(load) = load.filter(|_| one.tracks && one.instance == instance) else {
            return false;
        };
        let other = history.requests[load.call.owner].looked_up;
        let since = other.map_or(0, |other| other.began);
        let eras = knowledge::eras(history, token.id(), one.called);
        let opens = eras.last().is_some_and(|era| era.is_opened_by(token));
        one.step < began
            && opens
            && !disturbed(since, one.step, true)
            && !disturbed(one.step, began, false)
    });
    let is_fresh = request.script.0.first() == Some(&Verb::Fresh);
    let is_kept = (initially || later) && !is_fresh && !history.time_passed(0, looked_up.ended);
    if is_kept && hits::token(history, owner).is_none() {
        report(format!(
            "request {owner} called the store for a session that its instance keeps"
        ));
    }
}

/// Who asks for what is stored is shown that.
fn asks(history: &History<'_>, owner: usize, request: &RequestLog, report: &mut dyn FnMut(String)) {
    let hit = hits::token(history, owner);
    if request.script.0.first() == Some(&Verb::Fresh) && hit.is_some() {
        report(format!(
            "request {owner} asked for what is stored, and was answered without the store"
        ));
    }
    let (Some(token), Some(looked_up)) = (hit, request.looked_up) else {
        return;
    };
    let mut writes = false;
    for called in &request.calls {
        let own = |from: u32, until: u32| {
            let mut calls = history.calls_of(owner);
            calls
                .find(|applied| (from + 1..=until).contains(&applied.call.step))
                .cloned()
        };
        let is_first = own(looked_up.ended, called.began).is_none();
        if called.verb == Verb::Fresh && called.result.is_ok() && is_first && !writes {
            let shown = own(called.began, called.step)
                .filter(|load| load.call.op == Op::Load && load.call.id == token.id());
            let stored: Option<Seen> = shown.and_then(|load| load.after).map(|view| view.seen);
            if stored != Some(called.seen[1]) {
                report(format!(
                    "request {owner} asked for what is stored, and was shown something else"
                ));
            }
        }
        writes |= !matches!(called.verb, Verb::Read | Verb::Fresh | Verb::Wait);
    }
}
