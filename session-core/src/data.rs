//! The application's values: a name and the MessagePack bytes of one value, decoded on demand.

use std::{fmt, ops::Range};

use bytes::Bytes;

/// The most that MessagePack adds to the name and the value of one entry: two length headers.
const ENTRY_OVERHEAD_BYTES: usize = 10;

/// The values of one session, sorted by name.
///
/// Entries of a decoded body stay where they are in the body: decoding copies nothing, and all
/// entries share one reference to the body. Two maps with the same entries are equal, in whatever
/// order they were written.
#[derive(Clone, Default)]
pub(crate) struct Data {
    body: Bytes,
    entries: Vec<Entry>,
}

/// A name and its encoded value.
#[derive(Clone)]
pub(crate) struct Entry {
    name: Part,
    value: Part,
}

/// The bytes of a name or of an encoded value.
#[derive(Clone)]
enum Part {
    /// Where they are in the body.
    InBody(Range<usize>),
    Owned(Bytes),
}

impl Entry {
    /// An entry of an encoded body. The name must be UTF-8.
    pub(crate) fn in_body(name: Range<usize>, value: Range<usize>) -> Self {
        Self {
            name: Part::InBody(name),
            value: Part::InBody(value),
        }
    }
}

impl Part {
    fn bytes<'a>(&'a self, body: &'a Bytes) -> &'a [u8] {
        match self {
            Self::InBody(range) => &body[range.clone()],
            Self::Owned(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::InBody(range) => range.len(),
            Self::Owned(bytes) => bytes.len(),
        }
    }

    fn share(&self, body: &Bytes) -> Bytes {
        match self {
            Self::InBody(range) => body.slice(range.clone()),
            Self::Owned(bytes) => bytes.clone(),
        }
    }
}

impl Data {
    /// The entries of an encoded body, in any order. `None` if two entries have the same name.
    pub(crate) fn from_body(body: &Bytes, mut entries: Vec<Entry>) -> Option<Self> {
        let ascending = |entries: &[Entry]| {
            entries.is_sorted_by(|a, b| a.name.bytes(body) < b.name.bytes(body))
        };
        if !ascending(&entries) {
            entries.sort_unstable_by(|a, b| a.name.bytes(body).cmp(b.name.bytes(body)));
            if !ascending(&entries) {
                return None;
            }
        }
        Some(Self {
            body: body.clone(),
            entries,
        })
    }

    /// The encoded value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        let at = self.find(name).ok()?;
        Some(self.entries[at].value.share(&self.body))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names and their encoded values, sorted by name.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        // every name was checked when it was decoded, or comes from a `&str`
        self.pairs()
            .map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    pub(crate) fn insert(&mut self, name: &str, value: Bytes) {
        let value = Part::Owned(value);
        match self.find(name) {
            Ok(at) => self.entries[at].value = value,
            Err(at) => {
                let name = Part::Owned(Bytes::copy_from_slice(name.as_bytes()));
                self.entries.insert(at, Entry { name, value });
            }
        }
    }

    /// Removes an entry and returns its encoded value.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Bytes> {
        let at = self.find(name).ok()?;
        Some(self.entries.remove(at).value.share(&self.body))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// An upper bound of the space that the entries take in an encoded body.
    pub(crate) fn encoded_bytes(&self) -> usize {
        let entry_bytes =
            |entry: &Entry| entry.name.len() + entry.value.len() + ENTRY_OVERHEAD_BYTES;
        self.entries.iter().map(entry_bytes).sum()
    }

    fn pairs(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .map(|entry| (entry.name.bytes(&self.body), entry.value.bytes(&self.body)))
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name.bytes(&self.body).cmp(name.as_bytes()))
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl fmt::Debug for Data {
    /// Prints names only, because values may be secrets of the application.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    /// A body that consists of names and one-byte values, and where they are in it.
    fn body(entries: &[(String, u8)]) -> (Bytes, Vec<Entry>) {
        let mut body = Vec::new();
        let places = entries
            .iter()
            .map(|(name, value)| {
                let start = body.len();
                body.extend_from_slice(name.as_bytes());
                body.push(*value);
                Entry::in_body(start..body.len() - 1, body.len() - 1..body.len())
            })
            .collect();
        (Bytes::from(body), places)
    }

    fn from_body(entries: &[(String, u8)]) -> Option<Data> {
        let (body, places) = body(entries);
        Data::from_body(&body, places)
    }

    proptest! {
        #[test]
        fn data_behaves_as_a_sorted_map(
            decoded in prop::collection::hash_map("[a-e]{0,2}", any::<u8>(), 0..10),
            steps in prop::collection::vec((any::<bool>(), "[a-e]{0,2}", any::<u8>()), 0..60),
        ) {
            // the order of a hash map is arbitrary, so most bodies are not sorted
            let entries: Vec<_> = decoded.into_iter().collect();
            let mut data = from_body(&entries).expect("names are distinct");
            let one_byte = |value| Bytes::copy_from_slice(&[value]);
            let mut model: BTreeMap<_, _> =
                entries.into_iter().map(|(name, value)| (name, one_byte(value))).collect();
            for (insert, name, value) in steps {
                match insert {
                    true => {
                        data.insert(&name, one_byte(value));
                        model.insert(name, one_byte(value));
                    }
                    false => prop_assert_eq!(data.remove(&name), model.remove(&name)),
                }
                prop_assert_eq!(data.len(), model.len());
                let entries = model.iter().map(|(name, value)| (&name[..], &value[..]));
                prop_assert!(data.iter().eq(entries));
                for (name, value) in &model {
                    prop_assert_eq!(data.get(name), Some(value.clone()));
                }
                prop_assert!(model.keys().all(|name| data.contains(name)));
            }
        }

        #[test]
        fn a_repeated_name_is_rejected(
            entries in prop::collection::hash_map("[a-e]{0,2}", any::<u8>(), 1..10),
            repeated: prop::sample::Index,
            at: prop::sample::Index,
        ) {
            let mut entries: Vec<_> = entries.into_iter().collect();
            let repeated = repeated.get(&entries).clone();
            entries.insert(at.index(entries.len() + 1), repeated);
            prop_assert!(from_body(&entries).is_none());
        }
    }

    #[test]
    fn equal_entries_are_equal_wherever_they_are_kept() {
        let entries = [("b".to_owned(), 2), ("a".to_owned(), 1)];
        let decoded = from_body(&entries).expect("names are distinct");
        let mut inserted = Data::default();
        assert_ne!(decoded, inserted);
        inserted.insert("a", Bytes::from_static(&[1]));
        inserted.insert("b", Bytes::from_static(&[2]));
        assert_eq!(decoded, inserted);
        inserted.insert("b", Bytes::from_static(&[3]));
        assert_ne!(decoded, inserted);
    }

    #[test]
    fn debug_prints_names_and_no_values() {
        let mut data = Data::default();
        data.insert("user", Bytes::from_static(b"ann"));
        assert_eq!(format!("{data:?}"), r#"["user"]"#);
    }
}
