//! Requests whose token is replaced by a renewal, before or while they run.

use std::time::Duration;

use session_core::{
    Loss, OnLost, OutcomeKind, SessionErrorKind,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{anonymous, builder, get, post, principal, sessions, visit};

#[tokio::test]
async fn a_request_that_arrives_with_the_old_token_just_after_a_login_does_not_undo_it() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let sent_before = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;

    let poll = get(&sessions, &sent_before).await;
    assert_eq!(poll.session.principal(), None);
    assert_eq!(poll.session.get::<String>("cart").expect("text"), None);
    poll.session.insert("seen", &1).expect("a write");
    let outcome = poll
        .finish(&mut jar)
        .await
        .expect("the response of a GET is sent");
    assert_eq!(outcome.lost, Some(Loss::Superseded));
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));

    let submit = post(&sessions, &sent_before).await;
    submit.session.insert("seen", &1).expect("a write");
    let error = submit
        .finish(&mut jar)
        .await
        .expect_err("lost writes of a POST");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn an_explicit_save_of_a_superseded_request_is_an_error_and_is_reported_once() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let late = post(&sessions, &old).await;
    late.session.insert("seen", &1).expect("a write");
    let error = late.session.save().await.expect_err("lost");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    let outcome = late.finish(&mut jar).await.expect("reported already");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
}

#[tokio::test]
async fn after_the_grace_an_old_token_is_an_unknown_one() {
    let clock = ManualClock::default();
    let store = TestStore::default();
    let sessions = builder(&store)
        .clock(clock.clone())
        .build()
        .expect("valid options");
    let mut jar = anonymous(&sessions).await;
    let mut old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    clock.advance(Duration::from_secs(10));
    let before = old.clone();
    visit(&sessions, &mut old, |session| session.insert("seen", &1)).await;
    assert_ne!(before, old, "a new session begins");
    assert_eq!(principal(&sessions, &old).await, None);
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn the_grace_is_judged_when_the_request_loads() {
    let clock = ManualClock::default();
    let sessions = builder(&TestStore::default())
        .clock(clock.clone())
        .build()
        .expect("valid");
    let mut jar = anonymous(&sessions).await;
    let old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let slow = get(&sessions, &old).await;
    slow.session.insert("seen", &1).expect("a write");
    clock.advance(Duration::from_secs(60));
    let outcome = slow.finish(&mut jar).await.expect("a GET");
    assert_eq!(outcome.lost, Some(Loss::Superseded));
    assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn nobody_is_told_that_they_are_logged_out_while_the_session_lives() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let old = jar.clone();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    for end in [
        session_core::Session::destroy,
        session_core::Session::regenerate,
    ] {
        let late = get(&sessions, &old).await;
        end(&late.session).expect("noted");
        let error = late.finish(&mut jar).await.expect_err("the session lives");
        assert_eq!(error.kind(), SessionErrorKind::Superseded);
        assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
    }
}

#[tokio::test]
async fn a_request_that_a_login_overtakes_neither_reads_nor_changes_the_session_of_the_user() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut victim = anonymous(&sessions).await;
    let mut attacker = victim.clone();
    let attack = post(&sessions, &attacker).await;
    let read_only = post(&sessions, &attacker).await;
    let end = post(&sessions, &attacker).await;
    let renew = post(&sessions, &attacker).await;
    visit(&sessions, &mut victim, |session| {
        session.log_in("ann")?;
        session.insert("email", "ann@example.com")
    })
    .await;

    attack
        .session
        .insert("email", "attacker@example.com")
        .expect("a write");
    let error = attack.session.save().await.expect_err("no authority");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    assert_eq!(
        attack.session.get::<String>("email").expect("text"),
        None,
        "sees nothing of it"
    );
    assert_eq!(attack.session.principal(), None);
    let error = attack
        .session
        .insert("email", "again")
        .expect_err("no authority");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);
    let outcome = attack
        .finish(&mut attacker)
        .await
        .expect("reported already");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);

    read_only.session.touch().expect("noted");
    let _ = read_only.session.save().await.expect("nothing is lost");
    assert_eq!(
        read_only.session.get::<String>("email").expect("text"),
        None
    );

    end.session.destroy().expect("noted");
    let error = end.finish(&mut attacker).await.expect_err("no authority");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);

    renew.session.renew().expect("noted");
    let error = renew.finish(&mut attacker).await.expect_err("no authority");
    assert_eq!(error.kind(), SessionErrorKind::Superseded);

    let user = get(&sessions, &victim).await.session;
    assert_eq!(user.principal().as_deref(), Some("ann"));
    let email: Option<String> = user.get("email").expect("text");
    assert_eq!(email.as_deref(), Some("ann@example.com"));
}

#[tokio::test]
async fn an_end_that_a_login_overtakes_is_refused_once_and_leaves_nothing_behind() {
    for end in [
        session_core::Session::destroy,
        session_core::Session::regenerate,
    ] {
        let store = TestStore::default();
        let sessions = sessions(&store);
        let mut jar = anonymous(&sessions).await;
        let request = post(&sessions, &jar).await;
        end(&request.session).expect("noted");
        visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
        let error = request.session.save().await.expect_err("no authority");
        assert_eq!(error.kind(), SessionErrorKind::Superseded);
        assert!(request.session.names().is_empty());
        let outcome = request.finish(&mut jar).await.expect("reported already");
        assert_eq!(outcome.kind(), OutcomeKind::Untouched);
        assert_eq!(principal(&sessions, &jar).await.as_deref(), Some("ann"));
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test]
async fn a_request_that_a_mere_renewal_overtakes_keeps_its_authority() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let writing = post(&sessions, &jar).await;
    let renewing = post(&sessions, &jar).await;
    let ending = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.renew()).await;
    let renewed = jar.clone();

    writing.session.insert("note", "kept").expect("a write");
    let outcome = writing.finish(&mut jar).await.expect("merged");
    assert_eq!(outcome.kind(), OutcomeKind::Saved);
    assert_eq!(jar, renewed, "without a cookie");

    renewing.session.insert("other", "kept").expect("a write");
    renewing.session.renew().expect("noted");
    let outcome = renewing.finish(&mut jar).await.expect("merged");
    assert!(outcome.saved && !outcome.renewed);
    assert_eq!(jar, renewed, "its own renewal is dropped");
    let session = get(&sessions, &jar).await.session;
    assert_eq!(session.names(), ["cart", "note", "other"]);

    // after an early save it is told the truth, too
    let _ = ending.session.save().await.expect("no fault");
    ending.session.destroy().expect("noted");
    let outcome = ending.finish(&mut jar).await.expect("authorized");
    assert_eq!(outcome.kind(), OutcomeKind::Destroyed);
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_superseded_request_does_not_extend_the_life_of_the_session() {
    const MINUTE: Duration = Duration::from_secs(60);
    let clock = ManualClock::default();
    let store = TestStore::new(session_core::MemoryStore::with_clock(clock.clone()));
    let sessions = builder(&store)
        .clock(clock.clone())
        .idle_timeout(30 * MINUTE)
        .build()
        .expect("valid options");
    let mut jar = anonymous(&sessions).await;
    let stream = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.renew()).await;
    for _ in 0..10 {
        clock.advance(4 * MINUTE);
        stream.session.touch().expect("noted");
        let _ = stream.session.save().await;
    }
    assert!(store.inner().is_empty() || get(&sessions, &jar).await.session.is_new());
    assert_eq!(
        stream
            .session
            .save()
            .await
            .expect("nothing to write")
            .kind(),
        OutcomeKind::Untouched
    );
}

#[tokio::test]
async fn an_early_save_that_was_merged_over_a_renewal_is_no_loss() {
    let sessions = builder(&TestStore::default())
        .on_lost(OnLost::Reject(http::StatusCode::UNAUTHORIZED))
        .build()
        .expect("valid options");
    let mut jar = anonymous(&sessions).await;
    let writing = post(&sessions, &jar).await;
    visit(&sessions, &mut jar, |session| session.renew()).await;
    writing.session.insert("note", "kept").expect("a write");
    let outcome = writing.session.save().await.expect("merged");
    assert!(outcome.saved);
    let outcome = writing.finish(&mut jar).await.expect("nothing is lost");
    assert_eq!(outcome.kind(), OutcomeKind::Untouched);
}

#[tokio::test]
async fn a_loss_is_answered_as_configured() {
    let expect = [
        (OnLost::Discard, None),
        (OnLost::ByMethod, Some(SessionErrorKind::Gone)),
        (
            OnLost::Reject(http::StatusCode::UNAUTHORIZED),
            Some(SessionErrorKind::Rejected(http::StatusCode::UNAUTHORIZED)),
        ),
    ];
    for (on_lost, expected) in expect {
        let store = TestStore::default();
        let sessions = builder(&store)
            .on_lost(on_lost)
            .build()
            .expect("valid options");
        let mut jar = anonymous(&sessions).await;
        let slow = post(&sessions, &jar).await;
        visit(&sessions, &mut jar.clone(), |session| session.destroy()).await;
        slow.session.insert("note", "lost").expect("a write");
        let result = slow.finish(&mut jar).await;
        assert_eq!(
            result.as_ref().err().map(|error| error.kind()),
            expected,
            "{on_lost:?}"
        );
        if let Ok(outcome) = result {
            assert_eq!(outcome.lost, Some(Loss::Gone));
        }
    }
}

#[tokio::test]
async fn a_live_token_wins_over_superseded_ones() {
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut jar = anonymous(&sessions).await;
    let old = jar.cookie().expect("set").to_owned();
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let new = jar.cookie().expect("set").to_owned();
    store.take_calls();
    let name = crate::visit::COOKIE;
    let request = http::Request::builder()
        .header("cookie", format!("{name}={old}; {name}={new}"))
        .body(())
        .expect("a request");
    let session = sessions.begin(&request).load().await.expect("no fault");
    assert_eq!(session.principal().as_deref(), Some("ann"));
    assert_eq!(store.take_calls(), [Call::Load, Call::Load]);
}

#[tokio::test]
async fn a_superseded_token_opens_nothing_outside_of_a_request() {
    let sessions = sessions(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let token = get(&sessions, &jar).await.session.token().expect("stored");
    assert!(sessions.open(&token).await.expect("no fault").is_some());
    visit(&sessions, &mut jar, |session| session.renew()).await;
    assert!(sessions.open(&token).await.expect("no fault").is_none());
}
