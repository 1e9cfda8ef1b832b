//! Scheduling points: the places where a process waits until the explorer lets it continue.

use std::{
    cell::RefCell,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{fault::Fault, footprint::Footprint};

/// A process of a history.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a process does next, once it is let to.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub(crate) name: &'static str,
    pub(crate) footprint: Footprint,
    pub(crate) faults: &'static [Fault],
}

impl Event {
    /// An event without faults.
    pub const fn new(name: &'static str, footprint: Footprint) -> Self {
        Self {
            name,
            footprint,
            faults: &[],
        }
    }

    /// The faults that may happen instead.
    pub const fn with_faults(self, faults: &'static [Fault]) -> Self {
        Self { faults, ..self }
    }
}

/// Waits until the explorer lets this process continue. Every order with the events of other
/// processes is explored.
///
/// Outside of an exploration, and while the explorer itself looks at the store, it does not wait.
/// One process waits at one point at a time: do not join two futures that have points.
pub async fn point(name: &'static str) {
    reach(Event::new(name, Footprint::ALL)).await;
}

/// Waits as [`point`] does, and returns the fault that the explorer has chosen.
pub fn reach(event: Event) -> impl Future<Output = Option<Fault>> + Send {
    Reach {
        event,
        waiting: false,
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
    let mut context = Context::from_waker(std::task::Waker::noop());
    let output = future.as_mut().poll(&mut context);
    CURRENT.with_borrow_mut(|current| current.exploring = exploring);
    match output {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store that is explored must not wait except at points"),
    }
}

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current::IDLE) };
}

/// The process that runs on this thread.
struct Current {
    exploring: bool,
    owner: usize,
    step: u32,
    reached: Option<Event>,
    granted: Option<Option<Fault>>,
    spawned: Vec<(&'static str, usize, Task)>,
}

impl Current {
    const IDLE: Self = Self {
        exploring: false,
        owner: 0,
        step: 0,
        reached: None,
        granted: None,
        spawned: Vec::new(),
    };
}

/// The request that the running process belongs to.
pub(crate) fn owner() -> usize {
    CURRENT.with_borrow(|current| current.owner)
}

/// How many events the history has had.
pub(crate) fn step() -> u32 {
    CURRENT.with_borrow(|current| current.step)
}

/// How a process stands after it was polled.
pub(crate) enum Polled {
    Finished,
    /// It waits at a point.
    At(Event),
    /// It waits for another process.
    Blocked,
}

/// Runs a process up to its next point.
pub(crate) fn poll(
    task: &mut Task,
    owner: usize,
    step: u32,
    granted: Option<Option<Fault>>,
) -> Polled {
    CURRENT.with_borrow_mut(|current| {
        current.exploring = true;
        current.owner = owner;
        current.step = step;
        current.reached = None;
        current.granted = granted;
    });
    let mut context = Context::from_waker(std::task::Waker::noop());
    let polled = task.as_mut().poll(&mut context);
    CURRENT.with_borrow_mut(|current| {
        current.exploring = false;
        current.granted = None;
        match (polled, current.reached.take()) {
            (Poll::Ready(()), _) => Polled::Finished,
            (Poll::Pending, Some(event)) => Polled::At(event),
            (Poll::Pending, None) => Polled::Blocked,
        }
    })
}

/// Takes the processes that were added since the last call.
pub(crate) fn take_spawned(into: &mut Vec<(&'static str, usize, Task)>) {
    CURRENT.with_borrow_mut(|current| into.append(&mut current.spawned));
}

struct Reach {
    event: Event,
    waiting: bool,
}

impl Future for Reach {
    type Output = Option<Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        CURRENT.with_borrow_mut(|current| {
            if !current.exploring {
                return Poll::Ready(None);
            }
            if self.waiting
                && let Some(fault) = current.granted.take()
            {
                return Poll::Ready(fault);
            }
            self.waiting = true;
            current.reached = Some(self.event);
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_from_point_to_point() {
        let mut task: Task = Box::pin(async {
            point("one").await;
            point("two").await;
        });
        let at = |polled| match polled {
            Polled::At(event) => event.name,
            Polled::Finished => "finished",
            Polled::Blocked => "blocked",
        };
        assert_eq!(at(poll(&mut task, 0, 0, None)), "one");
        assert_eq!(at(poll(&mut task, 0, 1, None)), "one", "nothing is granted");
        assert_eq!(at(poll(&mut task, 0, 2, Some(None))), "two");
        assert_eq!(at(poll(&mut task, 0, 3, Some(None))), "finished");
    }

    #[test]
    fn points_do_not_wait_outside_of_an_exploration() {
        run_to_end(async { point("nobody schedules this").await });
    }
}
