//! What a session can be found by.

use std::fmt;

use crate::{body::Contents, listing::IndexKey};

/// A principal, or a tag with its value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Label {
    Principal(Box<str>),
    Tag { name: Box<str>, value: Box<str> },
}

impl Label {
    /// The labels of a session.
    pub(crate) fn all(contents: &Contents) -> impl Iterator<Item = Self> {
        let principal = contents.principal.clone().map(Self::Principal);
        let tags = contents.tags.iter().map(|tag| Self::Tag {
            name: tag.name.clone(),
            value: tag.value.clone(),
        });
        principal.into_iter().chain(tags)
    }

    /// What an index lists its sessions under.
    pub(crate) fn key(&self) -> IndexKey {
        match self {
            Self::Principal(principal) => IndexKey::of_principal(principal),
            Self::Tag { name, value } => IndexKey::of_tag(name, value),
        }
    }

    /// Whether a session has it.
    pub(crate) fn is_on(&self, contents: &Contents) -> bool {
        match self {
            Self::Principal(principal) => contents.principal.as_ref() == Some(principal),
            Self::Tag { name, value } => contents
                .tags
                .iter()
                .any(|tag| tag.name == *name && tag.value == *value),
        }
    }
}

impl fmt::Debug for Label {
    /// Prints no principal and no value, because they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(_) => f.write_str("Principal(..)"),
            Self::Tag { name, .. } => write!(f, "Tag({name:?}, ..)"),
        }
    }
}
