//! The application's values: name → MessagePack bytes of one value, decoded only when somebody asks.

use std::ops::Range;

use bytes::Bytes;

/// Space that MessagePack needs to say how long a name and a value are, at most.
const FRAME_BYTES: usize = 10;

/// The values of one session.
///
/// Kept sorted by name, so that equal contents are equal whatever order they were written in. What was read is left where
/// it stands in the record: loading copies nothing, and shares the record once instead of once for each value.
#[derive(Clone, Default)]
pub(crate) struct Data {
    record: Bytes,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    name: Part,
    value: Part,
}

/// A name, or an encoded value.
#[derive(Clone)]
enum Part {
    /// In the record, there.
    Read(Range<usize>),
    Written(Bytes),
}

impl Part {
    fn bytes<'a>(&'a self, record: &'a Bytes) -> &'a [u8] {
        match self {
            Self::Read(range) => &record[range.clone()],
            Self::Written(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Read(range) => range.len(),
            Self::Written(bytes) => bytes.len(),
        }
    }

    fn share(&self, record: &Bytes) -> Bytes {
        match self {
            Self::Read(range) => record.slice(range.clone()),
            Self::Written(bytes) => bytes.clone(),
        }
    }
}

impl Data {
    /// Values that a record holds, to be [pushed](Self::push).
    pub(crate) fn of(record: &Bytes, entries: usize) -> Self {
        Self {
            record: record.clone(),
            entries: Vec::with_capacity(entries),
        }
    }

    /// The encoded value of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        self.find(name.as_bytes())
            .ok()
            .map(|at| self.entries[at].value.share(&self.record))
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
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        // every way in checks that a name is UTF-8
        self.pairs()
            .map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    fn pairs(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .map(|Entry { name, value }| (name.bytes(&self.record), value.bytes(&self.record)))
    }

    pub(crate) fn insert(&mut self, name: &str, value: Bytes) {
        let value = Part::Written(value);
        match self.find(name.as_bytes()) {
            Ok(at) => self.entries[at].value = value,
            Err(at) => {
                let name = Part::Written(Bytes::copy_from_slice(name.as_bytes()));
                self.entries.insert(at, Entry { name, value });
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Bytes> {
        self.find(name.as_bytes())
            .ok()
            .map(|at| self.entries.remove(at).value.share(&self.record))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds an entry by its places in the record, where names are usually in order already. Gives `false` for a name seen before.
    pub(crate) fn push(&mut self, name: Range<usize>, value: Range<usize>) -> bool {
        let bytes = &self.record[name.clone()];
        let last = self
            .entries
            .last()
            .map(|last| last.name.bytes(&self.record));
        let at = match last.is_none_or(|last| last < bytes) {
            true => self.entries.len(),
            false => match self.find(bytes) {
                Ok(_) => return false,
                Err(at) => at,
            },
        };
        self.entries.insert(
            at,
            Entry {
                name: Part::Read(name),
                value: Part::Read(value),
            },
        );
        true
    }

    /// What the values take in a record, at most.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.entries
            .iter()
            .map(|Entry { name, value }| name.len() + value.len() + FRAME_BYTES)
            .sum()
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name.bytes(&self.record).cmp(name))
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl std::fmt::Debug for Data {
    /// Names only: values are the application's and may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
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
            // the record: each step's name and value, one after the other
            let mut record = Vec::new();
            let places: Vec<_> = steps
                .iter()
                .map(|(_, name, value)| {
                    let start = record.len();
                    record.extend_from_slice(name.as_bytes());
                    record.push(*value);
                    (start..record.len() - 1, record.len() - 1..record.len())
                })
                .collect();
            let (mut data, mut model) = (Data::of(&Bytes::from(record), 0), BTreeMap::new());
            for ((step, name, value), (name_at, value_at)) in steps.into_iter().zip(places) {
                let value = Bytes::copy_from_slice(&[value]);
                match step {
                    0 => { data.insert(&name, value.clone()); model.insert(name, value); }
                    1 => prop_assert_eq!(data.remove(&name), model.remove(&name)),
                    _ => prop_assert_eq!(
                        data.push(name_at, value_at),
                        match model.contains_key(&name) { true => false, false => { model.insert(name, value); true } }
                    ),
                }
                prop_assert!(data.iter().eq(model.iter().map(|(name, value)| (name.as_str(), &value[..]))));
                prop_assert!(model.iter().all(|(name, value)| data.get(name).as_ref() == Some(value)));
            }
        }
    }
}
