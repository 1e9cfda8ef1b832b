//! Stores that break one rule each, and the checks that must catch them.

use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::yield_now, time::sleep};

use super::fixtures::{LONG, SHORT};
use crate::{
    id::SessionId,
    memory::MemoryStore,
    record::{Loaded, Record, Version},
    store::{Applied, Created, Destroy, Destroyed, Saved, Store, Touched, Write},
    store_error::StoreError,
};

/// A check is stopped after this time.
fn time_limit(defect: Defect) -> Duration {
    match defect {
        // the check does not end
        Defect::load_leaks_permits_if_dropped => Duration::from_secs(2),
        _ => Duration::from_secs(60),
    }
}

/// Makes a variant of `Defect` and a test of each line. The test asserts that the checks panic.
macro_rules! defects {
    ($($defect:ident => $($check:ident)*;)*) => {
        #[expect(non_camel_case_types, reason = "a defect and its test have the same name")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Defect {
            $($defect,)*
        }

        $(
            #[test]
            fn $defect() {
                $(
                    let store = Defective::new(Some(Defect::$defect));
                    let panic = catch_unwind(AssertUnwindSafe(|| {
                        super::run_within(time_limit(Defect::$defect), super::$check(store));
                    }));
                    assert_caught(Defect::$defect, stringify!($check), panic);
                )*
            }
        )*

        /// The checks that catch a defect.
        const CATCHING: &[&str] = &[$($(stringify!($check),)*)*];
    };
}

defects! {
    load_invents_a_record => load_of_an_absent_id_returns_none;
    load_rounds_the_ttl_up => load_reports_the_remaining_ttl;
    load_leaks_permits_if_dropped => a_store_stays_usable_after_dropped_operations;
    create_stores_nothing => load_returns_the_created_record;
    create_shortens_the_ttl => load_returns_the_created_record;
    create_overwrites => create_rejects_a_taken_id;
    create_succeeds_if_taken => create_rejects_a_taken_id;
    create_recognizes_its_own_write => create_rejects_a_taken_id;
    create_sets_the_ttl_if_taken => create_rejects_a_taken_id;
    create_is_not_atomic => exactly_one_racing_create_succeeds;
    save_stores_nothing => save_replaces_the_record;
    save_keeps_the_ttl => save_sets_the_ttl;
    save_ignores_the_version => save_conflict_changes_nothing;
    save_returns_its_own_record_on_conflict => save_conflict_changes_nothing;
    save_sets_the_ttl_on_conflict => save_conflict_changes_nothing;
    save_does_not_recognize_its_write => save_recognizes_its_own_write;
    save_upserts => save_leaves_an_absent_id_absent nothing_restores_a_destroyed_record;
    save_is_not_atomic => racing_saves_lose_no_update
        exactly_one_racing_conditional_write_succeeds
        nothing_survives_a_racing_destroy;
    save_takes_two_steps => a_dropped_operation_is_applied_completely_or_not_at_all;
    touch_changes_nothing => touch_sets_the_ttl_and_keeps_the_record;
    touch_only_extends => touch_sets_the_ttl_and_keeps_the_record;
    touch_changes_the_version => touch_sets_the_ttl_and_keeps_the_record;
    touch_ignores_the_version => touch_conflict_changes_nothing;
    touch_upserts => touch_leaves_an_absent_id_absent nothing_restores_a_destroyed_record;
    touch_is_not_atomic => a_racing_touch_keeps_the_ttl_of_a_save;
    destroy_removes_nothing => destroy_removes_any_version
        conditional_destroy_removes_the_expected_version;
    destroy_of_an_absent_id_is_gone => destroy_of_an_absent_id_succeeds;
    destroy_ignores_the_version => conditional_destroy_conflict_changes_nothing;
    destroy_sets_the_ttl_on_conflict => conditional_destroy_conflict_changes_nothing;
    destroy_of_an_absent_version_succeeds => conditional_destroy_of_an_absent_id_is_gone;
    destroy_is_not_atomic => exactly_one_racing_conditional_destroy_succeeds
        exactly_one_racing_conditional_write_succeeds;
    nothing_expires => an_expired_record_is_absent_for_every_operation;
    only_load_checks_the_expiry => an_expired_record_is_absent_for_every_operation;
    expiry_is_set_only_once => a_new_ttl_takes_effect;
    versions_are_text => every_version_is_kept;
    bodies_are_text => every_body_is_kept;
    an_empty_body_is_absent => every_body_is_kept;
    bodies_are_cut_at_64_kib => a_body_of_one_mebibyte_is_kept;
    all_ids_are_one => ids_are_independent;
    ids_ignore_case => ids_are_case_sensitive;
}

#[track_caller]
fn assert_caught(defect: Defect, check: &str, outcome: Result<(), Box<dyn Any + Send>>) {
    let panic = outcome.expect_err(check);
    let message = match panic.downcast_ref::<String>() {
        Some(message) => message,
        None => panic.downcast_ref::<&str>().copied().unwrap_or_default(),
    };
    // a check that was merely slow has caught nothing
    let timed_out = message.contains("did not end within");
    assert_eq!(
        timed_out,
        defect == Defect::load_leaks_permits_if_dropped,
        "{check}: {message}"
    );
}

/// The names between two markers of a source file.
fn names<'a>(source: &'a str, before: &str, after: char) -> Vec<&'a str> {
    let after_marker = source.split(before).skip(1);
    after_marker
        .filter_map(|rest| rest.split(after).next())
        .map(str::trim)
        .collect()
}

#[test]
fn every_check_is_in_the_macro_and_catches_a_defect() {
    let sources = [
        include_str!("cancellation.rs"),
        include_str!("contents.rs"),
        include_str!("create.rs"),
        include_str!("destroy.rs"),
        include_str!("expiry.rs"),
        include_str!("races.rs"),
        include_str!("save.rs"),
        include_str!("touch.rs"),
    ];
    let mut checks: Vec<_> = sources
        .iter()
        .flat_map(|source| names(source, "pub async fn ", '('))
        .collect();
    let list = names(
        include_str!("../contract.rs"),
        "$crate::contract!(@tests $make_store;",
        ')',
    );
    let mut listed: Vec<_> = list[0].split_whitespace().collect();
    checks.sort_unstable();
    listed.sort_unstable();
    assert!(checks.len() > 30, "the checks were not found");
    assert_eq!(checks, listed);
    for check in checks {
        assert!(CATCHING.contains(&check), "{check} catches no defect");
    }
}

mod without_a_defect {
    crate::contract!(|| async { super::Defective::new(None) });
}

/// A memory store with at most one defect.
struct Defective {
    store: MemoryStore,
    defect: Option<Defect>,
    permits: Semaphore,
    deadlines: Mutex<HashMap<SessionId, Instant>>,
}

impl Defective {
    fn new(defect: Option<Defect>) -> Self {
        Self {
            store: MemoryStore::new(),
            defect,
            permits: Semaphore::new(8),
            deadlines: Mutex::default(),
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The id that is used instead.
    fn key(&self, id: &SessionId) -> SessionId {
        match self.defect {
            Some(Defect::all_ids_are_one) => SessionId::from_bytes([0; 16]),
            Some(Defect::ids_ignore_case) => {
                // the last character has bits that must be zero
                let (text, last) = id.as_str().split_at(21);
                format!("{}{last}", text.to_lowercase())
                    .parse()
                    .expect("an id")
            }
            _ => *id,
        }
    }

    /// The record that is stored instead.
    fn stored(&self, record: &Record) -> Record {
        let (version, body) = (record.version(), record.body().clone());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_bytes();
        match self.defect {
            Some(Defect::versions_are_text) => {
                let mut text = text(version.as_bytes());
                text.resize(8, 0);
                Record::new(Version::from_bytes(text.try_into().expect("8 bytes")), body)
            }
            Some(Defect::bodies_are_text) => Record::new(version, text(&body)),
            Some(Defect::bodies_are_cut_at_64_kib) => {
                Record::new(version, body.slice(..body.len().min(64 * 1024)))
            }
            _ => record.clone(),
        }
    }

    /// The time to live that is set instead.
    fn ttl(&self, id: &SessionId, ttl: Duration) -> Duration {
        let deadlines = || {
            self.deadlines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        match self.defect {
            Some(Defect::nothing_expires) => ttl.max(LONG),
            Some(Defect::only_load_checks_the_expiry) => {
                deadlines().insert(*id, Instant::now() + ttl);
                ttl.max(LONG)
            }
            _ => ttl,
        }
    }

    /// Stores a record, whatever is there.
    async fn put(&self, id: &SessionId, write: Write<'_>) -> Result<(), StoreError> {
        loop {
            match self.store.load(id).await? {
                None => {
                    if let Created::Created(_) = self.store.create(id, write).await? {
                        return Ok(());
                    }
                }
                Some(current) => {
                    let version = current.record.version();
                    if let Saved::Saved(_) = self.store.save(id, version, write).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The time between reading and writing of an operation that is not atomic.
    async fn between(&self) {
        sleep(Duration::from_millis(2)).await;
    }
}

impl Store for Defective {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        if self.has(Defect::load_leaks_permits_if_dropped) {
            self.permits.acquire().await.expect("open").forget();
            yield_now().await;
            self.permits.add_permits(1);
        }
        if self.has(Defect::only_load_checks_the_expiry) {
            let deadlines = self
                .deadlines
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if deadlines
                .get(id)
                .is_some_and(|deadline| *deadline <= Instant::now())
            {
                return Ok(None);
            }
        }
        let mut found = self.store.load(&self.key(id)).await?;
        match self.defect {
            Some(Defect::load_invents_a_record) => {
                let empty = Record::new(Version::from_bytes([0; 8]), &b""[..]);
                return Ok(found.or(Some(Loaded::new(empty, LONG))));
            }
            Some(Defect::load_rounds_the_ttl_up) => {
                if let Some(ttl) = found.as_mut().and_then(|found| found.ttl.as_mut()) {
                    *ttl = LONG * ttl.as_millis().div_ceil(LONG.as_millis()) as u32;
                }
            }
            Some(Defect::an_empty_body_is_absent) => {
                return Ok(found.filter(|found| !found.record.body().is_empty()));
            }
            _ => {}
        }
        Ok(found)
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        let (id, record) = (&self.key(id), &self.stored(write.record));
        let write = Write::new(record, self.ttl(id, write.ttl));
        let created = Created::Created(Applied::new());
        let current = self.store.load(id).await?;
        match (self.defect, current) {
            (Some(Defect::create_stores_nothing), _) => Ok(created),
            (Some(Defect::create_shortens_the_ttl), _) => {
                self.store
                    .create(id, Write::new(record, write.ttl / 4))
                    .await
            }
            (Some(Defect::create_overwrites), _) => {
                self.put(id, write).await?;
                Ok(created)
            }
            (Some(Defect::create_succeeds_if_taken), Some(_)) => Ok(created),
            (Some(Defect::create_recognizes_its_own_write), Some(current))
                if current.record == *record =>
            {
                Ok(created)
            }
            (Some(Defect::create_sets_the_ttl_if_taken), Some(current)) => {
                let _ = self
                    .store
                    .touch(id, current.record.version(), write.ttl)
                    .await?;
                Ok(Created::Taken)
            }
            (Some(Defect::create_is_not_atomic), None) => {
                self.between().await;
                self.put(id, write).await?;
                Ok(created)
            }
            _ => self.store.create(id, write).await,
        }
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let (id, record) = (&self.key(id), &self.stored(write.record));
        let write = Write::new(record, self.ttl(id, write.ttl));
        let saved = Saved::Saved(Applied::new());
        let current = self.store.load(id).await?;
        let version = current.as_ref().map(|current| current.record.version());
        match (self.defect, current) {
            (Some(Defect::save_stores_nothing), Some(_)) => Ok(saved),
            (Some(Defect::save_keeps_the_ttl), Some(current)) => {
                let ttl = current.ttl.expect("a ttl");
                self.store.save(id, expected, Write::new(record, ttl)).await
            }
            (Some(Defect::save_ignores_the_version), Some(_)) | (Some(Defect::save_upserts), _) => {
                self.put(id, write).await?;
                Ok(saved)
            }
            (Some(Defect::save_returns_its_own_record_on_conflict), Some(_)) => {
                match self.store.save(id, expected, write).await? {
                    Saved::Conflict(_) => {
                        Ok(Saved::Conflict(Loaded::new(record.clone(), write.ttl)))
                    }
                    answer => Ok(answer),
                }
            }
            (Some(Defect::save_sets_the_ttl_on_conflict), Some(current))
                if version != Some(expected) =>
            {
                let _ = self
                    .store
                    .touch(id, current.record.version(), write.ttl)
                    .await?;
                Ok(Saved::Conflict(current))
            }
            (Some(Defect::save_does_not_recognize_its_write), Some(current))
                if version != Some(expected) =>
            {
                Ok(Saved::Conflict(current))
            }
            (Some(Defect::save_is_not_atomic), Some(_)) if version == Some(expected) => {
                self.between().await;
                self.put(id, write).await?;
                Ok(saved)
            }
            (Some(Defect::save_takes_two_steps), Some(_)) if version == Some(expected) => {
                let _ = self.store.destroy(id, Destroy::any()).await?;
                yield_now().await;
                self.put(id, write).await?;
                Ok(saved)
            }
            (Some(Defect::expiry_is_set_only_once), Some(_)) if write.ttl <= SHORT => {
                self.store
                    .save(id, expected, Write::new(record, LONG))
                    .await
            }
            _ => self.store.save(id, expected, write).await,
        }
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        let id = &self.key(id);
        let ttl = self.ttl(id, ttl);
        let touched = Touched::Touched(Applied::new());
        let current = self.store.load(id).await?;
        match (self.defect, current) {
            (Some(Defect::touch_changes_nothing), Some(_)) => Ok(touched),
            (Some(Defect::touch_only_extends), Some(current)) if current.ttl > Some(ttl) => {
                Ok(touched)
            }
            (Some(Defect::touch_changes_the_version), Some(current)) => {
                let body = current.record.into_body();
                let record = Record::new(Version::from_bytes([0; 8]), body);
                let _ = self
                    .store
                    .save(id, expected, Write::new(&record, ttl))
                    .await?;
                Ok(touched)
            }
            (Some(Defect::touch_ignores_the_version), Some(current)) => {
                self.store.touch(id, current.record.version(), ttl).await
            }
            (Some(Defect::touch_upserts), None) => {
                let record = Record::new(expected, &b""[..]);
                self.put(id, Write::new(&record, ttl)).await?;
                Ok(touched)
            }
            (Some(Defect::touch_is_not_atomic), Some(current))
                if current.record.version() == expected =>
            {
                self.between().await;
                match self.store.load(id).await? {
                    Some(current) => self.store.touch(id, current.record.version(), ttl).await,
                    None => Ok(Touched::Gone),
                }
            }
            (Some(Defect::expiry_is_set_only_once), Some(_)) if ttl <= SHORT => Ok(touched),
            _ => self.store.touch(id, expected, ttl).await,
        }
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let id = &self.key(id);
        let destroyed = Destroyed::Destroyed(Applied::new());
        let current = self.store.load(id).await?;
        match (self.defect, current, options.expected) {
            (Some(Defect::destroy_removes_nothing), Some(_), _) => Ok(destroyed),
            (Some(Defect::destroy_of_an_absent_id_is_gone), None, None) => Ok(Destroyed::Gone),
            (Some(Defect::destroy_ignores_the_version), Some(_), Some(_))
            | (Some(Defect::destroy_of_an_absent_version_succeeds), None, Some(_)) => {
                self.store.destroy(id, Destroy::any()).await
            }
            (Some(Defect::destroy_sets_the_ttl_on_conflict), Some(current), Some(expected))
                if current.record.version() != expected =>
            {
                let _ = self
                    .store
                    .touch(id, current.record.version(), 4 * LONG)
                    .await?;
                Ok(Destroyed::Conflict(current))
            }
            (Some(Defect::destroy_is_not_atomic), Some(current), Some(expected))
                if current.record.version() == expected =>
            {
                self.between().await;
                self.store.destroy(id, Destroy::any()).await
            }
            _ => self.store.destroy(id, options).await,
        }
    }
}
