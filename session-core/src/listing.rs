//! What an index is told and tells about the sessions of a tag.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    entropy::{Entropy, EntropyError},
    id::SessionId,
};

/// What an index lists sessions under: a hash of a principal, or of a tag's name and value, so that
/// neither is in the key space of a store.
///
/// The hash has no key, so whoever can read the store can find out whether a name that they guess
/// has sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey([u8; Self::BYTES]);

impl IndexKey {
    /// Length of a key in bytes.
    pub const BYTES: usize = 16;

    /// The key of the sessions of a principal.
    pub fn of_principal(principal: &str) -> Self {
        Self::hash(&[b"principal", principal.as_bytes()])
    }

    /// The key of the sessions with a tag.
    pub fn of_tag(name: &str, value: &str) -> Self {
        Self::hash(&[b"tag", name.as_bytes(), value.as_bytes()])
    }

    /// Makes a key from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // with its length, so that a name cannot end where a value begins
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = <[u8; 32]>::from(hash.finalize());
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(&digest[..Self::BYTES]);
        Self(bytes)
    }
}

impl fmt::Display for IndexKey {
    /// Writes 22 characters of base64url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexKey({self})")
    }
}

/// Identifies one listing of a session. Random, so that an entry is never removed on the strength
/// of what an earlier one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 8]);

impl Nonce {
    /// Makes a nonce from its bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the nonce.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A session to list under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// What it is listed under.
    pub key: IndexKey,
    /// The session.
    pub id: SessionId,
    /// The nonce of this listing.
    pub nonce: Nonce,
    /// When the session was last used, by the clock of the instance that writes this.
    pub seen_at: SystemTime,
    /// How long the index keeps the key from now on, at least.
    pub ttl: Duration,
}

impl Listing {
    /// Makes a listing.
    pub fn new(
        key: IndexKey,
        id: SessionId,
        nonce: Nonce,
        seen_at: SystemTime,
        ttl: Duration,
    ) -> Self {
        Self {
            key,
            id,
            nonce,
            seen_at,
            ttl,
        }
    }
}

/// That a session is listed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The sequence number of its entry.
    pub sequence: u64,
    /// How many entries the key has, this one and stale ones included.
    pub entries: u64,
}

impl Listed {
    /// Makes the answer.
    pub fn new(sequence: u64, entries: u64) -> Self {
        Self { sequence, entries }
    }
}

/// A session that is listed under a key. It may have ended meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexEntry {
    /// The session.
    pub id: SessionId,
    /// The nonce of its last listing.
    pub nonce: Nonce,
    /// Its place in the order in which the sessions were first listed.
    pub sequence: u64,
    /// When the session was last used.
    pub seen_at: SystemTime,
}

impl IndexEntry {
    /// Makes an entry.
    pub fn new(id: SessionId, nonce: Nonce, sequence: u64, seen_at: SystemTime) -> Self {
        Self {
            id,
            nonce,
            sequence,
            seen_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_principals_and_tags_differ() {
        let keys = [
            IndexKey::of_principal("ann"),
            IndexKey::of_principal("Ann"),
            IndexKey::of_principal(""),
            IndexKey::of_tag("principal", "ann"),
            IndexKey::of_tag("sid", "ab"),
            IndexKey::of_tag("sida", "b"),
            IndexKey::of_tag("", "sidab"),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{n}");
        }
    }

    #[test]
    fn a_key_never_changes_because_it_is_stored() {
        assert_eq!(
            IndexKey::of_principal("ann").to_string(),
            "03hTiUQhq3VrWWj-ZgKpEA"
        );
        assert_eq!(
            IndexKey::of_tag("sid", "08a5019c").to_string(),
            "ozLh9zyI-kwd70BbjQYUyg"
        );
    }
}
