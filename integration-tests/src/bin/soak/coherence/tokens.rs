//! The tokens that a process of `coherence` knows: those that it has issued itself, and those of the
//! others, which it reads from its standard input.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::report::{Login, Report, Token};
use crate::Failure;

/// A token, and the cookie that contains it.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) cookie: Arc<str>,
}

/// The tokens of all users.
pub(crate) struct Tokens(Mutex<Vec<Row>>);

/// The tokens of one user.
#[derive(Clone, Default)]
struct Row {
    newest: Option<Held>,
    /// The one before, which a renewal has replaced or whose session has ended.
    before: Option<Held>,
    /// A task of this process renews it or ends its session.
    busy: bool,
}

impl Tokens {
    pub(crate) fn of(users: usize) -> Self {
        Self(Mutex::new(vec![Row::default(); users]))
    }

    pub(crate) fn users(&self) -> usize {
        self.rows().len()
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads tokens from the standard input. Reports when every user has one.
    pub(crate) fn listen(&self, complete: oneshot::Sender<()>) -> Result<(), Failure> {
        let (users, mut complete) = (self.rows().len(), Some(complete));
        for (number, line) in io::stdin().lines().enumerate() {
            self.hear(&line?)?;
            if number + 1 == users {
                let _ = complete.take().map(|complete| complete.send(()));
            }
        }
        Ok(())
    }

    fn hear(&self, line: &str) -> Result<(), Failure> {
        match line.parse()? {
            Report::Issued { token, cookie, .. } => self.add(Held {
                token,
                cookie: cookie.into(),
            }),
            other => return Err(format!("{other:?} is not a token").into()),
        }
        Ok(())
    }

    pub(crate) fn add(&self, held: Held) {
        let row = &mut self.rows()[held.token.login.user];
        let newest = row.newest.as_ref().map(|newest| newest.token);
        if newest < Some(held.token) {
            row.before = row.newest.replace(held);
        }
    }

    /// The newest token of a user, or the one before it.
    pub(crate) fn get(&self, user: usize, before: bool) -> Option<Held> {
        let row = &self.rows()[user];
        let before = row.before.as_ref().filter(|_| before);
        before.or(row.newest.as_ref()).cloned()
    }

    /// Takes a session that this process may renew and end: that of this user or of one of the
    /// next.
    pub(crate) fn claim(&self, user: usize, may: impl Fn(Login) -> bool) -> Option<Held> {
        let mut rows = self.rows();
        let (first, rest) = rows.split_at_mut(user);
        for row in rest.iter_mut().chain(first) {
            let newest = row.newest.as_ref().filter(|_| !row.busy);
            if let Some(held) = newest.filter(|held| may(held.token.login)) {
                row.busy = true;
                return Some(held.clone());
            }
        }
        None
    }

    pub(crate) fn release(&self, user: usize) {
        self.rows()[user].busy = false;
    }
}
