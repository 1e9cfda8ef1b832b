//! The one seam that knows how a session looks from outside: the text of its cookie and the bytes of its record.
//!
//! Chosen when [`Sessions`](crate::Sessions) are built. Nothing outside an implementation knows how a token or a record is
//! written.

use crate::{
    codec::{self, DecodeError},
    record::{Record, RecordBytes},
    sign::SigningKeys,
    token::SessionToken,
};

/// How sessions are written into cookies and stores.
pub(crate) trait Format: Send + Sync + 'static {
    /// The value of the cookie, signed by the first key.
    fn cookie_value(&self, name: &str, token: &SessionToken, keys: &SigningKeys) -> String;

    /// Reads the value of a cookie, if it is well-formed and a key of the ring signed it.
    fn read_cookie(&self, name: &str, value: &str, keys: &SigningKeys) -> Option<Verified>;

    /// The bytes of a record.
    fn encode(&self, record: &Record) -> RecordBytes;

    /// Reads the bytes of a record.
    fn decode(&self, bytes: &RecordBytes) -> Result<Record, DecodeError>;
}

/// A token whose cookie has passed its MAC.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) token: SessionToken,
    /// A key other than the first made the MAC, so the cookie should be issued again.
    pub(crate) stale: bool,
}

/// Version, token and MAC.
const VALUE_BYTES: usize = 3 + 43 + 1 + 43;

/// The format of this library: cookie `v1.<token>.<mac>`, record as in [`RecordBytes`].
#[derive(Debug)]
pub(crate) struct Native;

impl Format for Native {
    fn cookie_value(&self, name: &str, token: &SessionToken, keys: &SigningKeys) -> String {
        let mut value = String::with_capacity(VALUE_BYTES);
        value.push_str("v1.");
        value.push_str(&token.expose());
        let mac = keys.sign(name, &value);
        value.push('.');
        value.push_str(&mac);
        value
    }

    fn read_cookie(&self, name: &str, value: &str, keys: &SigningKeys) -> Option<Verified> {
        let (signed, mac) = value.rsplit_once('.')?;
        let token = signed.strip_prefix("v1.")?.parse().ok()?;
        let key = keys.verify(name, signed, mac)?;
        Some(Verified {
            token,
            stale: key > 0,
        })
    }

    fn encode(&self, record: &Record) -> RecordBytes {
        codec::encode(record)
    }

    fn decode(&self, bytes: &RecordBytes) -> Result<Record, DecodeError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    /// Golden vector of the cookie: what this release hands out, every later one accepts.
    const GOLDEN: &str = include_str!("../tests/vectors/cookie-v1.txt");

    fn keys() -> SigningKeys {
        SigningKeys::new([KEY]).expect("key")
    }

    #[test]
    fn cookie_v1_is_frozen() {
        let verified = Native
            .read_cookie("__Host-id", GOLDEN.trim(), &keys())
            .expect("verifies");
        assert_eq!(
            verified.token.expose(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
        );
        assert_eq!(
            Native.cookie_value("__Host-id", &verified.token, &keys()),
            GOLDEN.trim()
        );
        assert!(
            Native.read_cookie("id", GOLDEN.trim(), &keys()).is_none(),
            "the name is signed too"
        );
    }

    proptest! {
        #[test]
        fn every_changed_character_is_refused(at in 0..90usize, with in "[A-Za-z0-9_.=-]") {
            let mut text = GOLDEN.trim().to_owned();
            prop_assert_eq!(text.len(), 90);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(Native.read_cookie("__Host-id", &text, &keys()).is_some(), text == GOLDEN.trim());
        }

        #[test]
        fn any_text_is_harmless(text in "\\PC{0,120}") {
            prop_assert!(Native.read_cookie("__Host-id", &text, &keys()).is_none());
        }
    }
}
