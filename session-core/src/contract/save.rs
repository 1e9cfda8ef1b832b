//! Checks of `save`.

use super::fixtures::{
    LONG, assert_absent, assert_holds, assert_same, assert_saved, assert_ttl, create, id, lasting,
    load, record,
};
use crate::store::{Saved, Store, Write};

/// `save` over the version that it expects.
pub async fn save_replaces_the_record(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"a new and longer body"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&new))
            .await
            .expect("save failed"),
    );
    assert_holds(&store, &id, &new).await;
    let third = record(b"third");
    assert_saved(
        store
            .save(&id, new.version(), lasting(&third))
            .await
            .expect("save failed"),
    );
    assert_holds(&store, &id, &third).await;
}

/// `save` sets the time to live, to a longer or a shorter one.
pub async fn save_sets_the_ttl(store: impl Store) {
    let (id, mut stored) = (id(), record(b"0"));
    create(&store, &id, &stored).await;
    for ttl in [4 * LONG, LONG] {
        let next = record(b"next");
        let write = Write::new(&next, ttl);
        assert_saved(
            store
                .save(&id, stored.version(), write)
                .await
                .expect("save failed"),
        );
        assert_ttl(&load(&store, &id).await.expect("the record is absent"), ttl);
        stored = next;
    }
}

/// `save` over another version returns the current record, and changes neither it nor its time to
/// live.
pub async fn save_conflict_changes_nothing(store: impl Store) {
    let (id, old, current) = (id(), record(b"old"), record(b"current"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&current))
            .await
            .expect("save failed"),
    );
    let late = record(b"late");
    let write = Write::new(&late, 4 * LONG);
    match store
        .save(&id, old.version(), write)
        .await
        .expect("save failed")
    {
        Saved::Conflict(found) => {
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

/// `save` is answered `Saved` if it finds its own version, as after a lost reply, and `Conflict` if
/// another write followed.
pub async fn save_recognizes_its_own_write(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"new"));
    create(&store, &id, &old).await;
    for _ in 0..2 {
        assert_saved(
            store
                .save(&id, old.version(), lasting(&new))
                .await
                .expect("save failed"),
        );
        assert_holds(&store, &id, &new).await;
    }
    let third = record(b"third");
    assert_saved(
        store
            .save(&id, new.version(), lasting(&third))
            .await
            .expect("save failed"),
    );
    match store
        .save(&id, old.version(), lasting(&new))
        .await
        .expect("save failed")
    {
        Saved::Conflict(found) => assert_same(&found.record, &third),
        other => panic!("{other:?} instead of Conflict"),
    }
}

/// `save` of an absent record is answered `Gone` and stores nothing.
pub async fn save_leaves_an_absent_id_absent(store: impl Store) {
    let (id, record) = (id(), record(b"ghost"));
    let saved = store
        .save(&id, record.version(), lasting(&record))
        .await
        .expect("save failed");
    assert_eq!(saved, Saved::Gone);
    assert_absent(&store, &id).await;
}
