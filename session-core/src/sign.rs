//! The ring of keys that signs cookies: the first signs, every one verifies.

use std::{env, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::entropy::{Entropy, EntropyError, OsEntropy};

/// Shortest key that is accepted: as long as the MAC (RFC 2104 §3).
const MIN_BYTES: usize = 32;

/// Keys for HMAC-SHA256, newest first.
///
/// To rotate, put a new key in front and keep the old ones for as long as their cookies may live. A cookie that an older
/// key signed is accepted and issued again under the first.
#[derive(Clone)]
pub struct SigningKeys {
    // keyed once, so that a request hashes its cookie and not the key
    ring: Vec<Hmac<Sha256>>,
}

impl SigningKeys {
    /// Takes the keys, the signing one first; a string counts as its UTF-8 bytes.
    ///
    /// # Errors
    ///
    /// When there is no key, or one is shorter than 32 bytes.
    pub fn new<K: AsRef<[u8]>>(
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Self, SigningKeysError> {
        let ring = keys
            .into_iter()
            .map(|key| keyed(key.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if ring.is_empty() {
            return Err(SigningKeysError::Empty);
        }
        Ok(Self { ring })
    }

    /// Reads the keys from an environment variable, separated by commas, the signing one first.
    ///
    /// # Errors
    ///
    /// When the variable is not set, or as [`SigningKeys::new`].
    pub fn from_env(name: &str) -> Result<Self, SigningKeysError> {
        let keys = Zeroizing::new(
            env::var(name).map_err(|_| SigningKeysError::NotSet { name: name.into() })?,
        );
        Self::new(keys.split(',').map(str::trim))
    }

    /// Makes one random key, for development and tests: cookies end with the process and no other instance reads them.
    ///
    /// # Errors
    ///
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        let mut key = Zeroizing::new([0; MIN_BYTES]);
        OsEntropy.fill(key.as_mut())?;
        Ok(Self {
            ring: keyed(key.as_ref()).into_iter().collect(),
        })
    }

    /// How many keys verify.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there is no key; never true of a ring that was built.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The MAC over a cookie's name and value under the first key.
    ///
    /// Nothing stands between the two: a value has a fixed length, so no other name with another value reads the same. With
    /// the default name both fit into one block of SHA-256.
    pub(crate) fn sign(&self, name: &str, value: &str) -> String {
        URL_SAFE_NO_PAD.encode(
            self.ring[0]
                .clone()
                .chain_update(name)
                .chain_update(value)
                .finalize()
                .into_bytes(),
        )
    }

    /// The place in the ring of the key that made this MAC; compares in constant time.
    pub(crate) fn verify(&self, name: &str, value: &str, mac: &str) -> Option<usize> {
        let mut bytes = [0; 33];
        if URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes) != Ok(32) {
            return None;
        }
        self.ring.iter().position(|key| {
            let expected = key.clone().chain_update(name).chain_update(value);
            expected.verify_slice(&bytes[..32]).is_ok()
        })
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({} keys)", self.ring.len())
    }
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, SigningKeysError> {
    if key.len() < MIN_BYTES {
        return Err(SigningKeysError::TooShort { found: key.len() });
    }
    // HMAC takes keys of any length; the error type is a formality of the trait
    Hmac::new_from_slice(key).map_err(|_| SigningKeysError::TooShort { found: key.len() })
}

/// A ring of keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeysError {
    /// There is no key at all.
    #[error("no signing key: expected at least one")]
    Empty,
    /// A key is easier to guess than the MAC it makes.
    #[error("signing key is too short: expected at least 32 bytes, found {found}")]
    TooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// The environment variable is missing or not text.
    #[error("environment variable {name} with the signing keys is not set")]
    NotSet {
        /// The variable that was asked for.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an-old-signing-key-of-32-bytes-or-more";
    const NEW: &str = "the-newest-signing-key-of-32-bytes-or-more";

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let old = SigningKeys::new([OLD]).expect("keys");
        let both = SigningKeys::new([NEW, OLD]).expect("keys");
        assert_eq!(both.verify("id", "v", &old.sign("id", "v")), Some(1));
        assert_eq!(both.verify("id", "v", &both.sign("id", "v")), Some(0));
        assert_eq!(old.verify("id", "v", &both.sign("id", "v")), None);
    }

    #[test]
    fn the_mac_covers_the_cookie_name_and_every_byte_of_the_value() {
        let keys = SigningKeys::new([NEW]).expect("keys");
        let mac = keys.sign("id", "value");
        assert_eq!(keys.verify("id2", "value", &mac), None);
        assert_eq!(keys.verify("id", "valuE", &mac), None);
        assert_eq!(keys.verify("id", "value", &mac[..42]), None);
        assert_eq!(keys.verify("id", "value", &format!("{mac}=")), None);
    }

    /// Golden vector: `hmac.new(key, b"idv1.x", sha256)` in another language gives the same.
    #[test]
    fn the_mac_is_hmac_sha256_of_name_and_value() {
        let keys = SigningKeys::new(["0123456789abcdef0123456789abcdef"]).expect("keys");
        assert_eq!(
            keys.sign("id", "v1.x"),
            "UhsaW75SvK18Mmh-V1385OB-hBRhg1I4vsRx71fNVPo"
        );
    }

    #[test]
    fn unusable_keys_are_refused_with_their_length() {
        assert_eq!(
            SigningKeys::new::<&str>([]).expect_err("empty"),
            SigningKeysError::Empty
        );
        let error = SigningKeys::new(["short!!"]).expect_err("short");
        assert_eq!(
            error.to_string(),
            "signing key is too short: expected at least 32 bytes, found 7"
        );
    }

    #[test]
    fn debug_does_not_leak_a_key() {
        assert_eq!(
            format!("{:?}", SigningKeys::new([NEW, OLD]).expect("keys")),
            "SigningKeys(2 keys)"
        );
    }
}
