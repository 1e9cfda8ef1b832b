//! Checks that a store keeps ids, versions and bodies apart and unchanged.

use super::fixtures::{
    LONG, assert_absent, assert_destroyed, assert_holds, assert_saved, assert_touched, create, id,
    lasting, random, record,
};
use crate::{
    id::SessionId,
    record::{Record, Version},
    store::{Destroy, Store},
};

/// Any 64 bits are a version.
pub async fn every_version_is_kept(store: impl Store) {
    let versions = [
        [0; 8],
        [0xff; 8],
        *b"\r\n\0 \"'\\$",
        *b"1e300\xc3\x28\x80",
        random(),
    ];
    for version in versions.map(Version::from_bytes) {
        let (id, first) = (id(), record(b"first"));
        create(&store, &id, &first).await;
        let second = Record::new(version, &b"second"[..]);
        assert_saved(
            store
                .save(&id, first.version(), lasting(&second))
                .await
                .expect("save failed"),
        );
        assert_holds(&store, &id, &second).await;
        assert_touched(store.touch(&id, version, LONG).await.expect("touch failed"));
        assert_holds(&store, &id, &second).await;
        let options = Destroy::expecting(version);
        assert_destroyed(store.destroy(&id, options).await.expect("destroy failed"));
        create(&store, &id, &second).await;
        assert_holds(&store, &id, &second).await;
    }
}

/// Any bytes are a body, including none.
pub async fn every_body_is_kept(store: impl Store) {
    let all: Vec<u8> = (0..=255).collect();
    for body in [
        &b""[..],
        b"\0",
        b"\r\n$5\r\n",
        b"nil",
        b" \xff\xfe ",
        &[0; 300],
        &all,
    ] {
        let (id, created, saved) = (id(), record(body), record(body));
        create(&store, &id, &created).await;
        assert_holds(&store, &id, &created).await;
        let write = lasting(&saved);
        assert_saved(
            store
                .save(&id, created.version(), write)
                .await
                .expect("save failed"),
        );
        assert_holds(&store, &id, &saved).await;
    }
}

/// A body of 1 MiB.
pub async fn a_body_of_one_mebibyte_is_kept(store: impl Store) {
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let (id, created, saved) = (id(), record(&body), record(&body));
    create(&store, &id, &created).await;
    assert_holds(&store, &id, &created).await;
    let write = lasting(&saved);
    assert_saved(
        store
            .save(&id, created.version(), write)
            .await
            .expect("save failed"),
    );
    assert_holds(&store, &id, &saved).await;
}

/// An operation on one id changes no other.
pub async fn ids_are_independent(store: impl Store) {
    let (a, b) = (id(), id());
    let (in_a, in_b) = (record(b"a"), record(b"b"));
    create(&store, &a, &in_a).await;
    create(&store, &b, &in_b).await;
    assert_holds(&store, &a, &in_a).await;
    assert_destroyed(
        store
            .destroy(&a, Destroy::any())
            .await
            .expect("destroy failed"),
    );
    assert_absent(&store, &a).await;
    assert_holds(&store, &b, &in_b).await;
}

/// Ids whose text differs only in the case of a letter are different ids.
pub async fn ids_are_case_sensitive(store: impl Store) {
    let text = format!("aA{}", &id().as_str()[2..]);
    let parse = |text: &str| {
        text.parse::<SessionId>()
            .expect("22 characters of base64url")
    };
    let ids = [parse(&text), parse(&format!("Aa{}", &text[2..]))];
    let records = [record(b"first"), record(b"second")];
    for (id, record) in ids.iter().zip(&records) {
        create(&store, id, record).await;
    }
    for (id, record) in ids.iter().zip(&records) {
        assert_holds(&store, id, record).await;
    }
}
