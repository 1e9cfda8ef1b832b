//! Who may log in, and what a login does to the session.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
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
///
/// Users of this instance can change their passwords. Everybody knows the ones above, so they stay
/// valid: no visitor of a demo locks out the others.
#[derive(Clone)]
pub(crate) struct Users {
    permits: Arc<Semaphore>,
    /// The hashes of changed passwords, by user.
    changed: Arc<Mutex<HashMap<String, String>>>,
}

impl fmt::Debug for Users {
    /// Without hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
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
            changed: Arc::default(),
        }
    }

    /// Logs in, or counts the failure in the session.
    pub(crate) async fn log_in(
        &self,
        session: &Session,
        credentials: Credentials,
    ) -> Result<Login, SessionError> {
        let Credentials {
            username,
            password,
            remember,
        } = credentials;
        let Some(user) = self.check(username, password).await else {
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

    /// The user of this name, if the password is right.
    pub(crate) async fn check(&self, username: String, password: String) -> Option<&'static str> {
        let changed = self.changed().get(&username).cloned();
        self.hash(move || verify(&username, &password, changed.as_deref()))
            .await
            .flatten()
    }

    /// Makes another password valid. Returns whether it could be hashed.
    pub(crate) async fn change_password(&self, user: &str, password: String) -> bool {
        let hash = self.hash(move || Argon2::default().hash_password(password.as_bytes()).ok());
        let Some(hash) = hash.await.flatten() else {
            return false;
        };
        self.changed().insert(user.to_owned(), hash.to_string());
        true
    }

    fn changed(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashing takes tens of milliseconds, so it must not block the threads of the runtime.
    async fn hash<T: Send + 'static>(
        &self,
        hash: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let hashed = task::spawn_blocking(move || {
            let _permit = permit;
            hash()
        });
        hashed.await.ok()
    }
}

fn verify(username: &str, password: &str, changed: Option<&str>) -> Option<&'static str> {
    let user = USERS.iter().find(|(name, _)| *name == username);
    let is_of = |hash: &str| {
        let hash = PasswordHash::new(hash);
        let verify = |hash| Argon2::default().verify_password(password.as_bytes(), &hash);
        hash.is_ok_and(|hash| verify(hash).is_ok())
    };
    let matches = is_of(user.map_or(UNKNOWN, |(_, hash)| hash)) || changed.is_some_and(is_of);
    user.filter(|_| matches).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_passwords_are_right() {
        assert_eq!(verify("ann", "correct horse", None), Some("ann"));
        assert_eq!(verify("bob", "battery staple", None), Some("bob"));
        for (username, password) in [
            ("ann", "battery staple"),
            ("ann", ""),
            ("Ann", "correct horse"),
            ("eve", "correct horse"),
        ] {
            assert_eq!(verify(username, password, None), None, "{username}");
        }
    }

    #[tokio::test]
    async fn a_changed_password_is_valid_beside_the_documented_one() {
        let users = Users::new();
        assert!(users.change_password("ann", "tea time".into()).await);
        let check =
            async |user: &str, password: &str| users.check(user.into(), password.into()).await;
        assert_eq!(check("ann", "tea time").await, Some("ann"));
        assert_eq!(check("ann", "correct horse").await, Some("ann"));
        assert_eq!(check("bob", "tea time").await, None);
    }

    #[test]
    fn an_unknown_name_takes_as_long_to_check_as_a_user() {
        let cost = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert!(PasswordHash::new(UNKNOWN).is_ok());
        assert!(USERS.iter().all(|(_, hash)| cost(hash) == cost(UNKNOWN)));
    }
}
