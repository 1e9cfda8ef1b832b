//! Sessions that are kept in the process: what is answered without the store, and what is not.

use std::time::Duration;

use http::{Method, Request, Response, header};
use session_core::{
    Builder, ConfigError, Created, Destroy, Destroyed, LoadMode, Loaded, MemoryStore, NearCache,
    Saved, Session, SessionErrorKind, SessionHandle, SessionId, Sessions, Store, StoreError,
    Touched, Version, Write,
    testing::{Call, ManualClock, TestStore},
};

use crate::visit::{Jar, Visit, builder, drop_after, visit};

const MINUTE: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(3);

/// Two instances with a near cache each, and a browser whose session both keep.
struct Kept {
    clock: ManualClock,
    store: TestStore,
    here: Sessions,
    elsewhere: Sessions,
    jar: Jar,
}

async fn kept() -> Kept {
    kept_by(|builder| builder).await
}

async fn kept_by(configure: impl Fn(Builder) -> Builder) -> Kept {
    kept_in(|store| store, configure).await
}

async fn kept_in(
    adapt: impl Fn(TestStore) -> TestStore,
    configure: impl Fn(Builder) -> Builder,
) -> Kept {
    let clock = ManualClock::default();
    let store = adapt(TestStore::new(MemoryStore::with_clock(clock.clone())));
    let instance = || {
        let builder = builder(&store)
            .clock(clock.clone())
            .near_cache(NearCache::new().lease(LEASE));
        configure(builder).build().expect("valid options")
    };
    let (here, elsewhere) = (instance(), instance());
    let mut jar = Jar::default();
    visit(&here, &mut jar, |session| {
        session.log_in("ann")?;
        session.insert("a", &1)
    })
    .await;
    let kept = Kept {
        clock,
        store,
        here,
        elsewhere,
        jar,
    };
    for instance in [&kept.here, &kept.elsewhere] {
        kept.read(instance).await;
    }
    kept.store.take_calls();
    kept
}

impl Kept {
    fn handle(&self, sessions: &Sessions) -> SessionHandle {
        let request = Request::builder().header(header::COOKIE, self.jar.header());
        sessions.begin(&request.body(()).expect("a request"))
    }

    /// A request that reads: who is logged in, and the value of `a`.
    async fn read(&self, sessions: &Sessions) -> (Option<String>, Option<u32>) {
        let handle = self.handle(sessions);
        let session = handle.load().await.expect("no fault");
        let seen = seen(&session);
        let _ = sessions.finish(&handle, &mut Response::new(())).await;
        seen
    }

    /// A request that writes, with the cookies of the browser.
    async fn write(&mut self, value: u32) {
        let elsewhere = self.elsewhere.clone();
        visit(&elsewhere, &mut self.jar, |session| {
            session.insert("a", &value)
        })
        .await;
        self.store.take_calls();
    }

    async fn log_out_elsewhere(&self) {
        let mut jar = self.jar.clone();
        visit(&self.elsewhere, &mut jar, |session| session.destroy()).await;
        assert_eq!(jar.cookie(), None, "logged out");
        self.store.take_calls();
    }
}

fn seen(session: &Session) -> (Option<String>, Option<u32>) {
    (session.principal(), session.get("a").expect("a number"))
}

fn ann(a: u32) -> (Option<String>, Option<u32>) {
    (Some("ann".to_owned()), Some(a))
}

#[tokio::test]
async fn reads_cost_no_call() {
    let kept = kept().await;
    for _ in 0..3 {
        assert_eq!(kept.read(&kept.here).await, ann(1));
        let handle = kept.handle(&kept.here);
        assert_eq!(seen(&handle.peek().await.expect("no fault")), ann(1));
    }
    assert_eq!(kept.store.take_calls(), []);
    let stats = kept.here.near_cache_stats().expect("a near cache");
    assert_eq!((stats.hits, stats.misses, stats.records), (6, 1, 1));
    assert!(stats.bytes > 0);
}

#[tokio::test]
async fn an_instance_sees_its_own_write_whatever_is_announced() {
    let mut kept = kept().await;
    kept.store.hold_announcements();
    kept.write(2).await;
    assert_eq!(kept.read(&kept.elsewhere).await, ann(2));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
    // the other one has not heard of it
    assert_eq!(kept.read(&kept.here).await, ann(1));
    assert_eq!(kept.store.take_calls(), []);
    assert!(kept.store.deliver_announcements() > 0);
    assert_eq!(kept.read(&kept.here).await, ann(2));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
}

#[tokio::test]
async fn an_instance_sees_a_write_whose_answer_it_did_not_wait_for() {
    for (polls, calls) in [(0, vec![]), (1, vec![Call::Save]), (2, vec![Call::Save])] {
        let kept = kept_in(TestStore::yielding, |builder| builder).await;
        kept.store.hold_announcements();
        let handle = kept.handle(&kept.here);
        let session = handle.load().await.expect("no fault");
        session.insert("a", &2).expect("accepted");
        drop_after(polls, session.save()).await;
        assert_eq!(kept.store.take_calls(), calls);
        assert_eq!(kept.read(&kept.here).await, ann(1), "not acknowledged");
        assert_eq!(kept.store.take_calls(), []);
        let _ = session.save().await.expect("settled");
        kept.store.take_calls();
        assert_eq!(kept.read(&kept.here).await, ann(2), "{polls} polls");
        assert_eq!(kept.store.take_calls(), [Call::Load]);
    }
}

#[tokio::test]
async fn a_logout_is_in_effect_on_every_instance_once_it_is_announced() {
    let kept = kept().await;
    kept.store.hold_announcements();
    kept.log_out_elsewhere().await;
    assert_eq!(kept.read(&kept.elsewhere).await, (None, None));
    assert_eq!(kept.read(&kept.here).await, ann(1));
    assert!(kept.store.deliver_announcements() > 0);
    assert_eq!(kept.read(&kept.here).await, (None, None));
}

#[tokio::test]
async fn a_logout_that_is_not_announced_is_in_effect_after_the_lease() {
    let kept = kept().await;
    kept.store.hold_announcements();
    kept.log_out_elsewhere().await;
    kept.store.silence_feed(LEASE);
    assert_eq!(kept.read(&kept.here).await, ann(1));
    kept.store.silence_feed(LEASE + Duration::from_millis(1));
    assert_eq!(kept.read(&kept.here).await, (None, None));
}

#[tokio::test]
async fn nothing_is_served_after_its_feed_has_ended() {
    let kept = kept().await;
    kept.store.hold_announcements();
    kept.log_out_elsewhere().await;
    kept.store.interrupt_feed();
    assert_eq!(kept.read(&kept.here).await, (None, None));
    assert_eq!(kept.store.deliver_announcements(), 0);
}

#[tokio::test]
async fn a_record_is_kept_again_after_an_interruption() {
    let kept = kept().await;
    kept.store.interrupt_feed();
    for calls in [vec![Call::Load], vec![]] {
        assert_eq!(kept.read(&kept.here).await, ann(1));
        assert_eq!(kept.store.take_calls(), calls);
    }
}

#[tokio::test]
async fn a_token_that_is_not_confirmed_is_looked_up_in_the_store() {
    let mut kept = kept().await;
    kept.store.hold_announcements();
    let old = kept.jar.clone();
    let elsewhere = kept.elsewhere.clone();
    visit(&elsewhere, &mut kept.jar, |session| session.renew()).await;
    kept.store.take_calls();
    // what is kept has the secret before
    assert_eq!(kept.read(&kept.here).await, ann(1));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
    // and now the new one
    assert_eq!(kept.read(&kept.here).await, ann(1));
    assert_eq!(kept.store.take_calls(), []);
    kept.jar = old;
    assert_eq!(kept.read(&kept.here).await, (None, None));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
    // a lookup that asks the store is no hit, whatever is kept
    let stats = kept.here.near_cache_stats().expect("a near cache");
    assert_eq!((stats.hits, stats.misses), (1, 3));
}

#[tokio::test]
async fn an_expired_record_is_not_served() {
    let kept = kept_by(|builder| builder.idle_timeout(MINUTE).touch_after(MINUTE / 2)).await;
    kept.clock.advance(MINUTE - Duration::from_millis(1));
    let peeked = kept.handle(&kept.here).peek().await.expect("no fault");
    assert_eq!(seen(&peeked), ann(1));
    assert_eq!(kept.store.take_calls(), []);
    kept.clock.advance(Duration::from_millis(1));
    assert_eq!(kept.read(&kept.here).await, (None, None));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
}

#[tokio::test]
async fn an_old_session_is_not_served() {
    let kept = kept_by(|builder| builder.absolute_timeout(5 * MINUTE)).await;
    kept.clock.advance(5 * MINUTE);
    assert_eq!(kept.read(&kept.here).await, (None, None));
}

#[tokio::test]
async fn reads_extend_the_life_as_without_a_cache() {
    let kept = kept().await;
    kept.clock.advance(10 * MINUTE);
    assert_eq!(kept.read(&kept.here).await, ann(1));
    assert_eq!(kept.store.take_calls(), [Call::Touch]);
    kept.clock.advance(25 * MINUTE);
    assert_eq!(
        kept.read(&kept.here).await,
        ann(1),
        "35 minutes after the login"
    );
}

#[tokio::test]
async fn a_write_on_what_is_outdated_is_merged() {
    let mut kept = kept().await;
    kept.store.hold_announcements();
    kept.write(2).await;
    let here = kept.here.clone();
    visit(&here, &mut kept.jar, |session| {
        assert_eq!(seen(session), ann(1), "outdated");
        session.update("a", |a: Option<u32>| a.unwrap_or(0) + 10)
    })
    .await;
    assert_eq!(kept.store.take_calls(), [Call::Save, Call::Save]);
    assert_eq!(kept.read(&kept.here).await, ann(12));
}

#[tokio::test]
async fn a_logout_through_what_is_outdated_is_final() {
    let mut kept = kept().await;
    kept.store.hold_announcements();
    kept.write(2).await;
    let here = kept.here.clone();
    let mut jar = kept.jar.clone();
    visit(&here, &mut jar, |session| session.destroy()).await;
    assert_eq!(kept.store.take_calls(), [Call::Destroy, Call::Destroy]);
    assert_eq!(jar.cookie(), None);
    assert!(kept.store.deliver_announcements() > 0);
    for instance in [&kept.here, &kept.elsewhere] {
        assert_eq!(kept.read(instance).await, (None, None));
    }
}

#[tokio::test]
async fn a_fresh_load_asks_the_store() {
    let kept = kept().await;
    kept.store.hold_announcements();
    kept.log_out_elsewhere().await;
    let session = kept.handle(&kept.here).load_fresh().await;
    assert_eq!(seen(&session.expect("no fault")), (None, None));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
}

#[tokio::test]
async fn the_load_mode_of_a_request_can_be_fresh() {
    let kept = kept_by(|builder| builder.load_mode(|_| LoadMode::Fresh)).await;
    kept.store.hold_announcements();
    kept.log_out_elsewhere().await;
    assert_eq!(kept.read(&kept.here).await, (None, None));
}

/// Both get the same session, and the request extends its life because one of them does.
#[tokio::test]
async fn a_load_that_needs_no_call_does_not_wait_for_one_that_does() {
    let kept = kept().await;
    kept.clock.advance(10 * MINUTE);
    let handle = kept.handle(&kept.here);
    let gate = kept.store.hold(Call::Load);
    let fresh = tokio::spawn({
        let handle = handle.clone();
        async move { handle.load_fresh().await }
    });
    gate.arrived().await;
    let peeked = handle.peek().await.expect("no fault");
    assert_eq!(seen(&peeked), ann(1));
    gate.open();
    let fresh = fresh.await.expect("no panic").expect("no fault");
    assert_eq!(seen(&fresh), ann(1));
    let result = kept.here.finish(&handle, &mut Response::new(())).await;
    assert!(result.expect("no fault").touched);
    // the record that was peeked at is compared with the stored one
    let calls = [Call::Load, Call::Load, Call::Touch];
    assert_eq!(kept.store.take_calls(), calls);
}

#[tokio::test]
async fn a_fresh_load_after_another_one_finds_what_is_stored() {
    let mut kept = kept().await;
    kept.store.hold_announcements();
    kept.write(2).await;
    let handle = kept.handle(&kept.here);
    let session = handle.load().await.expect("no fault");
    session.insert("b", &7).expect("accepted");
    assert_eq!(seen(&session), ann(1));
    let fresh = handle.load_fresh().await.expect("no fault");
    assert_eq!(seen(&fresh), ann(2));
    assert_eq!(fresh.get::<u32>("b").expect("a number"), Some(7));
    assert_eq!(kept.store.take_calls(), [Call::Load]);
    let _ = handle.load_fresh().await.expect("no fault");
    assert_eq!(kept.store.take_calls(), [], "it is fresh already");
    let result = kept.here.finish(&handle, &mut Response::new(())).await;
    assert!(result.expect("no fault").saved);
    assert_eq!(kept.store.take_calls(), [Call::Save]);
}

#[tokio::test]
async fn a_fresh_load_after_another_one_fails_if_the_session_has_ended() {
    let kept = kept().await;
    kept.store.hold_announcements();
    let handle = kept.handle(&kept.here);
    handle.load().await.expect("no fault");
    kept.log_out_elsewhere().await;
    let error = handle.load_fresh().await.expect_err("it has ended");
    assert_eq!(error.kind(), SessionErrorKind::Gone);
}

#[tokio::test]
async fn a_fresh_load_after_another_one_fails_if_the_token_was_superseded() {
    for logs_in in [false, true] {
        let kept = kept().await;
        kept.store.hold_announcements();
        let handle = kept.handle(&kept.here);
        let session = handle.load().await.expect("no fault");
        let mut jar = kept.jar.clone();
        visit(&kept.elsewhere, &mut jar, |session| match logs_in {
            true => session.log_in("ann"),
            false => session.renew(),
        })
        .await;
        let error = handle.load_fresh().await.expect_err("the token is dead");
        assert_eq!(error.kind(), SessionErrorKind::Superseded);
        assert_eq!(seen(&session), ann(1), "what was read stays");
    }
}

#[tokio::test]
async fn a_login_is_kept_apart_from_what_was_kept_before() {
    let kept = kept().await;
    kept.store.hold_announcements();
    let mut jar = kept.jar.clone();
    let visit = Visit::begin(&kept.elsewhere, &jar, Method::POST).await;
    visit.session.log_in("bob").expect("accepted");
    let _ = visit.finish(&mut jar).await.expect("no fault");
    let other = Kept { jar, ..kept };
    assert_eq!(other.read(&other.here).await.0.as_deref(), Some("bob"));
}

#[test]
fn a_near_cache_needs_changes_and_room() {
    #[derive(Debug)]
    struct Silent;
    impl Store for Silent {
        async fn load(&self, _: &SessionId) -> Result<Option<Loaded>, StoreError> {
            Ok(None)
        }
        async fn create(&self, _: &SessionId, _: Write<'_>) -> Result<Created, StoreError> {
            Ok(Created::Taken)
        }
        async fn save(&self, _: &SessionId, _: Version, _: Write<'_>) -> Result<Saved, StoreError> {
            Ok(Saved::Gone)
        }
        async fn touch(
            &self,
            _: &SessionId,
            _: Version,
            _: Duration,
        ) -> Result<Touched, StoreError> {
            Ok(Touched::Gone)
        }
        async fn destroy(&self, _: &SessionId, _: Destroy) -> Result<Destroyed, StoreError> {
            Ok(Destroyed::Gone)
        }
    }
    let refused = |builder: Builder, near_cache| match builder.near_cache(near_cache).build() {
        Ok(_) => panic!("it was built"),
        Err(error) => error,
    };
    let with_changes = || builder(&TestStore::default());
    assert_eq!(
        refused(builder(&TestStore::new(Silent)), NearCache::new()),
        ConfigError::NoChanges {
            option: "near_cache"
        }
    );
    assert_eq!(
        refused(with_changes(), NearCache::new().lease(Duration::ZERO)),
        ConfigError::Zero {
            option: "near_cache.lease"
        }
    );
    assert_eq!(
        refused(with_changes(), NearCache::new().max_bytes(0)),
        ConfigError::Zero {
            option: "near_cache.max_bytes"
        }
    );
}
