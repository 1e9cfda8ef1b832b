//! The suite that every store passes, as functions and as the [`contract!`](crate::contract!)
//! macro.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! mod my_store {
//!     session_core::contract!(|| async { session_core::MemoryStore::new() });
//! }
//! ```
//!
//! Each check gets a store, uses random ids, and leaves nothing behind that does not expire. The
//! checks of one store may run concurrently and may share a server. They wait for the store's own
//! expiry, so the suite takes a few seconds.
//!
//! Three rules of [`Store`](crate::Store) need faults that only the author of a store can inject,
//! and need tests of its own: that an unknown outcome is an error of kind
//! [`Timeout`](crate::StoreErrorKind::Timeout), that every other error means that nothing was
//! applied, and that `create` is not repeated after a lost reply.

mod cancellation;
mod changes;
mod contents;
mod create;
mod destroy;
mod expiry;
mod fixtures;
mod index;
mod races;
mod save;
mod touch;

use std::{future::Future, time::Duration};

pub use cancellation::*;
pub use changes::*;
pub use contents::*;
pub use create::*;
pub use destroy::*;
pub use expiry::*;
pub use index::*;
pub use races::*;
pub use save::*;
pub use touch::*;

/// A check that takes longer fails: every operation must end within a time that the store chooses.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Tests a store against the contract of [`Store`](crate::Store).
///
/// The argument is a closure that returns the future of a store. It is called once for each check,
/// inside of a `tokio` runtime. The macro expands to one test function for each check, named like
/// the function in [`contract`](mod@crate::contract) that carries it out.
#[macro_export]
macro_rules! contract {
    ($make_store:expr) => {
        $crate::contract!(@tests $make_store;
            load_of_an_absent_id_returns_none
            load_returns_the_created_record
            create_rejects_a_taken_id
            save_replaces_the_record
            save_sets_the_ttl
            save_conflict_changes_nothing
            save_recognizes_its_own_write
            save_leaves_an_absent_id_absent
            touch_sets_the_ttl_and_keeps_the_record
            touch_conflict_changes_nothing
            touch_leaves_an_absent_id_absent
            destroy_removes_any_version
            destroy_of_an_absent_id_succeeds
            conditional_destroy_removes_the_expected_version
            conditional_destroy_conflict_changes_nothing
            conditional_destroy_of_an_absent_id_is_gone
            nothing_restores_a_destroyed_record
            load_reports_the_remaining_ttl
            an_expired_record_is_absent_for_every_operation
            a_new_ttl_takes_effect
            every_version_is_kept
            every_body_is_kept
            a_body_of_one_mebibyte_is_kept
            ids_are_independent
            ids_are_case_sensitive
            exactly_one_racing_create_succeeds
            racing_saves_lose_no_update
            exactly_one_racing_conditional_destroy_succeeds
            exactly_one_racing_conditional_write_succeeds
            a_racing_touch_keeps_the_ttl_of_a_save
            nothing_survives_a_racing_destroy
            a_dropped_operation_is_applied_completely_or_not_at_all
            a_store_stays_usable_after_dropped_operations
        );
    };
    (@tests $make_store:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                let make_store = $make_store;
                $crate::contract::run(async move {
                    $crate::contract::$check(make_store().await).await;
                });
            }
        )*
    };
}

/// Tests the index of a store against the contract of [`Index`](crate::Index). As
/// [`contract!`](crate::contract!) otherwise.
#[macro_export]
macro_rules! index_contract {
    ($make_store:expr) => {
        $crate::contract!(@tests $make_store;
            listed_sessions_are_found_in_order
            entries_come_in_parts
            listing_again_keeps_the_sequence_number
            an_entry_is_removed_by_its_nonce
            a_new_entry_comes_last
            keys_are_independent
            a_refresh_keeps_the_entry_or_lists_the_session
            a_forgotten_session_is_not_listed
            a_key_lives_as_long_as_its_longest_listing
            racing_listings_are_all_listed
            a_write_lists_what_it_says_it_lists
        );
    };
}

/// Tests what a store announces against the contract of [`Changes`](crate::Changes). As
/// [`contract!`](crate::contract!) otherwise.
///
/// That a feed ends when announcements may be missing needs faults that only the author of a store
/// can inject, and tests of its own.
#[macro_export]
macro_rules! changes_contract {
    ($make_store:expr) => {
        $crate::contract!(@tests $make_store;
            a_watched_load_returns_the_record
            every_change_of_a_loaded_record_is_announced
            every_listener_hears_of_a_change
            what_is_kept_is_what_is_stored
            a_feed_gives_signs_of_life
        );
    };
}

/// Runs one check on a `tokio` runtime with two threads. Panics if it does not end.
#[doc(hidden)]
pub fn run(check: impl Future<Output = ()>) {
    run_within(TIME_LIMIT, check);
}

fn run_within(limit: Duration, check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("cannot start a runtime");
    runtime.block_on(async {
        if tokio::time::timeout(limit, check).await.is_err() {
            panic!("the check did not end within {limit:?}");
        }
    });
}

#[cfg(all(test, feature = "memory"))]
mod change_defects;
#[cfg(all(test, feature = "memory"))]
mod defects;
