//! The bearer credential of a session.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    entropy::{Entropy, EntropyError},
    id::SessionId,
    secret::Secret,
};

const BYTES: usize = SessionId::BYTES + Secret::BYTES;
/// Length of the text form.
const TEXT: usize = 43;

/// The bearer credential that the cookie carries: a [`SessionId`] and a 128-bit secret, together 43
/// characters of base64url.
///
/// Whoever holds it can use the session, so `Debug` output is redacted. It carries no other
/// information: both halves are random (OWASP Session Management Cheat Sheet, "Session ID
/// Content").
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    id: SessionId,
    secret: Secret,
}

impl SessionToken {
    pub(crate) fn new(id: SessionId, secret: Secret) -> Self {
        Self { id, secret }
    }

    /// Draws both halves.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        entropy.fill(bytes.as_mut())?;
        Ok(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let (mut id, mut secret) = ([0; SessionId::BYTES], Zeroizing::new([0; Secret::BYTES]));
        id.copy_from_slice(&bytes[..SessionId::BYTES]);
        secret.copy_from_slice(&bytes[SessionId::BYTES..]);
        Self::new(SessionId::from_bytes(id), Secret::new(*secret))
    }

    /// Returns the half that identifies the session and may be logged.
    pub fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Returns the text of the token. Give it only to the holder of the session.
    pub fn expose(&self) -> String {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..SessionId::BYTES].copy_from_slice(&self.id.to_bytes());
        bytes[SessionId::BYTES..].copy_from_slice(self.secret.expose());
        URL_SAFE_NO_PAD.encode(*bytes)
    }
}

impl FromStr for SessionToken {
    type Err = ParseTokenError;

    /// Parses the canonical text form only.
    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        if text.len() != TEXT
            || URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()) != Ok(BYTES)
        {
            return Err(ParseTokenError(()));
        }
        let (id, secret) = bytes.split_at(SessionId::BYTES);
        let (Some(text), Some(&last), Ok(secret)) =
            (text.as_bytes().first_chunk(), id.last(), secret.try_into())
        else {
            return Err(ParseTokenError(()));
        };
        Ok(Self::new(
            SessionId::of_token(text, last),
            Secret::new(secret),
        ))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// The text is not a session token. The error does not repeat it, because it may be one but for a
/// typo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session token is 43 characters of base64url")]
pub struct ParseTokenError(());

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::entropy::OsEntropy;

    #[track_caller]
    fn generate() -> SessionToken {
        SessionToken::generate(&OsEntropy).expect("entropy")
    }

    #[test]
    fn a_token_is_43_characters_and_round_trips() {
        let token = generate();
        assert_eq!(token.expose().len(), 43);
        assert_eq!(token.expose().parse(), Ok(token));
    }

    #[test]
    fn debug_and_errors_show_no_part_of_a_token() {
        assert_eq!(format!("{:?}", generate()), "SessionToken(..)");
        let error = "*"
            .repeat(43)
            .parse::<SessionToken>()
            .expect_err("not base64url");
        assert!(!format!("{error} {error:?}").contains('*'));
    }

    #[test]
    fn tokens_differ_in_either_half() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, SessionToken::new(one.id, other.secret.clone()));
        assert_ne!(one, SessionToken::new(other.id, one.secret.clone()));
        assert_eq!(one, SessionToken::new(one.id, one.secret.clone()));
    }

    #[test]
    fn generated_tokens_are_distinct_and_their_bits_are_balanced() {
        const N: usize = 100_000;
        let (mut ids, mut secrets) = (HashSet::with_capacity(N), HashSet::with_capacity(N));
        let mut ones = [0u32; 256];
        for _ in 0..N {
            let token = generate();
            let (id, secret) = (token.id().to_bytes(), *token.secret().expose());
            for (at, byte) in id.into_iter().chain(secret).enumerate() {
                for bit in 0..8 {
                    ones[at * 8 + bit] += u32::from(byte >> bit & 1);
                }
            }
            ids.insert(id);
            secrets.insert(secret);
        }
        assert_eq!((ids.len(), secrets.len()), (N, N));
        // eight standard deviations of a fair coin
        let is_balanced = |&ones: &u32| ones.abs_diff(N as u32 / 2) < 1_265;
        assert!(ones.iter().all(is_balanced), "{ones:?}");
    }

    #[test]
    fn a_generator_that_fails_gives_no_token() {
        struct Broken;
        impl Entropy for Broken {
            fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
                Err(EntropyError::new("out of order"))
            }
        }
        assert!(SessionToken::generate(&Broken).is_err());
        assert!(Secret::generate(&Broken).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_the_canonical_form_of_a_token_or_refused(
            text in "[A-Za-z0-9_\\-+/=.]{40,46}",
        ) {
            if let Ok(token) = text.parse::<SessionToken>() {
                prop_assert_eq!(token.expose(), text);
            }
        }

        #[test]
        fn any_32_bytes_are_a_token(bytes: [u8; 32]) {
            let token = SessionToken::from_bytes(&bytes);
            prop_assert_eq!(&token.id().to_bytes()[..], &bytes[..16]);
            prop_assert_eq!(&token.secret().expose()[..], &bytes[16..]);
            prop_assert_eq!(token.expose().parse(), Ok(token));
        }
    }
}
