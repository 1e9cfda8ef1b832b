//! User names and passwords.

use std::fmt;

/// A user and a password. Without a user name, Redis authenticates the user `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
}

/// A password. `Debug` output is redacted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// Returns the password in the clear, to send it to a server.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_password() {
        let credentials = Credentials {
            username: Some("app".into()),
            password: Some(Password::new("hunter2")),
        };
        let printed = format!("{credentials:?} {credentials:#?}");
        assert!(printed.contains("app") && printed.contains("Password(..)"));
        assert!(!printed.contains("hunter"), "{printed}");
    }
}
