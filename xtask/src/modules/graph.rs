//! Layers and circles of a directed graph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which node depends on which; every node has an entry.
#[derive(Debug)]
pub(super) struct Graph<N>(pub(super) BTreeMap<N, BTreeSet<N>>);

impl<N: Ord + Clone> Graph<N> {
    /// The strongly connected components, each after those that it depends on.
    pub(super) fn components(&self) -> Vec<Vec<N>> {
        let mut search = Search {
            graph: self,
            order: BTreeMap::new(),
            low: BTreeMap::new(),
            stack: Vec::new(),
            components: Vec::new(),
        };
        for node in self.0.keys() {
            if !search.order.contains_key(node) {
                search.visit(node);
            }
        }
        search.components
    }

    /// The nodes by the longest way down: a node of the first layer depends on nothing. Nodes of
    /// one circle share a layer.
    pub(super) fn layers(&self) -> Vec<Vec<N>> {
        let mut layer_of = BTreeMap::new();
        let mut layers: Vec<Vec<N>> = Vec::new();
        for component in self.components() {
            let below = component
                .iter()
                .flat_map(|node| &self.0[node])
                .filter_map(|to| layer_of.get(to).copied());
            let layer = below.max().map_or(0, |below: usize| below + 1);
            layers.resize_with(layers.len().max(layer + 1), Vec::new);
            for node in component {
                layer_of.insert(node.clone(), layer);
                layers[layer].push(node);
            }
        }
        layers.iter_mut().for_each(|layer| layer.sort());
        layers
    }

    /// For each edge that lies on a circle, a shortest circle through it; shortest first, each
    /// once.
    ///
    /// A circle begins with its least node, which is not repeated at the end.
    pub(super) fn circles(&self) -> Vec<Vec<N>> {
        let mut circles = BTreeSet::new();
        for component in self.components() {
            let members: BTreeSet<_> = component.into_iter().collect();
            for from in &members {
                for to in self.0[from].intersection(&members) {
                    let mut circle = self.shortest_way(to, from, &members);
                    let least = (0..circle.len()).min_by_key(|&at| &circle[at]).unwrap_or(0);
                    circle.rotate_left(least);
                    circles.insert((circle.len(), circle));
                }
            }
        }
        circles.into_iter().map(|(_, circle)| circle).collect()
    }

    /// The nodes of a shortest way between two members of a strongly connected component, both
    /// included.
    fn shortest_way(&self, from: &N, to: &N, members: &BTreeSet<N>) -> Vec<N> {
        let mut previous: BTreeMap<&N, &N> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            if node == to {
                break;
            }
            for next in &self.0[node] {
                if next != from && members.contains(next) && !previous.contains_key(next) {
                    previous.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        let mut way = vec![to.clone()];
        let mut at = to;
        while let Some(&before) = previous.get(at) {
            way.push(before.clone());
            at = before;
        }
        way.reverse();
        way
    }
}

/// Tarjan's algorithm.
struct Search<'a, N> {
    graph: &'a Graph<N>,
    order: BTreeMap<&'a N, usize>,
    low: BTreeMap<&'a N, usize>,
    stack: Vec<&'a N>,
    components: Vec<Vec<N>>,
}

impl<'a, N: Ord + Clone> Search<'a, N> {
    fn visit(&mut self, node: &'a N) {
        let order = self.order.len();
        self.order.insert(node, order);
        self.low.insert(node, order);
        self.stack.push(node);
        for next in &self.graph.0[node] {
            let reached = if !self.order.contains_key(next) {
                self.visit(next);
                self.low[next]
            } else if self.stack.contains(&next) {
                self.order[next]
            } else {
                continue;
            };
            let low = self.low[node].min(reached);
            self.low.insert(node, low);
        }
        if self.low[node] == order {
            let start = self
                .stack
                .iter()
                .position(|other| *other == node)
                .unwrap_or(0);
            let component = self.stack.split_off(start);
            self.components
                .push(component.into_iter().cloned().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(char, &str)]) -> Graph<char> {
        Graph(
            edges
                .iter()
                .map(|(from, to)| (*from, to.chars().collect()))
                .collect(),
        )
    }

    #[test]
    fn a_graph_without_circles_has_layers() {
        let graph = graph(&[('a', "bc"), ('b', "c"), ('c', ""), ('d', "c")]);
        assert_eq!(graph.layers(), [vec!['c'], vec!['b', 'd'], vec!['a']]);
        assert_eq!(graph.circles(), Vec::<Vec<char>>::new());
    }

    #[test]
    fn every_edge_of_a_component_is_on_a_circle() {
        let graph = graph(&[('a', "b"), ('b', "ac"), ('c', "a"), ('d', "a"), ('e', "")]);
        assert_eq!(graph.circles(), [vec!['a', 'b'], vec!['a', 'b', 'c']]);
        assert_eq!(graph.layers(), [vec!['a', 'b', 'c', 'e'], vec!['d']]);
    }

    #[test]
    fn a_circle_is_listed_once_from_its_least_node() {
        let graph = graph(&[('c', "a"), ('a', "b"), ('b', "c")]);
        assert_eq!(graph.circles(), [vec!['a', 'b', 'c']]);
    }
}
