//! Chooses by number: a value of a list, a pair, a triple.

use crate::case::Situation;

pub(crate) const SITUATIONS: [Situation; 3] =
    [Situation::Anonymous, Situation::LoggedIn, Situation::Nobody];

pub(crate) fn pick<T: Clone>(values: &[T], index: usize) -> (T, usize) {
    (values[index % values.len()].clone(), index / values.len())
}

/// How many pairs there are without regard to their order.
pub(crate) fn pairs(len: usize) -> usize {
    len * (len + 1) / 2
}

/// How many triples there are without regard to their order.
pub(crate) fn triples(len: usize) -> usize {
    len * (len + 1) * (len + 2) / 6
}

/// The pair of this number: the larger member does not decrease.
pub(crate) fn unordered(index: usize) -> (usize, usize) {
    let mut larger = (2 * index).isqrt();
    while pairs(larger) > index {
        larger -= 1;
    }
    while pairs(larger + 1) <= index {
        larger += 1;
    }
    (larger, index - pairs(larger))
}

/// The triple of this number: the last member is the largest.
pub(crate) fn triple(index: usize) -> [usize; 3] {
    let (mut third, mut rest) = (0, index);
    while pairs(third + 1) <= rest {
        rest -= pairs(third + 1);
        third += 1;
    }
    let (one, two) = unordered(rest);
    [one, two, third]
}
