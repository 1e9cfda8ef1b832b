//! Checks of operations whose future is dropped before it is complete.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::fixtures::{
    LONG, assert_absent, assert_destroyed, assert_holds, create, id, lasting, load, record,
};
use crate::store::{Destroy, Store};

/// The futures of most stores are complete after fewer polls.
const MAX_POLLS: usize = 12;

/// An operation that is dropped after any number of polls leaves the old record or the new one.
pub async fn a_dropped_operation_is_applied_completely_or_not_at_all(store: impl Store) {
    for polls in 0..MAX_POLLS {
        let (old, new) = (record(b"old"), record(b"new"));
        let expected = old.version();
        let [created, saved, touched, destroyed, claimed] = std::array::from_fn(|_| id());
        for id in [&saved, &touched, &destroyed, &claimed] {
            create(&store, id, &old).await;
        }
        drop_after(polls, store.create(&created, lasting(&new))).await;
        drop_after(polls, store.save(&saved, expected, lasting(&new))).await;
        drop_after(polls, store.touch(&touched, expected, 4 * LONG)).await;
        drop_after(polls, store.destroy(&destroyed, Destroy::any())).await;
        drop_after(polls, store.destroy(&claimed, Destroy::expecting(expected))).await;

        let stored = load(&store, &created).await.map(|loaded| loaded.record);
        assert!(
            stored.is_none_or(|stored| stored == new),
            "a part of a create was applied"
        );
        let stored = load(&store, &saved).await.map(|loaded| loaded.record);
        let complete = stored.is_some_and(|stored| stored == old || stored == new);
        assert!(complete, "a part of a save was applied");
        assert_holds(&store, &touched, &old).await;
        for id in [&destroyed, &claimed] {
            let stored = load(&store, id).await.map(|loaded| loaded.record);
            assert!(
                stored.is_none_or(|stored| stored == old),
                "a part of a destroy was applied"
            );
        }

        // an operation may be applied shortly after it was dropped, but no save restores a record
        assert_destroyed(
            store
                .destroy(&saved, Destroy::any())
                .await
                .expect("destroy failed"),
        );
        assert_absent(&store, &saved).await;
    }
}

/// Operations succeed after others were dropped.
pub async fn a_store_stays_usable_after_dropped_operations(store: impl Store) {
    for polls in 0..MAX_POLLS {
        let (id, old, new) = (id(), record(b"old"), record(b"new"));
        create(&store, &id, &old).await;
        for _ in 0..20 {
            drop_after(polls, store.load(&id)).await;
            drop_after(polls, store.touch(&id, old.version(), LONG)).await;
            drop_after(polls, store.save(&id, new.version(), lasting(&new))).await;
        }
        assert_holds(&store, &id, &old).await;
        let options = Destroy::expecting(old.version());
        assert_destroyed(store.destroy(&id, options).await.expect("destroy failed"));
        assert_absent(&store, &id).await;
    }
}

/// Polls a future this many times and drops it.
async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(cx).map(drop)
    })
    .await;
}
