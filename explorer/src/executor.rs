//! Runs the processes of one history, one event at a time.

use crate::{
    fault::Fault,
    footprint::Footprint,
    point::{self, Polled, Task},
};

/// More events than any history has that ends.
const MAX_STEPS: u32 = 400;

/// One thing that can happen next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) actor: Actor,
    pub(crate) fault: Option<Fault>,
    pub(crate) name: &'static str,
    pub(crate) footprint: Footprint,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A process, by its number.
    Process(usize),
    /// Time passes.
    Clock,
}

impl Choice {
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.actor == other.actor && self.fault == other.fault
    }

    /// Whether the two lead to the same history in either order.
    pub(crate) fn commutes_with(&self, other: &Self) -> bool {
        self.actor != other.actor
            // there is one fault at most
            && !(self.fault.is_some() && other.fault.is_some())
            && !self.footprint.conflicts_with(other.footprint)
    }
}

/// Decides which choice is taken.
pub(crate) trait Strategy {
    /// The index of the choice; `None` abandons the history, because another one is the same.
    fn choose(&mut self, choices: &[Choice]) -> Option<usize>;
}

/// What takes part in a history beside its processes.
pub(crate) trait Surroundings {
    /// Time passes.
    fn advance(&mut self);
    /// An event is over.
    fn after(&mut self, choice: &Choice, owner: Option<usize>);
}

/// How a history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// The strategy abandoned it.
    Abandoned,
    /// Processes wait for each other.
    Deadlock,
    /// It does not end.
    Endless,
}

/// What a history may contain beside the events of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) faults: u8,
    /// How often time passes.
    pub(crate) advances: u8,
}

struct Process {
    owner: usize,
    task: Option<Task>,
    state: State,
}

enum State {
    Started,
    At(point::Event),
    Blocked,
}

/// Runs processes, which are named by their order, until all have ended.
pub(crate) fn run(
    tasks: Vec<Task>,
    mut budget: Budget,
    strategy: &mut dyn Strategy,
    surroundings: &mut dyn Surroundings,
) -> End {
    let mut processes: Vec<Process> = tasks
        .into_iter()
        .enumerate()
        .map(|(owner, task)| Process {
            owner,
            task: Some(task),
            state: State::Started,
        })
        .collect();
    let mut choices = Vec::new();
    let mut spawned = Vec::new();
    let mut step = 0;
    loop {
        settle(&mut processes, &mut spawned, step);
        list(&processes, budget, &mut choices);
        if choices.is_empty() {
            let ended = processes.iter().all(|process| process.task.is_none());
            return if ended { End::Complete } else { End::Deadlock };
        }
        if step == MAX_STEPS {
            return End::Endless;
        }
        // nobody else can notice it, so its place does not matter
        let local = choices
            .iter()
            .position(|choice| choice.footprint.is_local() && choice.fault.is_none());
        let index = match local {
            Some(index) if budget.advances == 0 => index,
            Some(_) | None => match strategy.choose(&choices) {
                Some(index) => index,
                None => return End::Abandoned,
            },
        };
        let choice = choices[index];
        let owner = match choice.actor {
            Actor::Clock => {
                budget.advances -= 1;
                surroundings.advance();
                None
            }
            Actor::Process(number) => {
                budget.faults -= u8::from(choice.fault.is_some());
                proceed(&mut processes[number], step, choice.fault);
                Some(processes[number].owner)
            }
        };
        surroundings.after(&choice, owner);
        step += 1;
    }
}

/// Lets a process continue from the point where it waits.
fn proceed(process: &mut Process, step: u32, fault: Option<Fault>) {
    let Some(task) = &mut process.task else {
        return;
    };
    match point::poll(task, process.owner, step, Some(fault)) {
        Polled::Finished => process.task = None,
        Polled::At(event) => process.state = State::At(event),
        Polled::Blocked => process.state = State::Blocked,
    }
    if fault.is_some_and(Fault::drops_caller) {
        process.task = None;
    }
}

/// Runs new processes, and those that waited for another process, up to their next point.
fn settle(processes: &mut Vec<Process>, spawned: &mut Vec<(&'static str, usize, Task)>, step: u32) {
    loop {
        let mut moved = false;
        for process in &mut *processes {
            let Some(task) = &mut process.task else {
                continue;
            };
            if let State::At(_) = process.state {
                continue;
            }
            match point::poll(task, process.owner, step, None) {
                Polled::Finished => {
                    process.task = None;
                    moved = true;
                }
                Polled::At(event) => {
                    process.state = State::At(event);
                    moved = true;
                }
                Polled::Blocked => process.state = State::Blocked,
            }
        }
        point::take_spawned(spawned);
        moved |= !spawned.is_empty();
        processes.extend(spawned.drain(..).map(|(_, owner, task)| Process {
            owner,
            task: Some(task),
            state: State::Started,
        }));
        if !moved {
            return;
        }
    }
}

fn list(processes: &[Process], budget: Budget, choices: &mut Vec<Choice>) {
    choices.clear();
    for (number, process) in processes.iter().enumerate() {
        let (Some(_), State::At(event)) = (&process.task, &process.state) else {
            continue;
        };
        let choice = Choice {
            actor: Actor::Process(number),
            fault: None,
            name: event.name,
            footprint: event.footprint,
        };
        choices.push(choice);
        if budget.faults == 0 {
            continue;
        }
        choices.extend(event.faults.iter().map(|fault| Choice {
            fault: Some(*fault),
            footprint: match fault.applies() {
                true => event.footprint,
                false => Footprint::LOCAL,
            },
            ..choice
        }));
    }
    if budget.advances > 0 && !choices.is_empty() {
        choices.push(Choice {
            actor: Actor::Clock,
            fault: None,
            name: "time passes",
            footprint: Footprint::ALL,
        });
    }
}
