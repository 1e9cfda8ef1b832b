//! The error of starting the demo.

use std::error::Error;

use session_hyper::{ConfigError, EntropyError, SigningKeysError, store::ConnectError};

/// The demo cannot start.
///
/// A message does not repeat its source; [`error_chain`] prints them together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened.
    #[error("cannot open the session store of --store")]
    Store(#[from] ConnectError),
    /// The signing keys are invalid.
    #[error("invalid --session-keys")]
    Keys(#[from] SigningKeysError),
    /// No random signing key can be generated.
    #[error("cannot generate a signing key")]
    Entropy(#[from] EntropyError),
    /// An option is invalid, or options conflict.
    #[error("invalid options")]
    Config(#[from] ConfigError),
}

/// Returns the messages of an error and its sources in one line.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use session_hyper::store;

    use super::*;

    #[tokio::test]
    async fn a_message_is_printed_once() {
        let error = store::connect("etcd://host").await;
        let error = StartError::from(error.expect_err("there is no such store"));
        let line = error_chain(&error);
        let messages: Vec<_> = line.split(": ").collect();
        assert_eq!(messages[0], "cannot open the session store of --store");
        assert!(messages[1].contains("store URL"), "{line}");
        for (index, message) in messages.iter().enumerate() {
            assert!(!messages[..index].contains(message), "{line}");
        }
    }
}
