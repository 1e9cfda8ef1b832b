//! Writes down what the events of a history do.

use std::cell::RefCell;

use session_core::{AnyIndex, SessionId, SessionToken, Store};

use crate::{
    browser::SetCookie,
    call::{Call, Effect, IndexCall, Op},
    directory::Directory,
    executor::{Choice, Surroundings},
    feeds::{self, NEAR_INSTANCES},
    glimpse::{Glimpse, Watcher},
    history::{Applied, Happened},
    oracle::Oracle,
    request::Exchange,
    scheduled_store::ScheduledStore,
    setup::ADVANCE,
    surroundings::ManualClock,
    view::{Seen, View},
};

/// Writes down what each event did.
pub(crate) struct Observer<'s, S> {
    clock: &'s ManualClock,
    store: &'s ScheduledStore<S>,
    oracle: &'s Oracle,
    /// The index that is inside of the store, if sessions are listed.
    index: Option<AnyIndex>,
    exchange: &'s RefCell<Exchange>,
    /// Looks at the near caches, if there are any.
    watcher: Option<Watcher<'s>>,
    /// What tokens open in the store, until it changes.
    opened: Vec<(SessionToken, Option<Seen>)>,
    /// The records as they are now.
    views: Vec<(SessionId, Option<View>)>,
    seen: Observed,
    calls: Vec<Call>,
}

/// What was written down.
#[derive(Default)]
pub(crate) struct Observed {
    pub(crate) applied: Vec<Applied>,
    pub(crate) events: Vec<Happened>,
    pub(crate) index_calls: Vec<IndexCall>,
    pub(crate) directories: Vec<(u32, Directory)>,
    pub(crate) glimpses: Vec<Glimpse>,
}

impl<'s, S: Store> Observer<'s, S> {
    pub(crate) fn new(
        clock: &'s ManualClock,
        store: &'s ScheduledStore<S>,
        oracle: &'s Oracle,
        exchange: &'s RefCell<Exchange>,
        views: &[(SessionId, View)],
        is_indexed: bool,
        watcher: Option<Watcher<'s>>,
    ) -> Self {
        let index = store.inner_index().filter(|_| is_indexed);
        let listed = index.iter().map(|index| (0, Directory::read(index)));
        let views = views.iter().map(|(id, view)| (*id, Some(view.clone())));
        Self {
            clock,
            store,
            oracle,
            exchange,
            watcher,
            opened: Vec::new(),
            views: views.collect(),
            seen: Observed {
                directories: listed.collect(),
                ..Observed::default()
            },
            index,
            calls: Vec::new(),
        }
    }

    /// The records at the end, and everything else that was seen.
    pub(crate) fn finish(self) -> (Vec<(SessionId, View)>, Observed) {
        let events = self.seen.events.iter();
        let time_passed = events.clone().any(|event| event.owner.is_none());
        let records = self.views.into_iter();
        let records = records.filter_map(|(id, view)| match time_passed {
            // it may be over
            true => Some((id, self.oracle.view(id)?)),
            false => Some((id, view?)),
        });
        (records.collect(), self.seen)
    }

    /// Looks up on the instances what the tokens open that a client holds or has held.
    fn look_at_near_caches(&mut self) {
        let Some(watcher) = &self.watcher else { return };
        let step = u32::try_from(self.seen.events.len() - 1).unwrap_or(u32::MAX);
        let exchange = self.exchange.borrow();
        let issued = exchange.logs.iter().flat_map(|log| &log.cookies);
        let mut tokens = watcher.tokens.clone();
        for token in issued.filter_map(SetCookie::token) {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        for token in &tokens {
            let known = self.opened.iter().find(|(known, _)| known == token);
            let stored = match known {
                Some((_, stored)) => *stored,
                None => {
                    let stored = self.oracle.open(token).as_ref().map(Seen::of);
                    self.opened.push((token.clone(), stored));
                    stored
                }
            };
            watcher.look(token, stored, step, &mut self.seen.glimpses);
        }
    }

    /// Reads the index, if it can have changed.
    fn look_at_index(&mut self, may_change: bool) {
        let Some(index) = &self.index else { return };
        let before = self.seen.index_calls.len();
        self.store.take_index_calls(&mut self.seen.index_calls);
        if !may_change && before == self.seen.index_calls.len() {
            return;
        }
        let directory = Directory::read(index);
        let last = self.seen.directories.last();
        if last.is_none_or(|(_, last)| *last != directory) {
            let step = u32::try_from(self.seen.events.len() - 1).unwrap_or(u32::MAX);
            self.seen.directories.push((step, directory));
        }
    }
}

impl<S: Store> Surroundings for Observer<'_, S> {
    fn advance(&mut self) {
        self.clock.advance(ADVANCE);
    }

    fn after(&mut self, choice: &Choice, owner: Option<usize>) {
        self.seen.events.push(Happened {
            owner,
            name: choice.name,
            fault: choice.fault,
            at: self.clock.millis(),
        });
        self.store.take_calls(&mut self.calls);
        self.look_at_index(!self.calls.is_empty());
        let before = self.seen.applied.len();
        let Self {
            clock,
            oracle,
            exchange,
            views,
            seen: Observed { applied, .. },
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
                (true, Op::Load | Op::Create | Op::Save | Op::Touch) => oracle.view(call.id),
            };
            let token_opens = call.effect == Effect::Done
                && log
                    .tokens
                    .iter()
                    .any(|token| token.id() == call.id && oracle.open(token).is_some());
            if call.op == Op::Load && log.loaded.is_none() && (token_opens || !log.is_decided) {
                log.is_decided |= before.is_some();
                log.presented = presented.or(log.presented.take());
            }
            let replaced = before.as_ref().filter(|before| {
                let secret = after.as_ref().map(|after| after.secret);
                secret.is_some_and(|secret| secret != before.secret)
            });
            let earlier_opens =
                replaced.is_some_and(|before| oracle.opens(call.id, &before.secret));
            let shows_own_write = shows_own_write(oracle, applied, &call);
            match known {
                Some(known) => views[known].1.clone_from(&after),
                None => views.push((call.id, after.clone())),
            }
            applied.push(Applied {
                at: clock.millis(),
                before,
                after,
                token_opens,
                earlier_opens,
                shows_own_write,
                call,
            });
        }
        let mut calls = self.seen.applied[before..].iter();
        let changes = calls.any(|applied| applied.call.changed());
        if owner.is_none() || changes {
            self.opened.clear();
        }
        // an answer of the index may be an acknowledgement
        let may_matter = self.index.is_some()
            || (0..NEAR_INSTANCES).any(|one| choice.footprint.is_writing(feeds::kept(one)));
        if changes || may_matter {
            self.look_at_near_caches();
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
