//! Which sessions belong together.

use std::{fmt, str::FromStr};

use session_core::{IndexKey, Sessions, SessionsOf};

use crate::{
    principal::Principal,
    view::{Seen, TAG},
};

/// The sessions of a principal, or of the one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Of this principal.
    Of(Principal),
    /// Those with the tag.
    Tagged,
}

impl Whose {
    /// All that histories have.
    pub(crate) const ALL: [Self; 3] = [
        Self::Of(Principal::Ann),
        Self::Of(Principal::Bob),
        Self::Tagged,
    ];

    /// What an index lists them under.
    pub(crate) fn key(self) -> IndexKey {
        match self {
            Self::Of(principal) => IndexKey::of_principal(principal.as_str()),
            Self::Tagged => IndexKey::of_tag(TAG.0, TAG.1),
        }
    }

    /// The sessions.
    pub(crate) fn sessions(self, sessions: &Sessions) -> SessionsOf {
        match self {
            Self::Of(principal) => sessions.of(principal.as_str()),
            Self::Tagged => sessions.tagged(TAG.0, TAG.1),
        }
    }

    /// Whether a session with these contents is one of them.
    pub(crate) fn has(self, seen: &Seen) -> bool {
        match self {
            Self::Of(principal) => seen.principal == Some(principal),
            Self::Tagged => seen.is_tagged,
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Of(principal) => principal.as_str(),
            Self::Tagged => TAG.0,
        })
    }
}

impl FromStr for Whose {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|whose| whose.to_string() == text)
            .ok_or_else(|| anyhow::anyhow!("nobody is called {text:?}"))
    }
}
