//! What a user keeps when a failover of Redis loses what it has acknowledged.

use http::{Request, header};
use integration_tests::keys;
use session_core::{Replicas, Session, SessionToken, Sessions};
use session_redis::RedisStore;
use test_support::{Sentinels, eventually};

/// An instance of a service.
async fn instance(group: &Sentinels) -> Sessions {
    let store = RedisStore::connect(&group.url()).await;
    let store = store.expect("the server answers");
    let sessions = Sessions::builder(store).signing_keys(keys()).build();
    sessions.expect("valid options")
}

/// A session with somebody logged in.
async fn log_in(sessions: &Sessions) -> (Session, SessionToken) {
    let request = Request::builder().header(header::HOST, "localhost");
    let handle = sessions.begin(&request.body(()).expect("a request"));
    let session = handle.load().await.expect("no fault");
    session.log_in("ann").expect("accepted");
    let outcome = session.save().await.expect("no fault");
    assert!(outcome.logged_in);
    let token = session.token().expect("stored");
    (session, token)
}

async fn opens(sessions: &Sessions, token: &SessionToken) -> Option<bool> {
    let opened = sessions.open(token).await;
    opened.ok().map(|session| session.is_some())
}

/// The primary is lost, and a replica takes its place that has what was written before
/// [`test_support::Redis::stop_replication`].
async fn fail_over(group: &Sentinels, sessions: &Sessions, token: &SessionToken) {
    let old = &group.servers[0];
    old.kill();
    group.wait_for_failover(old.port());
    eventually("the new primary serves", async || {
        opens(sessions, token).await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_a_failover_loses_leaves_the_old_token() {
    let group = Sentinels::start();
    let sessions = instance(&group).await;
    let (session, old) = log_in(&sessions).await;
    group.servers[0].wait_for_replica();
    group.servers[0].stop_replication();
    session.renew().expect("accepted");
    let outcome = session.save().await.expect("acknowledged");
    assert!(outcome.renewed);
    let new = session.token().expect("stored");
    assert_eq!(opens(&sessions, &old).await, Some(false));
    assert_eq!(opens(&sessions, &new).await, Some(true));

    fail_over(&group, &sessions, &old).await;
    assert_eq!(opens(&sessions, &old).await, Some(true));
    assert_eq!(opens(&sessions, &new).await, Some(false));
}

/// As long as the instance lives that acknowledged it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_a_failover_loses_stays_final() {
    let group = Sentinels::start();
    let (one, other) = (instance(&group).await, instance(&group).await);
    let (session, token) = log_in(&one).await;
    group.servers[0].wait_for_replica();
    group.servers[0].stop_replication();
    session.confirm(Replicas::new(1));
    session.log_out().expect("accepted");
    let outcome = session.save().await.expect("acknowledged");
    assert!(outcome.ended.is_some());
    assert_eq!(outcome.replicas, Some(0), "no replica has heard of it");

    fail_over(&group, &one, &token).await;
    assert_eq!(opens(&one, &token).await, Some(false));
    eventually("it has ended through the other instance", async || {
        opens(&other, &token).await == Some(false)
    })
    .await;
}

/// Nobody who remembers the logout is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_a_replica_has_confirmed_survives_a_failover() {
    let group = Sentinels::start();
    let (one, other) = (instance(&group).await, instance(&group).await);
    let (session, token) = log_in(&one).await;
    let (lost, lost_token) = log_in(&one).await;
    group.servers[0].wait_for_replica();
    let patient = Replicas::new(1).timeout(std::time::Duration::from_secs(1));
    session.confirm(patient);
    session.log_out().expect("accepted");
    let outcome = session.save().await.expect("acknowledged");
    assert_eq!(outcome.replicas, Some(1));
    group.servers[0].stop_replication();
    lost.log_out().expect("accepted");
    let outcome = lost.save().await.expect("acknowledged");
    assert_eq!(outcome.replicas, None, "nobody has asked");
    drop((one, session, lost));

    fail_over(&group, &other, &token).await;
    assert_eq!(opens(&other, &token).await, Some(false));
    assert_eq!(opens(&other, &lost_token).await, Some(true), "it is back");
}
