//! The layout of a record in Redis.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | format, `0x02` |
//! | 1–8 | version |
//! | 9– | body |
//!
//! The first nine bytes are the version header. Scripts compare it as a whole: its version is 64
//! random bits, so an equal header is the same write. The golden vector of the layout is in
//! `tests/vectors`.

use std::io::Write as _;

use bytes::{Buf as _, Bytes};
use redis::{RedisWrite, ToRedisArgs};
use session_core::{Record, Version};

const FORMAT: u8 = 0x02;

/// The length of the version header in bytes. The scripts contain it as a literal.
pub(crate) const HEADER_BYTES: usize = 9;

/// Returns the first bytes of every record with this version.
pub(crate) fn version_header(version: Version) -> [u8; HEADER_BYTES] {
    let mut header = [FORMAT; HEADER_BYTES];
    header[1..].copy_from_slice(version.as_bytes());
    header
}

/// A record as the argument of a command.
pub(crate) struct StoredRecord<'a>(pub(crate) &'a Record);

impl StoredRecord<'_> {
    /// The length of the argument in bytes.
    pub(crate) fn len(&self) -> usize {
        HEADER_BYTES + self.0.body().len()
    }
}

impl ToRedisArgs for StoredRecord<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // the writer appends to a buffer in memory, so it cannot fail
        let _ = argument.write_all(&version_header(self.0.version()));
        let _ = argument.write_all(self.0.body());
    }
}

/// Decodes a stored value. The body shares its memory.
pub(crate) fn decode(value: Vec<u8>) -> Result<Record, DecodeError> {
    match value.first() {
        Some(&FORMAT) => {}
        Some(&found) => return Err(DecodeError::Format { found }),
        None => return Err(DecodeError::Length { bytes: 0 }),
    }
    let Some(version) = value[1..].first_chunk() else {
        return Err(DecodeError::Length { bytes: value.len() });
    };
    let version = Version::from_bytes(*version);
    let mut body = Bytes::from(value);
    // unlike `slice`, this does not allocate a reference count
    body.advance(HEADER_BYTES);
    Ok(Record::new(version, body))
}

/// The value under a session's key is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("stored value is not a session record: expected format 0x02, found {found:#04x}")]
    Format { found: u8 },
    #[error("stored value is not a session record: it has {bytes} bytes, expected at least 9")]
    Length { bytes: usize },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(record: &Record) -> Vec<u8> {
        let mut arguments = StoredRecord(record).to_redis_args();
        assert_eq!(arguments.len(), 1);
        let argument = arguments.remove(0);
        assert_eq!(argument.len(), StoredRecord(record).len());
        argument
    }

    #[test]
    fn the_layout_is_the_golden_vector() {
        let vector = include_bytes!("../tests/vectors/stored-v2.bin");
        let version = Version::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        let record = Record::new(version, &b"\x81\xa4name\xa3ann"[..]);
        assert_eq!(encode(&record), vector);
        assert_eq!(decode(vector.to_vec()), Ok(record));
        assert_eq!(vector[..HEADER_BYTES], version_header(version));
    }

    #[test]
    fn other_values_are_not_records() {
        let length = |bytes| Err(DecodeError::Length { bytes });
        let format = |found| Err(DecodeError::Format { found });
        assert_eq!(decode(vec![]), length(0));
        assert_eq!(decode(vec![2]), length(1));
        assert_eq!(decode(vec![2; 8]), length(8));
        assert_eq!(decode(vec![1; 50]), format(1));
        assert_eq!(decode(b"some text".to_vec()), format(b's'));
        assert!(decode(vec![2; 9]).is_ok_and(|record| record.body().is_empty()));
        assert_eq!(
            DecodeError::Format { found: 1 }.to_string(),
            "stored value is not a session record: expected format 0x02, found 0x01"
        );
    }

    proptest! {
        #[test]
        fn records_round_trip(version: [u8; 8], body: Vec<u8>) {
            let record = Record::new(Version::from_bytes(version), body);
            prop_assert_eq!(decode(encode(&record)), Ok(record));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(value: Vec<u8>, format in 1u8..4) {
            let value = [&[format], &value[..]].concat();
            if let Ok(record) = decode(value.clone()) {
                prop_assert_eq!(encode(&record), value);
            }
        }
    }
}
