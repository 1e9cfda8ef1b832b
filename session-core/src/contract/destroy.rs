//! Checks of `destroy`.

use super::fixtures::{
    LONG, assert_absent, assert_destroyed, assert_holds, assert_same, assert_saved, assert_ttl,
    create, id, lasting, load, record,
};
use crate::store::{Destroy, Destroyed, Saved, Store, Touched};

/// `destroy` without an expected version removes the record and frees its id.
pub async fn destroy_removes_any_version(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"new"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&new))
            .await
            .expect("save failed"),
    );
    assert_destroyed(
        store
            .destroy(&id, Destroy::any())
            .await
            .expect("destroy failed"),
    );
    assert_absent(&store, &id).await;
    create(&store, &id, &old).await;
    assert_holds(&store, &id, &old).await;
}

/// `destroy` without an expected version is answered `Destroyed` if there is no record.
pub async fn destroy_of_an_absent_id_succeeds(store: impl Store) {
    let id = id();
    for _ in 0..2 {
        assert_destroyed(
            store
                .destroy(&id, Destroy::any())
                .await
                .expect("destroy failed"),
        );
        assert_absent(&store, &id).await;
    }
}

/// `destroy` of the expected version removes the record and frees its id.
pub async fn conditional_destroy_removes_the_expected_version(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"new"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&new))
            .await
            .expect("save failed"),
    );
    let options = Destroy::expecting(new.version());
    assert_destroyed(store.destroy(&id, options).await.expect("destroy failed"));
    assert_absent(&store, &id).await;
    create(&store, &id, &old).await;
    assert_holds(&store, &id, &old).await;
}

/// `destroy` of another version returns the current record, and changes neither it nor its time to
/// live.
pub async fn conditional_destroy_conflict_changes_nothing(store: impl Store) {
    let (id, old, current) = (id(), record(b"old"), record(b"current"));
    create(&store, &id, &old).await;
    assert_saved(
        store
            .save(&id, old.version(), lasting(&current))
            .await
            .expect("save failed"),
    );
    let options = Destroy::expecting(old.version());
    match store.destroy(&id, options).await.expect("destroy failed") {
        Destroyed::Conflict(found) => {
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

/// `destroy` of an expected version is answered `Gone` if there is no record, so it succeeds at
/// most once.
pub async fn conditional_destroy_of_an_absent_id_is_gone(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    let options = Destroy::expecting(record.version());
    assert_eq!(
        store.destroy(&id, options).await.expect("destroy failed"),
        Destroyed::Gone
    );
    create(&store, &id, &record).await;
    assert_destroyed(store.destroy(&id, options).await.expect("destroy failed"));
    for _ in 0..2 {
        assert_eq!(
            store.destroy(&id, options).await.expect("destroy failed"),
            Destroyed::Gone
        );
        assert_absent(&store, &id).await;
    }
}

/// No operation on a destroyed record brings it back.
pub async fn nothing_restores_a_destroyed_record(store: impl Store) {
    let (old, new) = (record(b"old"), record(b"new"));
    for options in [Destroy::any(), Destroy::expecting(old.version())] {
        let id = id();
        create(&store, &id, &old).await;
        assert_destroyed(store.destroy(&id, options).await.expect("destroy failed"));
        let saved = store
            .save(&id, old.version(), lasting(&new))
            .await
            .expect("save failed");
        assert_eq!(saved, Saved::Gone);
        assert_absent(&store, &id).await;
        let touched = store
            .touch(&id, old.version(), LONG)
            .await
            .expect("touch failed");
        assert_eq!(touched, Touched::Gone);
        assert_absent(&store, &id).await;
    }
}
