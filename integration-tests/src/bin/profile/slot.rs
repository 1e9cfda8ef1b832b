//! A store of one record, which never waits.

use std::{hint::black_box, sync::Mutex, time::Duration};

use session_core::{
    Applied, Created, Destroy, Destroyed, Loaded, Record, Saved, SessionId, Store, StoreError,
    Touched, Version, Write,
};

/// Keeps the first record that it is given; every later operation is acknowledged and changes
/// nothing.
pub(crate) struct Slot {
    record: Mutex<Option<Record>>,
    remaining: Duration,
}

impl Slot {
    /// A store that reports `remaining` as the time to live of its record.
    pub(crate) fn new(remaining: Duration) -> Self {
        Self {
            record: Mutex::default(),
            remaining,
        }
    }
}

impl Store for Slot {
    async fn load(&self, _: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let record = self.record.lock().expect("not poisoned").clone();
        Ok(record.map(|record| Loaded::new(record, self.remaining)))
    }

    async fn create(&self, _: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.record
            .lock()
            .expect("not poisoned")
            .get_or_insert_with(|| write.record.clone());
        Ok(Created::Created(Applied::new()))
    }

    async fn save(&self, _: &SessionId, _: Version, write: Write<'_>) -> Result<Saved, StoreError> {
        black_box(write.record);
        Ok(Saved::Saved(Applied::new()))
    }

    async fn touch(&self, _: &SessionId, _: Version, _: Duration) -> Result<Touched, StoreError> {
        Ok(Touched::Touched(Applied::new()))
    }

    async fn destroy(&self, _: &SessionId, _: Destroy) -> Result<Destroyed, StoreError> {
        Ok(Destroyed::Destroyed(Applied::new()))
    }
}
