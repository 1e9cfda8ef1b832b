//! The ids of sessions that have ended: a failover, or a restart from an old snapshot, can bring
//! their records back.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use session_core::SessionId;

/// Remembers the ids of sessions that have ended, for some time, and not more than so many.
#[derive(Debug)]
pub(crate) struct Journal {
    life: Duration,
    max: usize,
    /// The number of the entry of an id, and when it was made.
    entries: HashMap<SessionId, (u64, Instant)>,
    /// All entries, oldest first, also those that were replaced or forgotten since.
    order: VecDeque<(u64, SessionId)>,
    next: u64,
    held: bool,
}

impl Journal {
    pub(crate) fn new(life: Duration, max: usize) -> Self {
        Self {
            life,
            max,
            entries: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            held: false,
        }
    }

    /// The number that the next entry gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// A session has ended. Returns how many older ones were dropped to make room.
    pub(crate) fn enter(&mut self, id: SessionId, now: Instant) -> usize {
        self.expire(now);
        self.entries.insert(id, (self.next, now));
        self.order.push_back((self.next, id));
        self.next += 1;
        let mut dropped = 0;
        while self.order.len() > self.max {
            dropped += usize::from(self.drop_oldest());
        }
        dropped
    }

    /// There is a new session of this id.
    pub(crate) fn forget(&mut self, id: &SessionId) {
        self.entries.remove(id);
    }

    /// The number of the entry of an id; `None` if it has none.
    pub(crate) fn entry(&mut self, id: &SessionId, now: Instant) -> Option<u64> {
        self.expire(now);
        self.entries.get(id).map(|(number, _)| *number)
    }

    /// All ids, oldest first.
    pub(crate) fn ids(&mut self, now: Instant) -> Vec<SessionId> {
        self.expire(now);
        let current = self.order.iter().filter(|entry| self.is_current(entry));
        current.map(|(_, id)| *id).collect()
    }

    /// Keeps all entries until [`release`](Self::release).
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// The sessions of all entries have been ended again: their time starts anew.
    pub(crate) fn release(&mut self, now: Instant) {
        self.held = false;
        self.entries.values_mut().for_each(|(_, at)| *at = now);
    }

    fn expire(&mut self, now: Instant) {
        while !self.held
            && let Some((number, id)) = self.order.front()
        {
            let entry = self.entries.get(id);
            let is_due = |(current, at): &(u64, Instant)| {
                current != number || now.saturating_duration_since(*at) >= self.life
            };
            if !entry.is_none_or(is_due) {
                return;
            }
            self.drop_oldest();
        }
    }

    /// Drops the oldest entry. Returns whether it was in use.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else {
            return false;
        };
        let current = self.is_current(&oldest);
        if current {
            self.entries.remove(&oldest.1);
        }
        current
    }

    fn is_current(&self, (number, id): &(u64, SessionId)) -> bool {
        self.entries
            .get(id)
            .is_some_and(|(current, _)| current == number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    fn id(n: u8) -> SessionId {
        SessionId::from_bytes([n; SessionId::BYTES])
    }

    fn ids(journal: &mut Journal, now: Instant) -> Vec<u8> {
        let ids = journal.ids(now).into_iter();
        ids.map(|id| id.to_bytes()[0]).collect()
    }

    #[test]
    fn an_id_is_remembered_for_its_time_from_the_last_end_on() {
        let (mut journal, start) = (Journal::new(LIFE, 10), Instant::now());
        assert_eq!(journal.entry(&id(1), start), None);
        journal.enter(id(1), start);
        journal.enter(id(2), start);
        journal.enter(id(1), start + LIFE / 2);
        assert_eq!(journal.entry(&id(2), start + LIFE / 2), Some(1));
        assert_eq!(ids(&mut journal, start + LIFE / 2), [2, 1]);
        assert_eq!(journal.entry(&id(2), start + LIFE), None);
        assert_eq!(journal.entry(&id(1), start + LIFE), Some(2));
        assert_eq!(journal.entry(&id(1), start + LIFE * 3 / 2), None);
        assert_eq!(ids(&mut journal, start + LIFE * 3 / 2), [0; 0]);
    }

    #[test]
    fn the_oldest_are_dropped_for_newer_ones() {
        let (mut journal, now) = (Journal::new(LIFE, 3), Instant::now());
        let dropped: Vec<_> = [1, 2, 3, 1, 4].map(|n| journal.enter(id(n), now)).into();
        // the first entry of 1 was replaced by its second
        assert_eq!(dropped, [0, 0, 0, 0, 1]);
        assert_eq!(ids(&mut journal, now), [3, 1, 4]);
    }

    #[test]
    fn a_session_that_begins_again_has_not_ended() {
        let (mut journal, now) = (Journal::new(LIFE, 3), Instant::now());
        journal.enter(id(1), now);
        journal.forget(&id(1));
        assert_eq!(journal.entry(&id(1), now), None);
        assert_eq!(ids(&mut journal, now), [0; 0]);
    }

    #[test]
    fn nothing_expires_while_it_is_held_and_the_time_starts_anew_afterwards() {
        let (mut journal, start) = (Journal::new(LIFE, 10), Instant::now());
        journal.enter(id(1), start);
        journal.hold();
        let late = start + LIFE * 10;
        assert_eq!(ids(&mut journal, late), [1]);
        journal.release(late);
        assert_eq!(ids(&mut journal, late + LIFE / 2), [1]);
        assert_eq!(ids(&mut journal, late + LIFE), [0; 0]);
    }

    proptest! {
        /// Compared with a list of all that was ever entered.
        #[test]
        fn it_is_bounded_and_remembers_the_newest(
            steps in prop::collection::vec((0u8..12, 0u64..30, any::<bool>()), 0..200),
        ) {
            const MAX: usize = 8;
            let mut journal = Journal::new(LIFE, MAX);
            let mut now = Instant::now();
            let mut entered: Vec<(u8, Instant)> = Vec::new();
            for (n, pause, forgets) in steps {
                now += Duration::from_secs(pause);
                if forgets {
                    journal.forget(&id(n));
                    entered.iter_mut().filter(|(other, _)| *other == n).for_each(|e| e.0 = 255);
                } else {
                    journal.enter(id(n), now);
                    entered.push((n, now));
                }
                let newest = entered.iter().rev().take(MAX);
                let newest = newest.filter(|(n, at)| *n != 255 && now < *at + LIFE);
                let mut expected: Vec<_> = newest.map(|(n, _)| *n).collect();
                expected.sort_unstable();
                expected.dedup();
                let mut found = ids(&mut journal, now);
                found.sort_unstable();
                prop_assert_eq!(found, expected);
                prop_assert!(journal.order.len() <= MAX && journal.entries.len() <= MAX);
            }
        }
    }
}
