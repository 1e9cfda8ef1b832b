//! Who logs in.

/// Somebody who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The user.
    Ann,
    /// Another user of the same browser.
    Bob,
    /// The attacker.
    Mallory,
}

impl Principal {
    pub(crate) const ALL: [Self; 3] = [Self::Ann, Self::Bob, Self::Mallory];

    /// The name that the session stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ann => "ann",
            Self::Bob => "bob",
            Self::Mallory => "mallory",
        }
    }

    /// The principal of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|other| other.as_str() == name)
    }
}
