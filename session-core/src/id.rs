//! The public half of a token: the key in the store, and what logs may show.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Length of the text form.
const TEXT: usize = 22;

/// Identifies a session: 128 bits, written as 22 characters of base64url.
///
/// An id stays the same for the life of the session. It is safe to log and to list, and it is what
/// [`Sessions::end`](crate::Sessions::end) takes. It does not authenticate: only the secret half of
/// a [`SessionToken`](crate::SessionToken) does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    // the form that is needed in every request
    text: [u8; TEXT],
}

impl SessionId {
    /// Length of an id in bytes.
    pub const BYTES: usize = 16;

    /// Makes an id of 16 bytes, for [`Builder::id_source`](crate::Builder::id_source).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let mut text = [0; TEXT];
        // 16 bytes are 22 characters without padding, so the buffer always fits
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        Self { text }
    }

    /// The id at the start of a token's canonical text, whose last byte is `last`. The characters
    /// of the token are those of the id, but the last, which also has four bits of the secret.
    pub(crate) fn of_token(text: &[u8; TEXT - 1], last: u8) -> Self {
        let mut id = Self {
            text: [b"AQgw"[usize::from(last & 3)]; TEXT],
        };
        id.text[..TEXT - 1].copy_from_slice(text);
        id
    }

    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        // base64url is ASCII
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Returns the bytes that the text encodes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        // only `from_bytes` makes the text, so it decodes
        decode(&self.text).unwrap_or_default()
    }
}

/// Decodes the canonical text form only.
fn decode(text: &[u8]) -> Option<[u8; SessionId::BYTES]> {
    // the decoder needs room for a whole last group
    let mut decoded = [0; SessionId::BYTES + 2];
    if text.len() != TEXT
        || URL_SAFE_NO_PAD.decode_slice(text, &mut decoded) != Ok(SessionId::BYTES)
    {
        return None;
    }
    decoded.first_chunk().copied()
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    /// Parses the canonical text form only.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match decode(text.as_bytes()) {
            Some(bytes) => Ok(Self::from_bytes(bytes)),
            None => Err(ParseIdError(())),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.as_str())
    }
}

/// The text is not a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 22 characters of base64url")]
pub struct ParseIdError(());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_text_is_parsed() {
        let text = SessionId::from_bytes([0xff; 16]).to_string();
        assert_eq!(text, "_____________________w");
        // the last character encodes four unused bits, which must be zero
        for text in ["_____________________x", "/////////////////////w", "", "AA"] {
            assert_eq!(text.parse::<SessionId>(), Err(ParseIdError(())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(bytes: [u8; 16]) {
            let id = SessionId::from_bytes(bytes);
            prop_assert_eq!(id.to_bytes(), bytes);
            prop_assert_eq!(id.as_str().parse::<SessionId>(), Ok(id));
        }

        #[test]
        fn any_text_is_the_canonical_form_of_an_id_or_refused(
            text in prop_oneof!["\\PC{0,40}", "[A-Za-z0-9_-]{22}"],
        ) {
            if let Ok(id) = text.parse::<SessionId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
