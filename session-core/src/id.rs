//! The public half of a session's name: where it is stored, and what logs may say.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Length of the text form of an id.
const TEXT: usize = 22;

/// Names a session: 128 bits, written as 22 characters of base64url.
///
/// Stable for the life of the session. Safe to log, to list and to revoke by: it opens nothing without the
/// secret half that only the cookie carries ([`SessionToken`](crate::SessionToken)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    text: [u8; TEXT],
}

impl SessionId {
    /// How many bytes an id is made of.
    pub const BYTES: usize = 16;

    /// Makes an id of 16 bytes, for an id source of your own ([`Builder::id_source`](crate::Builder::id_source)).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let mut text = [0; TEXT];
        // 16 bytes are 22 characters without padding, so the buffer always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        Self { text }
    }

    /// The text form, which is also the end of the store's key.
    pub fn as_str(&self) -> &str {
        // base64url is ASCII
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The 16 bytes behind the text.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES + 2];
        let _ = URL_SAFE_NO_PAD.decode_slice(self.text, &mut bytes);
        let mut id = [0; Self::BYTES];
        id.copy_from_slice(&bytes[..Self::BYTES]);
        id
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    /// Reads the canonical text form, and nothing else.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseIdError(()))?;
        Ok(Self::from_bytes(
            bytes.try_into().map_err(|_| ParseIdError(()))?,
        ))
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

/// The text is not 22 characters of canonical base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 22 characters of base64url")]
pub struct ParseIdError(());

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(bytes: [u8; 16]) {
            let id = SessionId::from_bytes(bytes);
            prop_assert_eq!(id.to_bytes(), bytes);
            prop_assert_eq!(id.as_str().parse::<SessionId>(), Ok(id));
        }

        #[test]
        fn other_text_is_refused(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<SessionId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
