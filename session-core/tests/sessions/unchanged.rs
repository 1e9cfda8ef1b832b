//! `require_unchanged`: of several concurrent requests that claim something, one succeeds.

use session_core::{
    ExpressOptions, Session, SessionError, SessionErrorKind, Sessions, testing::TestStore,
};

use crate::visit::{Jar, builder, get, post, sessions, visit};

type Claim = fn(&Session) -> Result<(), SessionError>;

const CLAIMS: [(&str, Claim); 5] = [
    ("remove", |session| session.remove::<u32>("code").map(drop)),
    ("destroy", Session::destroy),
    ("destroy and write", |session| {
        session.destroy()?;
        session.insert("flash", "done")
    }),
    ("regenerate", Session::regenerate),
    ("log_in", |session| session.log_in("ann")),
];

async fn with_code(sessions: &Sessions) -> Jar {
    let mut jar = Jar::default();
    visit(sessions, &mut jar, |session| session.insert("code", &42)).await;
    jar
}

#[tokio::test]
async fn of_two_claims_exactly_one_succeeds() {
    let mut pairs = 0;
    for (first_name, first_claim) in CLAIMS {
        for (second_name, second_claim) in CLAIMS {
            let sessions = sessions(&TestStore::default());
            let jar = with_code(&sessions).await;
            let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
            for request in [&first, &second] {
                request.session.require_unchanged();
                assert!(request.session.contains("code"));
            }
            first_claim(&first.session).expect("noted");
            second_claim(&second.session).expect("noted");
            let _ = first
                .finish(&mut jar.clone())
                .await
                .expect("the first claim");
            let session = second.session.clone();
            let error = second.finish(&mut jar.clone()).await;
            let error = error.expect_err(&format!("{first_name}, then {second_name}"));
            assert!(
                matches!(
                    error.kind(),
                    SessionErrorKind::Conflict | SessionErrorKind::Gone
                ),
                "{first_name}, then {second_name}: {error:?}"
            );
            drop(session);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 25);
}

#[tokio::test]
async fn a_refused_claim_is_refused_again_at_the_end_of_the_request() {
    for (name, claim) in CLAIMS {
        let sessions = sessions(&TestStore::default());
        let jar = with_code(&sessions).await;
        let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
        for request in [&first, &second] {
            request.session.require_unchanged();
            request.session.destroy().expect("noted");
        }
        let _ = first
            .finish(&mut jar.clone())
            .await
            .expect("the first claim");
        let third = second;
        claim(&third.session).expect("noted");
        third.session.save().await.expect_err("refused");
        third.finish(&mut jar.clone()).await.expect_err(name);
    }
}

#[tokio::test]
async fn a_mere_reader_makes_no_conflict() {
    let express = ExpressOptions::new().rolling(true).resave(true);
    for (name, claim) in CLAIMS {
        let store = TestStore::default();
        let sessions = builder(&store)
            .express(express)
            .build()
            .expect("valid options");
        let jar = with_code(&sessions).await;
        let claiming = post(&sessions, &jar).await;
        claiming.session.require_unchanged();
        claim(&claiming.session).expect("noted");
        let reading = get(&sessions, &jar).await;
        let outcome = reading.finish(&mut jar.clone()).await.expect("no fault");
        assert!(outcome.saved, "it wrote a new version");
        claiming
            .finish(&mut jar.clone())
            .await
            .map(drop)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!get(&sessions, &jar).await.session.contains("code"));
    }
}

#[tokio::test]
async fn a_request_that_only_touches_the_session_checks_nothing() {
    let sessions = sessions(&TestStore::default());
    let mut jar = with_code(&sessions).await;
    let touching = post(&sessions, &jar).await;
    touching.session.require_unchanged();
    touching.session.touch().expect("noted");
    visit(&sessions, &mut jar, |session| session.insert("other", &1)).await;
    let outcome = touching.finish(&mut jar).await.expect("nothing is claimed");
    assert_eq!(outcome.lost, None);
}

#[tokio::test]
async fn a_concurrent_change_of_the_contents_is_a_conflict() {
    let sessions = sessions(&TestStore::default());
    let mut jar = with_code(&sessions).await;
    let claiming = post(&sessions, &jar).await;
    claiming.session.require_unchanged();
    claiming.session.insert("claimed", &true).expect("a write");
    visit(&sessions, &mut jar, |session| session.insert("other", &1)).await;
    let error = claiming.finish(&mut jar).await.expect_err("changed");
    assert_eq!(error.kind(), SessionErrorKind::Conflict);
    assert!(!get(&sessions, &jar).await.session.contains("claimed"));
}

#[tokio::test]
async fn a_request_that_writes_nothing_checks_nothing() {
    let sessions = sessions(&TestStore::default());
    let mut jar = with_code(&sessions).await;
    let reading = post(&sessions, &jar).await;
    reading.session.require_unchanged();
    visit(&sessions, &mut jar, |session| session.insert("other", &1)).await;
    let _ = reading.finish(&mut jar).await.expect("nothing is claimed");
}
