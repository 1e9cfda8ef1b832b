//! Checks of `touch`.

use super::fixtures::{
    LONG, assert_absent, assert_holds, assert_same, assert_saved, assert_touched, assert_ttl,
    create, id, lasting, load, record,
};
use crate::store::{Store, Touched};

/// `touch` sets the time to live, to a longer or a shorter one, and changes neither version nor
/// body.
pub async fn touch_sets_the_ttl_and_keeps_the_record(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    create(&store, &id, &record).await;
    for ttl in [4 * LONG, LONG] {
        assert_touched(
            store
                .touch(&id, record.version(), ttl)
                .await
                .expect("touch failed"),
        );
        assert_holds(&store, &id, &record).await;
        assert_ttl(&load(&store, &id).await.expect("the record is absent"), ttl);
    }
}

/// `touch` of another version returns the current record and does not change its time to live.
pub async fn touch_conflict_changes_nothing(store: impl Store) {
    let (id, old, current) = (id(), record(b"old"), record(b"current"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&current))
            .await
            .expect("save failed"),
    );
    match store
        .touch(&id, old.version(), 4 * LONG)
        .await
        .expect("touch failed")
    {
        Touched::Conflict(found) => {
            assert_same(&found.record, &current);
            assert_ttl(&found, LONG);
        }
        other => panic!("{other:?} instead of Conflict"),
    }
    assert_holds(&store, &id, &current).await;
    assert_ttl(
        &load(&store, &id).await.expect("the record is absent"),
        LONG,
    );
}

/// `touch` of an absent record is answered `Gone` and stores nothing.
pub async fn touch_leaves_an_absent_id_absent(store: impl Store) {
    let (id, version) = (id(), record(b"").version());
    assert_eq!(
        store.touch(&id, version, LONG).await.expect("touch failed"),
        Touched::Gone
    );
    assert_absent(&store, &id).await;
}
