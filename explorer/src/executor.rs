//! Runs the processes of one history, one event at a time.

use crate::{
    fault::Fault,
    footprint::Footprint,
    point::{self, Strands, Task},
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
    /// A process, by its number, at one of the points where it waits.
    Process(usize, u32),
    /// Time passes.
    Clock,
}

impl Choice {
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.actor == other.actor && self.fault == other.fault
    }

    /// Whether the two lead to the same history in either order.
    pub(crate) fn commutes_with(&self, other: &Self) -> bool {
        let is_same_process = match (self.actor, other.actor) {
            (Actor::Process(one, strand), Actor::Process(other_one, other_strand)) => {
                // joined futures do not notice each other unless one fails
                one == other_one
                    && (strand == other_strand || self.fault.is_some() || other.fault.is_some())
            }
            (one, other) => one == other,
        };
        // there is one fault at most
        let excludes = self.fault.is_some() && other.fault.is_some();
        let conflicts = self.footprint.conflicts_with(other.footprint);
        !(is_same_process || excludes || conflicts)
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
    strands: Strands,
}

impl Process {
    fn new(owner: usize, task: Task) -> Self {
        Self {
            owner,
            task: Some(task),
            strands: Strands::default(),
        }
    }

    fn run(&mut self, step: u32, granted: Option<(u32, Option<Fault>)>) {
        let Some(task) = &mut self.task else { return };
        if point::poll(task, &mut self.strands, self.owner, step, granted) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.task = None;
        self.strands = Strands::default();
    }
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
        .map(|(owner, task)| Process::new(owner, task))
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
            Actor::Process(number, strand) => {
                budget.faults -= u8::from(choice.fault.is_some());
                let process = &mut processes[number];
                process.run(step, Some((strand, choice.fault)));
                if choice.fault.is_some_and(Fault::drops_caller) {
                    process.end();
                }
                Some(processes[number].owner)
            }
        };
        surroundings.after(&choice, owner);
        step += 1;
    }
}

/// Runs new processes, and those that waited for another process, up to their next point.
fn settle(processes: &mut Vec<Process>, spawned: &mut Vec<(&'static str, usize, Task)>, step: u32) {
    loop {
        let mut moved = false;
        let waits = |process: &&mut Process| process.task.is_some() && process.strands.is_empty();
        for process in processes.iter_mut().filter(waits) {
            process.run(step, None);
            moved |= process.task.is_none() || !process.strands.is_empty();
        }
        point::take_spawned(spawned);
        moved |= !spawned.is_empty();
        let new = spawned.drain(..);
        processes.extend(new.map(|(_, owner, task)| Process::new(owner, task)));
        if !moved {
            return;
        }
    }
}

fn list(processes: &[Process], budget: Budget, choices: &mut Vec<Choice>) {
    choices.clear();
    for (number, process) in processes.iter().enumerate() {
        for (strand, event) in process.strands.events() {
            let choice = Choice {
                actor: Actor::Process(number, strand),
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
                    true => event.footprint.and(event.after_fault),
                    false => event.after_fault,
                },
                ..choice
            }));
        }
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
