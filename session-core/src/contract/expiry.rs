//! Checks of the time to live.

use super::fixtures::{
    LONG, SHORT, assert_absent, assert_created, assert_destroyed, assert_holds, assert_saved,
    assert_touched, create, id, lasting, record, wait_for_ttl, wait_until_absent,
};
use crate::store::{Destroy, Destroyed, Saved, Store, Touched, Write};

/// The time to live that `load` returns decreases.
pub async fn load_reports_the_remaining_ttl(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    create(&store, &id, &record).await;
    wait_for_ttl(&store, &id, LONG - SHORT).await;
}

/// Every operation treats an expired record as absent. A record that has not expired is kept.
pub async fn an_expired_record_is_absent_for_every_operation(store: impl Store) {
    let old = record(b"old");
    let lasting_id = id();
    create(&store, &lasting_id, &old).await;
    // no operation touches these between `create` and their expiry
    let ids: [_; 6] = std::array::from_fn(|_| id());
    for id in &ids {
        let write = Write::new(&old, SHORT);
        assert_created(store.create(id, write).await.expect("create failed"));
    }
    let last = id();
    let write = Write::new(&old, SHORT + SHORT / 2);
    assert_created(store.create(&last, write).await.expect("create failed"));
    wait_until_absent(&store, &last).await;

    let [loaded, created, saved, touched, destroyed, claimed] = &ids;
    assert_absent(&store, loaded).await;

    let new = record(b"new");
    create(&store, created, &new).await;
    assert_holds(&store, created, &new).await;

    let answer = store
        .save(saved, old.version(), lasting(&new))
        .await
        .expect("save failed");
    assert_eq!(answer, Saved::Gone);
    assert_absent(&store, saved).await;

    let answer = store
        .touch(touched, old.version(), LONG)
        .await
        .expect("touch failed");
    assert_eq!(answer, Touched::Gone);
    assert_absent(&store, touched).await;

    assert_destroyed(
        store
            .destroy(destroyed, Destroy::any())
            .await
            .expect("destroy failed"),
    );

    let options = Destroy::expecting(old.version());
    let answer = store
        .destroy(claimed, options)
        .await
        .expect("destroy failed");
    assert_eq!(answer, Destroyed::Gone);

    assert_holds(&store, &lasting_id, &old).await;
}

/// A record expires at the time that the last `save` or `touch` has set.
pub async fn a_new_ttl_takes_effect(store: impl Store) {
    let old = record(b"old");
    let (saved, touched) = (id(), id());
    create(&store, &saved, &old).await;
    create(&store, &touched, &old).await;
    let new = record(b"new");
    let write = Write::new(&new, SHORT);
    assert_saved(
        store
            .save(&saved, old.version(), write)
            .await
            .expect("save failed"),
    );
    assert_touched(
        store
            .touch(&touched, old.version(), SHORT)
            .await
            .expect("touch failed"),
    );
    wait_until_absent(&store, &saved).await;
    wait_until_absent(&store, &touched).await;
}
