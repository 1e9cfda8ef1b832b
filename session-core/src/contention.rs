//! Serializes commits to one session within this process, after the first conflict.
//!
//! Without a conflict nobody waits. With one, the requests of a busy session take turns, so that
//! each needs few attempts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

use crate::id::SessionId;

/// The locks of the sessions that are contended now. A session's lock exists while somebody holds
/// it or waits for it, so sessions do not delay each other.
#[derive(Debug, Default)]
pub(crate) struct ContentionLocks(Mutex<HashMap<SessionId, Weak<tokio::sync::Mutex<()>>>>);

/// The turn of one commit.
#[derive(Debug)]
pub(crate) struct ContentionGuard<'l> {
    locks: &'l ContentionLocks,
    id: SessionId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl ContentionLocks {
    /// Waits until it is this commit's turn.
    pub(crate) async fn lock(&self, id: SessionId) -> ContentionGuard<'_> {
        let mut turn = ContentionGuard {
            locks: self,
            id,
            guard: None,
        };
        let lock = {
            let mut locks = self.map();
            let found = locks.get(&id).and_then(Weak::upgrade);
            found.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(id, Arc::downgrade(&lock));
                lock
            })
        };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn map(&self) -> MutexGuard<'_, HashMap<SessionId, Weak<tokio::sync::Mutex<()>>>> {
        // no code that can panic runs under the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ContentionGuard<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.locks.map();
        if locks
            .get(&self.id)
            .is_some_and(|lock| lock.strong_count() == 0)
        {
            locks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    #[tokio::test]
    async fn sessions_do_not_wait_for_each_other_and_leave_nothing_behind() {
        let locks = ContentionLocks::default();
        // ids that begin alike, too
        let first = locks.lock(id(1)).await;
        let second = locks
            .lock(SessionId::from_bytes(
                [[1; 8], [2; 8]].concat().try_into().expect("16"),
            ))
            .await;
        assert_eq!(locks.map().len(), 2);
        drop((first, second));
        assert!(locks.map().is_empty());
    }

    #[tokio::test]
    async fn commits_of_one_session_take_turns_and_a_dropped_one_gives_up_its_place() {
        let locks = ContentionLocks::default();
        let first = locks.lock(id(1)).await;
        let mut waiting = Box::pin(locks.lock(id(1)));
        let mut given_up = Box::pin(locks.lock(id(1)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        drop(given_up);
        drop(first);
        drop(waiting.await);
        assert!(locks.map().is_empty());
    }
}
