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
use test_support::Browser;
use tokio::{task::JoinHandle, time::sleep};

use super::{Site, eventually, send, served_by, session, visitor};

/// Users who write to their sessions and read them back, until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    users: Vec<JoinHandle<User>>,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) browser: Browser,
    id: Value,
    /// Additions that were answered, and those whose answer was lost.
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
            self.recognises(&serde_json::from_str(read.body()).expect("JSON"));
        }
    }

    /// A request may fail where the balancer says so, because the connection to an instance broke. An instance never fails it.
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

    /// This is the user's own session, with everything that was acknowledged.
    fn recognises(&self, session: &Value) {
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
                    // a pace that leaves the machine's ports and processors to other tests
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
        load.goes_on().await;
        load
    }

    /// Waits for many more visits.
    pub(super) async fn goes_on(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 100;
        let is_over = || self.users.iter().any(JoinHandle::is_finished);
        eventually("visits", async || {
            is_over() || self.answered.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends the load, and asks every instance for every session. Answers which requests failed.
    pub(super) async fn end(self, site: &Site) -> Vec<StatusCode> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for user in self.users {
            let mut user = user.await.expect("a user who saw nothing wrong");
            for instance in &site.instances {
                let seen = session(&mut user.browser, instance.addr()).await;
                user.recognises(&seen);
            }
            failures.append(&mut user.failures);
        }
        failures
    }
}
