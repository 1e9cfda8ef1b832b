//! Scheduling points: the places where a process waits until the explorer lets it continue.

use std::{
    cell::RefCell,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::{fault::Fault, footprint::Footprint};

/// A process of a history.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a process does next, once it is let to.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub(crate) name: &'static str,
    pub(crate) footprint: Footprint,
    /// What the process reads and writes when it goes on after a fault.
    pub(crate) after_fault: Footprint,
    pub(crate) faults: &'static [Fault],
}

impl Event {
    /// An event without faults.
    pub const fn new(name: &'static str, footprint: Footprint) -> Self {
        Self {
            name,
            footprint,
            after_fault: Footprint::LOCAL,
            faults: &[],
        }
    }

    /// The faults that may happen instead.
    pub const fn with_faults(self, faults: &'static [Fault]) -> Self {
        Self { faults, ..self }
    }

    /// What the process reads and writes when it is told of the fault, beside what the event does
    /// if it happens all the same.
    pub const fn and_after_fault(self, after_fault: Footprint) -> Self {
        Self {
            after_fault,
            ..self
        }
    }

    /// The same event, and nothing happens instead.
    pub const fn without_faults(self) -> Self {
        self.with_faults(&[])
    }
}

/// Waits until the explorer lets this process continue. Every order with the events of other
/// processes is explored.
///
/// Outside of an exploration, and while the explorer itself looks at the store, it does not wait.
/// A process that joins futures waits at the points of all of them.
pub async fn point(name: &'static str) {
    reach(Event::new(name, Footprint::ALL)).await;
}

/// Waits as [`point`] does, and returns the fault that the explorer has chosen.
pub fn reach(event: Event) -> impl Future<Output = Option<Fault>> + Send {
    Reach {
        event,
        strand: None,
    }
}

/// Adds a process to the history. It runs on its own from now on; the history ends when it has.
///
/// It belongs to the process that calls this. Outside of an exploration it is run to its end at
/// once.
pub fn spawn(name: &'static str, process: impl Future<Output = ()> + 'static) {
    let task = CURRENT.with_borrow_mut(|current| match current.exploring {
        true => {
            let owner = current.owner;
            current.spawned.push((name, owner, Box::pin(process)));
            None
        }
        false => Some(process),
    });
    if let Some(process) = task {
        run_to_end(process);
    }
}

/// Runs a future that does not wait for anything but points, which do not wait now.
///
/// # Panics
///
/// If the future waits for something else.
pub(crate) fn run_to_end<T>(future: impl Future<Output = T>) -> T {
    let exploring = CURRENT.with_borrow_mut(|current| mem::replace(&mut current.exploring, false));
    let mut future = std::pin::pin!(future);
    let output = poll_awake(future.as_mut());
    CURRENT.with_borrow_mut(|current| current.exploring = exploring);
    match output {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store that is explored must not wait except at points"),
    }
}

/// Polls a future, and again if it has asked for it: a set of futures does so between its members.
fn poll_awake<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    AWAKE.with(|(awake, waker)| {
        let mut context = Context::from_waker(waker);
        loop {
            awake.0.store(false, Ordering::Relaxed);
            let polled = future.as_mut().poll(&mut context);
            if polled.is_ready() || !awake.0.load(Ordering::Relaxed) {
                return polled;
            }
        }
    })
}

/// Notes that a process wants to be polled again.
#[derive(Default)]
struct Awake(AtomicBool);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current::IDLE) };
    static AWAKE: (Arc<Awake>, Waker) = {
        let awake = Arc::new(Awake::default());
        (awake.clone(), Waker::from(awake))
    };
}

/// The process that runs on this thread.
struct Current {
    exploring: bool,
    owner: usize,
    step: u32,
    strands: Strands,
    granted: Option<(u32, Option<Fault>)>,
    spawned: Vec<(&'static str, usize, Task)>,
}

impl Current {
    const IDLE: Self = Self {
        exploring: false,
        owner: 0,
        step: 0,
        strands: Strands {
            waiting: Vec::new(),
            next: 0,
        },
        granted: None,
        spawned: Vec::new(),
    };
}

/// The points at which a process waits: several if it has joined futures.
#[derive(Default)]
pub(crate) struct Strands {
    waiting: Vec<Waiting>,
    next: u32,
}

struct Waiting {
    strand: u32,
    event: Event,
    waker: Waker,
}

impl Strands {
    /// The points, with a number for each.
    pub(crate) fn events(&self) -> impl Iterator<Item = (u32, Event)> {
        self.waiting
            .iter()
            .map(|waiting| (waiting.strand, waiting.event))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn remove(&mut self, strand: u32) -> Option<Waiting> {
        let mut numbers = self.waiting.iter();
        let index = numbers.position(|waiting| waiting.strand == strand)?;
        Some(self.waiting.remove(index))
    }
}

/// The request that the running process belongs to.
pub(crate) fn owner() -> usize {
    CURRENT.with_borrow(|current| current.owner)
}

/// How many events the history has had.
pub(crate) fn step() -> u32 {
    CURRENT.with_borrow(|current| current.step)
}

/// Runs a process up to its next points, and returns whether it has ended. If it has not and waits
/// at no point, it waits for another process.
pub(crate) fn poll(
    task: &mut Task,
    strands: &mut Strands,
    owner: usize,
    step: u32,
    granted: Option<(u32, Option<Fault>)>,
) -> bool {
    let granted = granted.and_then(|(strand, fault)| {
        let waiting = strands.remove(strand)?;
        waiting.waker.wake();
        Some((strand, fault))
    });
    CURRENT.with_borrow_mut(|current| {
        current.exploring = true;
        current.owner = owner;
        current.step = step;
        current.strands = mem::take(strands);
        current.granted = granted;
    });
    let polled = poll_awake(task.as_mut());
    CURRENT.with_borrow_mut(|current| {
        current.exploring = false;
        current.granted = None;
        *strands = mem::take(&mut current.strands);
    });
    polled.is_ready()
}

/// Takes the processes that were added since the last call.
pub(crate) fn take_spawned(into: &mut Vec<(&'static str, usize, Task)>) {
    CURRENT.with_borrow_mut(|current| into.append(&mut current.spawned));
}

struct Reach {
    event: Event,
    /// Its number while it waits.
    strand: Option<u32>,
}

impl Future for Reach {
    type Output = Option<Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        CURRENT.with_borrow_mut(|current| {
            if !current.exploring {
                return Poll::Ready(None);
            }
            match (self.strand, current.granted) {
                (Some(strand), Some((granted, fault))) if strand == granted => {
                    current.granted = None;
                    self.strand = None;
                    return Poll::Ready(fault);
                }
                (Some(_), _) => return Poll::Pending,
                (None, _) => {}
            }
            let strand = current.strands.next;
            current.strands.next += 1;
            current.strands.waiting.push(Waiting {
                strand,
                event: self.event,
                waker: context.waker().clone(),
            });
            self.strand = Some(strand);
            Poll::Pending
        })
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        let Some(strand) = self.strand else { return };
        // a process that is dropped as a whole does not run
        CURRENT.with_borrow_mut(|current| {
            if current.exploring {
                current.strands.remove(strand);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream::FuturesUnordered};

    use super::*;

    #[test]
    fn a_process_runs_from_point_to_point() {
        let mut task: Task = Box::pin(async {
            point("one").await;
            point("two").await;
        });
        let mut strands = Strands::default();
        let mut run = |step, granted| {
            let ended = poll(&mut task, &mut strands, 0, step, granted);
            let events: Vec<_> = strands.events().collect();
            (
                ended,
                events.first().map(|(strand, event)| (*strand, event.name)),
            )
        };
        assert_eq!(run(0, None), (false, Some((0, "one"))));
        assert_eq!(
            run(1, None),
            (false, Some((0, "one"))),
            "nothing is granted"
        );
        assert_eq!(run(2, Some((0, None))), (false, Some((1, "two"))));
        assert_eq!(run(3, Some((1, None))), (true, None));
    }

    #[test]
    fn a_process_that_joins_futures_waits_at_all_of_their_points() {
        let mut task: Task = Box::pin(async {
            let mut joined: FuturesUnordered<_> = ["one", "two"].map(point).into_iter().collect();
            joined.next().await;
            drop(joined);
            point("three").await;
        });
        let mut strands = Strands::default();
        let mut run = |granted| {
            poll(&mut task, &mut strands, 0, 0, granted);
            let events = strands.events();
            events
                .map(|(strand, event)| (strand, event.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(None), [(0, "one"), (1, "two")]);
        assert_eq!(
            run(Some((1, None))),
            [(2, "three")],
            "the other one is gone"
        );
    }

    #[test]
    fn points_do_not_wait_outside_of_an_exploration() {
        run_to_end(async { point("nobody schedules this").await });
    }
}
