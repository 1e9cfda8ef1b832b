//! Updates, which run again on what concurrent requests have written.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use session_core::{Key, SessionErrorKind, Sessions, testing::TestStore};

use crate::visit::{Jar, builder, get, post, sessions, visit};

const COUNT: Key<u32> = Key::new("count");

async fn counted(sessions: &Sessions) -> Jar {
    let mut jar = Jar::default();
    visit(sessions, &mut jar, |session| session.insert(COUNT, &0)).await;
    jar
}

#[tokio::test]
async fn concurrent_updates_all_count() {
    let sessions = sessions(&TestStore::default());
    let jar = counted(&sessions).await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        requests.push(post(&sessions, &jar).await);
    }
    for request in requests {
        request
            .session
            .update(COUNT, |count| count.unwrap_or(0) + 1)
            .expect("a number");
        let _ = request.finish(&mut jar.clone()).await.expect("merged");
    }
    assert_eq!(
        get(&sessions, &jar)
            .await
            .session
            .get(COUNT)
            .expect("a number"),
        Some(5)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_among_many_parallel_writers() {
    let store = TestStore::default().yielding();
    let sessions = sessions(&store);
    let jar = counted(&sessions).await;
    let writers = (0..16).map(|writer| {
        let (sessions, mut jar) = (sessions.clone(), jar.clone());
        tokio::spawn(async move {
            for n in 0..10 {
                visit(&sessions, &mut jar, |session| {
                    session.update(COUNT, |count| count.unwrap_or(0) + 1)?;
                    session.insert(&format!("writer {writer}"), &n)
                })
                .await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.get(COUNT).expect("a number"), Some(160));
    assert_eq!(session.names().len(), 17);
}

#[tokio::test]
async fn the_function_of_an_update_runs_once_without_a_conflict() {
    let sessions = sessions(&TestStore::default());
    let mut jar = counted(&sessions).await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    visit(&sessions, &mut jar, |session| {
        session.update(COUNT, move |count| {
            counted.fetch_add(1, Ordering::SeqCst);
            count.unwrap_or(0) + 1
        })
    })
    .await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_function_of_an_update_may_read_the_session_but_not_write_to_it() {
    let sessions = sessions(&TestStore::default());
    let jar = counted(&sessions).await;
    let request = post(&sessions, &jar).await;
    let errors = Arc::new(Mutex::new(Vec::new()));
    let (session, seen) = (request.session.clone(), errors.clone());
    request
        .session
        .update(COUNT, move |count| {
            assert!(session.contains("count"));
            let kind = session
                .insert("reentrant", &1)
                .map_err(|error| error.kind());
            seen.lock().expect("no panic").push(kind);
            let kind = session.destroy().map_err(|error| error.kind());
            seen.lock().expect("no panic").push(kind);
            count.unwrap_or(0) + 1
        })
        .expect("a number");
    // a concurrent write, so that the function runs again during the commit
    visit(&sessions, &mut jar.clone(), |session| {
        session.insert(COUNT, &10)
    })
    .await;
    let _ = request.finish(&mut jar.clone()).await.expect("merged");
    let errors = errors.lock().expect("no panic").clone();
    assert_eq!(errors.len(), 4, "it ran twice");
    assert!(
        errors
            .iter()
            .all(|kind| *kind == Err(SessionErrorKind::Reentrant))
    );
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.get(COUNT).expect("a number"), Some(11));
    assert!(!session.contains("reentrant"));
}

#[tokio::test]
async fn writes_of_a_clone_during_a_commit_are_kept() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = counted(&sessions).await;
    let request = post(&sessions, &jar).await;
    let clone = request.session.clone();
    request
        .session
        .update(COUNT, |count| count.unwrap_or(0) + 1)
        .expect("a number");
    let gate = store.hold(session_core::testing::Call::Save);
    let saving = {
        let session = request.session.clone();
        tokio::spawn(async move { session.save().await })
    };
    gate.arrived().await;
    clone
        .update(COUNT, |count| count.unwrap_or(0) + 10)
        .expect("a number");
    clone.insert("late", &1).expect("a write");
    assert_eq!(clone.get(COUNT).expect("a number"), Some(11));
    // and another request writes first, so that both have to be applied again
    visit(&sessions, &mut jar, |session| session.insert(COUNT, &100)).await;
    gate.open();
    let _ = saving.await.expect("no panic").expect("merged");
    assert_eq!(clone.get(COUNT).expect("a number"), Some(111));
    assert_eq!(
        get(&sessions, &jar)
            .await
            .session
            .get(COUNT)
            .expect("a number"),
        Some(101)
    );
    let _ = request.finish(&mut jar).await.expect("no fault");
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.get(COUNT).expect("a number"), Some(111));
    assert!(session.contains("late"));
}

#[tokio::test]
async fn a_session_that_would_exceed_the_limit_is_unchanged() {
    let sessions = builder(&TestStore::default())
        .max_bytes(100)
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    let request = post(&sessions, &jar).await;
    request
        .session
        .insert("small", "x")
        .expect("within the limit");
    let error = request
        .session
        .insert("large", &"x".repeat(100))
        .expect_err("too large");
    assert_eq!(error.kind(), SessionErrorKind::TooLarge);
    let _ = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(get(&sessions, &jar).await.session.names(), ["small"]);
}

#[tokio::test]
async fn a_lowered_limit_locks_nobody_out() {
    let store = TestStore::default();
    let mut jar = Jar::default();
    visit(&sessions(&store), &mut jar, |session| {
        session.insert("large", &"x".repeat(500))
    })
    .await;
    let sessions = builder(&store)
        .max_bytes(100)
        .build()
        .expect("valid options");
    visit(&sessions, &mut jar, |session| {
        session.log_in("ann")?;
        session.insert("large", &"x".repeat(400))
    })
    .await;
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    let error = session
        .insert("large", &"x".repeat(450))
        .expect_err("larger again");
    assert_eq!(error.kind(), SessionErrorKind::TooLarge);
}
