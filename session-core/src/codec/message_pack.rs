//! Reads and writes the parts of MessagePack that a body consists of.
//!
//! The reader returns places in one shared buffer and copies nothing. It allocates nothing for a
//! length that the buffer does not hold.

use std::ops::Range;

use bytes::Bytes;
use rmp::{decode, encode};
use serde::{Deserialize, de::IgnoredAny};

/// The deepest nesting of a value.
pub(super) const MAX_DEPTH: usize = 128;

/// MessagePack's `nil`.
const NIL: u8 = 0xc0;

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

    pub(super) fn nil(&mut self) {
        self.0.push(NIL);
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
    pub(super) fn map(&mut self) -> Result<u32, Problem> {
        self.read("a map", decode::read_map_len)
    }

    /// The number of elements of an array.
    pub(super) fn array(&mut self) -> Result<u32, Problem> {
        self.read("an array", decode::read_array_len)
    }

    pub(super) fn uint(&mut self) -> Result<u64, Problem> {
        self.read("an unsigned integer", decode::read_int)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Problem> {
        self.read("a boolean", decode::read_bool)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Problem> {
        let len = self.read("a string", decode::read_str_len)?;
        let range = self.take(len, "a string")?;
        let bytes: &'a [u8] = self.bytes;
        std::str::from_utf8(&bytes[range]).map_err(|_| Problem::Expected("UTF-8"))
    }

    /// Where a byte string is.
    pub(super) fn bin_range(&mut self) -> Result<Range<usize>, Problem> {
        let len = self.read("bytes", decode::read_bin_len)?;
        self.take(len, "bytes")
    }

    /// A byte string of a fixed length.
    pub(super) fn bin<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], Problem> {
        let range = self.bin_range()?;
        self.bytes[range]
            .try_into()
            .map_err(|_| Problem::Expected(expected))
    }

    /// `nil`, or what `read` reads.
    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        if self.bytes.get(self.at) == Some(&NIL) {
            self.at += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// A value of a type that `deserialize` knows.
    pub(super) fn value<T>(
        &mut self,
        expected: &'static str,
        deserialize: impl FnOnce(&mut Deserializer<'_, 'a>) -> Result<T, rmp_serde::decode::Error>,
    ) -> Result<T, Problem> {
        self.read(expected, |rest| {
            let mut deserializer = rmp_serde::Deserializer::new(rest);
            deserializer.set_max_depth(MAX_DEPTH);
            deserialize(&mut deserializer)
        })
    }

    /// A value of any type, not decoded.
    pub(super) fn raw(&mut self) -> Result<Bytes, Problem> {
        let start = self.at;
        self.value("a value", |deserializer| {
            IgnoredAny::deserialize(deserializer)
        })?;
        Ok(self.bytes.slice(start..self.at))
    }

    /// Room for so many elements, of at least so many bytes each. A buffer that ends before does
    /// not get more.
    pub(super) fn capacity(&self, len: u32, min_bytes: usize) -> usize {
        (len as usize).min((self.bytes.len() - self.at) / min_bytes)
    }

    /// Where the last bytes that were read are.
    pub(super) fn last(&self, len: usize) -> Range<usize> {
        self.at - len..self.at
    }

    /// The part of the buffer that a text was read from.
    pub(super) fn share(&self, text: &'a str) -> Bytes {
        self.bytes.slice_ref(text.as_bytes())
    }

    /// Moves over so many bytes and returns where they are.
    fn take(&mut self, len: u32, expected: &'static str) -> Result<Range<usize>, Problem> {
        let start = self.at;
        let end = start
            .checked_add(len as usize)
            .filter(|&end| end <= self.bytes.len());
        self.at = end.ok_or(Problem::Expected(expected))?;
        Ok(start..self.at)
    }

    fn read<T, E>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>,
    ) -> Result<T, Problem> {
        let mut rest = &self.bytes[self.at..];
        let value = read(&mut rest).map_err(|_| Problem::Expected(expected))?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }
}

/// Deserializes from the rest of a buffer.
pub(super) type Deserializer<'r, 'a> =
    rmp_serde::Deserializer<rmp_serde::decode::ReadReader<&'r mut &'a [u8]>>;
