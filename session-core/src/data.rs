//! The application's values: name → MessagePack bytes of one value, decoded only when somebody asks.

use bytes::Bytes;

/// Space that MessagePack needs to say how long a name and a value are, at most.
const FRAME_BYTES: usize = 10;

/// The values of one session.
///
/// Kept sorted by name, so that equal contents are equal whatever order they were written in. Names and values are
/// slices of the record they were read from: loading copies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Data {
    entries: Vec<(Bytes, Bytes)>,
}

impl Data {
    /// The encoded value of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Bytes> {
        self.find(name.as_bytes()).ok().map(|at| &self.entries[at].1)
    }

    /// Whether there is a value of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_ok()
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names with their encoded values, sorted by name.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        // every way in checks that a name is UTF-8
        self.entries.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    pub(crate) fn insert(&mut self, name: &str, value: Bytes) {
        match self.find(name.as_bytes()) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (Bytes::copy_from_slice(name.as_bytes()), value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Bytes> {
        self.find(name.as_bytes()).ok().map(|at| self.entries.remove(at).1)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries) }
    }

    /// Adds an entry of a record, whose names are usually in order already. Gives `false` for a name seen before.
    pub(crate) fn push(&mut self, name: Bytes, value: Bytes) -> bool {
        if self.entries.last().is_none_or(|(last, _)| *last < name) {
            self.entries.push((name, value));
            return true;
        }
        match self.find(&name) {
            Ok(_) => false,
            Err(at) => {
                self.entries.insert(at, (name, value));
                true
            }
        }
    }

    /// What the values take in a record, at most.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.entries.iter().map(|(name, value)| name.len() + value.len() + FRAME_BYTES).sum()
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(entry, _)| entry.as_ref().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// The same as a map of the standard library, whatever is done to it.
        #[test]
        fn behaves_as_a_sorted_map(steps in prop::collection::vec((0..3u8, "[a-e]{0,2}", any::<u8>()), 0..60)) {
            let (mut data, mut model) = (Data::default(), BTreeMap::new());
            for (step, name, value) in steps {
                let value = Bytes::copy_from_slice(&[value]);
                match step {
                    0 => { data.insert(&name, value.clone()); model.insert(name, value); }
                    1 => prop_assert_eq!(data.remove(&name), model.remove(&name)),
                    _ => prop_assert_eq!(
                        data.push(Bytes::from(name.clone()), value.clone()),
                        match model.contains_key(&name) { true => false, false => { model.insert(name, value); true } }
                    ),
                }
                prop_assert!(data.iter().eq(model.iter().map(|(name, value)| (name.as_str(), value))));
            }
        }
    }
}
