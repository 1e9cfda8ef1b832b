//! Servers that several tests of one binary use, because starting them takes long.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A value that lives as long as a test holds it, and is started again for the next test.
///
/// A `static` is never dropped, so a plain `OnceLock` would leave its servers running.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// Nothing yet, for a `static`.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// Returns the value that other tests use at the moment, or starts one.
    pub fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(start());
            *shared = Arc::downgrade(&started);
            started
        })
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shared_while_it_is_held_and_started_again_afterwards() {
        let shared = Shared::new();
        let first = shared.get(|| 1);
        assert_eq!(*shared.get(|| 2), 1);
        drop(first);
        assert_eq!(*shared.get(|| 3), 3);
    }
}
