//! Logins: what they do to the tokens from before, and to requests that are under way.

use session_core::{Loss, OnLost, OutcomeKind, Session, SessionErrorKind};
use test_support::Browser;

use super::{COOKIE, MIN, VIEWS, count, counted, principal};
use crate::visit::{
    Act, Tested, begin, builder, finish, on_every_store, outcome, sessions, set_cookies, visit,
};

on_every_store! {
    a_login_replaces_the_token_on_every_instance
    a_login_as_somebody_else_begins_an_empty_session
    a_login_form_that_is_sent_twice_leaves_two_working_cookies
    a_request_that_a_login_overtakes_has_no_authority
    a_slow_write_of_one_user_is_not_stored_for_the_next
    a_late_response_with_an_old_token_does_not_undo_the_login
    a_write_that_races_with_a_renewal_is_kept
}

async fn a_login_replaces_the_token_on_every_instance(store: Tested) {
    let (one, other) = (sessions(&store), sessions(&store));
    let mut browser = Browser::new();
    visit(&one, &mut browser, count).await;
    let mut id = begin(&one, &browser).await.1.id();
    for (name, continues) in [("ann", true), ("ann", true), ("root", false)] {
        let old = browser.clone();
        visit(&one, &mut browser, |session| session.log_in(name)).await;
        assert_ne!(old.cookie(COOKIE), browser.cookie(COOKIE));
        for instance in [&one, &other] {
            assert!(
                begin(instance, &old).await.1.is_new(),
                "the old token opens nothing"
            );
            assert_eq!(principal(instance, &browser).await.as_deref(), Some(name));
        }
        let next = begin(&one, &browser).await.1.id();
        assert_eq!(next == id, continues, "{name}");
        id = next;
    }
    assert_eq!(store.inner().len(), 1);
}

async fn a_login_as_somebody_else_begins_an_empty_session(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.log_in("ann")?;
        session.insert("secret", "of ann")
    })
    .await;
    let anns = browser.clone();
    let (handle, session) = begin(&sessions, &browser).await;
    session.log_in("bob").expect("accepted");
    assert!(!session.contains("secret"));
    let kind = outcome(&sessions, &handle, &mut browser).await;
    assert_eq!(kind, OutcomeKind::LoggedIn);
    assert_eq!(principal(&sessions, &browser).await.as_deref(), Some("bob"));
    assert!(!begin(&sessions, &browser).await.1.contains("secret"));
    assert!(begin(&sessions, &anns).await.1.is_new());
    assert_eq!(store.inner().len(), 1, "the session of ann has ended");
}

/// The browser keeps the cookie of whichever response arrives last.
async fn a_login_form_that_is_sent_twice_leaves_two_working_cookies(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| {
        session.insert("cart", "tea")
    })
    .await;
    let (mut one, mut two) = (browser.clone(), browser.clone());
    let (first, session) = begin(&sessions, &one).await;
    session.log_in("ann").expect("accepted");
    let (second, session) = begin(&sessions, &two).await;
    session.log_in("ann").expect("accepted");
    count(&session).expect("writable");
    for (handle, browser) in [(first, &mut one), (second, &mut two)] {
        let kind = outcome(&sessions, &handle, browser).await;
        assert_eq!(kind, OutcomeKind::LoggedIn);
    }
    assert_ne!(one.cookie(COOKIE), two.cookie(COOKIE));
    for browser in [&one, &two] {
        let session = begin(&sessions, browser).await.1;
        assert_eq!(session.principal().as_deref(), Some("ann"));
        assert_eq!(session.names(), ["cart", "views"]);
    }
    assert!(begin(&sessions, &browser).await.1.is_new());
    assert_eq!(store.inner().len(), 1);
}

/// A token that was planted in a browser, and held in a slow request until its owner logs in.
async fn a_request_that_a_login_overtakes_has_no_authority(store: Tested) {
    let acts: [(Act, Result<OutcomeKind, SessionErrorKind>); 6] = [
        (|_| Ok(()), Ok(OutcomeKind::Untouched)),
        (Session::touch, Ok(OutcomeKind::Untouched)),
        (
            |session| session.insert("planted", &true),
            Err(SessionErrorKind::Superseded),
        ),
        (Session::renew, Err(SessionErrorKind::Superseded)),
        (Session::destroy, Err(SessionErrorKind::Superseded)),
        (Session::regenerate, Err(SessionErrorKind::Superseded)),
    ];
    for (n, (act, expected)) in acts.into_iter().enumerate() {
        let store = store.inner().emptied();
        let sessions = sessions(&store);
        let mut victim = Browser::new();
        visit(&sessions, &mut victim, count).await;
        let mut attacker = victim.clone();
        let (handle, held) = begin(&sessions, &attacker).await;
        visit(&sessions, &mut victim, |session| {
            session.log_in("ann")?;
            session.insert("secret", "42")
        })
        .await;
        act(&held).expect("accepted");
        let finished = finish(&sessions, &handle, &mut attacker).await;
        let finished = finished.map(|(outcome, _)| outcome.kind());
        assert_eq!(finished.map_err(|error| error.kind()), expected, "{n}");
        assert!(!held.contains("secret") && held.principal().is_none());
        assert!(begin(&sessions, &attacker).await.1.is_new());
        let session = begin(&sessions, &victim).await.1;
        assert_eq!(session.principal().as_deref(), Some("ann"));
        assert_eq!(session.names(), ["secret", "views"]);
        assert_eq!(store.inner().len(), 1, "{n}");
    }
}

async fn a_slow_write_of_one_user_is_not_stored_for_the_next(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| session.log_in("ann")).await;
    let mut slow_browser = browser.clone();
    let (handle, slow) = begin(&sessions, &slow_browser).await;
    slow.insert("draft", "of ann").expect("writable");
    visit(&sessions, &mut browser, |session| session.log_in("bob")).await;
    let error = finish(&sessions, &handle, &mut slow_browser).await;
    assert_eq!(
        error.expect_err("the session of ann has ended").kind(),
        SessionErrorKind::Gone
    );
    assert!(!begin(&sessions, &browser).await.1.contains("draft"));
}

/// The request was sent before the login, and is served after it.
async fn a_late_response_with_an_old_token_does_not_undo_the_login(store: Tested) {
    let sessions = builder(&store)
        .on_lost(OnLost::Discard)
        .supersede_grace(10 * MIN)
        .build()
        .expect("valid options");
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let sent_before = browser.clone();
    visit(&sessions, &mut browser, |session| session.log_in("ann")).await;

    let (handle, session) = begin(&sessions, &sent_before).await;
    assert_eq!(session.get(VIEWS).expect("a number"), None);
    count(&session).expect("writable");
    let (outcome, response) = finish(&sessions, &handle, &mut browser)
        .await
        .expect("discarded");
    assert_eq!(outcome.lost, Some(Loss::Superseded));
    assert!(set_cookies(&response).is_empty());
    let (handle, session) = begin(&sessions, &sent_before).await;
    session.destroy().expect("accepted");
    let error = finish(&sessions, &handle, &mut browser).await;
    assert_eq!(
        error.expect_err("the session lives").kind(),
        SessionErrorKind::Superseded
    );
    assert_eq!(principal(&sessions, &browser).await.as_deref(), Some("ann"));
    assert_eq!(counted(&sessions, &mut browser).await, Some(1));
    assert_eq!(store.inner().len(), 1);
}

/// The slow request loaded the session before the renewal. Its write is kept, and the renewal too.
async fn a_write_that_races_with_a_renewal_is_kept(store: Tested) {
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, count).await;
    let mut slow_browser = browser.clone();
    let (handle, slow) = begin(&sessions, &slow_browser).await;
    count(&slow).expect("writable");
    slow.renew().expect("accepted");
    visit(&sessions, &mut browser, Session::renew).await;
    let (outcome, response) = finish(&sessions, &handle, &mut slow_browser)
        .await
        .expect("merged");
    assert_eq!(outcome.kind(), OutcomeKind::Saved);
    assert!(
        set_cookies(&response).is_empty(),
        "its token must not replace the new one in the browser"
    );
    assert_eq!(counted(&sessions, &mut browser).await, Some(2));
}
