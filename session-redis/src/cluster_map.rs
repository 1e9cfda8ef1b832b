//! Which node of a cluster serves which slot.

use std::sync::Arc;

use crate::{failure::Failure, node::Node, slot_map::SLOTS};

/// Which node serves which slot.
pub(crate) struct Map {
    /// For each slot, a node of the list after it plus one; zero is none.
    slots: Box<[u16]>,
    nodes: Vec<Arc<Node>>,
    /// How many attempts to get a map have ended.
    attempts: u64,
    /// Why the last attempt failed.
    failure: Option<Failure>,
}

/// The nodes that serve slots.
pub(crate) struct Serving {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The number of slots that none of them serves.
    pub(crate) unserved: usize,
}

impl Map {
    pub(crate) fn empty() -> Self {
        Self {
            slots: vec![0; usize::from(SLOTS)].into(),
            nodes: Vec::new(),
            attempts: 0,
            failure: None,
        }
    }

    /// The nodes that it names, also those that serve no slot any more.
    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// How many attempts to get a map have ended.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Why the last attempt failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// An attempt has brought a new map.
    pub(crate) fn succeeded(&self, new: Self) -> Self {
        Self {
            attempts: self.attempts + 1,
            ..new
        }
    }

    /// An attempt has failed.
    pub(crate) fn failed(&self, failure: Failure) -> Self {
        Self {
            attempts: self.attempts + 1,
            failure: Some(failure),
            ..self.copy()
        }
    }

    /// Whether it names a node.
    pub(crate) fn names(&self, node: &Arc<Node>) -> bool {
        self.nodes.iter().any(|other| Arc::ptr_eq(node, other))
    }

    pub(crate) fn node(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = self.slots[usize::from(slot)];
        self.nodes.get(usize::from(index).checked_sub(1)?)
    }

    pub(crate) fn serving(&self) -> Serving {
        let mut serves = vec![false; self.nodes.len() + 1];
        let mut unserved = 0;
        for &index in &self.slots {
            serves[usize::from(index)] = true;
            unserved += usize::from(index == 0);
        }
        let nodes = self.nodes.iter().zip(&serves[1..]);
        let nodes = nodes.filter(|(_, serves)| **serves);
        Serving {
            nodes: nodes.map(|(node, _)| node.clone()).collect(),
            unserved,
        }
    }

    /// A node's number in `slots`; the node is added if it is new.
    fn index_of(&mut self, node: Arc<Node>) -> u16 {
        let known = self
            .nodes
            .iter()
            .position(|other| Arc::ptr_eq(other, &node));
        let position = known.unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        // a cluster has at most as many primaries as slots
        u16::try_from(position + 1).unwrap_or_default()
    }

    /// Sets the node of these slots.
    pub(crate) fn set(&mut self, first: u16, last: u16, node: Arc<Node>) {
        let index = self.index_of(node);
        self.slots[usize::from(first)..=usize::from(last)].fill(index);
    }

    /// The same map, but for one slot.
    pub(crate) fn with(&self, slot: u16, node: Arc<Node>) -> Self {
        let mut map = self.copy();
        map.set(slot, slot, node);
        map
    }

    fn copy(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            nodes: self.nodes.clone(),
            attempts: self.attempts,
            failure: self.failure.clone(),
        }
    }

    /// The nodes that serve a slot here and not in a newer map.
    pub(crate) fn losers(&self, newer: &Self) -> Vec<Arc<Node>> {
        let mut losers: Vec<Arc<Node>> = Vec::new();
        for slot in 0..SLOTS {
            let (before, after) = (self.node(slot), newer.node(slot));
            let Some(before) = before.filter(|_| before.map(Arc::as_ptr) != after.map(Arc::as_ptr))
            else {
                continue;
            };
            if !losers.iter().any(|known| Arc::ptr_eq(known, before)) {
                losers.push(before.clone());
            }
        }
        losers
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let nodes = |map: &Self, slot| map.node(slot).map(Arc::as_ptr);
        (0..SLOTS).all(|slot| nodes(self, slot) == nodes(other, slot))
    }
}
