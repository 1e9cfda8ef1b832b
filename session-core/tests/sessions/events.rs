//! What an observer is told.

use std::sync::{Arc, Mutex};

use session_core::{
    EndReason, SessionEvent, SessionEventKind, SessionId, Sessions, StoreErrorKind, WhenFull,
    testing::{Call, TestStore},
};

use crate::visit::{Jar, anonymous, builder, get, post, visit};

/// An event, with what it borrows.
type Told = (SessionEventKind, SessionId, Option<String>);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

impl Log {
    fn observer(&self) -> impl Fn(&SessionEvent<'_>) + Send + Sync + 'static {
        let log = self.0.clone();
        move |event| {
            let principal = event.principal.map(str::to_owned);
            let told = (event.kind, event.id, principal);
            log.lock().expect("no panic").push(told);
        }
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }

    fn kinds(&self) -> Vec<SessionEventKind> {
        self.take().into_iter().map(|(kind, ..)| kind).collect()
    }
}

fn observed(store: &TestStore) -> (Sessions, Log) {
    let log = Log::default();
    let builder = builder(store).on_event(log.observer());
    let builder = builder.max_sessions_per_principal(2, WhenFull::EvictOldest);
    (builder.build().expect("valid options"), log)
}

async fn id(sessions: &Sessions, jar: &Jar) -> SessionId {
    get(sessions, jar).await.session.id().expect("stored")
}

#[tokio::test]
async fn every_step_of_a_session_is_told_once_and_in_order() {
    use SessionEventKind::{Created, Ended, LoggedIn, Renewed};
    let (sessions, log) = observed(&TestStore::default());
    let mut jar = anonymous(&sessions).await;
    let first = id(&sessions, &jar).await;
    assert_eq!(log.take(), [(Created, first, None)]);
    visit(&sessions, &mut jar, |session| session.insert("a", &1)).await;
    assert_eq!(log.take(), []);
    visit(&sessions, &mut jar, |session| session.renew()).await;
    assert_eq!(log.take(), [(Renewed, first, None)]);
    visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
    let ann = || Some("ann".to_owned());
    assert_eq!(
        log.take(),
        [(Renewed, first, ann()), (LoggedIn, first, ann())]
    );
    visit(&sessions, &mut jar, |session| session.log_in("bob")).await;
    let (second, bob) = (id(&sessions, &jar).await, || Some("bob".to_owned()));
    assert_eq!(
        log.take(),
        [
            (Ended(EndReason::Regenerated), first, ann()),
            (Created, second, bob()),
            (LoggedIn, second, bob()),
        ]
    );
    visit(&sessions, &mut jar, |session| session.log_out()).await;
    assert_eq!(log.take(), [(Ended(EndReason::Destroyed), second, bob())]);
}

#[tokio::test]
async fn sessions_that_others_end_are_told_with_the_reason() {
    use SessionEventKind::Ended;
    let (sessions, log) = observed(&TestStore::default());
    let mut jars = Vec::new();
    for _ in 0..3 {
        let mut jar = Jar::default();
        visit(&sessions, &mut jar, |session| session.log_in("ann")).await;
        jars.push(jar);
    }
    let evicted = log
        .take()
        .into_iter()
        .filter(|(kind, ..)| matches!(kind, Ended(_)));
    let evicted: Vec<_> = evicted
        .map(|(kind, _, principal)| (kind, principal))
        .collect();
    assert_eq!(evicted, [(Ended(EndReason::Evicted), Some("ann".into()))]);
    assert_eq!(sessions.of("ann").end_all().await.expect("no fault"), 2);
    assert_eq!(log.kinds(), [Ended(EndReason::Revoked); 2]);
    let mut jar = anonymous(&sessions).await;
    let id = id(&sessions, &jar).await;
    log.take();
    sessions.end(&id).await.expect("no fault");
    assert_eq!(log.take(), [(Ended(EndReason::Revoked), id, None)]);
    visit(&sessions, &mut jar, |_| Ok(())).await;
    assert_eq!(log.take(), []);
}

#[tokio::test]
async fn what_the_store_has_not_confirmed_is_not_told() {
    let store = TestStore::default();
    let (sessions, log) = observed(&store);
    let mut jar = anonymous(&sessions).await;
    log.take();
    for call in [Call::Save, Call::Destroy] {
        let request = post(&sessions, &jar).await;
        match call {
            Call::Save => request.session.log_in("ann").expect("open"),
            _ => request.session.destroy().expect("open"),
        }
        store.fail(call, StoreErrorKind::Unavailable);
        request.finish(&mut jar).await.expect_err("the fault");
        assert_eq!(log.take(), [], "{call:?}");
    }
    // an answer that is lost is settled, and told once
    let request = post(&sessions, &jar).await;
    request.session.log_in("ann").expect("open");
    store.lose_answer(Call::Save);
    let _ = request.finish(&mut jar).await.expect("settled");
    use SessionEventKind::{Ended, LoggedIn, Renewed};
    assert_eq!(log.kinds(), [Renewed, LoggedIn]);
    store.lose_answer(Call::Destroy);
    assert_eq!(sessions.of("ann").end_all().await.expect("settled"), 1);
    assert_eq!(log.kinds(), [Ended(EndReason::Revoked)]);
}

/// A login is told when it is acknowledged, which is after the session is listed.
#[tokio::test]
async fn a_login_is_told_when_it_is_listed() {
    let store = TestStore::default().with_split_index();
    let (sessions, log) = observed(&store);
    let login = post(&sessions, &Jar::default()).await;
    login.session.log_in("ann").expect("open");
    store.fail(Call::Put, StoreErrorKind::Unavailable);
    login.session.save().await.expect_err("not listed");
    assert_eq!(log.take(), []);
    let _ = login.finish(&mut Jar::default()).await.expect("listed");
    use SessionEventKind::{Created, LoggedIn};
    assert_eq!(log.kinds(), [Created, LoggedIn]);
}

#[tokio::test]
async fn of_two_logouts_one_ends_the_session() {
    let (sessions, log) = observed(&TestStore::default());
    let jar = anonymous(&sessions).await;
    let (first, second) = (post(&sessions, &jar).await, post(&sessions, &jar).await);
    log.take();
    for request in [first, second] {
        request.session.log_out().expect("open");
        let _ = request.finish(&mut Jar::default()).await.expect("no fault");
    }
    assert_eq!(log.kinds(), [SessionEventKind::Ended(EndReason::Destroyed)]);
}

/// A write in doubt that turns out to be applied when the session is read again.
#[tokio::test]
async fn a_session_that_a_reload_settles_is_told() {
    let store = TestStore::default();
    let (sessions, log) = observed(&store);
    let request = post(&sessions, &Jar::default()).await;
    request.session.insert("a", &1).expect("a write");
    store.lose_answer(Call::Create);
    store.fail(Call::Load, StoreErrorKind::Unavailable);
    request.session.save().await.expect_err("in doubt");
    assert_eq!(log.take(), []);
    request.session.reload().await.expect("settled");
    let _ = request.finish(&mut Jar::default()).await.expect("no fault");
    assert_eq!(log.kinds(), [SessionEventKind::Created]);
}
