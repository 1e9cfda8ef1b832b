//! Round trips, and what each verb does to the store.

use session_core::{
    EndReason, ExpressOptions, OutcomeKind, Session, SessionErrorKind, StoreErrorKind, Unset,
    testing::{Call, TestStore},
};

use crate::visit::{Jar, builder, get, post, sessions, visit};

#[tokio::test]
async fn untouched_is_free_a_read_is_one_call_and_a_write_one_more() {
    use Call::{Create, Destroy, Load, Save, Touch};
    type Act = fn(&Session);
    let stored: [(&str, Act, &[Call], OutcomeKind); 9] = [
        (
            "read",
            |session| drop(session.names()),
            &[Load],
            OutcomeKind::Untouched,
        ),
        (
            "equal",
            |s| s.insert("a", &1).expect("open"),
            &[Load],
            OutcomeKind::Untouched,
        ),
        (
            "touch",
            |s| s.touch().expect("open"),
            &[Load, Touch],
            OutcomeKind::Touched,
        ),
        (
            "write",
            |s| s.insert("b", &1).expect("open"),
            &[Load, Save],
            OutcomeKind::Saved,
        ),
        (
            "renew",
            |s| s.renew().expect("open"),
            &[Load, Save],
            OutcomeKind::Renewed,
        ),
        (
            "log in",
            |s| s.log_in("ann").expect("open"),
            &[Load, Save],
            OutcomeKind::LoggedIn,
        ),
        (
            "end",
            |s| s.destroy().expect("open"),
            &[Load, Destroy],
            OutcomeKind::Destroyed,
        ),
        (
            "regenerate",
            |s| s.regenerate().expect("open"),
            &[Load, Create, Destroy],
            OutcomeKind::Regenerated,
        ),
        (
            "end and flash",
            |session| {
                session.destroy().expect("open");
                session.insert("flash", "bye").expect("open");
            },
            &[Load, Destroy, Create],
            OutcomeKind::Destroyed,
        ),
    ];
    for (name, act, expected, kind) in stored {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        store.take_calls();
        let request = post(&sessions, &jar).await;
        act(&request.session);
        let outcome = request.finish(&mut jar).await.expect("no fault");
        assert_eq!(store.take_calls(), expected, "{name}");
        assert_eq!(outcome.kind(), kind, "{name}");
    }
    let fresh: [(&str, Act, &[Call], OutcomeKind); 4] = [
        (
            "read",
            |session| drop(session.names()),
            &[],
            OutcomeKind::Untouched,
        ),
        (
            "lifetime",
            |s| s.set_idle_timeout(None).expect("open"),
            &[],
            OutcomeKind::Untouched,
        ),
        (
            "end",
            |s| s.destroy().expect("open"),
            &[],
            OutcomeKind::Untouched,
        ),
        (
            "write",
            |s| s.insert("a", &1).expect("open"),
            &[Create],
            OutcomeKind::Created,
        ),
    ];
    for (name, act, expected, kind) in fresh {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let request = post(&sessions, &Jar::default()).await;
        act(&request.session);
        let outcome = request.finish(&mut Jar::default()).await.expect("no fault");
        assert_eq!(store.take_calls(), expected, "{name}");
        assert_eq!(outcome.kind(), kind, "{name}");
    }
}

#[tokio::test]
async fn every_verb_is_an_error_after_the_response() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let request = post(&sessions, &jar).await;
    let session = request.session.clone();
    let _ = request.finish(&mut jar).await.expect("no fault");
    let results = [
        ("insert", session.insert("a", &2)),
        ("remove", session.remove::<u32>("a").map(drop)),
        ("remove absent", session.remove::<u32>("absent").map(drop)),
        ("update", session.update::<u32>("a", |_| 1).map(drop)),
        ("clear", session.clear()),
        ("log_in", session.log_in("ann")),
        ("renew", session.renew()),
        ("regenerate", session.regenerate()),
        ("destroy", session.destroy()),
        ("discard", session.discard()),
        ("unset", session.unset()),
        ("touch", session.touch()),
        ("set_max_age", session.set_max_age(None)),
        (
            "set_cookie",
            session.set_cookie(|cookie| cookie.http_only(false)),
        ),
        ("save", session.save().await.map(drop)),
        ("reload", session.reload().await),
    ];
    for (name, result) in results {
        assert_eq!(
            result.expect_err(name).kind(),
            SessionErrorKind::Closed,
            "{name}"
        );
    }
    assert_eq!(session.get("a").expect("readable"), Some(1));
}

#[tokio::test]
async fn writes_to_an_ended_session_are_errors() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let request = post(&sessions, &jar).await;
    request.session.destroy().expect("open");
    assert_eq!(request.session.id(), None);
    let error = request
        .session
        .set_expires_at(std::time::SystemTime::now())
        .expect_err("there is no session whose end could be set");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
}

#[tokio::test]
async fn a_failed_regeneration_leaves_the_session_as_it_was() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let before = jar.clone();
    for call in [Call::Create, Call::Destroy] {
        let request = post(&sessions, &jar).await;
        request.session.regenerate().expect("open");
        store.fail(call, StoreErrorKind::Unavailable);
        let error = request.finish(&mut jar).await.expect_err("the fault");
        assert_eq!(error.kind(), SessionErrorKind::Unavailable, "{call:?}");
        assert_eq!(before, jar);
        assert_eq!(
            get(&sessions, &jar).await.session.principal().as_deref(),
            Some("ann")
        );
        assert_eq!(store.inner().len(), 1, "nothing is left behind");
    }
}

#[tokio::test]
async fn a_session_that_a_failed_regeneration_leaves_behind_is_removed_by_the_next_commit() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let request = post(&sessions, &jar).await;
    request.session.regenerate().expect("open");
    store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let error = request.session.save().await.expect_err("the fault");
    assert_eq!(error.kind(), SessionErrorKind::Unavailable);
    assert_eq!(store.inner().len(), 2);
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Regenerated);
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test]
async fn a_logout_does_not_fail_because_a_message_cannot_be_stored() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let request = post(&sessions, &jar).await;
    request.session.destroy().expect("open");
    request
        .session
        .insert("flash", "bye")
        .expect("a new session");
    store.fail(Call::Create, StoreErrorKind::Unavailable);
    let error = request.finish(&mut jar).await.expect_err("the fault");
    assert_eq!(error.kind(), SessionErrorKind::Unavailable);
    assert_eq!(jar.cookie(), None, "logged out all the same");
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn regenerating_ends_the_session_before() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let old = jar.clone();
    let request = post(&sessions, &jar).await;
    let id = request.session.id().expect("stored");
    request.session.regenerate().expect("open");
    assert_ne!(request.session.id(), Some(id));
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(
        outcome.ended.map(|ended| (ended.id, ended.reason)),
        Some((id, EndReason::Regenerated))
    );
    assert!(get(&sessions, &jar).await.session.names().is_empty());
    assert!(!get(&sessions, &jar).await.session.is_new());
    assert!(get(&sessions, &old).await.session.is_new());
}

#[tokio::test]
async fn taken_ids_are_never_overwritten() {
    let store = TestStore::default();
    let taken = session_core::SessionId::from_bytes([1; 16]);
    let free = session_core::SessionId::from_bytes([2; 16]);
    let calls = std::sync::atomic::AtomicU32::new(0);
    let sessions = builder(&store)
        .id_source(move |_| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(if call == 0 || call == 1 || call == 2 {
                taken
            } else {
                free
            })
        })
        .build()
        .expect("valid options");
    let (mut first, mut second) = (Jar::default(), Jar::default());
    visit(&sessions, &mut first, |session| {
        session.insert("of", "first")
    })
    .await;
    let request = post(&sessions, &second).await;
    request.session.insert("of", "second").expect("a write");
    let _ = request
        .finish(&mut second)
        .await
        .expect("the third id is free");
    for (jar, expected) in [(&first, "first"), (&second, "second")] {
        let of: Option<String> = get(&sessions, jar).await.session.get("of").expect("text");
        assert_eq!(of.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn an_id_source_that_returns_only_taken_ids_is_an_error() {
    let store = TestStore::default();
    let sessions = builder(&store)
        .id_source(|_| Ok(session_core::SessionId::from_bytes([1; 16])))
        .build()
        .expect("valid options");
    visit(&sessions, &mut Jar::default(), |session| {
        session.insert("a", &1)
    })
    .await;
    let request = post(&sessions, &Jar::default()).await;
    request.session.insert("a", &2).expect("a write");
    let error = request
        .finish(&mut Jar::default())
        .await
        .expect_err("no free id");
    assert_eq!(error.kind(), SessionErrorKind::Entropy);
}

#[tokio::test]
async fn the_express_options_do_what_their_names_say() {
    let store = TestStore::default();
    let options = ExpressOptions::new()
        .save_uninitialized(true)
        .resave(true)
        .unset(Unset::Destroy);
    let sessions = builder(&store)
        .express(options)
        .build()
        .expect("valid options");
    let mut jar = Jar::default();
    let created = get(&sessions, &jar)
        .await
        .finish(&mut jar)
        .await
        .expect("no fault");
    assert_eq!(created.kind(), OutcomeKind::Created);
    let resaved = get(&sessions, &jar)
        .await
        .finish(&mut jar)
        .await
        .expect("no fault");
    assert_eq!(resaved.kind(), OutcomeKind::Saved);
    let unset = get(&sessions, &jar).await;
    unset.session.unset().expect("open");
    let destroyed = unset.finish(&mut jar).await.expect("no fault");
    assert_eq!(destroyed.kind(), OutcomeKind::Destroyed);
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn an_explicit_save_stores_even_an_empty_session() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    let request = get(&sessions, &jar).await;
    let outcome = request.session.save().await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Created);
    let outcome = request.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
    assert!(!get(&sessions, &jar).await.session.is_new());
}

#[tokio::test]
async fn a_new_session_that_holds_nothing_but_a_lifetime_is_stored_if_that_is_wanted() {
    let always = ExpressOptions::new().save_uninitialized(true);
    for (express, explicitly, expected) in [
        (ExpressOptions::new(), false, 0),
        (ExpressOptions::new(), true, 1),
        (always, false, 1),
    ] {
        let store = TestStore::default();
        let sessions = builder(&store)
            .express(express)
            .build()
            .expect("valid options");
        let request = post(&sessions, &Jar::default()).await;
        request.session.set_idle_timeout(None).expect("open");
        if explicitly {
            let _ = request.session.save().await.expect("no fault");
        }
        let _ = request.finish(&mut Jar::default()).await.expect("no fault");
        assert_eq!(store.inner().len(), expected, "{express:?}, {explicitly}");
    }
}

#[tokio::test]
async fn reloading_takes_what_is_stored_and_drops_what_was_not_saved() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    let request = post(&sessions, &jar).await;
    request.session.insert("mine", &1).expect("a write");
    visit(&sessions, &mut jar, |session| session.insert("a", &2)).await;
    request.session.reload().await.expect("stored");
    assert_eq!(request.session.names(), ["a"]);
    assert_eq!(request.session.get("a").expect("a number"), Some(2));
    assert!(!request.session.is_modified());

    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let error = request
        .session
        .reload()
        .await
        .expect_err("somebody else's now");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    let fresh = post(&sessions, &Jar::default()).await;
    let error = fresh.session.reload().await.expect_err("not stored");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
}

#[tokio::test]
async fn reloading_does_not_renew() {
    for renews in [false, true] {
        let sessions = sessions(&TestStore::default());
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
        let request = post(&sessions, &jar).await;
        if renews {
            request.session.renew().expect("open");
            visit(&sessions, &mut jar, |session| session.renew()).await;
        }
        let before = jar.clone();
        request.session.reload().await.expect("stored");
        let outcome = request.finish(&mut jar).await.expect("no fault");
        assert_eq!(outcome.kind(), OutcomeKind::Untouched, "{renews}");
        assert_eq!(jar, before);
    }
}

#[tokio::test]
async fn ending_by_id_needs_no_token() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let id = get(&sessions, &jar).await.session.id().expect("stored");
    for _ in 0..2 {
        sessions.end(&id).await.expect("no fault");
    }
    assert!(get(&sessions, &jar).await.session.is_new());
}
