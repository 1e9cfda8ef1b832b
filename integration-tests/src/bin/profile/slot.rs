//! A store of one record, which never waits.

use std::{hint::black_box, sync::Mutex, time::Duration};

use session_core::{
    Created, Destroyed, Loaded, RecordBytes, Saved, SessionId, Store, StoreError, Touched, Version,
};

/// Keeps the first record that it is given; every later operation is acknowledged and changes nothing.
pub(crate) struct Slot {
    record: Mutex<Option<RecordBytes>>,
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
        Ok(record.map(|record| Loaded {
            record,
            ttl: Some(self.remaining),
        }))
    }

    async fn create(
        &self,
        _: &SessionId,
        record: &RecordBytes,
        _: Duration,
    ) -> Result<Created, StoreError> {
        self.record
            .lock()
            .expect("not poisoned")
            .get_or_insert_with(|| record.clone());
        Ok(Created::Created)
    }

    async fn save(
        &self,
        _: &SessionId,
        _: Version,
        record: &RecordBytes,
        _: Duration,
    ) -> Result<Saved, StoreError> {
        black_box(record);
        Ok(Saved::Saved)
    }

    async fn touch(&self, _: &SessionId, _: Duration) -> Result<Touched, StoreError> {
        Ok(Touched::Touched)
    }

    async fn destroy(&self, _: &SessionId) -> Result<Destroyed, StoreError> {
        Ok(Destroyed)
    }
}
