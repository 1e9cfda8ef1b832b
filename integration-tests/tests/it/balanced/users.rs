//! Users who write to their sessions and read them back, and the load that many of them make.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, Response, StatusCode};
use serde_json::Value;
use test_support::{Browser, eventually};
use tokio::{task::JoinHandle, time::sleep};

use super::{Site, send, served_by, session, visitor};

/// Users who write to their sessions and read them back until the load ends.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    users: Vec<JoinHandle<User>>,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) browser: Browser,
    id: Value,
    /// Increments that were acknowledged, and those without an answer.
    pub(super) counted: u64,
    unknown: u64,
    pub(super) failures: Vec<StatusCode>,
}

impl User {
    pub(super) async fn begin(addr: SocketAddr, name: String) -> Self {
        let mut browser = visitor(addr, &name).await;
        let id = session(&mut browser, addr).await["id"].clone();
        assert!(id.is_string());
        Self {
            name,
            browser,
            id,
            counted: 0,
            unknown: 0,
            failures: Vec::new(),
        }
    }

    /// Writes, and reads back.
    pub(super) async fn visit(&mut self, addr: SocketAddr) {
        let added = send(
            &mut self.browser,
            addr,
            Method::POST,
            "/api/session/n/add",
            "{}",
        )
        .await;
        match self.is_answered(&added) {
            true => self.counted += 1,
            false => self.unknown += 1,
        }
        let read = self.browser.get(addr, "/api/session").await;
        if self.is_answered(&read) {
            self.assert_own_session(&serde_json::from_str(read.body()).expect("JSON"));
        }
    }

    /// A response of the balancer may be an error, because a connection to an instance broke. A
    /// response of an instance may not.
    fn is_answered(&mut self, response: &Response<String>) -> bool {
        let status = response.status();
        let by_balancer = served_by(response).is_none();
        match status {
            StatusCode::OK => true,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE if by_balancer => {
                self.failures.push(status);
                false
            }
            _ => panic!(
                "{} got {status} of {:?}: {}",
                self.name,
                served_by(response),
                response.body()
            ),
        }
    }

    /// Asserts that this is the user's session, with every increment that was acknowledged.
    fn assert_own_session(&self, session: &Value) {
        assert_eq!(
            (&session["id"], session["data"]["tag"].as_str()),
            (&self.id, Some(self.name.as_str())),
            "{session}"
        );
        let stored = session["data"]["n"].as_u64().unwrap_or(0);
        assert!(
            (self.counted..=self.counted + self.unknown).contains(&stored),
            "{} {}: {session}",
            self.counted,
            self.unknown
        );
    }
}

impl Load {
    pub(super) async fn start(addr: SocketAddr, users: usize) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut running = Vec::new();
        for number in 0..users {
            let mut user = User::begin(addr, format!("user {number}")).await;
            let (stop, answered) = (stop.clone(), answered.clone());
            running.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    user.visit(addr).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    // leaves ports and processors to other tests
                    sleep(Duration::from_millis(5)).await;
                }
                user
            }));
        }
        let load = Self {
            stop,
            answered,
            users: running,
        };
        load.assert_progress().await;
        load
    }

    /// Waits for many more visits.
    pub(super) async fn assert_progress(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 100;
        let is_over = || self.users.iter().any(JoinHandle::is_finished);
        eventually("users make more visits", async || {
            is_over() || self.answered.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends the load, reads every session from every instance, and returns the errors of the
    /// balancer.
    pub(super) async fn end(self, site: &Site) -> Vec<StatusCode> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for user in self.users {
            let mut user = user.await.expect("no assertion of the user failed");
            for instance in &site.instances {
                let seen = session(&mut user.browser, instance.addr()).await;
                user.assert_own_session(&seen);
            }
            failures.append(&mut user.failures);
        }
        failures
    }
}
