//! The one place that knows the text of a cookie and the bytes of a body.

use bytes::Bytes;

use crate::{
    body::Body,
    codec::{self, DecodeError},
    id::SessionId,
    record::Version,
    sign::SigningKeys,
    token::SessionToken,
};

/// How tokens are written into cookies, and bodies into records.
///
/// `encode` and `decode` get the id and the version of the record, so that an encrypting format can
/// bind the body to them.
pub(crate) trait Format: Send + Sync + 'static {
    /// The value of the cookie, signed by the first key.
    fn cookie_value(&self, name: &str, token: &SessionToken, keys: &SigningKeys) -> String;

    /// Reads the value of a cookie. `None` if it is malformed or no key of the ring signed it.
    fn read_cookie(&self, name: &str, value: &str, keys: &SigningKeys) -> Option<Verified>;

    /// The bytes of a body.
    fn encode(&self, id: &SessionId, version: Version, body: &Body) -> Result<Bytes, EncodeError>;

    /// Reads the bytes of a body.
    fn decode(&self, id: &SessionId, version: Version, bytes: &Bytes) -> Result<Body, DecodeError>;
}

/// A token from a cookie whose signature is valid.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) token: SessionToken,
    /// The cookie was signed by another key than the first.
    pub(crate) signed_by_old_key: bool,
}

/// A body cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// MessagePack cannot express a length beyond 32 bits.
    #[error("session record is too large to encode: {bytes} bytes")]
    TooLarge { bytes: usize },
}

/// The beginning of every cookie value.
const COOKIE_PREFIX: &str = "v1.";
/// Prefix, token, a dot and the MAC.
const COOKIE_BYTES: usize = 3 + 43 + 1 + 43;

/// The format of this library: cookie `v1.<token>.<mac>`, body in MessagePack.
#[derive(Debug)]
pub(crate) struct Native;

impl Format for Native {
    fn cookie_value(&self, name: &str, token: &SessionToken, keys: &SigningKeys) -> String {
        let mut value = String::with_capacity(COOKIE_BYTES);
        value.push_str(COOKIE_PREFIX);
        value.push_str(&token.expose());
        let mac = keys.sign(name, &value);
        value.push('.');
        value.push_str(&mac);
        value
    }

    fn read_cookie(&self, name: &str, value: &str, keys: &SigningKeys) -> Option<Verified> {
        let (signed, mac) = value.rsplit_once('.')?;
        let token = signed.strip_prefix(COOKIE_PREFIX)?.parse().ok()?;
        let key = keys.verify(name, signed, mac)?;
        Some(Verified {
            token,
            signed_by_old_key: key > 0,
        })
    }

    fn encode(&self, _: &SessionId, _: Version, body: &Body) -> Result<Bytes, EncodeError> {
        within_limit(codec::encode(body))
    }

    fn decode(&self, _: &SessionId, _: Version, bytes: &Bytes) -> Result<Body, DecodeError> {
        codec::decode(bytes)
    }
}

/// No part of the body is longer than the whole, so all lengths were written correctly if that of
/// the whole fits.
fn within_limit(bytes: Bytes) -> Result<Bytes, EncodeError> {
    match u32::try_from(bytes.len()) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(EncodeError::TooLarge { bytes: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::{
        body::{Secrets, Transport},
        clock::Millis,
        secret::SecretHash,
    };

    const OLD_KEY: &str = "0123456789abcdef0123456789abcdef";
    const NEW_KEY: &str = "fedcba9876543210fedcba9876543210";
    /// A cookie as this release issues it, signed by `OLD_KEY`. Every later release accepts it.
    const GOLDEN: &str = include_str!("../tests/vectors/cookie-v1.txt");

    fn keys() -> SigningKeys {
        SigningKeys::new([OLD_KEY]).expect("a key")
    }

    #[test]
    fn the_golden_cookie_is_read_and_written_unchanged() {
        let verified = Native
            .read_cookie("__Host-id", GOLDEN.trim(), &keys())
            .expect("valid");
        assert_eq!(
            verified.token.expose(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
        );
        assert!(!verified.signed_by_old_key);
        assert_eq!(
            Native.cookie_value("__Host-id", &verified.token, &keys()),
            GOLDEN.trim()
        );
    }

    #[test]
    fn the_name_of_the_cookie_is_signed() {
        assert!(Native.read_cookie("id", GOLDEN.trim(), &keys()).is_none());
    }

    #[test]
    fn a_cookie_signed_by_an_old_key_is_reported() {
        let keys = SigningKeys::new([NEW_KEY, OLD_KEY]).expect("keys");
        let verified = Native
            .read_cookie("__Host-id", GOLDEN.trim(), &keys)
            .expect("valid");
        assert!(verified.signed_by_old_key);
        let reissued = Native.cookie_value("__Host-id", &verified.token, &keys);
        assert!(
            !Native
                .read_cookie("__Host-id", &reissued, &keys)
                .expect("valid")
                .signed_by_old_key
        );
    }

    #[test]
    fn a_body_decodes_to_itself() {
        let (id, version) = (SessionId::from_bytes([1; 16]), Version::from_bytes([2; 8]));
        let body = Body {
            secrets: Secrets::one(SecretHash::from_bytes([3; 32])),
            created_at: Millis(4),
            authenticated_at: None,
            renewed_at: None,
            transport: Transport::Cookie,
            contents: std::sync::Arc::default(),
            unknown: Vec::new(),
        };
        let bytes = Native.encode(&id, version, &body).expect("small");
        assert_eq!(Native.decode(&id, version, &bytes), Ok(body));
        assert!(Native.decode(&id, version, &Bytes::new()).is_err());
    }

    proptest! {
        #[test]
        fn every_changed_character_is_rejected(at in 0..90usize, with in "[A-Za-z0-9_.=-]") {
            let mut text = GOLDEN.trim().to_owned();
            prop_assert_eq!(text.len(), 90);
            text.replace_range(at..=at, &with);
            let accepted = Native.read_cookie("__Host-id", &text, &keys()).is_some();
            prop_assert_eq!(accepted, text == GOLDEN.trim());
        }

        #[test]
        fn arbitrary_text_is_rejected(text in "\\PC{0,120}") {
            prop_assert!(Native.read_cookie("__Host-id", &text, &keys()).is_none());
        }
    }
}
