//! The sessions of a user: listed, ended, limited, also while others log in.

use std::time::Duration;

use http::Response;
use session_core::{
    AnyIndex, Index, IndexEntry, IndexKey, Listing, MemoryStore, Nonce, OutcomeKind, Record, Saved,
    SessionError, SessionErrorKind, SessionId, Sessions, Store, StoreErrorKind, Version, WhenFull,
    Write,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, anonymous, builder, get, post, principal, set_cookies, visit};

/// A store that writes the index with the record, and one whose index is on another server.
fn stores() -> [TestStore; 2] {
    [
        TestStore::default(),
        TestStore::default().with_split_index(),
    ]
}

fn sessions(store: &TestStore) -> Sessions {
    crate::visit::sessions(store)
}

fn limited(store: &TestStore, max: usize, when_full: WhenFull) -> Sessions {
    builder(store)
        .max_sessions_per_principal(max, when_full)
        .build()
        .expect("valid options")
}

async fn log_in(sessions: &Sessions, name: &'static str) -> Jar {
    let mut jar = Jar::default();
    visit(sessions, &mut jar, |session| session.log_in(name)).await;
    jar
}

async fn id(sessions: &Sessions, jar: &Jar) -> SessionId {
    get(sessions, jar).await.session.id().expect("stored")
}

async fn listed(sessions: &Sessions, name: &str) -> Vec<SessionId> {
    let list = sessions.of(name).list().await.expect("no fault");
    list.iter().map(|info| info.id()).collect()
}

fn index(store: &TestStore) -> AnyIndex {
    store.inner().index().expect("the memory store has one")
}

async fn entries(store: &TestStore, name: &str) -> Vec<IndexEntry> {
    let key = IndexKey::of_principal(name);
    let entries = index(store).entries(&key, 0, 1000).await;
    entries.expect("no fault")
}

#[tokio::test]
async fn a_login_is_listed_before_it_is_acknowledged() {
    for store in stores() {
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        assert_eq!(listed(&sessions, "ann").await, []);
        let login = post(&sessions, &jar).await;
        login.session.log_in("ann").expect("open");
        login.session.insert("browser", "Firefox").expect("a write");
        login.session.set_tag("sid", "s-1").expect("a tag");
        let outcome = login.finish(&mut jar).await.expect("no fault");
        assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);

        let of_ann = sessions.of("ann").list().await.expect("no fault");
        let [info] = &of_ann[..] else {
            panic!("{of_ann:?}")
        };
        let session = get(&sessions, &jar).await.session;
        assert_eq!(Some(info.id()), session.id());
        assert_eq!(info.principal(), Some("ann"));
        assert_eq!(info.tag("sid"), Some("s-1"));
        assert_eq!(Some(info.created_at()), session.created_at());
        assert_eq!(info.authenticated_at(), session.authenticated_at());
        let browser: Option<String> = info.get("browser").expect("text");
        assert_eq!(browser.as_deref(), Some("Firefox"));
        assert!(info.expires_at().expect("it ends") > info.last_seen_at());
        let tagged = sessions.tagged("sid", "s-1").list().await;
        assert_eq!(tagged.expect("no fault").len(), 1);
        assert!(!format!("{info:?}").contains("ann"), "{info:?}");
    }
}

#[tokio::test]
async fn round_trips_of_a_login_and_a_logout() {
    for (store, login) in [
        (TestStore::default(), &[Call::Save][..]),
        (
            TestStore::default().with_split_index(),
            &[Call::Save, Call::Put],
        ),
    ] {
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        let _ = store.take_calls();
        visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
        assert_eq!(store.take_calls(), [&[Call::Load][..], login].concat());
        // whoever is logged in is listed already
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        assert_eq!(store.take_calls(), [Call::Load, Call::Save]);
        visit(&sessions, &mut jar, |session| session.destroy()).await;
        assert_eq!(store.take_calls(), [Call::Load, Call::Destroy]);
        assert_eq!(store.inner().index_len(), 0);
    }
}

#[tokio::test]
async fn all_sessions_of_a_principal_end_and_those_of_others_live() {
    for store in stores() {
        let sessions = sessions(&store);
        let ann = [
            log_in(&sessions, "ann").await,
            log_in(&sessions, "ann").await,
            log_in(&sessions, "ann").await,
        ];
        let bob = log_in(&sessions, "bob").await;
        let current = get(&sessions, &ann[1]).await.session;
        let of_ann = sessions.of("ann");
        assert_eq!(of_ann.end_others(&current).await.expect("no fault"), 2);
        assert_eq!(principal(&sessions, &ann[0]).await, None);
        assert_eq!(principal(&sessions, &ann[1]).await.as_deref(), Some("ann"));
        assert_eq!(of_ann.end_all().await.expect("no fault"), 1);
        assert_eq!(of_ann.end_all().await.expect("no fault"), 0);
        assert_eq!(principal(&sessions, &ann[1]).await, None);
        assert_eq!(principal(&sessions, &bob).await.as_deref(), Some("bob"));
        assert_eq!(store.inner().index_len(), 1, "bob's");
    }
}

#[tokio::test]
async fn a_user_can_end_their_own_sessions_only() {
    let sessions = sessions(&TestStore::default());
    let (ann, bob) = (
        log_in(&sessions, "ann").await,
        log_in(&sessions, "bob").await,
    );
    let of_ann = sessions.of("ann");
    let of_bob = id(&sessions, &bob).await;
    assert!(!of_ann.end(&of_bob).await.expect("no fault"));
    assert_eq!(principal(&sessions, &bob).await.as_deref(), Some("bob"));
    let own = id(&sessions, &ann).await;
    assert!(of_ann.end(&own).await.expect("no fault"));
    assert!(!of_ann.end(&own).await.expect("no fault"));
    assert_eq!(principal(&sessions, &ann).await, None);
}

#[tokio::test]
async fn a_list_comes_in_pages_in_the_order_of_the_logins() {
    let sessions = sessions(&TestStore::default());
    let mut expected = Vec::new();
    for _ in 0..5 {
        let jar = log_in(&sessions, "ann").await;
        expected.push(id(&sessions, &jar).await);
    }
    assert_eq!(listed(&sessions, "ann").await, expected);
    let (mut found, mut after, mut pages) = (Vec::new(), Some(0), 0);
    while let Some(from) = after {
        let page = sessions.of("ann").page(from, 2).await.expect("no fault");
        found.extend(page.sessions.iter().map(|info| info.id()));
        after = page.next;
        pages += 1;
    }
    assert_eq!((found, pages), (expected, 3));
}

#[tokio::test]
async fn a_tag_has_one_value_and_is_merged_like_other_writes() {
    for store in stores() {
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
        first.session.set_tag("tenant", "blue").expect("a tag");
        second.session.set_tag("sid", "s-1").expect("a tag");
        let _ = first.finish(&mut jar).await.expect("no fault");
        let _ = second.finish(&mut jar).await.expect("no fault");
        let session = get(&sessions, &jar).await.session;
        assert_eq!(session.tag("tenant").as_deref(), Some("blue"));
        assert_eq!(session.tag("sid").as_deref(), Some("s-1"));

        visit(&sessions, &mut jar, |session| {
            session.set_tag("tenant", "red")?;
            session.remove_tag("sid")
        })
        .await;
        let count = async |name, value| {
            let tagged = sessions.tagged(name, value).list().await;
            tagged.expect("no fault").len()
        };
        assert_eq!(count("tenant", "blue").await, 0);
        assert_eq!(count("sid", "s-1").await, 0);
        assert_eq!(count("tenant", "red").await, 1);
        assert_eq!(
            sessions.tagged("tenant", "red").end_all().await.ok(),
            Some(1)
        );
        assert!(get(&sessions, &jar).await.session.is_new());
    }
}

#[tokio::test]
async fn tags_count_towards_the_size_limit() {
    let store = TestStore::default();
    let sessions = builder(&store).max_bytes(64).build().expect("valid");
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| {
        session.set_tag("sid", "small")?;
        let error = session.set_tag("sid", &"x".repeat(100)).expect_err("large");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        let error = session
            .set_tag("tenant", &"x".repeat(100))
            .expect_err("large");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        assert_eq!(session.tag("sid").as_deref(), Some("small"));
        assert_eq!(session.tag("tenant"), None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_login_that_cannot_be_listed_is_not_acknowledged() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Timeout] {
        let store = TestStore::default().with_split_index();
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        let login = post(&sessions, &jar).await;
        login.session.log_in("ann").expect("open");
        store.fail(Call::Put, kind);
        let (result, response) = login.finish_with(&mut jar, Response::new(())).await;
        let expected = match kind {
            StoreErrorKind::Timeout => SessionErrorKind::InDoubt,
            _ => SessionErrorKind::Unavailable,
        };
        assert_eq!(result.expect_err("not listed").kind(), expected);
        assert_eq!(set_cookies(&response), [""; 0], "nobody gets the token");
        assert_eq!(store.pending_faults(), 0);
    }
}

#[tokio::test]
async fn a_save_that_was_not_listed_is_listed_by_the_next_commit() {
    let store = TestStore::default().with_split_index();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let login = post(&sessions, &jar).await;
    login.session.log_in("ann").expect("open");
    store.fail(Call::Put, StoreErrorKind::Overloaded);
    let error = login.session.save().await.expect_err("not listed");
    assert_eq!(error.kind(), SessionErrorKind::Overloaded);
    let outcome = login.finish(&mut jar).await.expect("no fault");
    assert!(outcome.logged_in && outcome.created, "{outcome:?}");
    assert_eq!(
        store.take_calls(),
        [Call::Create, Call::Put, Call::Put],
        "the record is written once"
    );
    assert_eq!(listed(&sessions, "ann").await, [id(&sessions, &jar).await]);
}

#[tokio::test]
async fn a_logout_does_not_wait_for_an_index_that_fails() {
    let store = TestStore::default().with_split_index();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let login = post(&sessions, &jar).await;
    login.session.log_in("ann").expect("open");
    store.fail(Call::Put, StoreErrorKind::Unavailable);
    login.session.save().await.expect_err("not listed");
    login.session.destroy().expect("open");
    let _ = login.finish(&mut jar).await.expect("the logout");
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_is_listed_when_it_is_settled() {
    for store in stores() {
        for call in [Call::Create, Call::Put] {
            let sessions = sessions(&store);
            let mut jar = Jar::default();
            let login = post(&sessions, &jar).await;
            login.session.log_in("ann").expect("open");
            store.lose_answer(call);
            let first = login.session.save().await;
            let second = login.finish(&mut jar).await;
            assert!(second.is_ok(), "{first:?} {second:?}");
            assert_eq!(listed(&sessions, "ann").await, [id(&sessions, &jar).await]);
            assert_eq!(sessions.of("ann").end_all().await.ok(), Some(1));
            store.clear_faults();
        }
    }
}

/// A second login with the same cookie joins the session of the first. If the first did not get as
/// far as the index, the second lists it.
#[tokio::test]
async fn a_login_that_joins_a_session_lists_it() {
    let store = TestStore::default().with_split_index();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
    first.session.log_in("ann").expect("open");
    second.session.log_in("ann").expect("open");
    store.fail(Call::Put, StoreErrorKind::Unavailable);
    let _ = first
        .finish(&mut Jar::default())
        .await
        .expect_err("not listed");
    assert_eq!(entries(&store, "ann").await, []);
    let _ = second.finish(&mut jar).await.expect("no fault");
    assert_eq!(listed(&sessions, "ann").await, [id(&sessions, &jar).await]);
}

/// A login that is repeated because its tag could not be listed lists the tag, although it is on
/// the record already.
#[tokio::test]
async fn a_login_that_joins_a_session_lists_its_tags() {
    let store = TestStore::default().with_split_index();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    for attempt in 0..2 {
        let login = post(&sessions, &jar).await;
        login.session.log_in("ann").expect("open");
        login.session.set_tag("sid", "a1").expect("open");
        if attempt == 0 {
            store.fail(Call::Put, StoreErrorKind::Unavailable);
            store.fail(Call::Put, StoreErrorKind::Unavailable);
        }
        let finished = login.finish(&mut jar).await;
        assert_eq!(finished.is_ok(), attempt == 1, "{finished:?}");
        store.clear_faults();
    }
    let own = id(&sessions, &jar).await;
    for of in [sessions.of("ann"), sessions.tagged("sid", "a1")] {
        let list = of.list().await.expect("no fault");
        let ids: Vec<_> = list.iter().map(|info| info.id()).collect();
        assert_eq!(ids, [own]);
    }
    assert_eq!(sessions.tagged("sid", "a1").end_all().await.ok(), Some(1));
}

/// Holds a step of `end_all` and lets a login finish meanwhile: the login is ended, or comes after.
#[tokio::test]
async fn a_login_concurrent_with_end_all_is_ended_or_comes_after() {
    for held in [Call::Entries, Call::Load, Call::Destroy, Call::Remove] {
        for store in stores() {
            let sessions = sessions(&store);
            // a cookie of a session that is about to end, with which somebody logs in again
            let mut jar = log_in(&sessions, "ann").await;
            let other = log_in(&sessions, "ann").await;
            let login = post(&sessions, &jar).await;
            login.session.log_in("ann").expect("open");
            let gate = store.hold(held);
            let ending = tokio::spawn({
                let of_ann = sessions.of("ann");
                async move { of_ann.end_all().await }
            });
            gate.arrived().await;
            let _ = login.finish(&mut jar).await.expect("no fault");
            gate.open();
            let ended = ending.await.expect("no panic").expect("no fault");
            assert!(ended >= 1, "{held:?}");
            assert_eq!(principal(&sessions, &other).await, None, "{held:?}");
            // if it lives, it can be found
            let alive = principal(&sessions, &jar).await.is_some();
            let found = listed(&sessions, "ann").await.len();
            assert_eq!(found, usize::from(alive), "{held:?}");
            assert_eq!(sessions.of("ann").end_all().await.ok(), Some(found as u64));
            assert_eq!(principal(&sessions, &jar).await, None, "{held:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_changed_its_principal_is_not_ended_for_the_one_before() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let jar = log_in(&sessions, "bob").await;
    // as a crash between two steps leaves it
    let stale = Listing::new(
        IndexKey::of_principal("ann"),
        id(&sessions, &jar).await,
        Nonce::from_bytes([1; 8]),
        std::time::SystemTime::now(),
        Duration::from_secs(60),
    );
    index(&store).put(&stale).await.expect("no fault");
    assert_eq!(sessions.of("ann").end_all().await.expect("no fault"), 0);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("bob"));
    assert_eq!(entries(&store, "ann").await, [], "the stale entry is gone");
}

#[tokio::test]
async fn an_index_that_lost_entries_recovers_at_the_next_touch() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build().expect("valid");
    let mut jar = log_in(&sessions, "ann").await;
    let entry = entries(&store, "ann").await[0];
    let key = IndexKey::of_principal("ann");
    index(&store)
        .remove(&key, &entry.id, entry.nonce)
        .await
        .expect("no fault");
    assert_eq!(listed(&sessions, "ann").await, []);
    clock.advance(Duration::from_secs(600));
    visit(&sessions, &mut jar, |_| Ok(())).await;
    let found = entries(&store, "ann").await;
    assert_eq!(found.len(), 1);
    assert!(found[0].seen_at > entry.seen_at);

    // a write extends the life as well
    index(&store)
        .remove(&key, &found[0].id, found[0].nonce)
        .await
        .expect("no fault");
    clock.advance(Duration::from_secs(600));
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    assert_eq!(listed(&sessions, "ann").await.len(), 1);
}

#[tokio::test]
async fn entries_of_ended_sessions_do_not_pile_up() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build().expect("valid");
    for _ in 0..20 {
        log_in(&sessions, "ann").await;
        clock.advance(Duration::from_secs(600));
    }
    // those of the last half hour, as none was used again
    assert!(entries(&store, "ann").await.len() <= 4);
    clock.advance(Duration::from_secs(7200));
    assert_eq!(entries(&store, "ann").await, [], "the key has expired");
}

#[tokio::test]
async fn the_oldest_sessions_end_if_there_are_too_many() {
    for store in stores() {
        let sessions = limited(&store, 2, WhenFull::EvictOldest);
        let mut jars = Vec::new();
        for _ in 0..5 {
            jars.push(log_in(&sessions, "ann").await);
        }
        let mut alive = Vec::new();
        for jar in &jars {
            alive.push(principal(&sessions, jar).await.is_some());
        }
        assert_eq!(alive, [false, false, false, true, true]);
        // a session that logs in again is not one more
        visit(&sessions, &mut jars[3], |session| session.log_in("ann")).await;
        assert!(principal(&sessions, &jars[4]).await.is_some());
        // nor are those of others
        log_in(&sessions, "bob").await;
        assert_eq!(listed(&sessions, "ann").await.len(), 2);
    }
}

/// A login in the oldest session is ended for a newer one before it is listed again. It must not
/// end another session in its turn.
#[tokio::test]
async fn a_login_that_was_ended_for_a_newer_one_ends_nobody() {
    // more than the memory store cleans up by itself
    const MAX: usize = 70;
    let store = TestStore::default().with_split_index();
    let sessions = limited(&store, MAX, WhenFull::EvictOldest);
    let oldest = log_in(&sessions, "ann").await;
    for _ in 1..MAX {
        log_in(&sessions, "ann").await;
    }
    let again = post(&sessions, &oldest).await;
    again.session.log_in("ann").expect("open");
    let gate = store.hold(Call::Put);
    let listing = tokio::spawn(async move { again.finish(&mut Jar::default()).await });
    gate.arrived().await;
    let newest = log_in(&sessions, "ann").await;
    assert_eq!(listed(&sessions, "ann").await.len(), MAX);
    gate.open();
    let _ = listing.await.expect("no panic").expect("no fault");
    assert_eq!(listed(&sessions, "ann").await.len(), MAX);
    assert!(principal(&sessions, &newest).await.is_some());
}

#[tokio::test]
async fn a_login_beyond_the_limit_is_rejected_and_nothing_is_lost() {
    for store in stores() {
        let sessions = limited(&store, 1, WhenFull::Reject);
        let first = log_in(&sessions, "ann").await;
        let mut second = anonymous(&sessions).await;
        let login = post(&sessions, &second).await;
        login.session.log_in("ann").expect("open");
        let error = login.finish(&mut second).await.expect_err("one too many");
        assert_eq!(error.kind(), SessionErrorKind::LimitReached);
        let session = get(&sessions, &second).await.session;
        assert_eq!(session.principal(), None);
        let cart: Option<String> = session.get("cart").expect("text");
        assert_eq!(cart.as_deref(), Some("tea"));

        // a handler that asks first can answer for itself
        let login = post(&sessions, &second).await;
        login.session.insert("note", "kept").expect("a write");
        login.session.log_in("ann").expect("open");
        let error = login.session.save().await.expect_err("one too many");
        assert_eq!(error.kind(), SessionErrorKind::LimitReached);
        assert_eq!(login.session.principal(), None);
        let _ = login.finish(&mut second).await.expect("the rest");
        let session = get(&sessions, &second).await.session;
        let note: Option<String> = session.get("note").expect("text");
        assert_eq!(note.as_deref(), Some("kept"));

        // a logout makes room, and so does a session that the store forgot
        let mut first = first;
        visit(&sessions, &mut first, |session| session.destroy()).await;
        visit(&sessions, &mut second, |session| session.log_in("ann")).await;
        let stored = id(&sessions, &second).await;
        let destroyed = store.inner().destroy(&stored, Default::default()).await;
        let _ = destroyed.expect("no fault");
        let third = log_in(&sessions, "ann").await;
        assert_eq!(
            listed(&sessions, "ann").await,
            [id(&sessions, &third).await]
        );
    }
}

/// Two logins look for room before either is stored. The one that is listed second is refused.
#[tokio::test]
async fn concurrent_logins_do_not_exceed_the_limit() {
    for when_full in [WhenFull::EvictOldest, WhenFull::Reject] {
        for held in [Call::Entries, Call::Create, Call::Put] {
            let store = TestStore::default().with_split_index();
            let sessions = limited(&store, 1, when_full);
            if held == Call::Entries && when_full == WhenFull::EvictOldest {
                continue; // a first login reads no entries
            }
            let gate = store.hold(held);
            let held_login = tokio::spawn({
                let sessions = sessions.clone();
                async move {
                    let mut jar = Jar::default();
                    let login = post(&sessions, &jar).await;
                    login.session.log_in("ann").expect("open");
                    let result = login.finish(&mut jar).await.map(drop);
                    (jar, result)
                }
            });
            gate.arrived().await;
            let other = log_in(&sessions, "ann").await;
            gate.open();
            let (jar, result) = held_login.await.expect("no panic");
            let mut alive = 0;
            for jar in [&jar, &other] {
                alive += usize::from(principal(&sessions, jar).await.is_some());
            }
            assert_eq!(alive, 1, "{when_full:?} {held:?}: {result:?}");
            assert_eq!(result.is_err(), when_full == WhenFull::Reject, "{held:?}");
            assert_eq!(listed(&sessions, "ann").await.len(), 1);
        }
    }
}

#[tokio::test]
async fn without_an_index_there_is_a_clear_error() {
    let store = TestStore::default();
    let sessions = builder(&store).list_sessions(false).build().expect("valid");
    let jar = log_in(&sessions, "ann").await;
    assert!(principal(&sessions, &jar).await.is_some());
    let kind = |error: SessionError| error.kind();
    let of_ann = sessions.of("ann");
    let no_index = Some(SessionErrorKind::NoIndex);
    assert_eq!(of_ann.list().await.err().map(kind), no_index);
    assert_eq!(of_ann.end_all().await.err().map(kind), no_index);
    let own = id(&sessions, &jar).await;
    assert_eq!(of_ann.end(&own).await.err().map(kind), no_index);
    assert_eq!(store.inner().index_len(), 0);
    let error = builder(&store)
        .list_sessions(false)
        .max_sessions_per_principal(1, WhenFull::Reject)
        .build()
        .expect_err("a limit needs the index");
    assert!(error.to_string().contains("max_sessions_per_principal"));
    let error = builder(&store)
        .max_sessions_per_principal(0, WhenFull::Reject)
        .build()
        .expect_err("nobody could log in");
    assert!(error.to_string().contains("max_sessions_per_principal"));
}

#[tokio::test]
async fn ending_all_is_an_error_if_the_store_fails() {
    for call in [Call::Entries, Call::Load, Call::Destroy, Call::Remove] {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let jar = log_in(&sessions, "ann").await;
        store.fail(call, StoreErrorKind::Unavailable);
        let error = sessions.of("ann").end_all().await.expect_err("the fault");
        assert_eq!(error.kind(), SessionErrorKind::Unavailable, "{call:?}");
        // again, until it succeeds
        let ended = sessions.of("ann").end_all().await.expect("no fault");
        assert_eq!(ended, u64::from(call != Call::Remove));
        assert_eq!(principal(&sessions, &jar).await, None);
        assert_eq!(store.inner().index_len(), 0);
    }
    // an answer that is lost is settled
    let store = TestStore::default();
    let sessions = sessions(&store);
    log_in(&sessions, "ann").await;
    store.lose_answer(Call::Destroy);
    assert_eq!(sessions.of("ann").end_all().await.expect("settled"), 1);
}

/// Each write gives the record a full life, so that neither a touch nor a longer life is ever due.
#[tokio::test]
async fn a_session_that_is_written_often_stays_listed() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store).clock(clock.clone()).build().expect("valid");
    let mut jar = log_in(&sessions, "ann").await;
    let logged_in_at = entries(&store, "ann").await[0].seen_at;
    // three times the idle timeout
    for minute in 0..90 {
        clock.advance(Duration::from_secs(60));
        visit(&sessions, &mut jar, move |session| {
            session.insert("minute", &minute)
        })
        .await;
    }
    let found = entries(&store, "ann").await;
    assert_eq!(found.len(), 1);
    let seen_after = found[0]
        .seen_at
        .duration_since(logged_in_at)
        .expect("later");
    assert!(seen_after >= Duration::from_secs(86 * 60), "{seen_after:?}");
}

/// "Remember me" makes the session outlive what the index was told when the tag was set.
#[tokio::test]
async fn a_longer_life_reaches_the_index_with_the_write() {
    const DAY: Duration = Duration::from_secs(86_400);
    for split in [false, true] {
        let clock = ManualClock::default();
        let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
        let store = if split {
            store.with_split_index()
        } else {
            store
        };
        let builder = builder(&store).clock(clock.clone());
        let sessions = builder.absolute_timeout(None).build().expect("valid");
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| {
            session.set_tag("tenant", "a")
        })
        .await;
        visit(&sessions, &mut jar, |session| {
            session.log_in("ann")?;
            session.set_idle_timeout(Some(10 * DAY))
        })
        .await;
        visit(&sessions, &mut jar, |session| {
            session.set_idle_timeout(Some(30 * DAY))
        })
        .await;
        clock.advance(29 * DAY);
        assert_eq!(listed(&sessions, "ann").await.len(), 1);
        let tagged = sessions.tagged("tenant", "a").list().await;
        assert_eq!(tagged.expect("no fault").len(), 1);
    }
}

/// Somebody whose tag could not be listed sets it again.
#[tokio::test]
async fn a_tag_that_is_set_again_is_listed() {
    let store = TestStore::default().with_split_index();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let first = post(&sessions, &jar).await;
    first.session.set_tag("tenant", "a").expect("a tag");
    store.fail(Call::Put, StoreErrorKind::Unavailable);
    let _ = first.finish(&mut jar).await.expect_err("not listed");
    visit(&sessions, &mut jar, |session| {
        session.set_tag("tenant", "a")
    })
    .await;
    assert_eq!(sessions.tagged("tenant", "a").end_all().await.ok(), Some(1));
}

#[tokio::test]
async fn a_session_that_replaces_another_of_its_principal_does_not_count_twice() {
    for store in stores() {
        let sessions = limited(&store, 1, WhenFull::Reject);
        let mut jar = log_in(&sessions, "ann").await;
        visit(&sessions, &mut jar, |session| {
            session.regenerate()?;
            session.log_in("ann")
        })
        .await;
        assert_eq!(listed(&sessions, "ann").await, [id(&sessions, &jar).await]);
    }
    for store in stores() {
        let sessions = limited(&store, 2, WhenFull::EvictOldest);
        let phone = log_in(&sessions, "ann").await;
        let mut jar = log_in(&sessions, "ann").await;
        visit(&sessions, &mut jar, |session| {
            session.regenerate()?;
            session.log_in("ann")
        })
        .await;
        assert!(principal(&sessions, &phone).await.is_some());
        assert!(principal(&sessions, &jar).await.is_some());
    }
}

#[tokio::test]
async fn a_refused_login_leaves_the_session_of_somebody_else_as_it_was() {
    let sessions = limited(&TestStore::default(), 1, WhenFull::Reject);
    let _ann = log_in(&sessions, "ann").await;
    let mut bob = log_in(&sessions, "bob").await;
    let before = bob.clone();
    let login = post(&sessions, &bob).await;
    login.session.log_in("ann").expect("open");
    let error = login.session.save().await.expect_err("one too many");
    assert_eq!(error.kind(), SessionErrorKind::LimitReached);
    assert_eq!(login.session.principal().as_deref(), Some("bob"));
    let _ = login.finish(&mut bob).await.expect("nothing to do");
    assert_eq!(bob, before);
    assert_eq!(principal(&sessions, &bob).await.as_deref(), Some("bob"));
}

/// The destroy of `end_all` is not answered, and the session has lost the tag meanwhile.
#[tokio::test]
async fn a_session_that_was_not_ended_stays_listed() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = log_in(&sessions, "ann").await;
    visit(&sessions, &mut jar, |session| {
        session.set_tag("tenant", "a")
    })
    .await;
    let gate = store.hold(Call::Destroy);
    store.fail(Call::Destroy, StoreErrorKind::Timeout);
    let ending = tokio::spawn({
        let tagged = sessions.tagged("tenant", "a");
        async move { tagged.end_all().await }
    });
    gate.arrived().await;
    visit(&sessions, &mut jar, |session| {
        session.set_tag("tenant", "b")
    })
    .await;
    gate.open();
    assert_eq!(ending.await.expect("no panic").expect("settled"), 0);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
    assert_eq!(listed(&sessions, "ann").await.len(), 1);
}

/// During a release, one instance writes what another cannot read yet.
#[tokio::test]
async fn a_record_that_cannot_be_read_stays_listed_and_is_ended() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let jar = log_in(&sessions, "ann").await;
    let id = id(&sessions, &jar).await;
    let loaded = store
        .inner()
        .load(&id)
        .await
        .expect("no fault")
        .expect("stored");
    let unreadable = Record::new(Version::from_bytes([9; 8]), "written by a later release");
    let write = Write::new(&unreadable, Duration::from_secs(60));
    let saved = store
        .inner()
        .save(&id, loaded.record.version(), write)
        .await;
    assert!(matches!(saved, Ok(Saved::Saved(_))), "{saved:?}");
    assert_eq!(listed(&sessions, "ann").await, []);
    assert_eq!(entries(&store, "ann").await.len(), 1, "others can read it");
    assert_eq!(sessions.of("ann").end_all().await.expect("no fault"), 1);
    assert!(store.inner().is_empty());
}
