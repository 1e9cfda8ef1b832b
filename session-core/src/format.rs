//! The one place that knows the text of a cookie and the bytes of a body.

use bytes::Bytes;

use crate::{
    bearer,
    body::{Body, Transport},
    codec::{self, DecodeError},
    id::SessionId,
    record::Version,
    sign::SigningKeys,
    token::SessionToken,
};

/// How tokens are written for clients, and bodies into records.
///
/// `encode` and `decode` get the id and the version of the record, so that an encrypting format can
/// bind the body to them.
pub(crate) trait Format: Send + Sync + 'static {
    /// The text of a token on its transport, signed by the first key. `name` is that of the cookie,
    /// also on other transports, so that sessions of another name do not accept it.
    fn write_token(
        &self,
        transport: Transport,
        name: &str,
        token: &SessionToken,
        keys: &SigningKeys,
    ) -> String;

    /// Reads a text that came by this transport. `None` if it is malformed, belongs to another
    /// transport, or no key of the ring signed it.
    fn read_token(
        &self,
        transport: Transport,
        name: &str,
        text: &str,
        keys: &SigningKeys,
    ) -> Option<Verified>;

    /// The bytes of a body.
    fn encode(&self, id: &SessionId, version: Version, body: &Body) -> Result<Bytes, EncodeError>;

    /// Reads the bytes of a body.
    fn decode(&self, id: &SessionId, version: Version, bytes: &Bytes) -> Result<Body, DecodeError>;
}

/// A token from a client whose signature is valid.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) token: SessionToken,
    /// It was signed by another key than the first.
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
const TEXT_BYTES: usize = SIGNED_BYTES + 1 + 43;
/// Prefix and token: what the MAC covers.
const SIGNED_BYTES: usize = 3 + 43;

fn prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Cookie => COOKIE_PREFIX,
        Transport::Bearer => bearer::PREFIX,
    }
}

/// The format of this library: `v1.<token>.<mac>` in cookies, `b1.<token>.<mac>` in headers, body
/// in MessagePack. The MAC covers the prefix, so no text of one transport passes on the other.
#[derive(Debug)]
pub(crate) struct Native;

impl Format for Native {
    fn write_token(
        &self,
        transport: Transport,
        name: &str,
        token: &SessionToken,
        keys: &SigningKeys,
    ) -> String {
        let mut text = String::with_capacity(TEXT_BYTES);
        text.push_str(prefix(transport));
        text.push_str(&token.expose());
        let mac = keys.sign(name, &text);
        text.push('.');
        text.push_str(&mac);
        text
    }

    fn read_token(
        &self,
        transport: Transport,
        name: &str,
        text: &str,
        keys: &SigningKeys,
    ) -> Option<Verified> {
        let (signed, mac) = text.split_at_checked(SIGNED_BYTES)?;
        let mac = mac.strip_prefix('.')?;
        let token = signed.strip_prefix(prefix(transport))?.parse().ok()?;
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

    use crate::{body::Secrets, clock::Millis, secret::SecretHash};

    const OLD_KEY: &str = "0123456789abcdef0123456789abcdef";
    const NEW_KEY: &str = "fedcba9876543210fedcba9876543210";
    const NAME: &str = "__Host-id";
    /// Texts as this release issues them, signed by `OLD_KEY`. Every later release accepts them.
    const GOLDEN: [(Transport, &str); 2] = [
        (
            Transport::Cookie,
            include_str!("../tests/vectors/cookie-v1.txt").trim_ascii(),
        ),
        (
            Transport::Bearer,
            include_str!("../tests/vectors/bearer-b1.txt").trim_ascii(),
        ),
    ];

    fn keys() -> SigningKeys {
        SigningKeys::new([OLD_KEY]).expect("a key")
    }

    fn read(transport: Transport, text: &str) -> Option<Verified> {
        Native.read_token(transport, NAME, text, &keys())
    }

    #[test]
    fn the_golden_texts_are_read_and_written_unchanged() {
        for (transport, golden) in GOLDEN {
            let verified = read(transport, golden).expect("valid");
            assert_eq!(
                verified.token.expose(),
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
            );
            assert!(!verified.signed_by_old_key);
            let written = Native.write_token(transport, NAME, &verified.token, &keys());
            assert_eq!(written, golden);
        }
    }

    #[test]
    fn a_text_is_read_on_its_own_transport_only() {
        let [(cookie, in_cookie), (bearer, in_header)] = GOLDEN;
        assert!(read(bearer, in_cookie).is_none());
        assert!(read(cookie, in_header).is_none());
        // nor with the prefix of the other, which the MAC covers
        assert!(read(bearer, &in_cookie.replacen("v1.", "b1.", 1)).is_none());
        assert!(read(cookie, &in_header.replacen("b1.", "v1.", 1)).is_none());
    }

    #[test]
    fn the_name_of_the_cookie_is_signed() {
        for (transport, golden) in GOLDEN {
            let other = Native.read_token(transport, "id", golden, &keys());
            assert!(other.is_none(), "{transport:?}");
        }
    }

    #[test]
    fn a_text_signed_by_an_old_key_is_reported() {
        let keys = SigningKeys::new([NEW_KEY, OLD_KEY]).expect("keys");
        for (transport, golden) in GOLDEN {
            let read = |text: &str| Native.read_token(transport, NAME, text, &keys);
            let verified = read(golden).expect("valid");
            assert!(verified.signed_by_old_key);
            let reissued = Native.write_token(transport, NAME, &verified.token, &keys);
            assert!(!read(&reissued).expect("valid").signed_by_old_key);
        }
    }

    #[test]
    fn a_body_decodes_to_itself() {
        let (id, version) = (SessionId::from_bytes([1; 16]), Version::from_bytes([2; 8]));
        let body = Body {
            secrets: Secrets::one(SecretHash::from_bytes([3; 32])),
            created_at: Millis(4),
            authenticated_at: None,
            renewed_at: None,
            listed_at: None,
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
        fn every_changed_character_is_rejected(
            which in 0..2usize,
            at in 0..TEXT_BYTES,
            with in "[A-Za-z0-9_.=-]",
        ) {
            let (transport, golden) = GOLDEN[which];
            let mut text = golden.to_owned();
            prop_assert_eq!(text.len(), TEXT_BYTES);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(read(transport, &text).is_some(), text == golden);
        }

        #[test]
        fn arbitrary_text_is_rejected(text in "([vb]1\\.)?\\PC{0,120}") {
            for (transport, _) in GOLDEN {
                prop_assert!(read(transport, &text).is_none());
            }
        }
    }
}
