//! The secret half of a token, and the hash of it that a record holds.

use std::{fmt, sync::OnceLock};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entropy::{Entropy, EntropyError};

/// The half of a token that proves the right to open the session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret {
    pub(crate) bytes: [u8; 16],
    /// Computed once for all that a request asks it.
    #[zeroize(skip)]
    hash: OnceLock<SecretHash>,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for Secret {}

impl Secret {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        Self {
            bytes,
            hash: OnceLock::new(),
        }
    }

    pub(crate) fn hash(&self) -> SecretHash {
        *self
            .hash
            .get_or_init(|| SecretHash(Sha256::digest(self.bytes).into()))
    }
}

/// SHA-256 of a token's secret: all that a store ever learns of it.
///
/// Comparing takes the same time wherever the bytes differ.
#[derive(Clone, Copy)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash, as it stands in a record.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes a hash from the bytes of a record.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

