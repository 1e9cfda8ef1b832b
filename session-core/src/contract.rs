//! The suite that every store passes, as functions and as the [`contract!`](crate::contract!) macro.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! mod my_store {
//!     session_core::contract!(|| async { session_core::MemoryStore::default() });
//! }
//! ```
//!
//! Each check takes a store of its own, works under random ids, and leaves nothing that does not expire. Real time passes: the
//! expiry is the store's.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    Created, Destroyed, Entropy, Loaded, OsEntropy, RecordBytes, Saved, SecretHash, SessionId,
    Store, Touched, Version,
};

/// Long enough that nothing expires during a check.
const LONG: Duration = Duration::from_secs(60);
/// A life that is over soon.
const SHORT: Duration = Duration::from_millis(60);
/// When to give up waiting for an expiry.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes one test of each check. The argument is called for each and gives the future of a store; the tests run on `tokio`.
#[macro_export]
macro_rules! contract {
    ($make_store:expr) => {
        $crate::contract!(@tests $make_store;
            an_absent_session_is_none
            what_was_created_is_loaded
            create_refuses_a_taken_id
            create_recognises_its_own_write
            save_replaces_what_it_expected
            save_reports_what_others_wrote
            save_recognises_its_own_write
            save_leaves_an_absent_id_absent
            touch_moves_the_expiry_and_nothing_else
            touch_leaves_an_absent_id_absent
            destroy_is_final_and_may_be_repeated
            sessions_expire
            save_gives_a_new_life
            any_bytes_are_kept_as_they_are
            large_records_are_kept
            sessions_are_apart
            of_racing_creates_one_wins
            of_racing_saves_none_is_lost
            nothing_survives_a_racing_destroy
            a_dropped_operation_leaves_the_old_or_the_new
        );
    };
    (@tests $make_store:expr; $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let make_store = $make_store;
                $crate::contract::$check(make_store().await).await;
            }
        )*
    };
}

/// `load` of an id that was never stored.
pub async fn an_absent_session_is_none(store: impl Store) {
    assert_eq!(store.load(&id()).await.expect("load"), None);
}

/// `create`, then `load`.
pub async fn what_was_created_is_loaded(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    assert_eq!(
        store.create(&id, &record, LONG).await.expect("create"),
        Created::Created
    );
    let loaded = load(&store, &id).await.expect("present");
    assert_eq!(loaded.record, record);
    let ttl = loaded.ttl.expect("a life");
    assert!(ttl <= LONG && ttl > LONG / 2, "{ttl:?}");
}

/// `create` under an id that names another record.
pub async fn create_refuses_a_taken_id(store: impl Store) {
    let (id, first) = (id(), record(b"first"));
    created(&store, &id, &first).await;
    assert_eq!(
        store
            .create(&id, &record(b"second"), LONG)
            .await
            .expect("create"),
        Created::Taken
    );
    assert_eq!(load(&store, &id).await.expect("present").record, first);
}

/// `create` again, as after a lost reply.
pub async fn create_recognises_its_own_write(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    created(&store, &id, &record).await;
    assert_eq!(
        store.create(&id, &record, LONG).await.expect("create"),
        Created::Created
    );
}

/// `save` over the version it expects.
pub async fn save_replaces_what_it_expected(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"new"));
    created(&store, &id, &old).await;
    assert_eq!(
        store
            .save(&id, version(&old), &new, LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    assert_eq!(load(&store, &id).await.expect("present").record, new);
}

/// `save` over another version.
pub async fn save_reports_what_others_wrote(store: impl Store) {
    let (id, old, theirs, mine) = (id(), record(b"old"), record(b"theirs"), record(b"mine"));
    created(&store, &id, &old).await;
    assert_eq!(
        store
            .save(&id, version(&old), &theirs, LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    match store
        .save(&id, version(&old), &mine, LONG)
        .await
        .expect("save")
    {
        Saved::Conflict(current) => {
            assert_eq!(current.record, theirs);
            assert!(current.ttl.expect("a life") <= LONG);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(load(&store, &id).await.expect("present").record, theirs);
}

/// `save` again, as after a lost reply.
pub async fn save_recognises_its_own_write(store: impl Store) {
    let (id, old, new) = (id(), record(b"old"), record(b"new"));
    created(&store, &id, &old).await;
    for _ in 0..2 {
        assert_eq!(
            store
                .save(&id, version(&old), &new, LONG)
                .await
                .expect("save"),
            Saved::Saved
        );
    }
}

/// `save` where nothing is.
pub async fn save_leaves_an_absent_id_absent(store: impl Store) {
    let (id, record) = (id(), record(b"ghost"));
    assert_eq!(
        store
            .save(&id, version(&record), &record, LONG)
            .await
            .expect("save"),
        Saved::Gone
    );
    assert_eq!(load(&store, &id).await, None);
}

/// `touch` of a live record.
pub async fn touch_moves_the_expiry_and_nothing_else(store: impl Store) {
    let (id, record) = (id(), record(b"hello"));
    created(&store, &id, &record).await;
    assert_eq!(
        store.touch(&id, 2 * LONG).await.expect("touch"),
        Touched::Touched
    );
    let loaded = load(&store, &id).await.expect("present");
    assert_eq!(loaded.record, record);
    assert!(loaded.ttl.expect("a life") > LONG);
    assert_eq!(
        store.touch(&id, LONG).await.expect("touch"),
        Touched::Touched
    );
    assert!(
        load(&store, &id)
            .await
            .expect("present")
            .ttl
            .expect("a life")
            <= LONG,
        "a touch may shorten too"
    );
}

/// `touch` where nothing is.
pub async fn touch_leaves_an_absent_id_absent(store: impl Store) {
    let id = id();
    assert_eq!(store.touch(&id, LONG).await.expect("touch"), Touched::Gone);
    assert_eq!(load(&store, &id).await, None);
}

/// `destroy`, and every other operation after it.
pub async fn destroy_is_final_and_may_be_repeated(store: impl Store) {
    let (id, old) = (id(), record(b"old"));
    created(&store, &id, &old).await;
    for _ in 0..2 {
        assert_eq!(store.destroy(&id).await.expect("destroy"), Destroyed);
        assert_eq!(load(&store, &id).await, None);
    }
    assert_eq!(
        store
            .save(&id, version(&old), &record(b"new"), LONG)
            .await
            .expect("save"),
        Saved::Gone
    );
    assert_eq!(store.touch(&id, LONG).await.expect("touch"), Touched::Gone);
    assert_eq!(load(&store, &id).await, None);
}

/// A record whose time is over is gone for every operation, and its id is free.
pub async fn sessions_expire(store: impl Store) {
    let (short, long, old) = (id(), id(), record(b"old"));
    assert_eq!(
        store.create(&short, &old, SHORT).await.expect("create"),
        Created::Created
    );
    created(&store, &long, &old).await;
    expired(&store, &short).await;
    assert_eq!(
        store.touch(&short, LONG).await.expect("touch"),
        Touched::Gone
    );
    assert_eq!(
        store
            .save(&short, version(&old), &record(b"new"), LONG)
            .await
            .expect("save"),
        Saved::Gone
    );
    assert_eq!(
        store
            .create(&short, &record(b"new"), LONG)
            .await
            .expect("create"),
        Created::Created
    );
    assert!(load(&store, &long).await.is_some());
}

/// `save` sets the life anew, longer or shorter.
pub async fn save_gives_a_new_life(store: impl Store) {
    let (id, first, second, third) = (id(), record(b"1"), record(b"2"), record(b"3"));
    created(&store, &id, &first).await;
    assert_eq!(
        store
            .save(&id, version(&first), &second, 2 * LONG)
            .await
            .expect("save"),
        Saved::Saved
    );
    assert!(
        load(&store, &id)
            .await
            .expect("present")
            .ttl
            .expect("a life")
            > LONG
    );
    assert_eq!(
        store
            .save(&id, version(&second), &third, SHORT)
            .await
            .expect("save"),
        Saved::Saved
    );
    expired(&store, &id).await;
}

/// Every byte value, in any place; also bodies that are no session at all.
pub async fn any_bytes_are_kept_as_they_are(store: impl Store) {
    let all: Vec<u8> = (0..=255).collect();
    for body in [&b""[..], &all, b"\r\n$5\r\n", &[0; 41], &[0xff; 300]] {
        let (id, record) = (id(), record(body));
        created(&store, &id, &record).await;
        let loaded = load(&store, &id).await.expect("present").record;
        assert_eq!(loaded.as_bytes(), record.as_bytes());
        assert_eq!(loaded.version(), record.version());
    }
}

/// A record of a megabyte.
pub async fn large_records_are_kept(store: impl Store) {
    let (id, record) = (id(), record(&vec![0xa5; 1 << 20]));
    created(&store, &id, &record).await;
    assert_eq!(load(&store, &id).await.expect("present").record, record);
}

/// What is done to one id is not done to another.
pub async fn sessions_are_apart(store: impl Store) {
    let (a, b) = (id(), id());
    let (of_a, of_b) = (record(b"a"), record(b"b"));
    created(&store, &a, &of_a).await;
    created(&store, &b, &of_b).await;
    store.destroy(&a).await.expect("destroy");
    assert_eq!(load(&store, &a).await, None);
    assert_eq!(load(&store, &b).await.expect("present").record, of_b);
}

/// Sixteen tasks create the same id.
pub async fn of_racing_creates_one_wins(store: impl Store) {
    let store = Arc::new(store);
    for _ in 0..50 {
        let id = id();
        let racers = (0..16u8).map(|n| {
            let (store, record) = (store.clone(), record(&[n]));
            tokio::spawn(async move {
                (
                    store.create(&id, &record, LONG).await.expect("create"),
                    record,
                )
            })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            let (outcome, record) = racer.await.expect("no panic");
            winners.extend((outcome == Created::Created).then_some(record));
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(
            load(&*store, &id).await.expect("present").record,
            winners[0]
        );
    }
}

/// Eight tasks add to one counter by compare-and-set.
pub async fn of_racing_saves_none_is_lost(store: impl Store) {
    const TASKS: u64 = 8;
    const EACH: u64 = 50;
    let (store, id) = (Arc::new(store), id());
    created(&*store, &id, &record(&0u64.to_be_bytes())).await;
    let racers = (0..TASKS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut current = load(&*store, &id).await.expect("present").record;
            let mut added = 0;
            while added < EACH {
                let count = u64::from_be_bytes(body(&current).try_into().expect("eight bytes"));
                let next = record(&(count + 1).to_be_bytes());
                match store
                    .save(&id, version(&current), &next, LONG)
                    .await
                    .expect("save")
                {
                    Saved::Saved => (added, current) = (added + 1, next),
                    Saved::Conflict(theirs) => current = theirs.record,
                    Saved::Gone => panic!("nobody destroys it"),
                }
            }
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.expect("no panic");
    }
    let count = body(&load(&*store, &id).await.expect("present").record).to_vec();
    assert_eq!(count, (TASKS * EACH).to_be_bytes());
}

/// Saves and touches race with a destroy; nothing is there afterwards.
pub async fn nothing_survives_a_racing_destroy(store: impl Store) {
    let store = Arc::new(store);
    for round in 0..50 {
        let (id, first) = (id(), record(b"first"));
        created(&*store, &id, &first).await;
        let mut racers = Vec::new();
        for n in 0..8u8 {
            let (store, first) = (store.clone(), first.clone());
            racers.push(tokio::spawn(async move {
                match n {
                    _ if n == round % 8 => drop(store.destroy(&id).await.expect("destroy")),
                    _ if n % 2 == 0 => drop(store.touch(&id, LONG).await.expect("touch")),
                    _ => drop(
                        store
                            .save(&id, version(&first), &record(&[n]), LONG)
                            .await
                            .expect("save"),
                    ),
                }
            }));
        }
        for racer in racers {
            racer.await.expect("no panic");
        }
        assert_eq!(load(&*store, &id).await, None);
    }
}

/// Each operation is dropped after every number of polls; the store holds the old record or the new one, and works on.
pub async fn a_dropped_operation_leaves_the_old_or_the_new(store: impl Store) {
    for polls in 0..12 {
        let (a, b, c) = (id(), id(), id());
        let (old, new) = (record(b"old"), record(b"new"));
        created(&store, &a, &old).await;
        created(&store, &b, &old).await;
        drop_after(polls, store.load(&a)).await;
        drop_after(polls, store.touch(&a, LONG)).await;
        drop_after(polls, store.save(&a, version(&old), &new, LONG)).await;
        drop_after(polls, store.destroy(&b)).await;
        drop_after(polls, store.create(&c, &new, LONG)).await;
        // each is followed by one that succeeds, on the same connection if there is one
        let held = load(&store, &a).await.expect("still there").record;
        assert!(held == old || held == new);
        assert!(load(&store, &b).await.is_none_or(|held| held.record == old));
        assert!(load(&store, &c).await.is_none_or(|held| held.record == new));
        store.destroy(&a).await.expect("destroy");
        assert_eq!(
            load(&store, &a).await,
            None,
            "a dropped save must not come back after a destroy"
        );
    }
}

/// Polls a future so many times and drops it.
async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

async fn load(store: &impl Store, id: &SessionId) -> Option<Loaded> {
    store.load(id).await.expect("load")
}

async fn created(store: &impl Store, id: &SessionId, record: &RecordBytes) {
    assert_eq!(
        store.create(id, record, LONG).await.expect("create"),
        Created::Created
    );
}

async fn expired(store: &impl Store, id: &SessionId) {
    let begun = Instant::now();
    while load(store, id).await.is_some() {
        assert!(begun.elapsed() < PATIENCE, "the session does not expire");
        tokio::time::sleep(SHORT / 10).await;
    }
}

fn id() -> SessionId {
    SessionId::from_bytes(random())
}

/// A record with a version of its own.
fn record(body: &[u8]) -> RecordBytes {
    let hash = SecretHash::from_bytes(random());
    RecordBytes::new(
        [
            &[RecordBytes::FORMAT][..],
            &random::<8>(),
            hash.as_bytes(),
            body,
        ]
        .concat(),
    )
}

fn body(record: &RecordBytes) -> &[u8] {
    &record.as_bytes()[RecordBytes::SECRET_HASH.end..]
}

fn version(record: &RecordBytes) -> Version {
    record.version().expect("a record")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsEntropy.fill(&mut bytes).expect("entropy");
    bytes
}
