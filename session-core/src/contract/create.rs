//! Checks of `create` and `load`.

use super::fixtures::{LONG, assert_created, assert_holds, assert_ttl, create, id, load, record};
use crate::store::{Created, Store, Write};

/// `load` of an id that was never stored.
pub async fn load_of_an_absent_id_returns_none(store: impl Store) {
    assert_eq!(load(&store, &id()).await, None);
}

/// `load` returns version, body and remaining time to live.
pub async fn load_returns_the_created_record(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    assert_created(
        store
            .create(&id, Write::new(&record, LONG))
            .await
            .expect("create failed"),
    );
    assert_holds(&store, &id, &record).await;
    assert_ttl(
        &load(&store, &id).await.expect("the record is absent"),
        LONG,
    );
}

/// `create` under a taken id is answered `Taken` and changes neither the record nor its time to
/// live. That holds for the stored record too.
pub async fn create_rejects_a_taken_id(store: impl Store) {
    let (id, first) = (id(), record(b"first"));
    create(&store, &id, &first).await;
    for record in [&record(b"second"), &first] {
        let write = Write::new(record, 4 * LONG);
        assert_eq!(
            store.create(&id, write).await.expect("create failed"),
            Created::Taken
        );
        assert_holds(&store, &id, &first).await;
        assert_ttl(
            &load(&store, &id).await.expect("the record is absent"),
            LONG,
        );
    }
}
