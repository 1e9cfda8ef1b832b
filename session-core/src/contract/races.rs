//! Checks of atomicity: concurrent operations on one id.

use std::{future::Future, sync::Arc};

use super::fixtures::{
    LONG, assert_absent, assert_holds, assert_ttl, create, id, lasting, load, record,
};
use crate::{
    record::Record,
    store::{Created, Destroy, Destroyed, Saved, Store, Touched, Write},
};

/// How often each race is run, and by how many tasks.
const ROUNDS: usize = 50;
const TASKS: usize = 16;

/// Runs one task for each number and returns their results in order.
async fn race<T, F>(tasks: usize, start: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..tasks).map(|n| tokio::spawn(start(n))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a racing task panicked"));
    }
    results
}

/// Sixteen tasks create a record under the same id.
pub async fn exactly_one_racing_create_succeeds(store: impl Store) {
    let store = Arc::new(store);
    for _ in 0..ROUNDS {
        let id = id();
        let created = race(TASKS, |n| {
            let (store, record) = (store.clone(), record(&[n as u8]));
            async move {
                let created = store
                    .create(&id, lasting(&record))
                    .await
                    .expect("create failed");
                matches!(created, Created::Created(_)).then_some(record)
            }
        });
        let winners: Vec<Record> = created.await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "not exactly one create succeeded");
        assert_holds(&store, &id, &winners[0]).await;
    }
}

/// Eight tasks increment one counter by compare-and-set.
pub async fn racing_saves_lose_no_update(store: impl Store) {
    const TASKS: usize = 8;
    const INCREMENTS: usize = 50;
    let count = |record: &Record| {
        u64::from_be_bytes(
            record.body()[..]
                .try_into()
                .expect("another body is stored"),
        )
    };
    let (store, id) = (Arc::new(store), id());
    create(&store, &id, &record(&0u64.to_be_bytes())).await;
    let tasks = race(TASKS, |_| {
        let store = store.clone();
        async move {
            let mut current = load(&store, &id)
                .await
                .expect("the record is absent")
                .record;
            let mut increments = 0;
            while increments < INCREMENTS {
                let next = record(&(count(&current) + 1).to_be_bytes());
                let saved = store.save(&id, current.version(), lasting(&next)).await;
                match saved.expect("save failed") {
                    Saved::Saved(_) => (increments, current) = (increments + 1, next),
                    Saved::Conflict(found) => current = found.record,
                    Saved::Gone => panic!("the record is absent"),
                }
            }
        }
    });
    tasks.await;
    let stored = load(&store, &id)
        .await
        .expect("the record is absent")
        .record;
    assert_eq!(
        count(&stored),
        (TASKS * INCREMENTS) as u64,
        "an update is lost"
    );
}

/// Sixteen tasks destroy the same version.
pub async fn exactly_one_racing_conditional_destroy_succeeds(store: impl Store) {
    let store = Arc::new(store);
    for _ in 0..ROUNDS {
        let (id, first) = (id(), record(b"first"));
        create(&store, &id, &first).await;
        let options = Destroy::expecting(first.version());
        let answers = race(TASKS, |_| {
            let store = store.clone();
            async move { store.destroy(&id, options).await.expect("destroy failed") }
        });
        let mut winners = 0;
        for answer in answers.await {
            match answer {
                Destroyed::Destroyed(_) => winners += 1,
                Destroyed::Gone => {}
                Destroyed::Conflict(_) => panic!("{answer:?} instead of Gone"),
            }
        }
        assert_eq!(winners, 1, "not exactly one destroy succeeded");
        assert_absent(&store, &id).await;
    }
}

/// Saves and conditional destroys expect the same version.
pub async fn exactly_one_racing_conditional_write_succeeds(store: impl Store) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let (id, first) = (id(), record(b"first"));
        create(&store, &id, &first).await;
        let expected = first.version();
        let answers = race(TASKS, |n| {
            let (store, next) = (store.clone(), record(&[n as u8]));
            async move {
                if n % 2 == round % 2 {
                    let saved = store.save(&id, expected, lasting(&next)).await;
                    matches!(saved.expect("save failed"), Saved::Saved(_)).then_some(Some(next))
                } else {
                    let destroyed = store.destroy(&id, Destroy::expecting(expected)).await;
                    let destroyed = destroyed.expect("destroy failed");
                    matches!(destroyed, Destroyed::Destroyed(_)).then_some(None)
                }
            }
        });
        let winners: Vec<Option<Record>> = answers.await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "not exactly one write succeeded");
        match &winners[0] {
            Some(saved) => assert_holds(&store, &id, saved).await,
            None => assert_absent(&store, &id).await,
        }
    }
}

/// Touches of the old version race with a save, whose time to live stays.
pub async fn a_racing_touch_keeps_the_ttl_of_a_save(store: impl Store) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let (id, old, new) = (id(), record(b"old"), record(b"new"));
        create(&store, &id, &old).await;
        let expected = old.version();
        let saver = round % TASKS;
        let answers = race(TASKS, |n| {
            let (store, new) = (store.clone(), new.clone());
            async move {
                if n == saver {
                    let saved = store.save(&id, expected, Write::new(&new, LONG)).await;
                    matches!(saved.expect("save failed"), Saved::Saved(_))
                } else {
                    let touched = store.touch(&id, expected, 4 * LONG).await;
                    !matches!(touched.expect("touch failed"), Touched::Gone)
                }
            }
        });
        assert!(
            answers.await.into_iter().all(|expected| expected),
            "an operation was lost"
        );
        assert_holds(&store, &id, &new).await;
        assert_ttl(
            &load(&store, &id).await.expect("the record is absent"),
            LONG,
        );
    }
}

/// Saves and touches race with a destroy, after which the record is absent.
pub async fn nothing_survives_a_racing_destroy(store: impl Store) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let (id, first) = (id(), record(b"first"));
        create(&store, &id, &first).await;
        let expected = first.version();
        let destroyer = round % TASKS;
        let tasks = race(TASKS, |n| {
            let (store, next) = (store.clone(), record(&[n as u8]));
            async move {
                if n == destroyer {
                    drop(
                        store
                            .destroy(&id, Destroy::any())
                            .await
                            .expect("destroy failed"),
                    );
                } else if n % 2 == 0 {
                    drop(
                        store
                            .touch(&id, expected, LONG)
                            .await
                            .expect("touch failed"),
                    );
                } else {
                    drop(
                        store
                            .save(&id, expected, lasting(&next))
                            .await
                            .expect("save failed"),
                    );
                }
            }
        });
        tasks.await;
        assert_absent(&store, &id).await;
    }
}
