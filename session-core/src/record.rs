//! What a store keeps under one id, as bytes and as a value.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    clock,
    cookie_header::CookieOverrides,
    data::Data,
    timeouts::Life,
    token::{Entropy, EntropyError, SecretHash},
};

/// Stamp of one write.
///
/// Random and not counted: a store that fails over to an older copy repeats counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version([u8; 8]);

impl Version {
    /// Takes a version from the bytes of a record.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The version, as it stands in a record.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A record as a store sees it: bytes, of which only the version concerns it.
///
/// The layout is one format byte (`0x01`), the 8-byte [`Version`], the 32-byte [`SecretHash`], and a MessagePack body.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBytes(Bytes);

impl RecordBytes {
    /// The format byte of the native layout.
    pub const FORMAT: u8 = 1;
    /// Where the version stands.
    pub const VERSION: std::ops::Range<usize> = 1..9;
    /// Where the secret hash stands.
    pub const SECRET_HASH: std::ops::Range<usize> = 9..41;

    /// Takes whatever bytes a store holds; whether they are a record shows when the session is loaded.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The version, or `None` where the bytes are no record.
    pub fn version(&self) -> Option<Version> {
        if self.0.len() < Self::SECRET_HASH.end || self.0[0] != Self::FORMAT {
            return None;
        }
        self.0[Self::VERSION].try_into().ok().map(Version)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Debug for RecordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordBytes({} bytes)", self.0.len())
    }
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) secret_hash: SecretHash,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: u64,
    pub(crate) contents: Contents,
    /// Fields that a newer version of the library wrote, kept as they are: name and encoded value.
    pub(crate) unknown: Vec<(Bytes, Bytes)>,
}

impl Record {
    pub(crate) fn age(&self, now: std::time::SystemTime) -> Duration {
        Duration::from_millis(clock::to_millis(now).saturating_sub(self.created_at))
    }
}

/// The part of a record that a request may change.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) data: Data,
    pub(crate) principal: Option<Box<str>>,
    pub(crate) life: Life,
    pub(crate) cookie: CookieOverrides,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}
