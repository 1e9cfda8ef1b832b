//! Explores many cases on several threads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_core::Store;

use crate::{
    explorer::{Explored, Explorer, Failure, MakeStore},
    plan::{MAX_HISTORIES, Plan, SECTIONS, Section},
    search::Random,
};

/// How many histories of each triple are run.
const HISTORIES_OF_TRIPLE: u64 = 200;

/// How to explore.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many threads.
    pub threads: usize,
    /// End at the first history that breaks a promise.
    pub stop_at_failure: bool,
    /// End after this time.
    pub limit: Option<Duration>,
    /// Explore only the parts whose name begins like this.
    pub only: Option<&'static str>,
}

impl Effort {
    fn includes(&self, name: &str) -> bool {
        self.only.is_none_or(|only| name.starts_with(only))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases, histories and processing time of each part.
    pub parts: Vec<(&'static str, Totals)>,
    /// The first failure of each kind, and how many cases fail alike.
    pub failures: BTreeMap<String, (u64, Failure)>,
    /// Where a later exploration goes on; `None` if everything is done.
    pub next: Option<Position>,
}

/// Sums over cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Cases that were explored.
    pub cases: u64,
    /// Histories that were complete.
    pub histories: u64,
    /// The time from the first case to the last.
    pub elapsed: Duration,
}

/// A case of the plan: the number of its section, and its number within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The section.
    pub section: usize,
    /// The case.
    pub index: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.section, self.index)
    }
}

impl Report {
    /// How many histories were run.
    pub fn histories(&self) -> u64 {
        self.parts.iter().map(|(_, totals)| totals.histories).sum()
    }

    fn merge(&mut self, other: BTreeMap<String, (u64, Failure)>) {
        for (kind, (count, failure)) in other {
            let entry = self.failures.entry(kind).or_insert((0, failure));
            entry.0 += count;
        }
    }
}

/// Runs the cases that the gate runs.
pub fn gate<S: Store>(make: &MakeStore<S>, effort: Effort) -> Report {
    let plan = Plan::default();
    let mut report = Report::default();
    let crew = Crew::new(effort);
    for Section {
        part,
        name,
        stride,
        most,
    } in SECTIONS
    {
        if !effort.includes(name) {
            continue;
        }
        let cases = plan.cases(*part).div_ceil(*stride);
        let (totals, failures, _) = crew.run(make, cases, |explorer, index| {
            explorer.explore(&plan.case(*part, index * stride), *most)
        });
        report.parts.push((name, totals));
        report.merge(failures);
        if crew.is_over() {
            break;
        }
    }
    report
}

/// Runs all cases from a position on; of each `of` cases only the one of number `shard`.
pub fn deep<S: Store>(
    make: &MakeStore<S>,
    effort: Effort,
    from: Position,
    (shard, of): (usize, usize),
    progress: &mut dyn FnMut(&str),
) -> Report {
    let plan = Plan::default();
    let mut report = Report::default();
    let crew = Crew::new(effort);
    let mut start = from.index;
    for (number, Section { part, name, .. }) in SECTIONS.iter().enumerate().skip(from.section) {
        if !effort.includes(name) {
            continue;
        }
        let cases = plan.cases(*part).saturating_sub(start);
        progress(&format!("{name}: {cases} cases from {number}:{start}"));
        let (totals, failures, done) = crew.run(make, cases, |explorer, index| {
            let index = start + index;
            match index % of == shard {
                true => explorer.explore(&plan.case(*part, index), MAX_HISTORIES),
                false => Explored::default(),
            }
        });
        report.parts.push((name, totals));
        report.merge(failures);
        if crew.is_over() {
            report.next = Some(Position {
                section: number,
                index: start + done,
            });
            break;
        }
        start = 0;
    }
    report
}

/// Runs random histories of random cases with three requests.
pub fn triples<S: Store>(make: &MakeStore<S>, effort: Effort, seed: u64, cases: usize) -> Report {
    let plan = Plan::default();
    let crew = Crew::new(effort);
    let (totals, failures, _) = crew.run(make, cases, |explorer, index| {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        let mut random = Random(seed.wrapping_add(index.wrapping_mul(0x1_0000_0001)));
        let case = plan.triple(|limit| random.below(limit), effort.only);
        explorer.sample(&case, HISTORIES_OF_TRIPLE, random.next())
    });
    let mut report = Report {
        parts: vec![("triples", totals)],
        ..Report::default()
    };
    report.merge(failures);
    report
}

/// Threads that share cases.
struct Crew {
    effort: Effort,
    began: Instant,
    over: AtomicBool,
}

impl Crew {
    fn new(effort: Effort) -> Self {
        Self {
            effort,
            began: Instant::now(),
            over: AtomicBool::new(false),
        }
    }

    fn is_over(&self) -> bool {
        let late = |limit| self.began.elapsed() >= limit;
        self.over.load(Ordering::Relaxed) || self.effort.limit.is_some_and(late)
    }

    /// Explores the cases of these numbers. Returns also how many of the first ones are done.
    fn run<S: Store>(
        &self,
        make: &MakeStore<S>,
        cases: usize,
        explore: impl Fn(&mut Explorer<S>, usize) -> Explored + Sync,
    ) -> (Totals, BTreeMap<String, (u64, Failure)>, usize) {
        let (next, explored, histories) =
            (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let failures = Mutex::new(BTreeMap::new());
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.effort.threads {
                scope.spawn(|| {
                    let mut explorer = Explorer::new(make.clone());
                    while !self.is_over() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= cases {
                            break;
                        }
                        let found = explore(&mut explorer, index);
                        explored.fetch_add(u64::from(found.histories > 0), Ordering::Relaxed);
                        histories.fetch_add(found.histories, Ordering::Relaxed);
                        if let Some(failure) = found.failure {
                            self.over
                                .fetch_or(self.effort.stop_at_failure, Ordering::Relaxed);
                            let mut failures =
                                failures.lock().unwrap_or_else(PoisonError::into_inner);
                            let entry = failures.entry(kind(&failure)).or_insert((0, failure));
                            entry.0 += 1;
                        }
                    }
                });
            }
        });
        let totals = Totals {
            cases: explored.into_inner(),
            histories: histories.into_inner(),
            elapsed: began.elapsed(),
        };
        let failures = failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // each thread may have given up the case that it had taken
        let done = next.into_inner().saturating_sub(self.effort.threads);
        (totals, failures, done.min(cases))
    }
}

/// What failures have in common: the words of their violations without numbers.
fn kind(failure: &Failure) -> String {
    let words = failure.violations.iter().map(ToString::to_string);
    let words: Vec<_> = words.take(1).collect();
    words
        .join("; ")
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .collect()
}
