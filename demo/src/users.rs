//! Who may log in, and what a login does to the session.

use std::{sync::Arc, thread, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordVerifier, phc::PasswordHash},
};
use serde::de::IgnoredAny;
use session_hyper::{Key, Session, SessionError};
use tokio::{sync::Semaphore, task};

/// Failed logins since the last successful one. The page shows the count; it does not limit
/// guesses.
pub(crate) const FAILED_LOGINS: Key<u32> = Key::new("failed_logins");

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The idle timeout of a session whose user asked to be remembered.
const REMEMBERED_IDLE: Duration = DAY.saturating_mul(30);
/// And its absolute timeout: a daily visitor logs in again after this.
const REMEMBERED_ABSOLUTE: Duration = DAY.saturating_mul(90);

/// The users and the argon2id hashes of their passwords, with the parameters that OWASP recommends
/// (Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane). The passwords are public.
const USERS: [(&str, &str); 2] = [
    // correct horse
    (
        "ann",
        "$argon2id$v=19$m=19456,t=2,p=1$J/hdcWy2dRyn5uEE/3E6tQ$T57ipVgmAR3xOPo1/dbggKYssu03VyZ1E6sx7Voj090",
    ),
    // battery staple
    (
        "bob",
        "$argon2id$v=19$m=19456,t=2,p=1$QUPujga6EOKtj/fUczzggA$0DoMwJ+J9mNc6qmbbX6g7XxYW0apHnP9bQ6xK9pyzXM",
    ),
];
/// The hash of a random password, so that an unknown name takes as long to reject as a wrong
/// password.
const UNKNOWN: &str = "$argon2id$v=19$m=19456,t=2,p=1$aIaS77qGR3A4LDsJtNvI0Q$8Bp4MYeveVs1fYiBLDATFVS7uSVC7Vpge7oUGB/ZfXk";

/// Checks passwords, at most as many concurrently as there are processors: each check takes 19 MiB.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    permits: Arc<Semaphore>,
}

/// What a user submitted.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    /// Whether the login outlives the browser.
    pub(crate) remember: bool,
}

/// The result of a login.
#[derive(Debug)]
pub(crate) enum Login {
    Succeeded(&'static str),
    Failed {
        /// Failed logins in a row, including this one.
        count: u32,
    },
}

impl Users {
    pub(crate) fn new() -> Self {
        let permits = thread::available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(permits)),
        }
    }

    /// Logs in, or counts the failure in the session.
    pub(crate) async fn log_in(
        &self,
        session: &Session,
        credentials: Credentials,
    ) -> Result<Login, SessionError> {
        let remember = credentials.remember;
        let Some(user) = self.check(credentials).await else {
            let count =
                session.update(FAILED_LOGINS, |count| count.unwrap_or(0).saturating_add(1))?;
            return Ok(Login::Failed { count });
        };
        // keeps the cart of an anonymous visitor, and begins an empty session if another user was
        // logged in
        session.log_in(user)?;
        session.remove::<IgnoredAny>(FAILED_LOGINS.name())?;
        if remember {
            session.set_max_age(Some(REMEMBERED_IDLE))?;
            session.set_absolute_timeout(Some(REMEMBERED_ABSOLUTE))?;
        } else {
            session.set_idle_timeout(None)?;
            session.set_persistent(None)?;
            session.set_absolute_timeout(None)?;
        }
        Ok(Login::Succeeded(user))
    }

    async fn check(&self, credentials: Credentials) -> Option<&'static str> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        // hashing takes tens of milliseconds, so it must not block the threads of the runtime
        let check = task::spawn_blocking(move || {
            let _permit = permit;
            verify(&credentials.username, &credentials.password)
        });
        check.await.ok().flatten()
    }
}

fn verify(username: &str, password: &str) -> Option<&'static str> {
    let user = USERS.iter().find(|(name, _)| *name == username);
    let hash = PasswordHash::new(user.map_or(UNKNOWN, |(_, hash)| hash)).ok()?;
    let matches = Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok();
    user.filter(|_| matches).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_passwords_are_right() {
        assert_eq!(verify("ann", "correct horse"), Some("ann"));
        assert_eq!(verify("bob", "battery staple"), Some("bob"));
        for (username, password) in [
            ("ann", "battery staple"),
            ("ann", ""),
            ("Ann", "correct horse"),
            ("eve", "correct horse"),
        ] {
            assert_eq!(verify(username, password), None, "{username}");
        }
    }

    #[test]
    fn an_unknown_name_takes_as_long_to_check_as_a_user() {
        let cost = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert!(PasswordHash::new(UNKNOWN).is_ok());
        assert!(USERS.iter().all(|(_, hash)| cost(hash) == cost(UNKNOWN)));
    }
}
