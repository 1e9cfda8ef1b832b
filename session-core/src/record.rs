//! What a store keeps under one id.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::entropy::{Entropy, EntropyError};

/// Identifies one write of a record.
///
/// Random rather than counted: after a failover to an older copy, a counter would repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version([u8; 8]);

impl Version {
    /// Makes a version from its bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the version.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A stored session: the version of its last write, and a body that is opaque to the store.
///
/// Clones share the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    version: Version,
    body: Bytes,
}

impl Record {
    /// Makes a record. A store calls this with the version and the body it was given earlier.
    pub fn new(version: Version, body: impl Into<Bytes>) -> Self {
        Self {
            version,
            body: body.into(),
        }
    }

    /// The version, by which [`Store::save`](crate::Store::save) detects a concurrent write.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The encoded session.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the encoded session without copying it.
    pub fn into_body(self) -> Bytes {
        self.body
    }
}

impl fmt::Debug for Record {
    /// Prints the length of the body, not its bytes: they are the application's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// The stored record.
    pub record: Record,
    /// The remaining time to live; `None` if the store keeps the record without a limit.
    pub ttl: Option<Duration>,
}

impl Loaded {
    /// Makes the result of a load.
    pub fn new(record: Record, ttl: impl Into<Option<Duration>>) -> Self {
        Self {
            record,
            ttl: ttl.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_print_the_body() {
        let record = Record::new(Version::from_bytes([7; 8]), &b"a secret"[..]);
        let text = format!("{record:?}");
        assert!(text.contains("body_bytes: 8"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn clones_share_the_body() {
        let record = Record::new(Version::from_bytes([7; 8]), vec![1; 100]);
        assert_eq!(record.clone().into_body().as_ptr(), record.body().as_ptr());
    }
}
