//! What every server of the bench serves, so that only the session library differs between them.
//!
//! | route | what the handler does | answer |
//! |---|---|---|
//! | `GET /anonymous` | never asks for the session | [`ANONYMOUS`] |
//! | `GET /read` | user and counter of the session | [`page`], or 401 without a session |
//! | `POST /write` | the same, with the counter one higher | [`page`], or 401 |
//! | `POST /login` | a new session of [`Profile::sample`], under a new id | [`IN`] |
//! | `POST /logout` | ends the session | [`OUT`] |
//!
//! `POST /login?bytes=4096` stores a session of about that many bytes instead.

use std::{
    env,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, runtime};

/// The answer of `/anonymous`.
pub const ANONYMOUS: &str = "anonymous\n";
/// The answer of `/login`.
pub const IN: &str = "in\n";
/// The answer of `/logout`.
pub const OUT: &str = "out\n";
/// The answer where a session was expected and there is none, with status 401.
pub const NOBODY: &str = "nobody\n";
/// The content type of every answer.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// How long a session lives without a request, in seconds.
pub const IDLE_SECONDS: u64 = 3600;
/// The key that signs cookies; 64 bytes, as the most demanding of the libraries asks for.
pub const SIGNING_KEY: [u8; 64] =
    *b"the bench signs with a key that everybody knows, of 64 bytes!!!!";

/// The answer of `/read` and `/write`.
pub fn page(user: &str, views: u64) -> String {
    format!("{user} {views}\n")
}

/// Whether this is such an answer, whoever the user is.
pub fn is_page(body: &str, views: u64) -> bool {
    body.starts_with("user-") && body.ends_with(&format!(" {views}\n"))
}

fn user(number: u64) -> String {
    format!("user-{number:010}@example.org")
}

/// The session: 300 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Who is logged in.
    pub user: String,
    /// What they may do.
    pub roles: Vec<String>,
    /// What they have chosen.
    pub cart: Vec<Item>,
    /// Counts requests to `/write`.
    pub views: u64,
    /// Makes the session as large as a run asks for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filler: String,
}

/// One line of a cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// What.
    pub sku: String,
    /// How many.
    pub qty: u32,
    /// In cents.
    pub price: u32,
}

/// What may follow `/login?`.
#[derive(Debug, Default, Deserialize)]
pub struct Login {
    /// The size of the session, about, as JSON.
    pub bytes: Option<usize>,
}

impl Profile {
    /// A user, three roles, five items and a counter.
    pub fn sample() -> Self {
        let item = |n| Item {
            sku: format!("SKU-1000{n}"),
            qty: n,
            price: 999 + n,
        };
        Self {
            user: user(42),
            roles: ["reader", "editor", "billing"].map(String::from).into(),
            cart: (1..=5).map(item).collect(),
            views: 0,
            filler: String::new(),
        }
    }

    /// The sample without a cart, filled up to about so many bytes.
    pub fn of_bytes(bytes: usize) -> Self {
        // what the rest takes as JSON, the name of the filler included
        const REST: usize = 108;
        Self {
            cart: Vec::new(),
            filler: "x".repeat(bytes.saturating_sub(REST)),
            ..Self::sample()
        }
    }

    /// What a login stores: the session of a user who has no other.
    pub fn for_login(login: &Login) -> Self {
        static LOGINS: AtomicU64 = AtomicU64::new(0);
        let number = LOGINS.fetch_add(1, Ordering::Relaxed);
        Self {
            user: user(number),
            ..login.bytes.map_or_else(Self::sample, Self::of_bytes)
        }
    }
}

/// What the harness tells a server: how it is set, where it listens, and where its Redis is.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The variant, for example `hyper-redis`.
    pub variant: String,
    /// The port on the loopback interface.
    pub port: u16,
    /// The URL of Redis.
    pub redis: String,
}

impl Arguments {
    /// Reads `VARIANT PORT REDIS_URL`.
    ///
    /// # Errors
    ///
    /// An argument is missing or no port.
    pub fn read() -> anyhow::Result<Self> {
        let mut words = env::args().skip(1);
        let mut next = |name| {
            words
                .next()
                .with_context(|| format!("usage: SERVER VARIANT PORT REDIS_URL; {name} is missing"))
        };
        Ok(Self {
            variant: next("VARIANT")?,
            port: next("PORT")?.parse()?,
            redis: next("REDIS_URL")?,
        })
    }

    /// Listens where the harness expects it.
    ///
    /// # Errors
    ///
    /// The port is taken.
    pub async fn listen(&self) -> anyhow::Result<TcpListener> {
        Ok(TcpListener::bind(("127.0.0.1", self.port)).await?)
    }
}

/// Runs a server on one worker thread.
///
/// # Errors
///
/// Those of the server.
pub fn run<F>(serve: impl FnOnce(Arguments) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let server = serve(Arguments::read()?);
    // on the worker and not on this thread, so that accepting and serving share it
    runtime.block_on(runtime.spawn(server))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_bytes(profile: &Profile) -> usize {
        serde_json::to_string(profile).expect("JSON").len()
    }

    #[test]
    fn a_page_is_recognized() {
        let page = page(&Profile::sample().user, 7);
        assert!(is_page(&page, 7) && !is_page(&page, 17) && !is_page(NOBODY, 7));
    }

    #[test]
    fn every_login_is_of_another_user() {
        let users = [0, 1].map(|_| Profile::for_login(&Login::default()).user);
        assert_ne!(users[0], users[1]);
    }

    #[test]
    fn the_session_is_as_large_as_it_says() {
        assert_eq!(json_bytes(&Profile::sample()), 300);
        for bytes in [200, 1024, 4096] {
            assert_eq!(json_bytes(&Profile::of_bytes(bytes)), bytes);
        }
    }
}
