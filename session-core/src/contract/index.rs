//! Checks of the index of a store.

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::fixtures::{LONG, SHORT, assert_saved, create, id, lasting, random, record};
use crate::{
    id::SessionId,
    index::{AnyIndex, Index},
    listing::{IndexEntry, IndexKey, Listed, Listing, Nonce},
    store::{Applied, Created, Saved, Store, Write},
};

/// How long to wait for what happens later, and for an expiry.
const PATIENCE: Duration = Duration::from_secs(5);

fn index(store: &impl Store) -> AnyIndex {
    store.index().expect("the store has no index")
}

fn key() -> IndexKey {
    IndexKey::from_bytes(random())
}

fn listing(key: IndexKey, id: SessionId) -> Listing {
    let nonce = Nonce::from_bytes(random());
    Listing::new(key, id, nonce, seconds(1_700_000_000), LONG)
}

fn seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

async fn put(index: &AnyIndex, listing: &Listing) -> Listed {
    index.put(listing).await.expect("put failed")
}

/// Lists a session whose record is stored, because an index may leave out others.
async fn put_stored(store: &impl Store, key: IndexKey) -> Listing {
    let listing = listing(key, id());
    create(store, &listing.id, &record(b"listed")).await;
    put(&index(store), &listing).await;
    listing
}

async fn entries(index: &AnyIndex, key: &IndexKey) -> Vec<IndexEntry> {
    index
        .entries(key, 0, usize::MAX)
        .await
        .expect("entries failed")
}

async fn ids(index: &AnyIndex, key: &IndexKey) -> Vec<SessionId> {
    let entries = entries(index, key).await;
    entries.iter().map(|entry| entry.id).collect()
}

/// Waits until it holds.
async fn wait_until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// Sessions are found in the order in which they were listed, each with what it was listed with.
pub async fn listed_sessions_are_found_in_order(store: impl Store) {
    let (index, key) = (index(&store), key());
    assert_eq!(entries(&index, &key).await, []);
    let mut expected = Vec::new();
    for count in 1..=5 {
        let listing = listing(key, id());
        create(&store, &listing.id, &record(b"listed")).await;
        let listed = put(&index, &listing).await;
        assert_eq!(listed.entries, count, "the number of entries");
        expected.push(IndexEntry::new(
            listing.id,
            listing.nonce,
            listed.sequence,
            listing.seen_at,
        ));
    }
    assert_eq!(entries(&index, &key).await, expected);
    let sequences: Vec<_> = expected.iter().map(|entry| entry.sequence).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert!(sequences[0] > 0, "zero comes before the first");
}

/// A part of the entries can be read.
pub async fn entries_come_in_parts(store: impl Store) {
    let (index, key) = (index(&store), key());
    for _ in 0..5 {
        put_stored(&store, key).await;
    }
    let all = entries(&index, &key).await;
    let (mut found, mut after): (Vec<IndexEntry>, u64) = (Vec::new(), 0);
    for expected in [2, 2, 1, 0] {
        let part = index.entries(&key, after, 2).await.expect("entries failed");
        assert_eq!(part.len(), expected);
        after = part.last().map_or(after, |entry| entry.sequence);
        found.extend(part);
    }
    assert_eq!(found, all);
}

/// A session that is listed again keeps its number and gets the new nonce.
pub async fn listing_again_keeps_the_sequence_number(store: impl Store) {
    let (index, key) = (index(&store), key());
    let first = put_stored(&store, key).await;
    let second = put_stored(&store, key).await;
    let before = entries(&index, &key).await;
    let again = Listing {
        nonce: Nonce::from_bytes(random()),
        seen_at: seconds(1_700_000_500),
        ..first
    };
    let listed = put(&index, &again).await;
    assert_eq!((listed.sequence, listed.entries), (before[0].sequence, 2));
    let after = entries(&index, &key).await;
    assert_eq!(after[0].nonce, again.nonce);
    assert_eq!(after[0].seen_at, again.seen_at);
    assert_eq!(after[1], before[1]);
    assert_eq!(after[1].id, second.id);
}

/// An entry is removed if it has the nonce, and otherwise stays.
pub async fn an_entry_is_removed_by_its_nonce(store: impl Store) {
    let (index, key) = (index(&store), key());
    let first = put_stored(&store, key).await;
    let second = put_stored(&store, key).await;
    let remove = async |listing: &Listing| {
        let removed = index.remove(&key, &listing.id, listing.nonce).await;
        removed.expect("remove failed");
    };
    let other = Listing {
        nonce: Nonce::from_bytes(random()),
        ..first.clone()
    };
    remove(&other).await;
    assert_eq!(ids(&index, &key).await, [first.id, second.id]);
    remove(&first).await;
    assert_eq!(ids(&index, &key).await, [second.id]);
    remove(&first).await;
    remove(&second).await;
    assert_eq!(ids(&index, &key).await, []);
    remove(&second).await;
    // what was removed can be listed again
    put(&index, &first).await;
    assert_eq!(ids(&index, &key).await, [first.id]);
}

/// A new entry has a higher number than all that are there, also after the last one was removed.
pub async fn a_new_entry_comes_last(store: impl Store) {
    let (index, key) = (index(&store), key());
    let first = put_stored(&store, key).await;
    let second = put_stored(&store, key).await;
    let removed = index.remove(&key, &second.id, second.nonce).await;
    removed.expect("remove failed");
    let third = put_stored(&store, key).await;
    let fourth = put_stored(&store, key).await;
    assert_eq!(ids(&index, &key).await, [first.id, third.id, fourth.id]);
}

/// Keys have nothing in common, and a session can be listed under several.
pub async fn keys_are_independent(store: impl Store) {
    let index = index(&store);
    let (one, two) = (key(), key());
    let of_one = put_stored(&store, one).await;
    put(
        &index,
        &Listing {
            key: two,
            ..of_one.clone()
        },
    )
    .await;
    let of_two = put_stored(&store, two).await;
    assert_eq!(ids(&index, &one).await, [of_one.id]);
    assert_eq!(ids(&index, &two).await, [of_one.id, of_two.id]);
    let removed = index.remove(&two, &of_one.id, of_one.nonce).await;
    removed.expect("remove failed");
    assert_eq!(ids(&index, &one).await, [of_one.id]);
}

/// A refresh changes the time, and keeps number and nonce. It lists a session that is not listed.
pub async fn a_refresh_keeps_the_entry_or_lists_the_session(store: impl Store) {
    let (index, key) = (index(&store), key());
    let first = put_stored(&store, key).await;
    let before = entries(&index, &key).await[0];
    index.refresh(Listing {
        nonce: Nonce::from_bytes(random()),
        seen_at: seconds(1_700_000_900),
        ..first
    });
    wait_until("the refresh is not applied", async || {
        entries(&index, &key).await[0].seen_at == seconds(1_700_000_900)
    })
    .await;
    let after = entries(&index, &key).await[0];
    assert_eq!(
        (after.nonce, after.sequence),
        (before.nonce, before.sequence)
    );

    let second = listing(key, id());
    create(&store, &second.id, &record(b"listed")).await;
    index.refresh(second.clone());
    wait_until("the session is not listed", async || {
        ids(&index, &key).await == [before.id, second.id]
    })
    .await;
    assert_eq!(entries(&index, &key).await[1].nonce, second.nonce);
}

/// The entry of a session that has ended is removed, whatever its nonce.
pub async fn a_forgotten_session_is_not_listed(store: impl Store) {
    let (index, key) = (index(&store), key());
    let first = put_stored(&store, key).await;
    let second = put_stored(&store, key).await;
    index.forget(key, first.id);
    wait_until("the entry is still there", async || {
        ids(&index, &key).await == [second.id]
    })
    .await;
    index.forget(key, first.id);
    index.forget(key, second.id);
    wait_until("the entry is still there", async || {
        ids(&index, &key).await.is_empty()
    })
    .await;
}

/// A key expires, and not before the longest life that it was given.
pub async fn a_key_lives_as_long_as_its_longest_listing(store: impl Store) {
    let index = index(&store);
    let (short, long) = (key(), key());
    for key in [short, long] {
        let listing = put_stored(&store, key).await;
        let removed = index.remove(&key, &listing.id, listing.nonce).await;
        removed.expect("remove failed");
    }
    let brief = |key| Listing {
        ttl: SHORT,
        ..listing(key, id())
    };
    let lasting = put_stored(&store, long).await;
    let (second, only) = (brief(long), brief(short));
    for brief in [&second, &only] {
        create(&store, &brief.id, &record(b"listed")).await;
        put(&index, brief).await;
    }
    wait_until("the key does not expire", async || {
        ids(&index, &short).await.is_empty()
    })
    .await;
    assert_eq!(ids(&index, &long).await, [lasting.id, second.id]);
}

/// Concurrent listings all get numbers of their own, and none is lost.
pub async fn racing_listings_are_all_listed(store: impl Store) {
    let (index, key) = (index(&store), key());
    let mut racing = Vec::new();
    for _ in 0..32 {
        let listing = listing(key, id());
        create(&store, &listing.id, &record(b"listed")).await;
        let index = index.clone();
        racing.push(tokio::spawn(async move { put(&index, &listing).await }));
    }
    let mut counts = Vec::new();
    for put in racing {
        counts.push(put.await.expect("no panic").entries);
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=32).collect::<Vec<_>>(), "each saw the others");
    let found = entries(&index, &key).await;
    let sequences: Vec<_> = found.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences.len(), 32);
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
}

/// A write that is applied lists the session in the same step, if the store says so. One that is
/// not applied lists nothing.
pub async fn a_write_lists_what_it_says_it_lists(store: impl Store) {
    let (index, one, two) = (index(&store), key(), key());
    let (id, first, second) = (id(), record(b"first"), record(b"second"));
    let listings = [listing(one, id), listing(two, id)];
    let expect = async |applied: Applied| {
        let Some(listed) = applied.listed else {
            assert_eq!(ids(&index, &one).await, [], "listed, and not reported");
            return;
        };
        let entry = entries(&index, &one).await[0];
        assert_eq!((listed.sequence, listed.entries), (entry.sequence, 1));
        assert_eq!((entry.id, entry.nonce), (id, listings[0].nonce));
        assert_eq!(ids(&index, &two).await, [id]);
        for listing in &listings {
            let removed = index.remove(&listing.key, &id, listing.nonce).await;
            removed.expect("remove failed");
        }
    };
    let write = Write::new(&first, LONG).listed(&listings);
    match store.create(&id, write).await.expect("create failed") {
        Created::Created(applied) => expect(applied).await,
        other => panic!("{other:?} instead of Created"),
    }
    let taken = store.create(&id, write).await.expect("create failed");
    assert_eq!(taken, Created::Taken);
    assert_eq!(ids(&index, &one).await, []);

    let write = lasting(&second).listed(&listings);
    let saved = store.save(&id, first.version(), write).await;
    match saved.expect("save failed") {
        Saved::Saved(applied) => expect(applied).await,
        other => panic!("{other:?} instead of Saved"),
    }
    // a write that was sent again
    let saved = store.save(&id, first.version(), write).await;
    match saved.expect("save failed") {
        Saved::Saved(applied) => expect(applied).await,
        other => panic!("{other:?} instead of Saved"),
    }
    let third = record(b"third");
    let saved = store
        .save(&id, first.version(), lasting(&third).listed(&listings))
        .await;
    assert!(matches!(saved, Ok(Saved::Conflict(_))), "{saved:?}");
    assert_saved(
        store
            .save(&id, second.version(), lasting(&third))
            .await
            .expect("save failed"),
    );
    assert_eq!(ids(&index, &one).await, []);
    assert_eq!(ids(&index, &two).await, []);
}
