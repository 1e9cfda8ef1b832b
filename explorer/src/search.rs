//! Which histories of a case are run: all that differ, one that is given, or some at random.

use crate::executor::{Choice, Strategy};

/// Goes through all histories of a case, depth first, and abandons those that differ from an
/// earlier one only in the order of events that do not concern each other (sleep sets).
#[derive(Debug, Default)]
pub(crate) struct DepthFirst {
    nodes: Vec<Node>,
    depth: usize,
    /// Tells every order apart.
    every_order: bool,
}

#[derive(Debug)]
struct Node {
    choices: Vec<Choice>,
    /// Choices whose histories have been run before this node.
    asleep: Vec<Choice>,
    taken: usize,
}

impl DepthFirst {
    pub(crate) fn new(every_order: bool) -> Self {
        Self {
            every_order,
            ..Self::default()
        }
    }

    /// Begins the next history. `false` if all have been run.
    pub(crate) fn next(&mut self) -> bool {
        self.depth = 0;
        while let Some(node) = self.nodes.last_mut() {
            if let Some(next) = node.awake_from(node.taken + 1) {
                node.taken = next;
                return true;
            }
            self.nodes.pop();
        }
        false
    }

    /// The choices of the history that was run last.
    pub(crate) fn path(&self) -> Vec<usize> {
        let nodes = &self.nodes[..self.depth.min(self.nodes.len())];
        nodes.iter().map(|node| node.taken).collect()
    }

    /// What need not be tried after the choice of the last node.
    fn asleep(&self) -> Vec<Choice> {
        let (Some(node), false) = (self.nodes.last(), self.every_order) else {
            return Vec::new();
        };
        let taken = node.choices[node.taken];
        let tried = node.choices[..node.taken].iter();
        let tried = tried.filter(|choice| !node.sleeps(choice));
        node.asleep
            .iter()
            .chain(tried)
            .filter(|choice| choice.commutes_with(&taken))
            .copied()
            .collect()
    }
}

impl Node {
    fn sleeps(&self, choice: &Choice) -> bool {
        self.asleep.iter().any(|asleep| asleep.is_same(choice))
    }

    fn awake_from(&self, start: usize) -> Option<usize> {
        (start..self.choices.len()).find(|index| !self.sleeps(&self.choices[*index]))
    }
}

impl Strategy for DepthFirst {
    fn choose(&mut self, choices: &[Choice]) -> Option<usize> {
        if let Some(node) = self.nodes.get(self.depth) {
            self.depth += 1;
            return Some(node.taken);
        }
        let mut node = Node {
            choices: choices.to_vec(),
            asleep: self.asleep(),
            taken: 0,
        };
        node.taken = node.awake_from(0)?;
        let taken = node.taken;
        self.nodes.push(node);
        self.depth += 1;
        Some(taken)
    }
}

/// Runs one history, given by its choices; what is not given is the first choice.
#[derive(Debug)]
pub(crate) struct Replay<'p> {
    path: &'p [usize],
    taken: Vec<usize>,
}

impl<'p> Replay<'p> {
    pub(crate) fn new(path: &'p [usize]) -> Self {
        Self {
            path,
            taken: Vec::new(),
        }
    }
}

impl Strategy for Replay<'_> {
    fn choose(&mut self, choices: &[Choice]) -> Option<usize> {
        let index = self.path.get(self.taken.len()).copied().unwrap_or(0);
        self.taken.push(index);
        (index < choices.len()).then_some(index)
    }
}

/// Chooses at random.
#[derive(Debug)]
pub(crate) struct AtRandom {
    random: Random,
    taken: Vec<usize>,
}

impl AtRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            taken: Vec::new(),
        }
    }

    /// The choices that were taken.
    pub(crate) fn path(self) -> Vec<usize> {
        self.taken
    }
}

impl Strategy for AtRandom {
    fn choose(&mut self, choices: &[Choice]) -> Option<usize> {
        // faults come after what happens without them, and would otherwise take most of the choices
        let plain = choices.iter().filter(|choice| choice.fault.is_none());
        let plain: Vec<_> = plain.collect();
        let faulty = plain.len() < choices.len() && self.random.below(4) == 0;
        let index = match faulty {
            true => self.random.below(choices.len()),
            false => {
                let choice = plain[self.random.below(plain.len())];
                choices.iter().position(|other| other.is_same(choice))?
            }
        };
        self.taken.push(index);
        Some(index)
    }
}

/// SplitMix64: repeatable, and nothing depends on its quality.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }
}
