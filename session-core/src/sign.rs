//! The keys that sign cookies.

use std::{env, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    entropy::{Entropy, EntropyError, OsEntropy},
    secret::equal,
};

/// Length of the shortest accepted key: that of the MAC (RFC 2104 §3).
const MIN_BYTES: usize = 32;
/// Length of the text form of a MAC.
const MAC_TEXT: usize = 43;
/// The same, rounded up to whole words for the comparison.
const PADDED_TEXT: usize = 48;

// A keyed state is as good as the key. `Hmac` keeps it in the core of the hash and in a buffer, and
// both are wiped if the feature `zeroize` of sha2 is enabled.
const _: () = {
    const fn is_wiped<T: ZeroizeOnDrop>() {}
    is_wiped::<Sha256>();
};

/// Keys for HMAC-SHA256, newest first: the first one signs, all of them verify.
///
/// To rotate keys, insert a new one in front, on all instances as a verifying key first if they are
/// deployed one by one, and keep the old ones until the sessions that they signed for have ended.
#[derive(Clone)]
pub struct SigningKeys {
    // keyed once, so that a request hashes its cookie and not the key
    ring: Vec<Hmac<Sha256>>,
}

impl SigningKeys {
    /// Takes the keys, the signing one first. A string counts as its UTF-8 bytes.
    ///
    /// # Errors
    ///
    /// If there is no key, or if one is shorter than 32 bytes.
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

    /// Reads the keys from an environment variable: separated by commas, the signing one first.
    ///
    /// # Errors
    ///
    /// If the variable is not set, or for the reasons of [`SigningKeys::new`].
    pub fn from_env(name: &str) -> Result<Self, SigningKeysError> {
        let not_set = |_| SigningKeysError::NotSet { name: name.into() };
        let keys = Zeroizing::new(env::var(name).map_err(not_set)?);
        Self::new(keys.split(',').map(str::trim))
    }

    /// Generates one random key, for development and tests.
    ///
    /// No other instance accepts its cookies, nor does this one after a restart.
    ///
    /// # Errors
    ///
    /// If the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        let mut key = Zeroizing::new([0; MIN_BYTES]);
        OsEntropy.fill(key.as_mut())?;
        Ok(Self {
            ring: keyed(key.as_ref()).into_iter().collect(),
        })
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns false: there is at least one key.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The MAC of a cookie's name and value under the first key.
    ///
    /// They are not delimited: the value has a fixed length, so no other pair of name and value is
    /// hashed as the same bytes. With the default name both fit into one block of SHA-256.
    pub(crate) fn sign(&self, name: &str, value: &str) -> String {
        let mac = text(&self.ring[0], name, value);
        // base64url is ASCII
        str::from_utf8(&mac[..MAC_TEXT]).unwrap_or_default().into()
    }

    /// The position of the key that made this MAC. Compares in constant time.
    pub(crate) fn verify(&self, name: &str, value: &str, mac: &str) -> Option<usize> {
        // the texts are compared, which encodes what was computed instead of decoding what was sent:
        // a MAC has one canonical text, and only that is accepted
        let mac: &[u8; MAC_TEXT] = mac.as_bytes().try_into().ok()?;
        let mut padded = [0; PADDED_TEXT];
        padded[..MAC_TEXT].copy_from_slice(mac);
        self.ring
            .iter()
            .position(|key| equal(&text(key, name, value), &padded))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({} keys)", self.ring.len())
    }
}

/// The text of a MAC, followed by zeros.
fn text(key: &Hmac<Sha256>, name: &str, value: &str) -> [u8; PADDED_TEXT] {
    let mac = key.clone().chain_update(name).chain_update(value);
    let mut text = [0; PADDED_TEXT];
    // 32 bytes are 43 characters without padding, so the buffer always fits
    let _ = URL_SAFE_NO_PAD.encode_slice(mac.finalize().into_bytes(), &mut text);
    text
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, SigningKeysError> {
    let too_short = SigningKeysError::TooShort { found: key.len() };
    if key.len() < MIN_BYTES {
        return Err(too_short);
    }
    // HMAC takes keys of any length, so this does not fail
    Hmac::new_from_slice(key).map_err(|_| too_short)
}

/// Signing keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeysError {
    /// There is no key.
    #[error("no signing key: expected at least one")]
    Empty,
    /// A key is easier to guess than the MAC that it makes.
    #[error("signing key is too short: expected at least 32 bytes, found {found}")]
    TooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// The environment variable is not set, or is not UTF-8.
    #[error("environment variable {name} with the signing keys is not set, or is not UTF-8")]
    NotSet {
        /// The name of the variable.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "an-old-signing-key-of-32-bytes-or-more";
    const NEW: &str = "the-newest-signing-key-of-32-bytes-or-more";

    #[track_caller]
    fn keys<const N: usize>(keys: [&str; N]) -> SigningKeys {
        SigningKeys::new(keys).expect("keys")
    }

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let (old, both) = (keys([OLD]), keys([NEW, OLD]));
        assert_eq!(both.verify("id", "v", &old.sign("id", "v")), Some(1));
        assert_eq!(both.verify("id", "v", &both.sign("id", "v")), Some(0));
        assert_eq!(old.verify("id", "v", &both.sign("id", "v")), None);
    }

    #[test]
    fn the_mac_covers_the_name_and_every_byte_of_the_value() {
        let keys = keys([NEW]);
        let mac = keys.sign("id", "value");
        assert_eq!(keys.verify("id", "value", &mac), Some(0));
        assert_eq!(keys.verify("id2", "value", &mac), None);
        assert_eq!(keys.verify("id", "valuE", &mac), None);
        assert_eq!(keys.verify("id", "value", &mac[..42]), None);
        assert_eq!(keys.verify("id", "value", &format!("{mac}=")), None);
        assert_eq!(keys.verify("id", "value", &format!("{mac}A")), None);
        assert_eq!(keys.verify("id", "value", ""), None);
    }

    /// Golden vector, from `hmac.new(key, b"idv1.x", sha256)` in Python.
    #[test]
    fn the_mac_is_hmac_sha256_of_name_and_value() {
        let keys = keys(["0123456789abcdef0123456789abcdef"]);
        assert_eq!(
            keys.sign("id", "v1.x"),
            "UhsaW75SvK18Mmh-V1385OB-hBRhg1I4vsRx71fNVPo"
        );
    }

    #[test]
    fn unusable_keys_are_refused() {
        let error = |keys: &[&str]| SigningKeys::new(keys).expect_err("unusable").to_string();
        assert_eq!(error(&[]), "no signing key: expected at least one");
        assert_eq!(
            error(&[NEW, "short!!"]),
            "signing key is too short: expected at least 32 bytes, found 7"
        );
        let error = SigningKeys::from_env("SESSION_CORE_NO_SUCH_VARIABLE").expect_err("not set");
        assert_eq!(
            error.to_string(),
            "environment variable SESSION_CORE_NO_SUCH_VARIABLE with the signing keys is not set, \
             or is not UTF-8"
        );
    }

    #[test]
    fn random_keys_differ() {
        let random = || SigningKeys::random().expect("entropy");
        assert_ne!(random().sign("id", "v"), random().sign("id", "v"));
        assert_eq!((random().len(), random().is_empty()), (1, false));
        assert_eq!(keys([NEW, OLD]).len(), 2);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", keys([NEW, OLD])), "SigningKeys(2 keys)");
    }

    proptest! {
        #[test]
        fn a_mac_with_any_changed_character_is_refused(
            at in 0..43usize,
            with in "[A-Za-z0-9_=+/-]",
        ) {
            let keys = keys([NEW]);
            let mac = keys.sign("id", "value");
            let mut changed = mac.clone();
            changed.replace_range(at..=at, &with);
            prop_assert_eq!(keys.verify("id", "value", &changed).is_some(), changed == mac);
        }
    }
}
