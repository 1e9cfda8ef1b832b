//! What the processes of `coherence` report, and which promises it shows to be broken.
//!
//! Every time is one of the monotonic clock of the machine, which all processes read.

use std::collections::{BTreeMap, HashMap};

use super::{
    report::{Login, Report, Span, Token},
    verdict::Verdict,
};
use crate::user_history::Nanos;

/// The number of a process.
pub(crate) type Process = usize;

/// Everything that was reported.
#[derive(Debug, Default)]
pub(crate) struct History {
    sessions: HashMap<Login, Known>,
    reads: Vec<(Process, Token, Option<u64>, Span)>,
    pub(crate) writes: u64,
    pub(crate) renewals: u64,
    pub(crate) logouts: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// How often something else happened.
    pub(crate) others: BTreeMap<String, u64>,
}

/// What is known of one session.
#[derive(Debug, Default)]
struct Known {
    /// The value, the acknowledgement, and who acknowledged it.
    writes: Vec<(u64, Acknowledged)>,
    unknown_writes: u64,
    ended: Option<Change>,
    /// The tokens that were issued after others, by number.
    issued: HashMap<u32, Change>,
    /// When the first renewals began that may have issued a token, by number.
    in_doubt: HashMap<u32, Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    at: Nanos,
    by: Process,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    begun: Nanos,
    acknowledged: Acknowledged,
}

impl History {
    pub(crate) fn add(&mut self, process: Process, report: Report) {
        let change = |Span { begun, ended }| Change {
            begun,
            acknowledged: Acknowledged {
                at: ended,
                by: process,
            },
        };
        match report {
            Report::Read { token, seen, span } => self.reads.push((process, token, seen, span)),
            Report::Written { login, value, span } => {
                self.writes += 1;
                let writes = &mut self.session(login).writes;
                writes.push((value, change(span).acknowledged));
            }
            Report::Unknown { login } => self.session(login).unknown_writes += 1,
            Report::Issued { token, span, .. } => {
                self.renewals += u64::from(token.number > 0);
                let issued = &mut self.session(token.login).issued;
                issued.insert(token.number, change(span));
            }
            Report::InDoubt { token, begun } => {
                let in_doubt = &mut self.session(token.login).in_doubt;
                in_doubt.entry(token.number).or_insert(begun);
            }
            Report::Ended { login, span } => {
                self.logouts += 1;
                self.session(login).ended = Some(change(span));
            }
            Report::NearCache { hits, misses } => {
                self.hits += hits;
                self.misses += misses;
            }
            Report::Other(name) => *self.others.entry(name).or_default() += 1,
        }
    }

    fn session(&mut self, login: Login) -> &mut Known {
        self.sessions.entry(login).or_default()
    }

    /// The sessions that have not ended.
    pub(crate) fn living(&self) -> Vec<Login> {
        let living = self
            .sessions
            .iter()
            .filter(|(_, known)| known.ended.is_none());
        living.map(|(login, _)| *login).collect()
    }

    /// Judges everything. `stored` are the values of living sessions at the end.
    pub(crate) fn judge(&self, lease: Nanos, stored: &[(Login, Option<u64>)]) -> Verdict {
        let mut verdict = Verdict {
            reads: self.reads.len() as u64,
            ..Verdict::default()
        };
        let changes: HashMap<_, _> = self
            .sessions
            .iter()
            .map(|(login, known)| (login, Changes::of(known)))
            .collect();
        for (process, token, seen, span) in &self.reads {
            let Some(known) = self.sessions.get(&token.login) else {
                verdict.missing += 1;
                continue;
            };
            let Some(value) = seen else {
                verdict.found_nothing += 1;
                verdict.missing += u64::from(known.must_open(*token, span.ended));
                continue;
            };
            let age = |at: Option<Nanos>| at.map(|at| span.begun.saturating_sub(at)).unwrap_or(0);
            let changes = &changes[&token.login];
            let (value_age, token_age) = (
                age(changes.above(*value, None)),
                age(known.invalid_since(*token, None)),
            );
            let own = [
                changes.above(*value, Some(*process)),
                known.invalid_since(*token, Some(*process)),
            ];
            verdict.own_unseen += u64::from(own.into_iter().any(|at| age(at) > 0));
            verdict.stale_beyond += u64::from(value_age > lease);
            verdict.ended_beyond += u64::from(token_age > lease);
            let oldest = value_age.max(token_age);
            if (1..=lease).contains(&oldest) {
                verdict.ages.push(oldest);
            }
        }
        verdict.ages.sort_unstable();
        for known in self.sessions.values() {
            verdict.lost_updates += known.repeated_values();
        }
        for (login, value) in stored {
            let Some((known, value)) = self.sessions.get(login).zip(*value) else {
                verdict.missing += 1;
                continue;
            };
            let acknowledged = known.writes.len() as u64;
            verdict.lost_updates += acknowledged.saturating_sub(value);
            let most = acknowledged + known.unknown_writes;
            verdict.invented_updates += value.saturating_sub(most);
        }
        verdict
    }
}

impl Known {
    /// Since when this token opens nothing, as far as it was acknowledged, by this process or any.
    fn invalid_since(&self, token: Token, by: Option<Process>) -> Option<Nanos> {
        let replaced = self.issued.get(&(token.number + 1));
        let changes = replaced.into_iter().chain(&self.ended);
        let acknowledged = changes.map(|change| change.acknowledged);
        let by_process = acknowledged.filter(|at| by.is_none_or(|by| by == at.by));
        by_process.map(|acknowledged| acknowledged.at).min()
    }

    /// Whether nobody had begun by then to end the session, or to replace the token.
    fn must_open(&self, token: Token, then: Nanos) -> bool {
        let next = token.number + 1;
        let replaced = self.issued.get(&next).into_iter().chain(&self.ended);
        let mut begun = replaced
            .map(|change| change.begun)
            .chain(self.in_doubt.get(&next).copied());
        begun.all(|begun| then < begun)
    }

    /// How many acknowledged writes have made the same value as another one.
    fn repeated_values(&self) -> u64 {
        let mut values: Vec<_> = self.writes.iter().map(|(value, _)| value).collect();
        values.sort_unstable();
        let pairs = values.windows(2);
        pairs.filter(|pair| pair[0] == pair[1]).count() as u64
    }
}

/// When the values of a session were acknowledged.
struct Changes {
    by_any: Earliest,
    by_process: HashMap<Process, Earliest>,
}

/// Values, highest first, and the earliest acknowledgement of each or a higher one.
type Earliest = Vec<(u64, Nanos)>;

impl Changes {
    fn of(known: &Known) -> Self {
        let mut changes = Self {
            by_any: Vec::new(),
            by_process: HashMap::new(),
        };
        let mut writes = known.writes.clone();
        writes.sort_unstable_by_key(|(value, _)| std::cmp::Reverse(*value));
        for (value, Acknowledged { at, by }) in writes {
            let own = changes.by_process.entry(by).or_default();
            for earliest in [&mut changes.by_any, own] {
                let before = earliest.last().map_or(Nanos::MAX, |(_, at)| *at);
                earliest.push((value, at.min(before)));
            }
        }
        changes
    }

    /// When a higher value was first acknowledged, by this process or any.
    fn above(&self, value: u64, by: Option<Process>) -> Option<Nanos> {
        let earliest = match by {
            Some(process) => self.by_process.get(&process)?,
            None => &self.by_any,
        };
        let higher = earliest.partition_point(|(other, _)| *other > value);
        Some(earliest[higher.checked_sub(1)?].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Nanos = 100;
    const SESSION: Login = Login { user: 1, number: 0 };
    /// Process 7 logs in, increments the counter twice, and renews the token.
    const LINES: [&str; 4] = [
        "issued 1 0 0 5 10 a",
        "written 1 0 1 15 20",
        "written 1 0 2 25 30",
        "issued 1 0 1 35 40 b",
    ];

    fn judge(process: Process, lines: &[&str], stored: Option<u64>) -> Verdict {
        let mut history = History::default();
        for line in LINES {
            history.add(7, line.parse().expect("a report"));
        }
        for line in lines {
            history.add(process, line.parse().expect("a report"));
        }
        history.judge(LEASE, &[(SESSION, stored)])
    }

    /// A read of process 3 breaks this promise.
    #[track_caller]
    fn assert_read(read: &str, broken: fn(&Verdict) -> u64, ages: &[Nanos]) {
        let verdict = judge(3, &[read], Some(2));
        assert_eq!((broken(&verdict), verdict.reads), (1, 1), "{verdict:?}");
        assert!(!verdict.is_good());
        assert_eq!(verdict.ages, ages);
    }

    #[track_caller]
    fn assert_good(verdict: &Verdict, ages: &[Nanos]) {
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!(verdict.ages, ages);
    }

    #[test]
    fn a_read_of_a_replaced_value_is_stale_and_beyond_the_lease_a_violation() {
        assert_good(&judge(3, &["read 1 0 1 2 500 501"], Some(2)), &[]);
        // both writes are missing, and the first was acknowledged at 20
        assert_good(&judge(3, &["read 1 0 1 0 120 121"], Some(2)), &[100]);
        assert_good(&judge(3, &["read 1 0 1 1 130 131"], Some(2)), &[100]);
        assert_read("read 1 0 1 0 121 122", |verdict| verdict.stale_beyond, &[]);
        assert_read("read 1 0 1 1 131 132", |verdict| verdict.stale_beyond, &[]);
        // it began before the acknowledgement
        assert_good(&judge(3, &["read 1 0 1 1 30 900"], Some(2)), &[]);
    }

    #[test]
    fn the_acknowledgement_of_a_higher_value_counts_for_the_lower_ones() {
        let lines = ["written 1 0 4 41 42", "written 1 0 3 41 90"];
        let read = |read| judge(3, &[&lines[..], &[read]].concat(), Some(4));
        let within = read("read 1 0 1 2 142 143");
        assert_eq!((within.stale_beyond, within.ages), (0, vec![100]));
        assert_eq!(read("read 1 0 1 2 143 144").stale_beyond, 1);
    }

    #[test]
    fn a_replaced_token_opens_nothing_beyond_the_lease() {
        assert_good(&judge(3, &["read 1 0 0 2 140 141"], Some(2)), &[100]);
        assert_read("read 1 0 0 2 141 142", |verdict| verdict.ended_beyond, &[]);
        assert_good(&judge(3, &["read 1 0 0 - 36 37"], Some(2)), &[]);
    }

    #[test]
    fn an_ended_session_is_not_found_beyond_the_lease() {
        let mut history = History::default();
        for line in LINES.into_iter().chain(["ended 1 0 45 50"]) {
            history.add(7, line.parse().expect("a report"));
        }
        assert_eq!(history.living(), []);
        history.add(3, "read 1 0 1 2 150 151".parse().expect("a report"));
        assert_good(&history.judge(LEASE, &[]), &[100]);
        history.add(3, "read 1 0 1 2 151 152".parse().expect("a report"));
        assert_eq!(history.judge(LEASE, &[]).ended_beyond, 1);
        history.add(3, "read 1 0 1 - 46 47".parse().expect("a report"));
        assert_eq!(history.judge(LEASE, &[]).missing, 0);
    }

    #[test]
    fn a_process_sees_what_it_has_acknowledged() {
        for read in [
            "read 1 0 1 1 31 32",
            "read 1 0 0 2 41 42",
            "read 1 0 0 0 21 22",
        ] {
            assert_eq!(judge(7, &[read], Some(2)).own_unseen, 1, "{read}");
            assert_good(&judge(3, &[read], Some(2)), &[1]);
        }
        assert_good(&judge(7, &["read 1 0 1 1 30 31"], Some(2)), &[]);
        let ended = judge(7, &["ended 1 0 45 50", "read 1 0 1 2 51 52"], Some(2));
        assert_eq!(ended.own_unseen, 1);
    }

    #[test]
    fn a_living_session_is_found() {
        assert_read("read 1 0 1 - 500 501", |verdict| verdict.missing, &[]);
        assert_read("read 1 0 0 - 30 34", |verdict| verdict.missing, &[]);
        assert_read("read 2 0 0 1 30 34", |verdict| verdict.missing, &[]);
        let doubt = ["in-doubt 1 0 2 60", "read 1 0 1 - 50 60"];
        assert_good(&judge(3, &doubt, Some(2)), &[]);
        let before = ["in-doubt 1 0 2 60", "read 1 0 1 - 50 59"];
        assert_eq!(judge(3, &before, Some(2)).missing, 1);
        assert_eq!(judge(3, &[], None).missing, 1);
    }

    #[test]
    fn the_final_value_is_the_number_of_acknowledged_writes() {
        assert_good(&judge(3, &[], Some(2)), &[]);
        assert_eq!(judge(3, &[], Some(1)).lost_updates, 1);
        assert_eq!(judge(3, &[], Some(3)).invented_updates, 1);
        assert_good(&judge(3, &["unknown 1 0"], Some(3)), &[]);
        assert_good(&judge(3, &["unknown 1 0"], Some(2)), &[]);
        assert!(!judge(3, &["unknown 1 0"], Some(4)).is_good());
    }

    #[test]
    fn two_writes_with_the_same_value_are_a_lost_update() {
        let verdict = judge(3, &["written 1 0 2 50 60"], Some(3));
        assert_eq!(verdict.lost_updates, 1);
    }

    #[test]
    fn operations_are_counted() {
        let mut history = History::default();
        for line in LINES.into_iter().chain([
            "ended 1 0 45 50",
            "near-cache 5 6",
            "near-cache 5 6",
            "other x",
            "read 1 0 1 - 60 61",
        ]) {
            history.add(7, line.parse().expect("a report"));
        }
        let counts = (history.writes, history.renewals, history.logouts);
        assert_eq!(counts, (2, 1, 1));
        assert_eq!((history.hits, history.misses), (10, 12));
        assert_eq!(history.others["x"], 1);
        assert_eq!(history.judge(LEASE, &[]).found_nothing, 1);
    }
}
