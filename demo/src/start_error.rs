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
    use session_hyper::{SigningKeys, store};

    use super::*;

    /// Checks that the line has these parts, and that none of them repeats another.
    #[track_caller]
    fn check_line(error: &StartError, expected: &[&str]) {
        let line = error_chain(error);
        let messages: Vec<_> = line.split(": ").collect();
        for part in expected {
            let found = messages.iter().filter(|message| message.contains(part));
            assert_eq!(found.count(), 1, "{part}: {line}");
        }
        for (index, message) in messages.iter().enumerate() {
            assert!(!messages[..index].contains(message), "{line}");
        }
    }

    #[tokio::test]
    async fn an_unknown_store_is_named_once() {
        let error = store::connect("etcd://host").await;
        let error = StartError::from(error.expect_err("there is no such store"));
        check_line(
            &error,
            &["cannot open the session store of --store", "store URL"],
        );
    }

    #[test]
    fn an_empty_key_is_too_short_once() {
        let error = SigningKeys::new([""]).expect_err("an empty key");
        check_line(
            &StartError::from(error),
            &["invalid --session-keys", "signing key is too short"],
        );
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn a_server_that_is_away_is_named_once() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let closed = closed.expect("a free port").to_string();
        for url in [
            format!("redis://{closed}"),
            format!("redis+sentinel://{closed}/sessions"),
            format!("redis+cluster://{closed}"),
        ] {
            let error = store::connect(&url).await;
            let error = StartError::from(error.expect_err("there is no server"));
            let expected = [
                "cannot open the session store of --store",
                "cannot connect to Redis",
                "session store is unavailable",
                &closed,
                "refused",
            ];
            check_line(&error, &expected);
        }
    }
}
