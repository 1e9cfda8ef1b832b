//! The wire format of records and values: fixed offsets for what a store compares, MessagePack for the rest.
//!
//! The body is a map with named fields. A reader keeps the fields it does not know and writes them back, so that two releases
//! of this library share sessions while one replaces the other.

use std::{io::Cursor, ops::Range, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use rmp::{decode, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};

use crate::{
    data::Data,
    record::{Contents, Record, RecordBytes, Version},
    token::SecretHash,
};

/// Nesting that a stored value may have.
const MAX_DEPTH: usize = 128;
/// Room for a value at the start, so that few have to grow.
const TYPICAL_VALUE_BYTES: usize = 64;

const CREATED_AT: &str = "created_at";
const IDLE_TIMEOUT: &str = "idle_timeout";
const ABSOLUTE_TIMEOUT: &str = "absolute_timeout";
const PERSISTENT: &str = "persistent";
const PRINCIPAL: &str = "principal";
const COOKIE: &str = "cookie";
const DATA: &str = "data";

/// Encodes one value of the application; structs keep their field names.
pub(crate) fn encode_value<T: Serialize + ?Sized>(
    value: &T,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut out = Vec::with_capacity(TYPICAL_VALUE_BYTES);
    value.serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())?;
    Ok(Bytes::from(out))
}

/// Decodes one value of the application.
pub(crate) fn decode_value<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer)
}

/// Writes a record; the secret hash is its own argument because it may be replaced as the record is written.
pub(crate) fn encode(record: &Record) -> RecordBytes {
    let Contents {
        data,
        principal,
        life,
        cookie,
    } = &record.contents;
    let mut out = BytesMut::with_capacity(RecordBytes::SECRET_HASH.end + 64 + data.encoded_bytes());
    out.put_u8(RecordBytes::FORMAT);
    out.put_slice(record.version.as_bytes());
    out.put_slice(record.secret_hash.as_bytes());

    let optional = [
        life.idle.is_some(),
        life.absolute.is_some(),
        life.persistent.is_some(),
        principal.is_some(),
        !cookie.is_empty(),
    ];
    let fields = 2 + optional.iter().filter(|&&is| is).count() + record.unknown.len();
    let mut body = Body(out.writer());
    body.map(fields);
    body.field(CREATED_AT).uint(record.created_at);
    if let Some(idle) = life.idle {
        body.field(IDLE_TIMEOUT).uint(millis(idle));
    }
    if let Some(absolute) = life.absolute {
        body.field(ABSOLUTE_TIMEOUT).uint(millis(absolute));
    }
    if let Some(persistent) = life.persistent {
        body.field(PERSISTENT).bool(persistent);
    }
    if let Some(principal) = principal {
        body.field(PRINCIPAL).field(principal);
    }
    if !cookie.is_empty() {
        body.field(COOKIE)
            .raw(&encode_value(cookie).unwrap_or_default());
    }
    for (name, value) in &record.unknown {
        body.name(name).raw(value);
    }
    body.field(DATA).map(data.len());
    for (name, value) in data.iter() {
        body.field(name).bin(value);
    }
    RecordBytes::new(body.0.into_inner().freeze())
}

/// Reads a record. Bounded by its input: nothing is allocated for a length that the bytes do not hold.
pub(crate) fn decode(bytes: &RecordBytes) -> Result<Record, DecodeError> {
    let version = bytes
        .version()
        .ok_or(DecodeError("no record of a known format"))?;
    let bytes = bytes.as_bytes();
    let secret_hash: [u8; 32] = bytes[RecordBytes::SECRET_HASH]
        .try_into()
        .map_err(|_| DecodeError("too short"))?;
    let mut body = Reader {
        bytes,
        at: RecordBytes::SECRET_HASH.end,
    };
    let mut created_at = None;
    let mut data = None;
    let mut contents = Contents::default();
    let mut unknown = Vec::new();
    for _ in 0..body.map()? {
        let name = body.text()?;
        match &bytes[name.clone()] {
            b"created_at" => created_at = Some(body.uint()?),
            b"idle_timeout" => contents.life.idle = Some(Duration::from_millis(body.uint()?)),
            b"absolute_timeout" => {
                contents.life.absolute = Some(Duration::from_millis(body.uint()?))
            }
            b"persistent" => contents.life.persistent = Some(body.bool()?),
            b"principal" => contents.principal = Some(as_str(&bytes[body.text()?]).into()),
            b"cookie" => {
                contents.cookie = decode_value(&body.raw()?).map_err(|_| DecodeError("cookie"))?
            }
            b"data" => data = Some(body.data()?),
            _ => unknown.push((bytes.slice(name), body.raw()?)),
        }
    }
    if body.at != bytes.len() {
        return Err(DecodeError("bytes after the end"));
    }
    contents.data = data.ok_or(DecodeError("no data"))?;
    Ok(Record {
        version: Version::from_bytes(*version.as_bytes()),
        secret_hash: SecretHash::from_bytes(secret_hash),
        created_at: created_at.ok_or(DecodeError("no created_at"))?,
        contents,
        unknown,
    })
}

/// The stored bytes are not a record that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("undecodable session record: {0}")]
pub(crate) struct DecodeError(&'static str);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn as_str(checked: &[u8]) -> &str {
    std::str::from_utf8(checked).unwrap_or_default()
}

/// Writes MessagePack to memory, which cannot fail.
struct Body(bytes::buf::Writer<BytesMut>);

impl Body {
    fn map(&mut self, len: usize) -> &mut Self {
        let _ = encode::write_map_len(&mut self.0, len as u32);
        self
    }

    fn field(&mut self, name: &str) -> &mut Self {
        let _ = encode::write_str(&mut self.0, name);
        self
    }

    fn name(&mut self, name: &Bytes) -> &mut Self {
        self.field(as_str(name))
    }

    fn uint(&mut self, value: u64) {
        let _ = encode::write_uint(&mut self.0, value);
    }

    fn bool(&mut self, value: bool) {
        let _ = encode::write_bool(&mut self.0, value);
    }

    fn bin(&mut self, value: &[u8]) {
        let _ = encode::write_bin(&mut self.0, value);
    }

    fn raw(&mut self, encoded: &[u8]) {
        self.0.get_mut().put_slice(encoded);
    }
}

/// Reads MessagePack as slices of one buffer.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn with<T, E>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut &[u8]) -> Result<T, E>,
    ) -> Result<T, DecodeError> {
        let mut rest = &self.bytes[self.at..];
        let value = read(&mut rest).map_err(|_| DecodeError(what))?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// Steps over so many bytes, and says where they are.
    fn skip(&mut self, len: u32) -> Result<Range<usize>, DecodeError> {
        let end = self
            .at
            .checked_add(len as usize)
            .filter(|&end| end <= self.bytes.len());
        let start = std::mem::replace(
            &mut self.at,
            end.ok_or(DecodeError("a length that is not there"))?,
        );
        Ok(start..self.at)
    }

    fn take(&mut self, len: u32) -> Result<Bytes, DecodeError> {
        Ok(self.bytes.slice(self.skip(len)?))
    }

    fn map(&mut self) -> Result<u32, DecodeError> {
        self.with("map", |rest| decode::read_map_len(rest))
    }

    fn uint(&mut self) -> Result<u64, DecodeError> {
        self.with("integer", |rest| decode::read_int(rest))
    }

    fn bool(&mut self) -> Result<bool, DecodeError> {
        self.with("boolean", |rest| decode::read_bool(rest))
    }

    /// Where a string is.
    fn text(&mut self) -> Result<Range<usize>, DecodeError> {
        let len = self.with("string", |rest| decode::read_str_len(rest))?;
        let text = self.skip(len)?;
        std::str::from_utf8(&self.bytes[text.clone()])
            .map_err(|_| DecodeError("string that is not UTF-8"))?;
        Ok(text)
    }

    fn raw(&mut self) -> Result<Bytes, DecodeError> {
        let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(&self.bytes[self.at..]));
        deserializer.set_max_depth(MAX_DEPTH);
        IgnoredAny::deserialize(&mut deserializer).map_err(|_| DecodeError("value"))?;
        let len = deserializer.position();
        self.take(u32::try_from(len).map_err(|_| DecodeError("value"))?)
    }

    fn data(&mut self) -> Result<Data, DecodeError> {
        let len = self.map()?;
        // an entry is two bytes at least, so a length beyond that is a lie
        let mut data = Data::of(
            self.bytes,
            (len as usize).min((self.bytes.len() - self.at) / 2),
        );
        for _ in 0..len {
            let name = self.text()?;
            let len = self.with("bytes", |rest| decode::read_bin_len(rest))?;
            let value = self.skip(len)?;
            if !data.push(name, value) {
                return Err(DecodeError("a name twice"));
            }
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cookie_header::CookieOverrides, timeouts::Life};
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let life = (
            any::<Option<u32>>(),
            any::<Option<u32>>(),
            any::<Option<bool>>(),
        )
            .prop_map(|(idle, absolute, persistent)| Life {
                idle: idle.map(|ms| Duration::from_millis(ms.into())),
                absolute: absolute.map(|ms| Duration::from_millis(ms.into())),
                persistent,
            });
        let data = prop::collection::btree_map("\\PC{0,8}", bytes(), 0..6);
        (
            any::<[u8; 8]>(),
            any::<[u8; 32]>(),
            any::<u64>(),
            data,
            any::<Option<String>>(),
            life,
            any::<Option<bool>>(),
        )
            .prop_map(
                |(version, hash, created_at, values, principal, life, http_only)| {
                    let mut data = Data::default();
                    for (name, value) in values {
                        data.insert(&name, value);
                    }
                    let cookie = CookieOverrides {
                        http_only,
                        ..CookieOverrides::default()
                    };
                    Record {
                        version: Version::from_bytes(version),
                        secret_hash: SecretHash::from_bytes(hash),
                        created_at,
                        contents: Contents {
                            data,
                            principal: principal.map(Into::into),
                            life,
                            cookie,
                        },
                        unknown: Vec::new(),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_record_survives_the_round_trip(record in record()) {
            let bytes = encode(&record);
            prop_assert_eq!(bytes.version(), Some(record.version));
            prop_assert_eq!(decode(&bytes).expect("own bytes"), record);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = vec![RecordBytes::FORMAT; 41];
            bytes.extend(&body);
            let _ = decode(&RecordBytes::new(bytes));
            let _ = decode(&RecordBytes::new(body));
        }

        #[test]
        fn every_flipped_or_missing_byte_is_read_or_refused(record in record(), at: prop::sample::Index, flip in 1..=255u8) {
            let whole = encode(&record).into_bytes();
            let at = at.index(whole.len());
            let mut flipped = whole.to_vec();
            flipped[at] ^= flip;
            let _ = decode(&RecordBytes::new(flipped));
            prop_assert!(decode(&RecordBytes::new(whole.slice(..at))).is_err());
        }
    }

    /// S29: a length without its bytes must not allocate, and nesting must not exhaust the stack.
    #[test]
    fn bombs_are_refused() {
        let head = |body: &[u8]| RecordBytes::new([&[1u8; 41][..], body].concat());
        assert!(decode(&head(&[0xdf, 0xff, 0xff, 0xff, 0xff])).is_err());
        assert!(decode(&head(b"\x81\xa4data\xdf\xff\xff\xff\xff")).is_err());
        assert!(decode(&head(b"\x81\xa4data\x81\xa1a\xc6\xff\xff\xff\xff")).is_err());
        assert!(decode(&head(&[&b"\x81\xa1x"[..], &[0x91; 100_000][..]].concat())).is_err());
        assert!(decode_value::<serde::de::IgnoredAny>(&[0x91; 100_000]).is_err());
    }

    /// Golden vector of format 1: what this release writes, every later one reads.
    #[test]
    fn format_1_is_frozen() {
        let golden = include_bytes!("../tests/vectors/record-v1.bin");
        let record = decode(&RecordBytes::new(&golden[..])).expect("format 1");
        assert_eq!(record.created_at, 1_700_000_000_123);
        assert_eq!(record.contents.principal.as_deref(), Some("ann"));
        assert_eq!(record.contents.life.idle, Some(Duration::from_secs(60)));
        assert_eq!(
            decode_value::<u32>(&record.contents.data.get("views").expect("views")).expect("u32"),
            41
        );
        assert_eq!(
            record.unknown,
            [(Bytes::from("later"), Bytes::from_static(b"\x92\x01\x02"))]
        );
        assert_eq!(
            encode(&record).as_bytes(),
            &golden[..],
            "and writes back unchanged, unknown fields included"
        );
    }
}
