//! Logins, alone and concurrent with other requests.

use std::time::Duration;

use session_core::{
    EndReason, OutcomeKind, SessionErrorKind,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, anonymous, builder, get, post, principal, sessions, visit};

#[tokio::test]
async fn a_login_renews_the_token_and_keeps_what_the_anonymous_session_holds() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let old = jar.clone();
    let login = post(&sessions, &jar).await;
    let id = login.session.id();
    login.session.log_in("ann").expect("open");
    store.take_calls();
    let outcome = login.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    assert!(outcome.renewed);
    assert_eq!(store.take_calls(), [Call::Save]);
    assert_ne!(old, jar);
    let session = get(&sessions, &jar).await.session;
    assert_eq!(
        (session.id(), session.principal().as_deref()),
        (id, Some("ann"))
    );
    assert_eq!(
        session.get::<String>("cart").expect("text").as_deref(),
        Some("tea")
    );
    assert_eq!(principal(&sessions, &old).await, None);
}

#[tokio::test]
async fn a_login_of_the_same_principal_renews_too() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let before = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    assert_ne!(before, jar);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
    assert_eq!(principal(&sessions, &before).await, None);
}

#[tokio::test]
async fn a_login_as_somebody_else_begins_an_empty_session_and_ends_the_one_before() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let login = post(&sessions, &jar).await;
    let old = login.session.id().expect("stored");
    login.session.insert("note", "of ann").expect("a write");
    login.session.log_in("bob").expect("open");
    let outcome = login.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    let ended = outcome.ended.expect("ann's session");
    assert_eq!((ended.id, ended.reason), (old, EndReason::Regenerated));
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("bob"));
    assert!(session.names().is_empty());
    assert_ne!(session.id(), Some(old));
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test]
async fn a_login_form_that_is_sent_twice_leaves_two_working_cookies() {
    for finish_first in [true, false] {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let jar = anonymous(&sessions).await;
        let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
        first.session.log_in("ann").expect("open");
        first.session.insert("first", &1).expect("a write");
        second.session.log_in("ann").expect("open");
        second.session.insert("second", &2).expect("a write");
        let (mut one, mut two) = (jar.clone(), jar.clone());
        let mut outcomes = Vec::new();
        match finish_first {
            true => {
                outcomes.push(first.finish(&mut one).await.expect("no fault"));
                outcomes.push(second.finish(&mut two).await.expect("no fault"));
            }
            false => {
                outcomes.push(second.finish(&mut two).await.expect("no fault"));
                outcomes.push(first.finish(&mut one).await.expect("no fault"));
            }
        }
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.kind() == OutcomeKind::LoggedIn)
        );
        for jar in [&one, &two] {
            let session = get(&sessions, jar).await.session;
            assert_eq!(session.principal().as_deref(), Some("ann"));
            assert_eq!(session.names(), ["cart", "first", "second"]);
        }
        assert_eq!(principal(&sessions, &jar).await, None);
        assert_eq!(store.inner().len(), 1);
        // a renewal drops both
        let before = one.clone();
        visit(&sessions, &mut one, |session| session.renew()).await;
        assert_eq!(principal(&sessions, &before).await, None);
        assert_eq!(principal(&sessions, &two).await, None);
        assert_eq!(principal(&sessions, &one).await.as_deref(), Some("ann"));
    }
}

#[tokio::test]
async fn a_second_login_that_arrives_after_the_first_joins_it_within_the_grace() {
    let clock = ManualClock::default();
    let store = TestStore::default();
    let sessions = builder(&store)
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let jar = anonymous(&sessions).await;
    let (mut one, mut two, mut late) = (jar.clone(), jar.clone(), jar.clone());
    visit(&sessions, &mut one, |session| session.log_in("ann")).await;
    clock.advance(Duration::from_secs(9));
    visit(&sessions, &mut two, |session| session.log_in("ann")).await;
    assert_eq!(store.inner().len(), 1);
    for jar in [&one, &two] {
        assert_eq!(principal(&sessions, jar).await.as_deref(), Some("ann"));
    }
    clock.advance(Duration::from_secs(10));
    visit(&sessions, &mut late, |session| session.log_in("ann")).await;
    assert_eq!(store.inner().len(), 2, "a session of its own");
    assert_eq!(principal(&sessions, &late).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn concurrent_logins_of_two_users_do_not_mix() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let jar = anonymous(&sessions).await;
    let (ann, bob) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
    ann.session.log_in("ann").expect("open");
    ann.session.insert("of", "ann").expect("a write");
    bob.session.log_in("bob").expect("open");
    bob.session.insert("of", "bob").expect("a write");
    let (mut of_ann, mut of_bob) = (jar.clone(), jar.clone());
    let _ = ann.finish(&mut of_ann).await.expect("no fault");
    let _ = bob.finish(&mut of_bob).await.expect("no fault");
    let session = get(&sessions, &of_ann).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(
        session.get::<String>("of").expect("text").as_deref(),
        Some("ann")
    );
    let session = get(&sessions, &of_bob).await.session;
    assert_eq!(session.principal().as_deref(), Some("bob"));
    assert_eq!(session.names(), ["of"], "its own writes and no loaded data");
}

#[tokio::test]
async fn a_slow_write_for_one_user_does_not_land_in_the_session_of_another() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let slow = post(&sessions, &jar).await;
    slow.session.insert("name", "ann").expect("a write");
    let mut old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("bob")).await;
    let error = slow.finish(&mut old).await.expect_err("lost");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
    assert!(get(&sessions, &jar).await.session.names().is_empty());
}

#[tokio::test]
async fn a_login_is_stored_even_if_the_session_ended_concurrently() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let login = post(&sessions, &jar).await;
    visit(&sessions, &mut jar.clone(), |session| session.destroy()).await;
    login.session.insert("own", &1).expect("a write");
    login.session.log_in("ann").expect("open");
    let outcome = login.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(session.names(), ["own"]);
}

#[tokio::test]
async fn a_login_is_merged_with_the_write_of_an_anonymous_request() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let login = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| {
        session.insert("late", "milk")
    })
    .await;
    login.session.log_in("ann").expect("open");
    let outcome = login.finish(&mut jar).await.expect("merged");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(session.names(), ["cart", "late"]);
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test]
async fn a_login_that_an_anonymous_renewal_overtakes_begins_a_session_of_its_own() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let mut other = jar.clone();
    let login = post(&sessions, &jar).await;
    visit(&sessions, &mut other, |session| session.renew()).await;
    login.session.insert("own", &1).expect("a write");
    login.session.log_in("ann").expect("open");
    let _ = login.finish(&mut jar).await.expect("no fault");
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(session.names(), ["own"]);
    assert_eq!(principal(&sessions, &other).await, None);
    assert_eq!(get(&sessions, &other).await.session.names(), ["cart"]);
}

#[tokio::test]
async fn a_login_into_a_regenerated_session_does_not_depend_on_the_end_of_the_one_before() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut ann = anonymous(&sessions).await;
    let mut bob = ann.clone();
    let login = post(&sessions, &bob).await;
    login.session.regenerate().expect("open");
    login.session.log_in("bob").expect("open");
    visit(&sessions, &mut ann, |session| session.log_in("ann")).await;
    let outcome = login.finish(&mut bob).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    assert_eq!(outcome.ended, None);
    assert_eq!(principal(&sessions, &ann).await.as_deref(), Some("ann"));
    assert_eq!(principal(&sessions, &bob).await.as_deref(), Some("bob"));
    assert_eq!(store.inner().len(), 2);
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_succeeds_all_the_same() {
    for call in [Call::Create, Call::Save] {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let mut jar = match call {
            Call::Save => anonymous(&sessions).await,
            _ => Jar::default(),
        };
        let login = post(&sessions, &jar).await;
        login.session.log_in("ann").expect("open");
        store.lose_answer(call);
        let outcome = login.finish(&mut jar).await.expect("settled");
        assert_eq!(store.pending_faults(), 0);
        assert_eq!(outcome.kind(), OutcomeKind::LoggedIn, "{call:?}");
        assert_eq!(
            principal(&sessions, &jar).await.as_deref(),
            Some("ann"),
            "{call:?}"
        );
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test]
async fn a_login_that_was_aborted_can_be_repeated_with_the_old_cookie() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let login = post(&sessions, &jar).await;
    login.session.log_in("ann").expect("open");
    // the client goes away: its response is lost
    let _ = login.finish(&mut jar.clone()).await.expect("no fault");
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(
        session.get::<String>("cart").expect("text").as_deref(),
        Some("tea")
    );
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test]
async fn the_absolute_timeout_counts_from_the_login() {
    const HOUR: Duration = Duration::from_secs(3600);
    let clock = ManualClock::default();
    let store = TestStore::new(session_core::MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(HOUR)
        .absolute_timeout(3 * HOUR)
        .build()
        .expect("valid options");
    let mut jar = anonymous(&sessions).await;
    let stay_active = async |jar: &mut Jar, minutes: u32| {
        for _ in 0..minutes / 30 {
            clock.advance(HOUR / 2);
            visit(&sessions, jar, |session| session.touch()).await;
        }
    };
    stay_active(&mut jar, 150).await;
    let began = get(&sessions, &jar).await.session.created_at();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    stay_active(&mut jar, 150).await;
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(session.created_at(), began);
    assert!(session.authenticated_at() > began);
    stay_active(&mut jar, 30).await;
    assert_eq!(principal(&sessions, &jar).await, None);
}

#[tokio::test]
async fn a_session_that_is_opened_outside_of_a_request_cannot_issue_a_token() {
    let sessions = sessions(&TestStore::default());
    let mut jar = Jar::default();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let token = get(&sessions, &jar).await.session.token().expect("stored");
    let opened = sessions
        .open(&token)
        .await
        .expect("no fault")
        .expect("live");
    assert!(!opened.is_new());
    for error in [
        opened.log_in("ann").expect_err("no response"),
        opened.renew().expect_err("no response"),
        opened.regenerate().expect_err("no response"),
    ] {
        assert_eq!(error.kind(), SessionErrorKind::CannotSetCookie);
    }
    opened.insert("note", "kept").expect("a write");
    let _ = opened.save().await.expect("no fault");
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_login_after_an_early_save_does_not_keep_the_token_of_a_concurrent_renewal() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let mut attacker = jar.clone();
    let login = post(&sessions, &jar).await;
    visit(&sessions, &mut attacker, |session| session.renew()).await;
    login.session.insert("own", &1).expect("a write");
    let _ = login.session.save().await.expect("merged over the renewal");
    login.session.log_in("ann").expect("open");
    let outcome = login.finish(&mut jar).await.expect("no fault");
    assert_eq!(outcome.kind(), OutcomeKind::LoggedIn);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
    assert_eq!(principal(&sessions, &attacker).await, None);
}

#[tokio::test]
async fn a_renewal_after_an_early_save_over_a_renewal_is_dropped() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let slow = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.renew()).await;
    slow.session.insert("own", &1).expect("a write");
    let _ = slow.session.save().await.expect("merged over the renewal");
    slow.session.renew().expect("open");
    let mut late = Jar::default();
    let outcome = slow.finish(&mut late).await.expect("no fault");
    assert!(!outcome.renewed);
    assert_eq!(late.cookie(), None);
    assert_eq!(get(&sessions, &jar).await.session.names(), ["cart", "own"]);
}
