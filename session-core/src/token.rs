//! The bearer credential of a session, and where its randomness comes from.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroize;

use crate::{
    entropy::{Entropy, EntropyError},
    id::SessionId,
    secret::Secret,
};

/// What the cookie carries: a [`SessionId`] and 128 secret bits, together 43 characters of base64url.
///
/// Whoever holds it *is* the session, so it prints redacted. It means nothing beyond that: both halves come from
/// the operating system's generator (OWASP Session Management Cheat Sheet, "Session ID Content").
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    id: SessionId,
    secret: Secret,
}

impl SessionToken {
    pub(crate) fn new(id: SessionId, secret: Secret) -> Self {
        Self { id, secret }
    }

    /// The half that names the session and may be logged.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The text of the token. Hand it to nobody but its owner.
    pub fn expose(&self) -> String {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id.to_bytes());
        bytes[16..].copy_from_slice(&self.secret.bytes);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        bytes.zeroize();
        text
    }

    /// Draws both halves.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes)?;
        let token = Self::from_bytes(&bytes);
        bytes.zeroize();
        Ok(token)
    }

    /// Takes 32 bytes.
    fn from_bytes(bytes: &[u8]) -> Self {
        let (mut id, mut secret) = ([0; 16], [0; 16]);
        id.copy_from_slice(&bytes[..16]);
        secret.copy_from_slice(&bytes[16..]);
        Self::new(SessionId::from_bytes(id), Secret::new(secret))
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl FromStr for SessionToken {
    type Err = ParseTokenError;

    /// Reads the canonical text form, and nothing else.
    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        // decoding wants room for a whole last group
        let mut bytes = [0; 33];
        if text.len() != 43 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(32) {
            return Err(ParseTokenError(()));
        }
        let token = Self::from_bytes(&bytes[..32]);
        bytes.zeroize();
        Ok(token)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// The text is not a session token. It says no more, so that the text cannot leak through the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session token is 43 characters of base64url")]
pub struct ParseTokenError(());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn token() -> SessionToken {
        let mut id = [0; 16];
        OsEntropy.fill(&mut id).expect("entropy");
        SessionToken::new(
            SessionId::from_bytes(id),
            Secret::generate(&OsEntropy).expect("entropy"),
        )
    }

    #[test]
    fn a_token_is_43_characters_and_round_trips() {
        let token = token();
        assert_eq!(token.expose().len(), 43);
        assert_eq!(token.expose().parse(), Ok(token));
    }

    #[test]
    fn debug_shows_neither_secret_nor_hash() {
        let token = token();
        assert_eq!(format!("{token:?}"), "SessionToken(..)");
        assert_eq!(format!("{:?}", token.secret().hash()), "SecretHash(..)");
        let error = "x"
            .repeat(43)
            .replace('x', "*")
            .parse::<SessionToken>()
            .expect_err("not base64url");
        assert!(!error.to_string().contains('*'));
    }

    /// S1: a million tokens, no duplicate, every bit set half of the time.
    #[test]
    fn a_million_tokens_are_distinct_and_their_bits_are_balanced() {
        const N: usize = 1_000_000;
        let mut seen = HashSet::with_capacity(N);
        let mut ones = [0u32; 256];
        let mut pool = vec![0; 32 * 1000];
        for _ in 0..N / 1000 {
            OsEntropy.fill(&mut pool).expect("entropy");
            for bytes in pool.chunks_exact(32) {
                for (bit, count) in ones.iter_mut().enumerate() {
                    *count += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
                }
                seen.insert(<[u8; 16]>::try_from(&bytes[..16]).expect("16 bytes"));
            }
        }
        assert_eq!(seen.len(), N);
        // eight standard deviations of a fair coin
        assert!(
            ones.iter().all(|&n| n.abs_diff(N as u32 / 2) < 4_000),
            "{ones:?}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(text in "[A-Za-z0-9_\\-+/=.]{40,46}") {
            if let Ok(token) = text.parse::<SessionToken>() {
                prop_assert_eq!(token.expose(), text);
            }
        }
    }
}
