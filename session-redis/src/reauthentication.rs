//! Authenticates a living connection again, before its credentials expire.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    backoff::{exponential, jitter},
    connection::Connection,
    credentials::{Credentials, Login},
    failure::Failure,
};

/// The shortest time between two authentications.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The pause after the first failed attempt; it doubles up to [`MAX_RETRY_PAUSE`].
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(500);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// The task that authenticates one connection. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Reauthentication(JoinHandle<()>);

/// What the task needs.
pub(crate) struct Reauthenticate {
    pub(crate) connection: Connection,
    pub(crate) login: Login,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    /// The server, for log lines.
    pub(crate) server: String,
}

impl Reauthenticate {
    /// Starts the task, unless these credentials hold for as long as the connection lives.
    pub(crate) fn start(self, credentials: &Credentials) -> Option<Reauthentication> {
        let first = credentials.refresh_after?;
        Some(Reauthentication(tokio::spawn(self.run(first))))
    }

    async fn run(mut self, first: Duration) {
        let (mut pause, mut failures) = (first, 0);
        loop {
            sleep(pause.max(MIN_PAUSE)).await;
            pause = match self.authenticate().await {
                Ok(Some(refresh_after)) => {
                    failures = 0;
                    refresh_after
                }
                Ok(None) => return,
                Err(Failure::Closed | Failure::Lost { .. }) => return,
                Err(failure) => {
                    let server = &self.server;
                    tracing::warn!(%server, %failure, "cannot authenticate to Redis again");
                    failures += 1;
                    jitter(exponential(FIRST_RETRY_PAUSE, failures).min(MAX_RETRY_PAUSE))
                }
            };
        }
    }

    /// Returns when to do it again.
    async fn authenticate(&mut self) -> Result<Option<Duration>, Failure> {
        let credentials = self.login.credentials(self.connect_timeout).await?;
        let Some(password) = &credentials.password else {
            return Ok(None);
        };
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = &credentials.username {
            auth.arg(username);
        }
        auth.arg(password.expose());
        let reply = self.connection.query(&auth);
        match timeout(self.response_timeout, reply).await {
            Ok(Ok(_)) => Ok(credentials.refresh_after),
            Ok(Err(error)) => Err(Failure::from_command(&error)),
            Err(_) => Err(Failure::TimedOut),
        }
    }
}

impl Drop for Reauthentication {
    fn drop(&mut self) {
        self.0.abort();
    }
}
