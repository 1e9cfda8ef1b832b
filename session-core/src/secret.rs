//! The secret half of a token, and its hash, which a record holds.

use std::{fmt, ops::BitAnd};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::entropy::{Entropy, EntropyError};

/// The half of a token that authorizes its holder to open the session.
///
/// Compared in constant time, wiped from memory when dropped, and redacted by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret([u8; Self::BYTES]);

impl Secret {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        entropy.fill(bytes.as_mut())?;
        Ok(Self::new(*bytes))
    }

    /// The bytes, for the text of the token.
    pub(crate) fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Compares in constant time, in words of 16 bytes: byte by byte takes several times as long.
pub(crate) fn equal<const BYTES: usize>(one: &[u8; BYTES], other: &[u8; BYTES]) -> bool {
    const { assert!(BYTES.is_multiple_of(16)) };
    let ((one, _), (other, _)) = (one.as_chunks(), other.as_chunks());
    let equal = |(one, other): (&[u8; 16], &[u8; 16])| {
        u128::from_ne_bytes(*one).ct_eq(&u128::from_ne_bytes(*other))
    };
    let words = one.iter().zip(other).map(equal);
    words.fold(Choice::from(1), Choice::bitand).into()
}

/// The SHA-256 of a secret: all that a store learns of it. Compared in constant time.
#[derive(Clone, Copy)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Makes a hash from its bytes.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the hash.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const BYTES: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn every_bit_counts_in_a_comparison() {
        let (secret, hash) = (Secret::new(BYTES), SecretHash::from_bytes([7; 32]));
        assert_eq!(secret, Secret::new(BYTES));
        assert_eq!(hash, SecretHash::from_bytes([7; 32]));
        for bit in 0..128 {
            let mut bytes = BYTES;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(secret, Secret::new(bytes), "bit {bit}");
        }
        for bit in 0..256 {
            let mut bytes = [7; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash, SecretHash::from_bytes(bytes), "bit {bit}");
        }
    }

    #[test]
    fn debug_is_redacted() {
        let secret = Secret::new(BYTES);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", secret.hash()), "SecretHash(..)");
    }

    #[test]
    fn zeroizing_wipes_the_bytes() {
        let mut secret = Secret::new(BYTES);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 16]);
    }

    /// Golden vector, from `sha256(b"0123456789abcdef")` in Python.
    #[test]
    fn the_hash_is_sha_256_of_the_bytes() {
        let mut hex = String::new();
        for byte in Secret::new(BYTES).hash().as_bytes() {
            write!(hex, "{byte:02x}").expect("a string takes everything");
        }
        assert_eq!(
            hex,
            "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"
        );
    }
}
