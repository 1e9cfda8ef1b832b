//! Explores the histories of cases.

use std::{collections::HashMap, fmt, sync::Arc};

use session_core::Store;

use crate::{
    case::Case,
    executor::{End, Strategy},
    history::History,
    invariants::{self, Violation},
    map_store::MapStore,
    search::{AtRandom, DepthFirst, Replay},
    setup::Setting,
    stage::Stage,
    surroundings::ManualClock,
    timeline,
};

/// Makes the store of a history.
pub type MakeStore<S> = Arc<dyn Fn(&ManualClock) -> S + Send + Sync>;

/// Explores cases on one thread.
pub struct Explorer<S = MapStore> {
    make: MakeStore<S>,
    stages: HashMap<Setting, Stage<S>>,
}

/// A history that breaks a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// The choices that lead to it.
    pub path: Vec<usize>,
    /// What is broken.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        let path: Vec<_> = self.path.iter().map(usize::to_string).collect();
        write!(
            f,
            "cargo run --release -p explorer -- --case '{}' --replay {}",
            self.case,
            path.join(".")
        )
    }
}

/// What exploring a case has found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// How many histories were complete.
    pub histories: u64,
    /// The first history that breaks a promise.
    pub failure: Option<Failure>,
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new(Arc::new(MapStore::new))
    }
}

impl<S: Store> Explorer<S> {
    /// Explores with stores that `make` makes; each history begins with a new one, which must be
    /// empty and use the clock.
    pub fn new(make: MakeStore<S>) -> Self {
        Self {
            make,
            stages: HashMap::new(),
        }
    }

    /// Runs all histories of a case that differ, up to the first that breaks a promise, but no more
    /// than `limit`.
    pub fn explore(&mut self, case: &Case, limit: u64) -> Explored {
        self.explore_with(case, limit, false, &mut |_| {})
    }

    /// Runs all histories of a case, also those that differ only in the order of events that do not
    /// concern each other.
    pub fn explore_every_order(
        &mut self,
        case: &Case,
        limit: u64,
        visit: &mut dyn FnMut(&History<'_>),
    ) -> Explored {
        self.explore_with(case, limit, true, visit)
    }

    /// Runs all histories of a case that differ, and shows them.
    pub fn visit(
        &mut self,
        case: &Case,
        limit: u64,
        visit: &mut dyn FnMut(&History<'_>),
    ) -> Explored {
        self.explore_with(case, limit, false, visit)
    }

    fn explore_with(
        &mut self,
        case: &Case,
        limit: u64,
        every_order: bool,
        visit: &mut dyn FnMut(&History<'_>),
    ) -> Explored {
        let mut search = DepthFirst::new(every_order);
        let mut explored = Explored::default();
        loop {
            let (complete, violations) = self.run(case, &mut search, visit);
            explored.histories += u64::from(complete);
            if !violations.is_empty() {
                explored.failure = Some(Failure {
                    case: case.clone(),
                    path: search.path(),
                    violations,
                });
                return explored;
            }
            if explored.histories >= limit || !search.next() {
                return explored;
            }
        }
    }

    /// Runs histories of a case that are chosen at random, up to the first that breaks a promise.
    pub fn sample(&mut self, case: &Case, histories: u64, seed: u64) -> Explored {
        let mut explored = Explored::default();
        for index in 0..histories {
            let mut random = AtRandom::new(seed.wrapping_add(index));
            let (complete, violations) = self.run(case, &mut random, &mut |_| {});
            explored.histories += u64::from(complete);
            if !violations.is_empty() {
                explored.failure = Some(Failure {
                    case: case.clone(),
                    path: random.path(),
                    violations,
                });
                return explored;
            }
        }
        explored
    }

    /// Runs one history and shows it.
    pub fn replay(
        &mut self,
        case: &Case,
        path: &[usize],
        visit: &mut dyn FnMut(&History<'_>),
    ) -> Vec<Violation> {
        self.run(case, &mut Replay::new(path), visit).1
    }

    /// Runs one history and writes it down.
    pub fn timeline(&mut self, case: &Case, path: &[usize]) -> String {
        let mut text = String::new();
        let violations = self.replay(case, path, &mut |history| {
            text = timeline::timeline(history);
        });
        for violation in violations {
            text.push_str(&format!("\n{violation}\n"));
        }
        text
    }

    fn run(
        &mut self,
        case: &Case,
        strategy: &mut dyn Strategy,
        visit: &mut dyn FnMut(&History<'_>),
    ) -> (bool, Vec<Violation>) {
        let setting = Setting::of(case);
        let make = &*self.make;
        let stage = self
            .stages
            .entry(setting)
            .or_insert_with(|| Stage::new(setting, make));
        let history = stage.run(case, make, strategy);
        if history.end == End::Abandoned {
            return (false, Vec::new());
        }
        visit(&history);
        (true, invariants::check(&history))
    }
}

impl<S> fmt::Debug for Explorer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explorer").finish_non_exhaustive()
    }
}
