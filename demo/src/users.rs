//! Who may log in, and what a login, right or wrong, does to the session.

use std::{sync::Arc, thread, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordVerifier, phc::PasswordHash},
};
use serde::de::IgnoredAny;
use session_hyper::{Key, Outcome, Session, SessionError};
use tokio::{sync::Semaphore, task};

/// Wrong passwords since the last right one.
pub(crate) const FAILED_LOGINS: Key<u32> = Key::new("failed_logins");

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A browser that is to remember the user may stay away this long,
const REMEMBERED: Duration = DAY.saturating_mul(30);
/// and even a daily visitor logs in again after this.
const REMEMBERED_AT_MOST: Duration = DAY.saturating_mul(90);

/// The users and their hashes, argon2id with the parameters that OWASP asks for (Password Storage Cheat Sheet: 19 MiB, 2
/// passes, 1 lane). The passwords are public: this is a demo.
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
/// Hash of a password that nobody has, so that an unknown name takes as long to refuse as a wrong password.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$aIaS77qGR3A4LDsJtNvI0Q$8Bp4MYeveVs1fYiBLDATFVS7uSVC7Vpge7oUGB/ZfXk";

/// Checks passwords, no more at once than there are processors: each check takes 19 MiB.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    turns: Arc<Semaphore>,
}

/// What a user typed.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    /// Whether the browser is to stay logged in when it closes.
    pub(crate) remember: bool,
}

/// How a login went.
#[derive(Debug)]
pub(crate) enum Login {
    Right(&'static str),
    Wrong {
        /// How often in a row, this time included.
        failed: u32,
    },
    /// Right, but the session ended while the password was checked: a login or a logout elsewhere came first.
    Ended,
}

impl Users {
    pub(crate) fn new() -> Self {
        let turns = thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(turns)),
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
            let failed = session.update(FAILED_LOGINS, |failed| {
                failed.unwrap_or(0).saturating_add(1)
            })?;
            return Ok(Login::Wrong { failed });
        };
        if session.principal().is_some_and(|before| before != user) {
            // what one user left behind is not the next one's
            session.regenerate()?;
        }
        session.remove::<IgnoredAny>(FAILED_LOGINS.name())?;
        session.set_principal(Some(user))?;
        if remember {
            session.set_max_age(Some(REMEMBERED))?;
            session.set_absolute_timeout(Some(REMEMBERED_AT_MOST))?;
        } else {
            session.set_idle_timeout(None)?;
            session.set_persistent(None)?;
            session.set_absolute_timeout(None)?;
        }
        // now and not with the response, so that nobody is welcomed who is not logged in
        match session.save().await? {
            Outcome::Gone => Ok(Login::Ended),
            _ => Ok(Login::Right(user)),
        }
    }

    async fn check(&self, credentials: Credentials) -> Option<&'static str> {
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        // a check keeps a processor busy for tens of milliseconds, which is no work for the threads that serve everybody
        let check = task::spawn_blocking(move || {
            let _turn = turn;
            verify(&credentials.username, &credentials.password)
        });
        check.await.ok().flatten()
    }
}

fn verify(username: &str, password: &str) -> Option<&'static str> {
    let user = USERS.iter().find(|(name, _)| *name == username);
    let hash = PasswordHash::new(user.map_or(NOBODY, |(_, hash)| hash)).ok()?;
    let matches = Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok();
    user.filter(|_| matches).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_passwords_open_and_others_do_not() {
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
    fn an_unknown_name_is_checked_against_a_hash_as_costly_as_any() {
        let cost = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(USERS.iter().all(|(_, hash)| cost(hash) == cost(NOBODY)));
    }
}
