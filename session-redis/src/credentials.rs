//! User names and passwords, fixed or from a provider.

use std::{error::Error, fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::failure::Failure;

/// Why a [`CredentialsProvider`] failed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A user and a password, as a [`CredentialsProvider`] returns them. `Debug` output hides the
/// password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) refresh_after: Option<Duration>,
}

impl Credentials {
    /// The credentials of an ACL user.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: Some(username.into()),
            ..Self::password(password)
        }
    }

    /// The password of the user `default`.
    pub fn password(password: impl Into<String>) -> Self {
        Self {
            password: Some(Password::new(password)),
            ..Self::default()
        }
    }

    /// Asks the provider again after this time, and authenticates the living connection with its
    /// answer. By default a connection is authenticated once.
    ///
    /// For a token that expires, choose a time that leaves room for a few failed attempts. The
    /// shortest time is 100 ms.
    pub fn refresh_after(mut self, time: Duration) -> Self {
        self.refresh_after = Some(time);
        self
    }

    /// Whether a connection that was made with these may be used as if made with `other`.
    pub(crate) fn is_same_login(&self, other: &Self) -> bool {
        (&self.username, &self.password) == (&other.username, &other.password)
    }
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

/// Provides the credentials of a connection when it is made: rotating passwords, or tokens that
/// expire.
///
/// Closures that return a future are providers. See
/// [`RedisConfig::credentials_provider`](crate::RedisConfig::credentials_provider).
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Returns the credentials that are valid now.
    ///
    /// It is called for each connection to each server, so it **should** answer from memory as long
    /// as a token is valid. The future is dropped after
    /// [`connect_timeout`](crate::RedisConfig::connect_timeout).
    ///
    /// # Errors
    ///
    /// The connection is not made, and the attempt is repeated like any other that fails. The
    /// message of the error is logged, so it **must not** contain a secret.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send;
}

impl<F, Fut, E> CredentialsProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        self().await.map_err(Into::into)
    }
}

/// A provider of any type.
#[derive(Clone)]
pub(crate) struct AnyProvider(Arc<dyn BoxedProvider>);

impl AnyProvider {
    pub(crate) fn new(provider: impl CredentialsProvider) -> Self {
        Self(Arc::new(provider))
    }
}

impl fmt::Debug for AnyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsProvider(..)")
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait BoxedProvider: Send + Sync {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, BoxError>>;
}

impl<P: CredentialsProvider> BoxedProvider for P {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, BoxError>> {
        Box::pin(CredentialsProvider::credentials(self))
    }
}

/// As whom to connect: fixed credentials, or those of a provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(crate) fixed: Credentials,
    pub(crate) provider: Option<AnyProvider>,
}

impl Login {
    /// Returns the credentials for a new connection.
    pub(crate) async fn credentials(&self, limit: Duration) -> Result<Credentials, Failure> {
        let Some(AnyProvider(provider)) = &self.provider else {
            return Ok(self.fixed.clone());
        };
        match timeout(limit, provider.credentials()).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(Failure::unavailable(format!(
                "the credentials provider failed: {error}"
            ))),
            Err(_) => Err(Failure::unavailable(
                "the credentials provider did not answer in time",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future, io};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    fn login(provider: impl CredentialsProvider) -> Login {
        Login {
            provider: Some(AnyProvider::new(provider)),
            ..Login::default()
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let credentials = Credentials::new("app", "hunter2");
        let login = Login {
            fixed: credentials.clone(),
            ..login(async || Ok::<_, BoxError>(Credentials::password("hunter3")))
        };
        let printed = format!("{credentials:?} {credentials:#?} {login:?}");
        assert!(printed.contains("app") && printed.contains("Password(..)"));
        assert!(!printed.contains("hunter"), "{printed}");
    }

    #[tokio::test]
    async fn a_provider_is_asked_each_time() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let login = login(move || {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            future::ready(Ok::<_, io::Error>(Credentials::password(
                number.to_string(),
            )))
        });
        for expected in ["0", "1"] {
            let credentials = login.credentials(LIMIT).await.expect("credentials");
            assert_eq!(credentials, Credentials::password(expected));
        }
    }

    #[tokio::test]
    async fn a_provider_that_fails_or_hangs_is_named() {
        let failing = login(async || Err::<Credentials, _>("the vault is sealed"));
        let failure = failing.credentials(LIMIT).await.expect_err("a failure");
        assert_eq!(
            failure,
            Failure::unavailable("the credentials provider failed: the vault is sealed")
        );
        let hanging = login(future::pending::<Result<Credentials, BoxError>>);
        let failure = hanging.credentials(LIMIT).await.expect_err("a failure");
        assert_eq!(
            failure,
            Failure::unavailable("the credentials provider did not answer in time")
        );
    }
}
