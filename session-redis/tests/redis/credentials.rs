//! Credentials that change while the store is in use.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use session_core::{Store, StoreErrorKind};
use session_redis::RedisStore;
use session_redis::{BoxError, ConnectError, Credentials, CredentialsProvider, RedisConfig};
use test_support::{Redis, Sentinels, eventually};

use crate::{Operation, assert_fails, id};

/// Credentials that a test changes.
#[derive(Clone)]
struct Vault(Arc<Mutex<Result<Credentials, &'static str>>>);

impl Vault {
    fn with(credentials: Credentials) -> Self {
        Self(Arc::new(Mutex::new(Ok(credentials))))
    }

    fn set(&self, credentials: Result<Credentials, &'static str>) {
        *self.0.lock().expect("no panic") = credentials;
    }
}

impl CredentialsProvider for Vault {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        Ok(self.0.lock().expect("no panic").clone()?)
    }
}

fn config(server: &Redis) -> RedisConfig {
    RedisConfig::from_url(&server.url())
        .expect("a URL")
        .connections(1)
        .probe_every(Duration::from_millis(20))
}

fn set_user(server: &Redis, user: &str, passwords: &[&str]) {
    let mut words = vec!["ACL", "SETUSER", user, "on", "~*", "+@all", "resetpass"];
    words.extend(passwords);
    let () = server.command(&words);
}

fn kill_clients(server: &Redis, user: &str) {
    let killed: u64 = server.command(&["CLIENT", "KILL", "USER", user]);
    assert!(killed > 0, "{user} is not connected");
}

/// The connections of a user, by their numbers.
fn clients(server: &Redis, user: &str) -> Vec<String> {
    let list: String = server.command(&["CLIENT", "LIST"]);
    let of_user = list
        .lines()
        .filter(|line| line.contains(&format!(" user={user} ")));
    of_user
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

async fn assert_recovers(store: &RedisStore) {
    eventually("the store recovers", async || {
        store.load(&id()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_new_connection_uses_the_rotated_password() {
    let server = Redis::start();
    set_user(&server, "app", &[">hunter1"]);
    let vault = Vault::with(Credentials::new("app", "hunter1"));
    let config = config(&server).credentials_provider(vault.clone());
    let store = RedisStore::open(config.clone()).await.expect("a store");

    set_user(&server, "app", &[">hunter2"]);
    for operation in Operation::ALL {
        // a living connection stays authenticated
        operation.run(&store).await.expect("an answer");
    }
    kill_clients(&server, "app");
    eventually("the old password is refused", async || {
        let result = store.load(&id()).await;
        result.is_err_and(|error| error.kind() == StoreErrorKind::Refused)
    })
    .await;
    let cause = assert_fails(store.load(&id()).await, StoreErrorKind::Refused);
    assert!(cause.contains("WRONGPASS"), "{cause}");

    vault.set(Ok(Credentials::new("app", "hunter2")));
    assert_recovers(&store).await;
    kill_clients(&server, "app");
    assert_recovers(&store).await;
    let printed = format!("{store:?} {config:?} {config:#?} {cause}");
    assert!(!printed.contains("hunter"), "{printed}");
}

#[tokio::test]
async fn a_connection_that_is_not_shared_is_replaced_if_the_credentials_have_changed() {
    let server = Redis::start();
    set_user(&server, "app", &[">hunter1"]);
    let vault = Vault::with(Credentials::new("app", "hunter1"));
    let config = config(&server).credentials_provider(vault.clone());
    let store = RedisStore::open(config).await.expect("a store");
    let count = async || store.count().await.expect("a count");
    let scanning = || {
        let list: String = server.command(&["CLIENT", "LIST"]);
        let lines = list.lines().filter(|line| line.contains(" cmd=scan "));
        let ids: Vec<_> = lines.filter_map(|line| line.split(' ').next()).collect();
        ids.join(" ")
    };
    count().await;
    let first = scanning();
    count().await;
    assert_eq!(scanning(), first, "used again");

    set_user(&server, "app", &[">hunter2"]);
    vault.set(Ok(Credentials::new("app", "hunter2")));
    count().await;
    assert_ne!(scanning(), first);

    vault.set(Err("the vault is sealed"));
    let cause = assert_fails(store.count().await, StoreErrorKind::Unavailable);
    assert!(cause.ends_with("the vault is sealed"), "{cause}");
}

#[tokio::test]
async fn a_provider_that_fails_is_named_and_asked_again() {
    let server = Redis::with_password("hunter1");
    let vault = Vault::with(Credentials::default());
    vault.set(Err("the vault is sealed"));
    let config = config(&server).credentials_provider(vault.clone());
    match RedisStore::open(config.clone()).await {
        Err(ConnectError::Redis(error)) => {
            let cause = assert_fails::<()>(Err(error), StoreErrorKind::Unavailable);
            assert!(cause.contains(&server.addr().to_string()), "{cause}");
            assert!(
                cause.contains("the credentials provider failed: the vault is sealed"),
                "{cause}"
            );
        }
        other => panic!("{other:?}"),
    }
    let store = RedisStore::lazy(config).expect("a store");
    assert_fails(store.load(&id()).await, StoreErrorKind::Unavailable);
    vault.set(Ok(Credentials::password("hunter1")));
    assert_recovers(&store).await;
}

#[tokio::test]
async fn a_living_connection_is_authenticated_again_even_after_a_failed_attempt() {
    let server = Redis::start();
    set_user(&server, "first", &[">pw"]);
    set_user(&server, "second", &[">pw"]);
    let asked = Arc::new(AtomicU32::new(0));
    let number = asked.clone();
    let provider = move || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move {
            let user = match number {
                0 => "first",
                1 => return Err("the vault is sealed"),
                _ => "second",
            };
            let credentials = Credentials::new(user, "pw");
            Ok(credentials.refresh_after(Duration::from_millis(100)))
        }
    };
    let store = RedisStore::open(config(&server).credentials_provider(provider))
        .await
        .expect("a store");
    let before = clients(&server, "first");
    assert_eq!(before.len(), 1, "{before:?}");
    eventually("the connection belongs to the other user", async || {
        clients(&server, "second") == before
    })
    .await;
    let so_far = asked.load(Ordering::Relaxed);
    assert!(so_far >= 3, "{so_far}");
    eventually("the connection is authenticated once more", async || {
        asked.load(Ordering::Relaxed) > so_far
    })
    .await;
    store.load(&id()).await.expect("an answer");
    assert_eq!(clients(&server, "second"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_have_providers_of_their_own() {
    let group = Sentinels::start();
    for server in &group.servers {
        set_user(server, "app", &[">for-servers"]);
    }
    for sentinel in &group.sentinels {
        let words = ["ACL", "SETUSER", "watcher", "on", "+@all", ">for-sentinels"];
        let () = sentinel.command(&words);
    }
    let servers = Vault::with(Credentials::new("app", "for-servers"));
    let sentinels = Vault::with(Credentials::new("watcher", "for-sentinels"));
    let config = RedisConfig::from_url(&group.url()).expect("a URL");
    let with = |servers: &Vault, sentinels: &Vault| {
        config
            .clone()
            .credentials_provider(servers.clone())
            .sentinel_credentials_provider(sentinels.clone())
    };
    let store = RedisStore::open(with(&servers, &sentinels)).await;
    store.expect("a store");
    for swapped in [with(&sentinels, &sentinels), with(&servers, &servers)] {
        let result = RedisStore::open(swapped).await;
        assert!(matches!(result, Err(ConnectError::Redis(_))), "{result:?}");
    }
}
