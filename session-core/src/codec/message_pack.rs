//! Reads and writes the parts of MessagePack that a body consists of.
//!
//! The reader returns places in one shared buffer and copies nothing. It allocates nothing for a
//! length that the buffer does not hold.

use std::ops::Range;

use bytes::Bytes;
use rmp::{Marker, encode};
use serde::{Deserialize, de::IgnoredAny};

/// The deepest nesting of a value.
pub(super) const MAX_DEPTH: usize = 128;

/// Why bytes were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The bytes are not of the expected type, or end too early.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A required field is absent.
    #[error("it is missing")]
    Missing,
    /// The same name occurs twice in one map.
    #[error("a name occurs twice")]
    Duplicate,
    /// Bytes follow the end.
    #[error("bytes follow the end")]
    TrailingBytes,
}

/// Writes MessagePack to memory, which cannot fail.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Starts a map. The names and values of `len` entries must follow.
    pub(super) fn map(&mut self, len: usize) {
        let _ = encode::write_map_len(&mut self.0, len as u32);
    }

    /// Starts an array. `len` elements must follow.
    pub(super) fn array(&mut self, len: usize) {
        let _ = encode::write_array_len(&mut self.0, len as u32);
    }

    pub(super) fn text(&mut self, text: &str) {
        let _ = encode::write_str(&mut self.0, text);
    }

    pub(super) fn bin(&mut self, bytes: &[u8]) {
        let _ = encode::write_bin(&mut self.0, bytes);
    }

    pub(super) fn uint(&mut self, value: u64) {
        let _ = encode::write_uint(&mut self.0, value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        let _ = encode::write_bool(&mut self.0, value);
    }

    /// Writes what is MessagePack already.
    pub(super) fn raw(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// Where a serializer writes to.
    pub(super) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Reads MessagePack from one buffer.
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Checks that everything has been read.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(Problem::TrailingBytes),
        }
    }

    /// The number of entries of a map.
    pub(super) fn map(&mut self) -> Result<usize, Problem> {
        let len = match self.marker() {
            Some(Marker::FixMap(len)) => Some(len.into()),
            Some(Marker::Map16) => self.length::<2>(),
            Some(Marker::Map32) => self.length::<4>(),
            _ => None,
        };
        len.ok_or(Problem::Expected("a map"))
    }

    /// The number of elements of an array.
    pub(super) fn array(&mut self) -> Result<usize, Problem> {
        let len = match self.marker() {
            Some(Marker::FixArray(len)) => Some(len.into()),
            Some(Marker::Array16) => self.length::<2>(),
            Some(Marker::Array32) => self.length::<4>(),
            _ => None,
        };
        len.ok_or(Problem::Expected("an array"))
    }

    pub(super) fn uint(&mut self) -> Result<u64, Problem> {
        let value = match self.marker() {
            Some(Marker::FixPos(value)) => Some(value.into()),
            Some(Marker::U8) => self.number::<1>(),
            Some(Marker::U16) => self.number::<2>(),
            Some(Marker::U32) => self.number::<4>(),
            Some(Marker::U64) => self.number::<8>(),
            _ => None,
        };
        value.ok_or(Problem::Expected("an unsigned integer"))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Problem> {
        match self.marker() {
            Some(Marker::True) => Ok(true),
            Some(Marker::False) => Ok(false),
            _ => Err(Problem::Expected("a boolean")),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Problem> {
        utf8(self.name()?)
    }

    /// A string that may not be UTF-8.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Problem> {
        let len = match self.marker() {
            Some(Marker::FixStr(len)) => Some(len.into()),
            Some(Marker::Str8) => self.length::<1>(),
            Some(Marker::Str16) => self.length::<2>(),
            Some(Marker::Str32) => self.length::<4>(),
            _ => None,
        };
        len.and_then(|len| self.take(len))
            .ok_or(Problem::Expected("a string"))
    }

    pub(super) fn bin(&mut self) -> Result<&'a [u8], Problem> {
        let len = match self.marker() {
            Some(Marker::Bin8) => self.length::<1>(),
            Some(Marker::Bin16) => self.length::<2>(),
            Some(Marker::Bin32) => self.length::<4>(),
            _ => None,
        };
        len.and_then(|len| self.take(len))
            .ok_or(Problem::Expected("bytes"))
    }

    /// A byte string of a fixed length.
    pub(super) fn bin_array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], Problem> {
        self.bin()?
            .try_into()
            .map_err(|_| Problem::Expected(expected))
    }

    /// A value that `deserialize` reads.
    pub(super) fn value<T>(
        &mut self,
        expected: &'static str,
        deserialize: impl FnOnce(&mut Deserializer<'_, 'a>) -> Result<T, rmp_serde::decode::Error>,
    ) -> Result<T, Problem> {
        let mut rest = &self.bytes[self.at..];
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        deserializer.set_max_depth(MAX_DEPTH);
        let value = deserialize(&mut deserializer).map_err(|_| Problem::Expected(expected))?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// A value of any type, not decoded.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Problem> {
        let start = self.at;
        self.value("a value", |deserializer| {
            IgnoredAny::deserialize(deserializer)
        })?;
        Ok(&self.bytes[start..self.at])
    }

    /// Where the last bytes that were read are.
    pub(super) fn last(&self, len: usize) -> Range<usize> {
        self.at - len..self.at
    }

    /// Room for this many elements of at least `min_bytes` each, and for no more than the buffer
    /// can hold.
    pub(super) fn capacity(&self, len: usize, min_bytes: usize) -> usize {
        len.min((self.bytes.len() - self.at) / min_bytes)
    }

    fn marker(&mut self) -> Option<Marker> {
        let marker = Marker::from_u8(*self.bytes.get(self.at)?);
        self.at += 1;
        Some(marker)
    }

    fn length<const BYTES: usize>(&mut self) -> Option<usize> {
        usize::try_from(self.number::<BYTES>()?).ok()
    }

    /// A number in network byte order.
    fn number<const BYTES: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[8 - BYTES..].copy_from_slice(self.take(BYTES)?);
        Some(u64::from_be_bytes(bytes))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes[self.at..].get(..len)?;
        self.at += len;
        Some(taken)
    }
}

/// Checks a name that is needed as text.
pub(super) fn utf8(name: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(name).map_err(|_| Problem::Expected("UTF-8"))
}

/// Deserializes from the rest of a buffer.
pub(super) type Deserializer<'r, 'a> =
    rmp_serde::Deserializer<rmp_serde::decode::ReadReader<&'r mut &'a [u8]>>;
