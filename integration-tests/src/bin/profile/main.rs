//! Repeats one kind of request so that its instructions can be counted: `profile <request>
//! <times>`. `cargo xtask profile` runs it under callgrind.
//!
//! Entropy, time and the store's answers are fixed, so that two runs execute the same instructions.
//! The kinds that begin with `near-` are the same requests with a near cache that keeps the record,
//! those that begin with `redis-` the same requests on the Redis store. Its server is a
//! task of the same single-threaded runtime behind a unix socket: a write is readable at the other
//! end at once, so that the tasks take turns in a fixed order. The server's instructions are
//! counted too.

mod fake_redis;
mod slot;

use std::{
    env,
    future::Future,
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use http::{Request, Response, header};
use session_core::{
    Builder, Clock, Entropy, EntropyError, Key, MemoryStore, NearCache, SessionError,
    SessionHandle, Sessions, SigningKeys, Store,
};

use crate::{fake_redis::FakeRedis, slot::Slot};

const COUNTER: Key<u64> = Key::new("counter");
const USER: Key<String> = Key::new("user");
/// The idle timeout.
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let args: Vec<_> = env::args().collect();
    let [_, kind, times] = args.as_slice() else {
        panic!("usage: profile <request> <times>")
    };
    let times: u32 = times.parse().expect("a number");
    match kind.split_once('-') {
        None => ready(repeat(kind, times, builder(Slot::new(remaining(kind))))),
        Some(("near", kind)) => {
            let near = builder(MemoryStore::new()).near_cache(NearCache::new());
            ready(repeat(kind, times, near));
        }
        Some(("redis", kind)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let redis = FakeRedis::start(remaining(kind));
                repeat(kind, times, builder(redis.store())).await;
            });
        }
        Some(_) => panic!("unknown kind of request: {kind}"),
    }
}

/// The time to live that the store reports. A touch is due when more than a tenth of the idle
/// timeout has passed.
fn remaining(kind: &str) -> Duration {
    match kind {
        "touch" => HOUR / 2,
        _ => HOUR,
    }
}

async fn repeat(kind: &str, times: u32, builder: Builder) {
    let sessions = builder.build().expect("valid options");
    let cookie = create(&sessions).await;
    let with_cookie = Request::builder()
        .header(header::COOKIE, cookie)
        .body(())
        .expect("a request");
    let without_cookie = Request::new(());
    for _ in 0..times {
        match kind {
            "anonymous" => request(&sessions, &without_cookie, async |_| Ok(())).await,
            "untouched" => request(&sessions, &with_cookie, async |_| Ok(())).await,
            "load" => {
                request(&sessions, &with_cookie, async |handle| {
                    handle.load().await.map(drop)
                })
                .await
            }
            "read" | "touch" => {
                request(&sessions, &with_cookie, async |handle| {
                    black_box(handle.load().await?.get(USER)?);
                    Ok(())
                })
                .await
            }
            "write" => {
                request(&sessions, &with_cookie, async |handle| {
                    let session = handle.load().await?;
                    session.update(COUNTER, |counter| counter.unwrap_or(0) + 1)?;
                    Ok(())
                })
                .await
            }
            // the store keeps the first record, so the token of the cookie stays valid
            "renew" => {
                request(&sessions, &with_cookie, async |handle| {
                    handle.load().await?.renew()
                })
                .await
            }
            "login" => {
                request(&sessions, &with_cookie, async |handle| {
                    handle.load().await?.log_in("ann")
                })
                .await
            }
            "logout" => {
                request(&sessions, &with_cookie, async |handle| {
                    handle.load().await?.destroy()
                })
                .await
            }
            "create" => {
                request(&sessions, &without_cookie, async |handle| {
                    handle.load().await?.insert(USER, "ann")
                })
                .await
            }
            other => panic!("unknown kind of request: {other}"),
        }
    }
}

async fn request(
    sessions: &Sessions,
    request: &Request<()>,
    handler: impl AsyncFnOnce(&SessionHandle) -> Result<(), SessionError>,
) {
    let handle = sessions.begin(black_box(request));
    handler(&handle).await.expect("the store works");
    let mut response = Response::new(());
    finish(sessions, &handle, &mut response).await;
    black_box(response);
}

/// Stores a session of about 300 bytes without a principal, as the benchmark does, and returns its
/// `Cookie` header.
async fn create(sessions: &Sessions) -> String {
    let handle = sessions.begin(&Request::new(()));
    let session = handle.load().await.expect("the store works");
    session.insert(USER, "user-0123456789").expect("writable");
    session
        .insert("roles", &["reader", "writer", "admin"])
        .expect("writable");
    let cart: Vec<_> = (0..5u32)
        .map(|n| (format!("article number {n}"), n, 1995))
        .collect();
    session.insert("cart", &cart).expect("writable");
    session.insert(COUNTER, &0).expect("writable");
    let mut response = Response::new(());
    finish(sessions, &handle, &mut response).await;
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("ascii");
    cookie.split(';').next().expect("a pair").to_owned()
}

fn builder(store: impl Store) -> Builder {
    let keys = SigningKeys::new(["0123456789abcdef0123456789abcdef"]).expect("long enough");
    Sessions::builder(store)
        .signing_keys(keys)
        .idle_timeout(HOUR)
        .insecure_entropy(Counting::default())
        .clock(Still)
}

async fn finish(sessions: &Sessions, handle: &SessionHandle, response: &mut Response<()>) {
    let _ = sessions
        .finish(handle, response)
        .await
        .expect("the store works");
}

/// The output of a future that never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the store answers at once"),
    }
}

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR
    }

    fn monotonic(&self) -> Duration {
        HOUR
    }
}

/// Distinct bytes, the same in every run.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            let next = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
