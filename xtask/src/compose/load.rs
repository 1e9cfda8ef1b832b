//! Open-loop load: requests leave on time, whether or not earlier ones were answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::visitor::Visitor;

/// The time between two requests.
const INTERVAL: Duration = Duration::from_millis(25);
/// How long every request has to succeed for an outage to be over.
const CALM: Duration = Duration::from_secs(3);
/// How long an outage may last.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Pending,
    Status(u16),
    /// There was no response.
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    visitor: usize,
    outcome: Outcome,
}

/// Requests that each add a view to one of several sessions, until [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct Load {
    visitors: Vec<Visitor>,
    sent: Arc<Mutex<Vec<Sent>>>,
    stopped: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

/// The requests of some time.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) outcomes: BTreeMap<Outcome, usize>,
    /// From the begin of the time to the last request that failed.
    pub(crate) outage: Duration,
    /// The visitors whose requests failed.
    pub(crate) affected: BTreeSet<usize>,
}

impl Tally {
    /// The number of requests.
    pub(crate) fn requests(&self) -> usize {
        self.outcomes.values().sum()
    }

    /// The number of requests that failed. One that has no outcome yet is none of them.
    pub(crate) fn failures(&self) -> usize {
        let others = [Outcome::Status(200), Outcome::Pending];
        let others = others.iter().filter_map(|other| self.outcomes.get(other));
        self.requests() - others.sum::<usize>()
    }

    /// Fails unless every failure is a 503.
    pub(crate) fn check_failures(&self) -> anyhow::Result<()> {
        let refused = self.outcomes.get(&Outcome::Status(503));
        ensure!(
            self.failures() == refused.copied().unwrap_or(0),
            "an outage is not answered with 503 alone: {:?}",
            self.outcomes
        );
        Ok(())
    }
}

impl Load {
    /// Starts to send the requests of these visitors in turn.
    pub(crate) fn start(visitors: Vec<Visitor>) -> Self {
        let (sent, stopped) = (Arc::default(), Arc::<AtomicBool>::default());
        let sender = thread::spawn({
            let (visitors, sent, stopped) = (visitors.clone(), Arc::clone(&sent), stopped.clone());
            move || send(&visitors, &sent, &stopped)
        });
        Self {
            visitors,
            sent,
            stopped,
            sender,
        }
    }

    fn sent(&self) -> Vec<Sent> {
        lock(&self.sent).clone()
    }

    /// The requests since then.
    pub(crate) fn since(&self, begin: Instant) -> Tally {
        tally(&self.sent(), begin)
    }

    /// Waits until every request has succeeded for some seconds, and returns the requests since
    /// then.
    pub(crate) fn wait_for_success(&self, begin: Instant) -> anyhow::Result<Tally> {
        let limit = Instant::now() + LIMIT;
        loop {
            let sent = self.sent();
            if is_calm(&sent, begin, Instant::now()) {
                return Ok(tally(&sent, begin));
            }
            if Instant::now() > limit {
                bail!(
                    "requests still fail after {LIMIT:?}: {:?}",
                    tally(&sent, begin).outcomes
                );
            }
            thread::sleep(INTERVAL);
        }
    }

    /// Stops, and returns how many writes of all that were answered with success are not stored.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        self.stopped.store(true, Ordering::Relaxed);
        ensure!(self.sender.join().is_ok(), "the load panicked");
        let sent = lock(&self.sent);
        let mut lost = 0;
        for (number, visitor) in self.visitors.iter().enumerate() {
            let mine = || sent.iter().filter(|sent| sent.visitor == number);
            let succeeded = mine().filter(|sent| sent.outcome == Outcome::Status(200));
            let (all, succeeded) = (mine().count() as u64, succeeded.count() as u64);
            let session = visitor.session()?;
            ensure!(session["principal"] == "ann", "a session is lost");
            let stored = session["data"]["views"].as_u64().context("views")?;
            ensure!(stored <= all, "{stored} views of {all} requests");
            lost += succeeded.saturating_sub(stored);
        }
        Ok(lost)
    }
}

fn lock(sent: &Mutex<Vec<Sent>>) -> std::sync::MutexGuard<'_, Vec<Sent>> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(visitors: &[Visitor], sent: &Mutex<Vec<Sent>>, stopped: &AtomicBool) {
    let begin = Instant::now();
    thread::scope(|scope| {
        for number in 0_u32.. {
            thread::sleep((begin + INTERVAL * number).saturating_duration_since(Instant::now()));
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let visitor = number as usize % visitors.len();
            let index = {
                let mut sent = lock(sent);
                sent.push(Sent {
                    at: Instant::now(),
                    visitor,
                    outcome: Outcome::Pending,
                });
                sent.len() - 1
            };
            scope.spawn(move || {
                let status = visitors[visitor].add_view();
                lock(sent)[index].outcome = status.map_or(Outcome::Broken, Outcome::Status);
            });
        }
    });
}

fn tally(sent: &[Sent], begin: Instant) -> Tally {
    let mut tally = Tally::default();
    for sent in sent.iter().filter(|sent| sent.at >= begin) {
        *tally.outcomes.entry(sent.outcome).or_default() += 1;
        match sent.outcome {
            Outcome::Status(200) | Outcome::Pending => {}
            Outcome::Status(_) | Outcome::Broken => {
                tally.outage = sent.at - begin;
                tally.affected.insert(sent.visitor);
            }
        }
    }
    tally
}

/// Whether every request since `begin` and of the last seconds has succeeded, apart from those that
/// had no time to.
fn is_calm(sent: &[Sent], begin: Instant, now: Instant) -> bool {
    let recent = |at: Instant| now.duration_since(at) < CALM;
    let mut successes = 0;
    for sent in sent.iter().rev().take_while(|sent| recent(sent.at)) {
        match sent.outcome {
            Outcome::Status(200) => successes += usize::from(sent.at >= begin),
            // a request of the last moment
            Outcome::Pending if now.duration_since(sent.at) < Duration::from_millis(500) => {}
            Outcome::Pending | Outcome::Status(_) | Outcome::Broken => return false,
        }
    }
    // most of what was to be sent in that time
    let expected = CALM.as_millis() / INTERVAL.as_millis();
    successes as u128 * 10 >= expected * 7
        && !sent
            .iter()
            .any(|sent| sent.at >= begin && sent.outcome == Outcome::Pending && !recent(sent.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request every 25 ms for this many seconds before now, all of one outcome but one.
    fn requests(now: Instant, seconds: u32, odd: (usize, Outcome)) -> Vec<Sent> {
        let mut sent: Vec<Sent> = (1..=seconds * 40)
            .rev()
            .map(|number| Sent {
                at: now - INTERVAL * number,
                visitor: 0,
                outcome: Outcome::Status(200),
            })
            .collect();
        let index = sent.len() - 1 - odd.0;
        sent[index].outcome = odd.1;
        sent
    }

    #[test]
    fn an_outage_is_over_if_every_request_has_succeeded_for_seconds() {
        let now = Instant::now() + Duration::from_secs(60);
        for (ago, outcome, expected) in [
            (0, Outcome::Status(200), true),
            (0, Outcome::Pending, true),
            (60, Outcome::Pending, false),
            (60, Outcome::Status(503), false),
            (60, Outcome::Broken, false),
            (160, Outcome::Status(503), true),
            (160, Outcome::Pending, false),
        ] {
            let sent = requests(now, 10, (ago, outcome));
            let begin = now - Duration::from_secs(10);
            assert_eq!(is_calm(&sent, begin, now), expected, "{ago}: {outcome:?}");
        }
        let sent = requests(now, 10, (0, Outcome::Status(200)));
        assert!(!is_calm(&sent, now - Duration::from_secs(1), now));
        assert!(!is_calm(&[], now, now));
    }

    #[test]
    fn a_tally_ends_with_the_last_failure() {
        let now = Instant::now() + Duration::from_secs(60);
        let sent = requests(now, 10, (79, Outcome::Status(503)));
        let tally = tally(&sent, now - Duration::from_secs(5));
        assert_eq!((tally.requests(), tally.failures()), (200, 1));
        assert_eq!(tally.outage, Duration::from_secs(3));
        assert_eq!(tally.affected, BTreeSet::from([0]));
        assert!(tally.check_failures().is_ok());
    }
}
